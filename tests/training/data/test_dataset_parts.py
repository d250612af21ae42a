"""Which frames are held out where nobody says it, and the classes of a data set that nobody described."""

from __future__ import annotations

from pathlib import Path

import dataset_trees as trees
import pytest
from clip_rl_perception.labels import label_space_from_names, load_label_space
from clip_rl_perception.typed_data import ConfigError, from_data
from clip_rl_training.data.data_config import DataConfig, DatasetConfig
from clip_rl_training.data.dataset_parts import held_out, label_spaces, open_parts, own_classes, told
from clip_rl_training.data.samples import TEST, TRAINING, VALIDATION
from clip_rl_training.datasets import SegmentationDataset, check_disjoint, open_dataset
from clip_rl_training.datasets.guessed_label_map import guessed_label_map


def dataset(root: Path, frames: dict[str, int]) -> SegmentationDataset:
    for sequence, count in frames.items():
        for frame in range(count):
            trees.write_rgb(root / sequence / f"images/{frame}.png", trees.picture(frame))
            trees.write_rgb(root / sequence / f"masks/{frame}.png", trees.stripes(2))
    return open_dataset("folder", root, label_map=guessed_label_map(root))


@pytest.mark.parametrize(
    ("frames", "sequences"),
    [
        ({"a": 10, "b": 3, "c": 2, "d": 5}, ("b",)),  # there is room for 4 frames: b fits, c no longer
        ({"a": 5, "b": 4}, ("b",)),
        ({"a": 4, "b": 4, "c": 4, "d": 4, "e": 4}, ("a",)),
    ],
)
def test_whole_sequences_are_held_out(frames: dict[str, int], sequences: tuple[str, ...], tmp_path: Path) -> None:
    rest, held = held_out(dataset(tmp_path, frames), 0.2)
    assert held.sequences == sequences
    assert set(rest.sequences) == set(frames) - set(sequences)
    check_disjoint({"train": rest, "validation": held})


@pytest.mark.parametrize(("count", "places"), [(20, [4, 5, 14, 15]), (10, [2, 7]), (3, [2]), (2, [1])])
def test_blocks_of_the_only_sequence_are_held_out(count: int, places: list[int], tmp_path: Path) -> None:
    rest, held = held_out(dataset(tmp_path, {"only": count}), 0.2)
    assert [int(item.frame) for item in held.items] == places
    assert sorted(int(item.frame) for part in (rest, held) for item in part.items) == list(range(count))


@pytest.mark.parametrize("count", range(2, 12))
def test_something_is_left_to_train_on(count: int, tmp_path: Path) -> None:
    rest, held = held_out(dataset(tmp_path, {"only": count}), 0.95)
    assert len(rest) >= 1 and len(held) >= 1 and len(rest) + len(held) == count


def test_what_is_held_out_is_told(tmp_path: Path) -> None:
    dataset(tmp_path, {"a": 4, "b": 2})
    config = DatasetConfig(hold_out=0.2)
    parts = open_parts(config, tmp_path)
    assert parts[TEST] is parts[VALIDATION] and parts[VALIDATION].sequences == ("b",)
    assert told(parts) == ["training on 4 frames of sequence a; validating on 2 frames of sequence b"]
    one = open_parts(config, tmp_path / "a")
    assert (len(one[TRAINING]), len(one[VALIDATION])) == (2, 2)
    assert "there is one video only" in told(one)[1]
    assert "validation sees training frames" in told(open_parts(DatasetConfig(), tmp_path))[1]
    named = DatasetConfig(hold_out=0.2, validation=from_data(DatasetConfig, {"train": {"sequences": ["a"]}}, "x").train)
    with pytest.raises(ValueError, match="train and validation share sequence a"):
        open_parts(named, tmp_path)


def test_the_classes_of_a_data_set_itself(tmp_path: Path) -> None:
    dataset(tmp_path, {"a": 1})
    config = DataConfig(source="dataset", root=tmp_path, label_spaces={"dataset": 1.0, "endovis2018": 0.0})
    assert label_spaces(config) == {"dataset": load_label_space("binary")}
    known = own_classes(label_space_from_names(["background", "clip-applier", "gizmo"]))
    assert known.names == ("background", "clip-applier", "gizmo")
    shipped = load_label_space("endovis2018-type")
    assert known.classes[1].prompts == shipped.classes[shipped.id_of("clip-applier")].prompts
    assert [entry.id for entry in known.classes] == [0, 1, 2] and known.instrument_ids == (1, 2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"label_spaces": {"binary": 0.0}}, "label_spaces must name at least one"),
        ({"label_spaces": {"dataset": 1.0}}, "label_spaces names 'dataset', which only source: dataset has"),
        ({"dataset": {"hold_out": 1.5}}, "hold_out is 1.5; expected a share"),
    ],
)
def test_data_that_cannot_be_is_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_data(DataConfig, data, "x")
