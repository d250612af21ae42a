"""Close-ups of instruments: which can be named, what a close-up holds, how training sees them; and the fingerprint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clip_rl_training.data import TRAINING, VALIDATION, DataError
from clip_rl_training.stills import CloseUps, DrawnStills, render_ahead
from clip_rl_training.synthetic import version
from clip_rl_training.synthetic.config import SceneConfig
from clip_rl_training.synthetic.crops import instrument_crop, nameable_instruments
from clip_rl_training.synthetic.frame import TYPE_NAMES, SyntheticFrame

SCENE = SceneConfig(height=128, width=160, instrument_counts=(0.2, 0.4, 0.4), radius=(0.05, 0.09))


def one_instrument(type_id: int, parts: dict[int, tuple[slice, slice]]) -> SyntheticFrame:
    """A frame of 100x120 with instance 1 made of rectangles by part id."""
    maps = np.zeros((3, 100, 120), np.uint8)
    for part, window in parts.items():
        maps[0][window], maps[1][window], maps[2][window] = type_id, part, 1
    return SyntheticFrame(
        rgb=np.repeat(maps[1][..., None] * np.uint8(80), 3, axis=2),
        type_map=maps[0],
        scene_map=maps[1],
        part_map=maps[1],
        instance_map=maps[2],
        content=np.ones((100, 120), np.bool_),
        caption="bipolar forceps over fat",
        stamp=0.0,
    )


def test_an_instrument_is_nameable_by_its_tip_alone() -> None:
    shaft, wrist, jaws = np.s_[40:60, 0:60], np.s_[40:60, 60:70], np.s_[45:55, 70:90]
    assert nameable_instruments(one_instrument(1, {1: shaft, 2: wrist, 3: jaws})) == [1]
    assert nameable_instruments(one_instrument(1, {1: shaft})) == []
    assert nameable_instruments(one_instrument(1, {1: shaft, 2: wrist})) == []
    # A suction tube has no other parts; what crosses the whole picture shows no end.
    assert nameable_instruments(one_instrument(6, {1: shaft})) == [1]
    assert nameable_instruments(one_instrument(6, {1: np.s_[40:60, :]})) == []
    # A cut-out of unknown type has no name, whatever it shows.
    assert nameable_instruments(one_instrument(255, {1: shaft, 2: wrist, 3: jaws})) == []


def test_a_close_up_holds_the_tip_and_says_its_type() -> None:
    frame = one_instrument(3, {1: np.s_[40:60, 0:60], 2: np.s_[40:60, 60:70], 3: np.s_[45:55, 70:90]})
    for seed in range(20):
        crop = instrument_crop(frame, 1, np.random.default_rng(seed))
        height, width = crop.type_map.shape
        assert height == width and 30 <= height < 100
        assert crop.rgb.shape == (height, width, 3) and crop.content.shape == (height, width)
        assert (crop.part_map == 3).sum() >= 0.9 * 200, "nearly all of the 200 pixels of the jaws"
        np.testing.assert_array_equal(crop.rgb[..., 0], crop.part_map * 80)
        assert crop.caption == "a photo of a large needle driver in endoscopic surgery"


def test_training_sees_close_ups_and_validation_whole_scenes() -> None:
    scenes = DrawnStills(3, SCENE)
    mixed = CloseUps(scenes, 1.0, seed=3)
    close = 0
    for index in range(10):
        whole, seen = scenes.frame(TRAINING, index), mixed.frame(TRAINING, index)
        again = mixed.frame(TRAINING, index)
        np.testing.assert_array_equal(seen.rgb, again.rgb)
        if nameable_instruments(whole):
            close += 1
            assert seen.rgb.shape[0] <= whole.rgb.shape[0] < whole.rgb.shape[1]
            assert any(name in seen.caption for name in TYPE_NAMES) and " over " not in seen.caption
        else:
            np.testing.assert_array_equal(seen.rgb, whole.rgb)
    assert close >= 3
    np.testing.assert_array_equal(mixed.frame(VALIDATION, 0).rgb, scenes.frame(VALIDATION, 0).rgb)
    none = CloseUps(scenes, 0.0, seed=3)
    np.testing.assert_array_equal(none.frame(TRAINING, 1).rgb, scenes.frame(TRAINING, 1).rgb)


def test_the_fingerprint_follows_code_but_not_comments() -> None:
    source = 'def f(x):\n    """Doc."""\n    return x + 1\n'
    same = '# Comment.\ndef f(x):\n    """Another."""\n    return (x\n            + 1)\n'
    assert version.code_fingerprint(source) == version.code_fingerprint(same)
    assert version.code_fingerprint(source) != version.code_fingerprint(source.replace("+ 1", "+ 2"))
    assert len(version.generator_version()) == 12


def test_scenes_of_another_generator_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = SceneConfig(height=64, width=80)
    render_ahead(tmp_path, {TRAINING: 1}, seed=0, scene=small, workers=1, say=lambda text: None)
    render_ahead(tmp_path, {TRAINING: 1}, seed=0, scene=small, workers=1, say=lambda text: None)
    with pytest.raises(DataError, match="another seed than"):
        render_ahead(tmp_path, {TRAINING: 1}, seed=1, scene=small, workers=1, say=lambda text: None)
    monkeypatch.setattr("clip_rl_training.stills.generator_version", lambda: "another")
    with pytest.raises(DataError, match="another generator than"):
        render_ahead(tmp_path, {TRAINING: 1}, seed=0, scene=small, workers=1, say=lambda text: None)
