"""The evaluation loop, class mapping, worst frames and corruption benchmark, with a predictor that sees brightness."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import dataset_trees as trees
import numpy as np
import pytest
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace, load_label_space
from clip_rl_perception.metrics.evaluator import Evaluator, FrameScore
from clip_rl_perception.sources.truth_label_map import LabelMapError, label_map_from_dict
from clip_rl_training.datasets import Item, SegmentationDataset, open_dataset
from clip_rl_training.evaluating.evaluated_classes import ClassMapping, class_mapping
from clip_rl_training.evaluating.evaluation_loop import Prediction, evaluate
from clip_rl_training.evaluating.robustness import (
    RobustnessError,
    mean_corruption_error,
    read_baseline,
    run_corruptions,
)
from clip_rl_training.evaluating.worst_frames import CONFUSED, INVENTED, MISSED, WorstFrames, draw

BINARY = label_map_from_dict(
    {"truth": {0: "background", 1: "instrument"}, "ignore": [255], "merge": {"instrument": "all-instruments"}}, "m.yaml"
)


class BrightIsInstrument:
    """Segments what is brighter than a threshold as class 1 of a label space."""

    def __init__(self, threshold: int = 150, space: str = "endovis2018-type", class_id: int = 1) -> None:
        self.label_space: LabelSpace = load_label_space(space)
        self.threshold, self.class_id = threshold, class_id
        self.follows: list[bool] = []

    def predict(self, rgb: np.ndarray, *, follows: bool) -> Prediction:
        self.follows.append(follows)
        bright = rgb.mean(axis=2) > self.threshold
        labels = np.where(bright, self.class_id, 0).astype(np.uint8)
        return Prediction(labels, np.full_like(labels, 230), milliseconds=1.5)


def bar(column: int, size: tuple[int, int] = (48, 64)) -> tuple[np.ndarray, np.ndarray]:
    """Dark red tissue with a bright bar 16 px wide: image and truth."""
    rgb = np.full((*size, 3), (90, 40, 38), np.uint8)
    truth = np.zeros(size, np.uint8)
    rgb[8:40, column : column + 16] = 200
    truth[8:40, column : column + 16] = 1
    return rgb, truth


@pytest.fixture
def dataset(tmp_path: Path) -> SegmentationDataset:
    """Two sequences of three frames; in b/2 half of the bar is dark, so that it is missed."""
    for sequence in ("a", "b"):
        for frame in range(3):
            rgb, truth = bar(4 + 12 * frame)
            if (sequence, frame) == ("b", 2):
                rgb[8:24] = (90, 40, 38)
            trees.write_rgb(tmp_path / f"data/{sequence}/images/{frame}.png", rgb)
            trees.write_rgb(tmp_path / f"data/{sequence}/masks/{frame}.png", truth)
    return open_dataset("folder", tmp_path / "data", label_map=BINARY)


def test_loop_feeds_every_frame(dataset: SegmentationDataset) -> None:
    predictor = BrightIsInstrument()
    mapping = class_mapping(dataset, predictor.label_space, BINARY)
    evaluator = Evaluator(mapping.names)
    facts = evaluate(dataset, predictor, mapping, evaluator)
    report = evaluator.report()
    assert report["frames"] == 6 and list(report["sequences"]) == ["a", "b"]
    assert report["classes"]["instrument"]["iou"] == pytest.approx(5.5 / 6)
    assert report["sequences"]["a"]["miou"] == 1
    assert report["challenge_iou"] == pytest.approx(5.5 / 6)
    assert report["ece"] == pytest.approx(1 - 256 / (6 * 48 * 64) - 230 / 255)
    assert predictor.follows == [False] * 6
    assert facts.report()["validity"] == {"OK": 6}
    assert facts.report()["frame_ms"]["p50"] == 1.5


def test_damaged_files_are_left_out_and_named(dataset: SegmentationDataset) -> None:
    predictor = BrightIsInstrument()
    mapping = class_mapping(dataset, predictor.label_space, BINARY)
    for file in (dataset.items[1].image, dataset.items[4].masks[0]):
        file.write_bytes(file.read_bytes()[:100])
    evaluator = Evaluator(mapping.names)
    facts = evaluate(dataset, predictor, mapping, evaluator)
    assert evaluator.report()["frames"] == 4 and len(predictor.follows) == 4
    assert [line.rpartition("data/")[2] for line in facts.report()["problems"]] == [
        "a/images/1.png is truncated: its bytes hold no end of the PNG; left out",
        "b/masks/1.png is truncated: its bytes hold no end of the PNG; left out",
    ]
    for item in dataset.items:
        item.image.write_bytes(b"")
    with pytest.raises(ClipRlError, match=r"none of 6 frames can be read: .*a/images/0\.png of 0 bytes"):
        evaluate(dataset, predictor, mapping, Evaluator(mapping.names))


def test_a_class_that_ignoring_took_away_is_told(dataset: SegmentationDataset) -> None:
    predictor = BrightIsInstrument()
    mapping = class_mapping(dataset, predictor.label_space, BINARY)
    assert evaluate(dataset, predictor, mapping, Evaluator(mapping.names)).problems == []
    for item in dataset.items:
        cv2.imwrite(str(item.masks[0]), cv2.imread(str(item.masks[0]), cv2.IMREAD_GRAYSCALE) * 255)
    (line,) = evaluate(dataset, predictor, mapping, Evaluator(mapping.names)).problems
    assert line.startswith("no pixel of instrument in 6 masks, while 16.7% of their pixels are ignored; masks are read")


def test_video_frames_follow_within_a_sequence(dataset: SegmentationDataset) -> None:
    predictor = BrightIsInstrument()
    mapping = class_mapping(dataset, predictor.label_space, BINARY)
    evaluate(dataset, predictor, mapping, Evaluator(mapping.names), video=True)
    assert predictor.follows == [False, True, True, False, True, True]


def test_hidden_pixels_become_background_but_ignored_ones_stay(dataset: SegmentationDataset) -> None:
    predictor = BrightIsInstrument()
    mapping = class_mapping(dataset, predictor.label_space, BINARY)
    seen: list[np.ndarray] = []

    def cover(rgb: np.ndarray, item: Item) -> tuple[np.ndarray, np.ndarray]:
        hidden = np.zeros(rgb.shape[:2], np.bool_)
        hidden[:24] = True
        return np.where(hidden[..., None], 0, rgb).astype(np.uint8), hidden

    evaluator = Evaluator(mapping.names)
    evaluate(
        dataset.only(["a"]), predictor, mapping, evaluator, damage=cover, watcher=lambda *args: seen.append(args[2])
    )
    assert all(truth[:24].max() == 0 and truth[24:].max() == 1 for truth in seen)
    assert evaluator.report()["miou"] == 1


def test_mapping_by_name_without_a_label_map(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0]})
    scene = open_dataset("endovis2018", tmp_path)
    mapping = class_mapping(scene, load_label_space("endovis2018-type"), None)
    assert mapping.names == load_label_space("endovis2018").names
    # Of the types only ultrasound probe and suction instrument carry the name of a scene class.
    assert {int(i): int(mapping.prediction[i]) for i in range(8) if mapping.prediction[i]} == {5: 11, 6: 9}
    assert "instrument-shaft" in mapping.unanswered
    assert tuple(mapping.palette[4]) == (255, 55, 0)


def test_label_map_over_a_decoded_dataset(tmp_path: Path) -> None:
    trees.endovis2018(tmp_path, {"seq_1": [0]})
    scene = open_dataset("endovis2018", tmp_path)
    types = load_label_space("endovis2018-type")
    instruments = scene.label_space.instrument_ids
    truth = {index: "instrument" if index in instruments else "background" for index in range(12)}
    label_map = label_map_from_dict({"truth": truth, "merge": {"instrument": "all-instruments"}})
    mapping = class_mapping(scene, types, label_map)
    assert mapping.names == ("background", "instrument")
    assert set(np.flatnonzero(mapping.truth == 1)) == set(instruments) and mapping.truth[255] == 255
    with pytest.raises(LabelMapError, match=r"on the ids of dataset 'endovis2018': value \d+; expected 0 background"):
        class_mapping(scene, types, BINARY)
    colors = label_map_from_dict({"truth": {"0,0,0": "background"}})
    with pytest.raises(LabelMapError, match="is decoded already, list its ids"):
        class_mapping(scene, types, colors)


def test_unknown_names_have_nothing_in_common(dataset: SegmentationDataset) -> None:
    with pytest.raises(LabelMapError, match="no predicted class answers to instrument"):
        class_mapping(dataset, load_label_space("endovis2018"), None)


def test_a_worst_frame_is_named_once_where_its_file_names_the_sequence(tmp_path: Path) -> None:
    picture, mask = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.uint8)
    mapping = ClassMapping(
        ("background", "tool"), np.arange(256, dtype=np.uint8), mask, (), np.zeros((256, 3), np.uint8)
    )
    worst = WorstFrames(2)
    worst(FrameScore("seq_1", "seq_1_frame2", 0.1, 0.5), picture, mask, mask)
    worst(FrameScore("scene", "7", 0.2, 0.5), picture, mask, mask)
    found = [entry["picture"] for entry in worst.write(tmp_path, mapping)]
    assert found == ["worst_01_seq_1_frame2.png", "worst_02_scene_7.png"]


def test_worst_frames_are_kept_and_drawn(dataset: SegmentationDataset, tmp_path: Path) -> None:
    predictor = BrightIsInstrument()
    mapping = class_mapping(dataset, predictor.label_space, BINARY)
    worst = WorstFrames(2)
    evaluator = Evaluator(mapping.names)
    evaluate(dataset, predictor, mapping, evaluator, watcher=worst)
    written = worst.write(tmp_path / "worst", mapping)
    assert [(entry["sequence"], entry["frame"], entry["iou"]) for entry in written] == [
        ("b", "2", 0.5),
        ("a", "0", 1.0),
    ]
    assert [(score.sequence, score.frame) for score in evaluator.worst(2)] == [("b", "2"), ("a", "0")]
    picture = cv2.imread(str(tmp_path / "worst" / written[0]["picture"]))
    assert picture.shape[1] == 2 * 64 and picture.shape[0] == 2 * (48 + 26) + 26


def test_error_map_colours_what_is_wrong() -> None:
    names = label_map_from_dict({"truth": {0: "background", 1: "bipolar-forceps", 2: "prograsp-forceps"}})
    space = load_label_space("endovis2018-type")
    data = SegmentationDataset("folder", Path(), space, (), {}, lambda item: np.zeros((1, 1), np.uint8))
    mapping = class_mapping(data, space, names)
    truth, predicted = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    truth[:, 0:10], predicted[:, 10:20] = 1, 1
    truth[:, 20:30], predicted[:, 20:30] = 1, 2
    truth[:, 30:40], predicted[:, 30:40] = 255, 1
    errors = draw(np.full((40, 60, 3), 100, np.uint8), truth, predicted, mapping, "a\udcff.png")[
        26 + 40 + 26 : 26 + 40 + 26 + 40, 60:
    ]
    assert [tuple(errors[20, x]) for x in (5, 15, 25, 35)] == [MISSED, INVENTED, CONFUSED, (40, 40, 40)]
    assert errors[20, 50, 0] == 60


def test_unwritable_folder_is_named(dataset: SegmentationDataset, tmp_path: Path) -> None:
    predictor = BrightIsInstrument()
    mapping = class_mapping(dataset, predictor.label_space, BINARY)
    worst = WorstFrames(1)
    evaluate(dataset, predictor, mapping, Evaluator(mapping.names), watcher=worst)
    (tmp_path / "file").write_text("")
    with pytest.raises(ClipRlError, match="cannot write .*file/worst_01_b_2.png"):  # noqa: RUF043
        worst.write(tmp_path / "file", mapping)


def test_spread_takes_frames_evenly(dataset: SegmentationDataset) -> None:
    assert [item.frame for item in dataset.spread(3).items] == ["0", "2", "2"]
    assert dataset.spread(0) is dataset and dataset.spread(99) is dataset


def benchmark(dataset: SegmentationDataset, threshold: int, **options: object) -> dict[str, object]:
    predictor = BrightIsInstrument(threshold)
    mapping = class_mapping(dataset, predictor.label_space, BINARY)
    names = ("darkness", "overexposure", "cloth")
    return run_corruptions(dataset, predictor, mapping, **{"frames": 2, "names": names, **options})  # type: ignore[arg-type]


def test_corruptions_are_measured_and_repeatable(dataset: SegmentationDataset) -> None:
    result = benchmark(dataset, 150)
    assert set(result["results"]) == {"darkness", "overexposure", "cloth"}
    assert all(set(by_severity) == set("12345") for by_severity in result["results"].values())
    # A fixed threshold of 150 against a bar of 200 fails in the dark: 200 x (1 - 0.3) is below it.
    assert result["results"]["darkness"]["5"]["miou_no_background"] == 0
    assert result["clean"]["miou_no_background"] > 0.7
    assert result == benchmark(dataset, 150)
    json.dumps(result)


def test_corruptions_of_video_share_their_pattern_and_follow_each_other(dataset: SegmentationDataset) -> None:
    first = dataset.stretches(4)
    assert [f"{item.sequence}/{item.frame}" for item in first.items] == ["a/0", "a/1", "b/0", "b/1"]
    assert [f"{item.sequence}/{item.frame}" for item in dataset.stretches(1).items] == ["a/0"], "fewer than sequences"
    assert dataset.stretches(0) is dataset and dataset.stretches(99) is dataset
    predictor = BrightIsInstrument(150)
    mapping = class_mapping(dataset, predictor.label_space, BINARY)
    options = {"frames": 4, "names": ("cloth",), "severities": (5,)}
    video = run_corruptions(dataset, predictor, mapping, video=True, **options)  # type: ignore[arg-type]
    assert predictor.follows == [False, True, False, True] * 2, "clean, then cloth"
    alone = run_corruptions(dataset, predictor, mapping, **options)  # type: ignore[arg-type]
    assert video["results"] != alone["results"], "each frame alone has a pattern of its own"
    with pytest.raises(RobustnessError, match="other --video"):
        mean_corruption_error(video, alone, "peer")


def test_mean_corruption_error_by_hand() -> None:
    def results(clean: float, values: dict[str, list[float]]) -> dict[str, object]:
        return {
            "frames": 4,
            "frame_list": "x",
            "seed": 0,
            "clean": {"miou_no_background": clean},
            "results": {
                name: {str(s + 1): {"miou_no_background": v} for s, v in enumerate(ious)}
                for name, ious in values.items()
            },
        }

    own = results(0.9, {"fog": [0.8, 0.6], "jpeg": [0.9, 0.9]})
    peer = results(0.8, {"fog": [0.6, 0.2], "jpeg": [0.8, 0.6]})
    compared = mean_corruption_error(own, peer, "unet")
    assert compared["ce"] == pytest.approx({"fog": (0.2 + 0.4) / (0.4 + 0.8), "jpeg": 0.2 / 0.6})
    assert compared["mce"] == pytest.approx((0.5 + 1 / 3) / 2)
    # fog: (0.6 - 0.2) / (1.2 - 0.4); jpeg: (0.2 - 0.2) / (0.6 - 0.4)
    assert compared["relative_mce"] == pytest.approx((0.5 + 0) / 2)
    assert compared["baseline"] == "unet"
    assert mean_corruption_error(own, own, "itself")["mce"] == pytest.approx(1)


def test_baselines_that_do_not_fit_are_refused(dataset: SegmentationDataset, tmp_path: Path) -> None:
    result = benchmark(dataset, 150)
    with pytest.raises(RobustnessError, match="measured on other frames"):
        mean_corruption_error(result, benchmark(dataset, 150, frames=3), "p")
    with pytest.raises(RobustnessError, match="measured on other seed"):
        mean_corruption_error(result, benchmark(dataset, 150, seed=1), "p")
    with pytest.raises(RobustnessError, match="at severities 5 of cloth, not at 1, 2, 3, 4, 5"):
        mean_corruption_error(
            benchmark(dataset, 150, names=("cloth",)), benchmark(dataset, 150, names=("cloth",), severities=(5,)), "p"
        )
    with pytest.raises(RobustnessError, match="has other corruptions: fog"):
        mean_corruption_error(result, benchmark(dataset, 150, names=("fog",)), "p")
    path = tmp_path / "peer.json"
    with pytest.raises(RobustnessError, match="cannot be read"):
        read_baseline(path)
    path.write_text(json.dumps({"miou": 1}))
    with pytest.raises(RobustnessError, match="holds no corruption results; make it with clip-rl eval --corruptions"):
        read_baseline(path)
    path.write_text(json.dumps({"name": "unet", "corruptions": result}))
    assert read_baseline(path) == (result, "unet")
