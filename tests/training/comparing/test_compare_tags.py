"""Tags in `clip-rl compare`: truth in the network's view, contenders with and without the pipeline, the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dataset_trees as trees
import numpy as np
import pytest
import yaml
from bar_runs import TINY_MODEL
from clip_rl_perception import options
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_training.commands import compare as command
from clip_rl_training.comparing.candidate_scores import measure
from clip_rl_training.comparing.comparison_config import EvaluationConfig
from clip_rl_training.comparing.network_frames import ViewedTagTruth, viewed
from clip_rl_training.comparing.network_scenes import NetworkScenes
from clip_rl_training.comparing.tables import tag_rows
from clip_rl_training.datasets import open_dataset
from clip_rl_training.datasets.guessed_label_map import label_map_of
from clip_rl_training.evaluating.evaluated_classes import class_mapping
from clip_rl_training.evaluating.evaluation_loop import Prediction

SIZE = (64, 96)
TIP = {"name": "tip_1", "x": 99.0, "y": 44.0, "visible": True}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of frames with a black border of 20 px; two bars from the left, of instances 1 and 2."""
    folder = tmp_path_factory.mktemp("data")
    for place, scene in enumerate(("scene_a", "scene_b")):
        lines = []
        for frame in range(4):
            rgb = trees.picture(10 * place + frame, (120, 200)) // 4 + 40
            instance = np.zeros((120, 200), np.uint8)
            instance[40:50, 20 : 100 + frame] = 1
            instance[70:85, 20 : 120 + 5 * frame] = 2
            rgb[instance > 0] = 210
            rgb[:20], rgb[-20:], rgb[:, :20], rgb[:, -20:] = 0, 0, 0, 0
            trees.write_rgb(folder / scene / f"images/{frame}.png", rgb)
            trees.write_rgb(folder / scene / f"masks/{frame}.png", np.where(instance > 0, 255, 0).astype(np.uint8))
            trees.write_rgb(folder / scene / f"instances/{frame}.png", instance)
            lines.append({"frame": frame, "instruments": [{"instance": 1, "keypoints": [TIP]}]})
        told = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / scene / "instruments.jsonl").write_text(told, encoding="utf-8")
    return folder


def test_truth_lies_in_the_view_where_labels_lie(root: Path) -> None:
    label_map = label_map_of("folder", root, "davinci_grayscale")
    dataset = viewed(open_dataset("folder", root, label_map=label_map), SIZE, crop_content=True)
    truth = ViewedTagTruth(dataset)
    assert truth
    for item in dataset.items:
        _, labels = dataset.load(item)
        place = dataset.places[item.image]
        assert place.box == (slice(20, 100), slice(20, 180)), "the border is cut off"
        found = truth.of(item, labels)
        assert found is not None and found.ignored is not None
        assert set(np.unique(found.instances)) == {0, 1, 2}
        np.testing.assert_array_equal(found.instances > 0, labels == 1)
        np.testing.assert_array_equal(found.ignored, labels == 255)
        x, y = found.instruments[1].points["tip_1"]
        # 160 x 80 px at scale 0.6, and 8 rows of padding above.
        assert (x, y) == pytest.approx((79.5 * 0.6 - 0.5, 24.5 * 0.6 - 0.5 + 8), abs=1e-3)
        assert found.instances[round(y), round(x) - 1] == 1


class Knowing:
    """A predictor that sees what is brighter than all tissue, and its instruments as any network's are found."""

    def __init__(self, space: LabelSpace) -> None:
        self.label_space = space
        self._scenes = NetworkScenes(space)

    def predict(self, rgb: ByteArray, *, follows: bool) -> Prediction:
        labels = (rgb.min(axis=2) > 160).astype(np.uint8)
        share = labels.reshape(SIZE[0] // 4, 4, SIZE[1] // 4, 4).mean(axis=(1, 3)).clip(0.01, 0.99)
        log_probs = np.log(np.stack([1 - share, share])).astype(np.float32)
        return Prediction(labels, None, scene=self._scenes.scene(log_probs, labels, follows=follows))


def test_tags_of_one_who_knows_are_right(root: Path) -> None:
    label_map = label_map_of("folder", root, "davinci_grayscale")
    dataset = viewed(open_dataset("folder", root, label_map=label_map), SIZE, crop_content=True)
    predictor = Knowing(dataset.label_space)
    mapping = class_mapping(dataset, dataset.label_space, label_map)
    config = EvaluationConfig()
    result = measure(dataset, predictor, mapping, config, print, ViewedTagTruth(dataset))
    found = result["tags"]
    assert result["problems"] == [] and found["frames"] == 8
    for by in ("boxes", "masks"):
        assert (found[by]["instruments"], found[by]["recall"], found[by]["precision"], found[by]["ap50"]) == (
            16,
            1,
            1,
            1,
        )
    assert found["keypoints"]["tip"]["visible"] == 8 and found["keypoints"]["tip"]["median_px"] < 4
    assert "tags" not in measure(dataset, predictor, mapping, config, print)
    (row,) = tag_rows({"knowing": [{"tags": found}], "older": [{}]})
    assert (row["name"], row["masks"]["ap50"], row["tracking"]["hota"]) == ("knowing", 1.0, None)


def test_a_comparison_tells_of_tags(root: Path, tmp_path: Path) -> None:
    data = {
        "dataset": {"name": "folder", "label_map": "davinci_grayscale"},
        "label_spaces": {"binary": 1.0},
        "workers": 0,
    }
    train = {"steps": 2, "batch": 2, "threads": 1, "accelerator": "cpu", "model": TINY_MODEL, "data": data}
    config: dict[str, Any] = {
        "name": "tiny",
        "title": "Bars",
        "folds": [{"name": "b", "test": ["scene_b"]}],
        "train": train,
        "runs": [
            {"name": "clip-rl"},
            {"name": "plain", "of": "clip-rl", "looks": {"memory": False, "turn": ["plain"]}},
            {"name": "shipped", "checkpoint": "demo"},
        ],
        "evaluation": {"video": True, "block": 2},
    }
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    arguments = ["--config", str(file), "--root", str(root), "--out", str(tmp_path / "jobs"), "--report", str(tmp_path)]
    assert command.run(options.parse(command, arguments)) == 0
    results = {r["run"]: r["tags"] for r in json.loads((tmp_path / "tiny.json").read_text())["results"]}
    assert set(results) == {"clip-rl", "plain", "shipped"}
    for found in results.values():
        assert found["frames"] == 4 and found["masks"]["instruments"] == 8 and "hota" in found["masks"]["tracking"]
        assert "sequences" not in found
    for by in ("boxes", "masks"):
        assert results["plain"][by]["tags"] == results["clip-rl"][by]["tags"], "the pipeline is the network"
        assert results["plain"][by]["recall"] == results["clip-rl"][by]["recall"]
    text = (tmp_path / "tiny.md").read_text()
    assert "| tags | recall | precision | AP50 | PQ |" in text and "| HOTA |" in text
    assert text.count("| shipped | ") == 2
