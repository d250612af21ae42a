"""Tags of a stream against a data set's truth of them: a pipeline that sees colours, on shafts drawn by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import dataset_trees as trees
import numpy as np
import pytest
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.metrics.evaluator import Evaluator
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.sources.tag_truth import TagTruthError, read_numbers
from clip_rl_perception.sources.truth_label_map import ALL_INSTRUMENTS, label_map_from_dict, load_label_map
from clip_rl_perception.stream import LoadedModel
from clip_rl_training.datasets import DatasetError, SegmentationDataset, open_dataset
from clip_rl_training.datasets.dataset_tags import DatasetTagTruth
from clip_rl_training.evaluating.evaluated_classes import class_mapping
from clip_rl_training.evaluating.evaluation_loop import RunFacts, evaluate
from clip_rl_training.evaluating.pipeline_predictor import PipelinePredictor
from clip_rl_training.evaluating.tag_run import TagRun, tag_lines
from color_engine import EMBEDDING_DIM, ColorEngine, text_for

TISSUE, STEEL = (170, 80, 75), (120, 125, 130)
SPACE = label_space_from_names(["background", "forceps"])
SIZE = (352, 448)
FRAMES, BAR = 12, 40


def tips(frame: int) -> dict[int, tuple[int, int]]:
    """Where the two shafts of a frame end, (x, y); the second one is there in every other half of the video."""
    ends = {1: (120 + 10 * frame, 60), 2: (300 - 10 * frame, 250)}
    return ends if frame < FRAMES // 2 else {1: ends[1]}


@pytest.fixture
def dataset(tmp_path: Path) -> SegmentationDataset:
    rng = np.random.default_rng(3)
    lines = []
    for frame in range(FRAMES):
        rgb = np.clip(TISSUE * (1 + 0.1 * rng.normal(size=(*SIZE, 1))), 0, 255).astype(np.uint8)
        instances = np.zeros(SIZE, np.uint8)
        for number, (x, y) in tips(frame).items():
            instances[y - BAR // 2 : y + BAR // 2, :x] = number
        rgb[instances > 0] = STEEL
        trees.write_rgb(tmp_path / f"v/images/f{frame:02d}.png", rgb)
        trees.write_rgb(tmp_path / f"v/masks/f{frame:02d}.png", (instances > 0).astype(np.uint8))
        trees.write_rgb(tmp_path / f"v/instances/f{frame:02d}.png", instances)
        told = [
            {"instance": number, "type": ("forceps", "scissors")[number - 1], "keypoints": [point("tip_1", *tip)]}
            for number, tip in tips(frame).items()
        ]
        lines.append(json.dumps({"frame": frame, "instruments": told}))
    (tmp_path / "v/instruments.jsonl").write_text("\n".join(lines))
    return open_dataset("folder", tmp_path, label_map=load_label_map("binary"))


def point(name: str, x: float, y: float) -> dict[str, Any]:
    return {"name": name, "x": x, "y": y, "visible": True}


def predictor() -> PipelinePredictor:
    calibration = Calibration.uncalibrated(EMBEDDING_DIM)
    return PipelinePredictor(
        LoadedModel(PerceptionPipeline(ColorEngine(), SPACE, text_for([TISSUE, STEEL]), calibration))
    )


def run(dataset: SegmentationDataset, *, video: bool) -> tuple[dict[str, Any] | None, RunFacts]:
    mapping = class_mapping(dataset, SPACE, load_label_map("binary"))
    tags = TagRun(DatasetTagTruth(dataset), SPACE, video, 1 / 25)
    facts = evaluate(dataset, predictor(), mapping, Evaluator(mapping.names), video=video, tags=tags)
    return tags.report(), facts


def test_a_stream_that_sees_everything(dataset: SegmentationDataset) -> None:
    report, facts = run(dataset, video=True)
    assert report is not None and report["frames"] == FRAMES and not facts.problems
    for kind in ("boxes", "masks"):
        scores = report[kind]
        assert scores["instruments"] == FRAMES + FRAMES // 2
        assert scores["recall"] >= 0.8 and scores["precision"] == 1 and scores["sq"] > 0.9
        tracking = scores["tracking"]
        assert (tracking["switches"], tracking["identities"], tracking["instruments"]) == (0, 2, 2)
        assert tracking["idf1"] == pytest.approx(2 * scores["recall"] / (1 + scores["recall"]))
    tip = report["keypoints"]["tip"]
    assert tip["visible"] == FRAMES + FRAMES // 2 and tip["median_px"] < 8 and tip["near"] == 1 - tip["missed"]
    # The model has one class of instrument, so it is right for one of the two.
    assert report["types"]["tracks"] == {"count": 2, "right": 0.5}
    assert set(report["types"]["confusion"]["scissors"]) == {"forceps"}
    printed = "\n".join(tag_lines(report))
    assert "HOTA" in printed and "2 identities of 2 instruments" in printed and "tip" in printed


def test_stills_have_no_identities(dataset: SegmentationDataset) -> None:
    report, _ = run(dataset, video=False)
    assert report is not None and "tracking" not in report["boxes"] and "tracks" not in report["types"]
    assert report["boxes"]["recall"] == report["masks"]["recall"] == report["boxes"]["precision"] == 1
    assert report["boxes"]["ap50"] == pytest.approx(1) and report["masks"]["pq"] > 0.9
    assert "HOTA" not in "\n".join(tag_lines(report))


def test_what_has_no_truth_of_tags_is_told(dataset: SegmentationDataset, tmp_path: Path) -> None:
    folder = tmp_path / "v/instances"
    (folder / "f03.png").unlink()
    (folder / "f04.png").write_bytes(b"x")
    trees.write_rgb(folder / "f05.png", np.ones((20, 30), np.uint8))
    report, facts = run(dataset, video=True)
    assert report is not None and report["frames"] == FRAMES - 3
    assert [line.rpartition("/")[2] for line in facts.problems] == [
        "f03.png: no picture of instances; its tags are not measured",
        "f04.png of 1 bytes does not decode: it is damaged, cut off, or no picture; its tags are not measured",
        "f05.png are 30x20 but the image is 448x352; both must have one size; its tags are not measured",
    ]
    for path in folder.iterdir():
        path.unlink()
    assert not DatasetTagTruth(dataset)


def test_a_line_that_is_wrong_is_named_before_anything_runs(dataset: SegmentationDataset, tmp_path: Path) -> None:
    (tmp_path / "v/instruments.jsonl").write_text('{"frame": 0, "instruments": [{"instance": "one"}]}\n')
    with pytest.raises(TagTruthError, match=r"instruments\.jsonl, line 1: instrument .* a number from 1, each once"):
        DatasetTagTruth(dataset)


def test_masks_of_types_are_instances(dataset: SegmentationDataset, tmp_path: Path) -> None:
    for path in (tmp_path / "v/instances").iterdir():
        trees.write_rgb(tmp_path / "v/masks" / path.name, np.where(read_numbers(path) == 2, 3, read_numbers(path)))
    told = {"truth": {0: "background", 1: "forceps", 3: "scissors"}}
    merged = {"truth": {0: "background", 1: "instrument", 3: "instrument"}, "merge": {"instrument": ALL_INSTRUMENTS}}
    by_type = label_map_from_dict(told, "types.yaml")
    dataset = open_dataset("folder", tmp_path, label_map=label_map_from_dict(merged, "map.yaml"))
    mapping = class_mapping(dataset, SPACE, label_map_from_dict(merged, "map.yaml"))
    tags = TagRun(DatasetTagTruth(dataset, by_type), SPACE, False, 1 / 25)
    evaluate(dataset, predictor(), mapping, Evaluator(mapping.names), tags=tags)
    report = tags.report()
    assert report is not None and report["boxes"]["instruments"] == FRAMES + FRAMES // 2
    assert report["masks"]["recall"] == report["masks"]["precision"] == 1 and report["keypoints"] == {}
    assert report["types"]["confusion"] == {"forceps": {"forceps": FRAMES}, "scissors": {"forceps": FRAMES // 2}}
    other = dataclasses.replace(dataset, name="endovis2018")
    with pytest.raises(DatasetError, match="types are read from the masks of a folder, not of 'endovis2018'"):
        DatasetTagTruth(other, by_type)
