"""Close-ups of instruments: which can be named, what a close-up holds, how training sees them; and the fingerprint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.data.samples import (
    CLOSE_UP,
    TRAINING,
    VALIDATION,
    DataError,
)
from clip_rl_training.data.scene_sources import (
    CloseUps,
    DrawnStills,
    RenderedStills,
    numbered_close_up,
    render_ahead,
)
from clip_rl_training.loop.batches import open_stills, shows_close_ups, training_batches
from clip_rl_training.loop.training_config import config_from_data
from clip_rl_training.synthetic import generator_version
from clip_rl_training.synthetic.crops import instrument_crop, nameable_instruments, sample_close_up, tells_its_type
from clip_rl_training.synthetic.drawing.rendered_frame import TYPE_NAMES, SyntheticFrame
from clip_rl_training.synthetic.scene_config import SceneConfig

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


def test_close_ups_tell_one_type_or_are_none() -> None:
    shaft, wrist, jaws = np.s_[40:60, 0:60], np.s_[40:60, 60:70], np.s_[45:55, 70:90]
    frame = one_instrument(3, {1: shaft, 2: wrist, 3: jaws})
    found = sample_close_up(frame, np.random.default_rng(0))
    assert found is not None and found[1] == 3 and "large needle driver" in found[0].caption
    assert tells_its_type(frame, 1)
    assert sample_close_up(one_instrument(3, {1: shaft}), np.random.default_rng(0)) is None

    # Another instrument beside it, a fifth of its size at most.
    crowded = one_instrument(3, {1: shaft, 2: wrist, 3: jaws})
    own = int((crowded.instance_map == 1).sum())
    for rows, clear in ((own // 5 // 20, True), (own // 5 // 20 + 2, False)):
        crowded.type_map[70:, :] = crowded.instance_map[70:, :] = 0
        crowded.type_map[70 : 70 + rows, :20], crowded.instance_map[70 : 70 + rows, :20] = 1, 2
        assert tells_its_type(crowded, 1) is clear

    # Fog and darkness, whatever the noise.
    rng = np.random.default_rng(0)
    for level in (10, 200):
        noise = rng.normal(level, 30, (100, 120, 1)).clip(0, 255).astype(np.uint8)
        assert not tells_its_type(dataclasses.replace(frame, rgb=np.repeat(noise, 3, axis=2)), 1)


def test_batches_of_close_ups_have_a_stream_of_their_own(tmp_path: Path) -> None:
    plain = {"name": "x", "steps": 8, "batch": 2, "model": {"input_size": [64, 96]}}
    data = {
        "source": "rendered",
        "root": str(tmp_path),
        "stills": 3,
        "scene": {"height": 128, "width": 160, "radius": [0.06, 0.09]},
        "label_spaces": {"binary": 0.5, "endovis2018-type": 0.5},
        "workers": 0,
        "close_up_batch": 3,
        "close_up_stills": 4,
        "close_up_size": [64, 64],
    }
    settings = {**plain, "data": data, "validation": {"frames": 1}}
    config = config_from_data({**settings, "curriculum": {"close_up_steps": 0.5}}, "x")
    stills = open_stills(config, 0, lambda text: None)
    batches = list(training_batches(config, stills, first_step=0, last_step=8))
    kinds = [batch.close_ups for batch in batches]
    assert True in kinds and False in kinds
    assert kinds == [shows_close_ups(config, step) for step in range(8)]
    names = {f"a photo of a {name} in endoscopic surgery" for name in TYPE_NAMES}
    for batch in batches:
        if batch.close_ups:
            assert batch.images.shape == (3, 3, 64, 64) and batch.space == "endovis2018-type"
            for caption, labels in zip(batch.captions, batch.labels, strict=True):
                assert caption in names
                types = set(labels.unique().tolist()) - {0, 255}
                assert 1 + [name in caption for name in TYPE_NAMES].index(True) in types
        else:
            assert batch.images.shape == (2, 3, 64, 96) and not set(batch.captions) <= names

    # From the middle on, the same; scenes are those of a run without close-ups; another process sees others.
    later = list(training_batches(config, open_stills(config, 0, lambda text: None), first_step=5, last_step=8))
    for one, other in zip(batches[5:], later, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    without = config_from_data({**settings, "curriculum": {"close_up_steps": 0.0}}, "x")
    scenes = list(training_batches(without, stills, first_step=0, last_step=8))
    for one, other in zip(batches, scenes, strict=True):
        assert not other.close_ups and (one.close_ups or torch.equal(one.images, other.images))
    second = next(iter(training_batches(config, stills, first_step=0, last_step=1, rank=1, processes=2)))
    first = next(iter(training_batches(config, stills, first_step=0, last_step=1, rank=0, processes=2)))
    assert second.close_ups == first.close_ups and not torch.equal(second.images, first.images)


def test_drawn_close_ups_equal_those_drawn_ahead(tmp_path: Path) -> None:
    scene = SceneConfig(height=256, width=320, radius=(0.1, 0.18))
    render_ahead(tmp_path, {CLOSE_UP: 3}, seed=2, scene=scene, workers=1, say=lambda text: None)
    stored, drawn = RenderedStills(tmp_path, seed=2, training=1, close_ups=3), DrawnStills(2, scene)
    seen = {stored.close_up(index).type_map.tobytes(): stored.close_up(index) for index in range(3)}
    assert len(seen) == 3
    for index in range(3):
        one = drawn.close_up(index)
        other = seen[one.type_map.tobytes()]
        assert one.caption == other.caption and max(one.type_map.shape) <= 192
        assert np.abs(one.rgb.astype(int) - other.rgb).mean() < 8
    with pytest.raises(DataError, match="close_up_stills is 0"):
        RenderedStills(tmp_path, seed=2, training=1).close_up(0)


def test_scenes_without_a_tip_say_so() -> None:
    with pytest.raises(DataError, match="gave no close-up"):
        numbered_close_up(0, 0, SceneConfig(height=48, width=64, radius=(0.02, 0.02)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"close_up_batch": 2, "label_spaces": {"binary": 1.0}}, "needs synthetic or rendered scenes"),
        ({"close_up_batch": 2, "source": "dataset"}, "needs synthetic or rendered scenes"),
        ({"close_up_batch": -1}, "expected at least 0 images"),
        ({"close_up_size": [100, 128]}, "multiples of 32"),
    ],
)
def test_close_ups_that_cannot_be_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_from_data({"name": "x", "steps": 1, "model": {}, "data": data}, "x")


def test_training_sees_close_ups_and_validation_whole_scenes() -> None:
    scenes = DrawnStills(3, SCENE)
    mixed = CloseUps(scenes, 1.0, seed=3)
    close = 0
    for index in range(10):
        whole, seen = scenes.frame(TRAINING, index), mixed.frame(TRAINING, index)
        again = mixed.frame(TRAINING, index)
        np.testing.assert_array_equal(seen.rgb, again.rgb)
        if seen.caption != whole.caption:
            close += 1
            assert nameable_instruments(whole)
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
    assert generator_version.code_fingerprint(source) == generator_version.code_fingerprint(same)
    assert generator_version.code_fingerprint(source) != generator_version.code_fingerprint(
        source.replace("+ 1", "+ 2")
    )
    assert len(generator_version.generator_version()) == 12


def test_scenes_of_another_generator_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = SceneConfig(height=64, width=80)
    render_ahead(tmp_path, {TRAINING: 1}, seed=0, scene=small, workers=1, say=lambda text: None)
    render_ahead(tmp_path, {TRAINING: 1}, seed=0, scene=small, workers=1, say=lambda text: None)
    with pytest.raises(DataError, match="another seed than"):
        render_ahead(tmp_path, {TRAINING: 1}, seed=1, scene=small, workers=1, say=lambda text: None)
    monkeypatch.setattr("clip_rl_training.data.scene_sources.generator_version", lambda: "another")
    with pytest.raises(DataError, match="another generator than"):
        render_ahead(tmp_path, {TRAINING: 1}, seed=0, scene=small, workers=1, say=lambda text: None)
