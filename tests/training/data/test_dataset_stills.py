"""Datasets as a source of training scenes: parts, labels, captions, difficulty, and what is said when data is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dataset_trees as trees
import numpy as np
import pytest
from bar_runs import TINY_MODEL
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import label_space_from_names, load_label_space
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_training.data.dataset_stills import DatasetStills, caption_of, content_mask, label_table
from clip_rl_training.data.difficulty import candidates, difficulty
from clip_rl_training.data.samples import TEST, TRAINING, VALIDATION, DataError, labels_in
from clip_rl_training.loop.batches import TrainingStream, open_stills
from clip_rl_training.loop.run_state import TrainError
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_config import TrainConfig, config_from_data
from clip_rl_training.typed_config import apply_overrides

TINY: dict[str, Any] = {
    "name": "tiny",
    "steps": 2,
    "batch": 2,
    "threads": 1,
    "accelerator": "cpu",
    "model": TINY_MODEL,
    "data": {
        "source": "dataset",
        "dataset": {
            "name": "endovis2018",
            "train": {"sequences": ["seq_1", "seq_3"]},
            "validation": {"sequences": ["seq_2"]},
        },
        "label_spaces": {"endovis2018": 1.0},
        "workers": 0,
    },
    "validation": {"every": 0, "frames": 4, "pictures": 1},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    trees.endovis2018(folder, {"seq_1": [0, 1, 2], "seq_2": [0, 1], "seq_3": [0]})
    return folder


def config(root: Path, *overrides: str) -> TrainConfig:
    where = (f"out={root.parent / 'out'}", f"data.root={root}")
    return config_from_data(apply_overrides(TINY, [*where, *overrides]), "tiny.yaml")


def stills(configuration: TrainConfig) -> DatasetStills:
    found = open_stills(configuration, 0, print)
    assert isinstance(found, DatasetStills)
    return found


def test_parts_are_whole_sequences_and_epochs_show_every_frame_once(root: Path) -> None:
    source = stills(config(root))
    assert [source.available(split) for split in (TRAINING, VALIDATION, TEST)] == [4, 2, 2]
    for epoch in range(3):
        frames = [source.frame(TRAINING, 4 * epoch + index) for index in range(4)]
        assert len({frame.rgb.tobytes() for frame in frames}) == 4
    orders = {tuple(source.frame(TRAINING, 4 * epoch + i).rgb.tobytes() for i in range(4)) for epoch in range(6)}
    assert len(orders) > 1
    np.testing.assert_array_equal(source.frame(VALIDATION, 3).rgb, source.frame(VALIDATION, 1).rgb)
    np.testing.assert_array_equal(labels_in(source.frame(TRAINING, 0), "endovis2018"), trees.stripes(12))


def test_without_other_parts_the_same_frames_stand_for_them(root: Path) -> None:
    source = stills(config(root, "data.dataset.validation=null"))
    assert source.parts[VALIDATION] is source.parts[TRAINING] and source.parts[TEST] is source.parts[TRAINING]
    source = stills(config(root, "data.dataset.validation=null", "data.dataset.test={sequences: [seq_2]}"))
    assert source.parts[TEST].sequences == ("seq_2",)


def test_frames_are_kept_in_memory_as_far_as_there_is_room(root: Path) -> None:
    source = stills(config(root, "data.cache_mb=1"))
    assert source.frame(VALIDATION, 0) is source.frame(VALIDATION, 0)
    bare = stills(config(root))
    assert bare.frame(VALIDATION, 0) is not bare.frame(VALIDATION, 0)


def test_a_run_on_a_dataset_names_it_in_card_and_checkpoint(root: Path) -> None:
    trainer = Trainer(config(root))
    trainer.start(resume=False)
    trainer.fit()
    trainer.finish()
    checkpoint = load_checkpoint(trainer.folder / "model")
    assert checkpoint.provenance["trained_on"] == "dataset endovis2018, split all, sequences seq_1, seq_3"
    card = (trainer.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (
        "sequences seq_2 (never trained on, also used to choose the best step and to calibrate)" in card
        and "synthetic" not in card
    )
    assert str(root) not in card + (trainer.folder / "model.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.dataset.validation.sequences=[seq_1]", "train and validation share sequence seq_1"),
        ("data.dataset.train.sequences=[seq_9]", "train part of dataset 'endovis2018': no sequence seq_9"),
        ("data.dataset.train.split=fold0", "dataset 'endovis2018' has no split 'fold0'"),
        ("data.dataset.name=cityscapes", "no dataset 'cityscapes'"),
        ("data.dataset.name=folder", "has no folder 'images', and none of its folders has"),
        ("data.root=/nowhere", "/nowhere: no such folder; say with --root"),
        ("data.label_spaces={endovis2017-parts: 1.0}", "label space 'endovis2017-parts' has no class"),
    ],
)
def test_bad_data_is_named_before_training(root: Path, override: str, message: str) -> None:
    with pytest.raises(ClipRlError) as caught:
        Trainer(config(root, override))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_empty_dataset_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(ClipRlError, match="no folder seq_N below it") as caught:
        Trainer(config(tmp_path / "data"))
    assert "\n" not in str(caught.value)


def test_an_unknown_colour_stops_training_with_one_line(root: Path) -> None:
    wrong = root / "seq_1/labels/frame001.png"
    trees.write_rgb(wrong, np.full((24, 32, 3), 77, np.uint8))
    trainer = Trainer(config(root, "steps=4"))
    trainer.start(resume=False)
    with pytest.raises(TrainError, match=r"frame001\.png.*; training stops at step") as caught:
        trainer.fit()
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


def test_labels_join_by_name_and_instruments_join_in_instrument_or_not() -> None:
    types, binary = load_label_space("endovis2018-type"), load_label_space("binary")
    table = label_table(types, binary)
    assert table[:8].tolist() == [0] + [1] * 7 and table[255] == 255 and table[8] == 255
    assert label_table(types, types)[:8].tolist() == list(range(8))
    with pytest.raises(DataError, match="label space 'endovis2018-type' has no class 'instrument-shaft'"):
        label_table(load_label_space("endovis2017-parts"), types)


def test_tissue_of_a_label_map_is_no_instrument() -> None:
    binary = load_label_space("binary")
    names = label_space_from_names(["background", "liver", "grasper", "gizmo"])
    assert label_table(names, binary)[:4].tolist() == [0, 0, 1, 1], "what is not known is an instrument, as it was"
    marked = label_space_from_names(["background", "liver", "grasper"], instrument=[False, True, False])
    assert label_table(marked, binary)[:3].tolist() == [0, 1, 0], "what somebody has marked stands"


def test_captions_name_what_is_seen_the_largest_first() -> None:
    ids = np.zeros((4, 10), np.uint8)
    space = load_label_space("endovis2018-type")
    assert "no instrument" in caption_of(ids, space)
    ids[:, :2], ids[:, 2:6], ids[:, 6] = 3, 1, 255
    assert caption_of(ids, space) == "endoscopic surgery with bipolar forceps and large needle driver"


def test_content_is_found_or_the_whole_frame() -> None:
    rgb = np.zeros((120, 200, 3), np.uint8)
    rgb[:, 40:160] = trees.picture(1, (120, 120)) // 2 + 100
    found = content_mask(rgb)
    assert found[:, 60:140].all() and not found[:, :36].any()
    assert content_mask(rgb, find=False).all()


def test_small_and_missing_classes_are_hard() -> None:
    labels = np.zeros((10, 10), np.uint8)
    assert difficulty(labels) == 0.0
    labels[:5] = 1
    half = difficulty(labels)
    assert half == pytest.approx(-np.log(0.5))
    labels[0, 0] = 2
    assert difficulty(labels) == pytest.approx((-np.log(0.49) - np.log(0.01)) / 2)
    assert difficulty(labels) > half
    labels[5:] = 255
    assert difficulty(labels) == pytest.approx((-np.log(0.98) - np.log(0.02)) / 2)
    assert [candidates(level) for level in (0.0, 0.5, 1.0, 2.0)] == [4, 3, 1, 1]


def test_a_curriculum_shows_easy_scenes_first(root: Path) -> None:
    for frame in (0, 1):
        trees.write_rgb(
            root / f"seq_1/labels/frame00{frame}.png", trees.painted(np.zeros((24, 32), np.uint8), "endovis2018")
        )
    seen = {}
    for level in (0.0, 1.0):
        stream = TrainingStream(
            config(root, f"curriculum.difficulty={level}", "augment.scale=[1.0, 1.0]"), stills(config(root))
        )
        labels = [stream[index].labels.numpy() for index in range(12)]
        seen[level] = np.mean([np.isin(found, (0, 255)).all() for found in labels])
    assert seen[0.0] > seen[1.0]
