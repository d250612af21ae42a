"""Synthetic videos: coherent in time, the same whichever frames are asked for and in which order."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from clip_rl_training.synthetic.operation import SyntheticOperation, showcase
from clip_rl_training.synthetic.scene_config import SceneConfig

CONFIG = dataclasses.replace(
    SceneConfig(height=120, width=160), instrument_counts=(0.0, 0.0, 1.0), radius=(0.06, 0.1), occlusion=0.0
)


def test_any_frame_alone_equals_the_same_frame_in_order() -> None:
    frames = list(SyntheticOperation(CONFIG, 5, 6))
    assert [frame.stamp for frame in frames] == pytest.approx([i / 25 for i in range(6)])
    other = SyntheticOperation(CONFIG, 5, 6)
    for index in (4, 0, 5):
        alone = other.frame(index)
        np.testing.assert_array_equal(alone.rgb, frames[index].rgb)
        np.testing.assert_array_equal(alone.instance_map, frames[index].instance_map)
        np.testing.assert_array_equal(alone.scene_map, frames[index].scene_map)


def test_masks_move_little_between_frames_and_far_over_seconds() -> None:
    travelled, both, either = [], 0, 0
    for seed in range(4):
        video = SyntheticOperation(CONFIG, seed, 200)
        frames = [video.frame(i).type_map > 0 for i in (0, 1, 2, 3)]
        for a, b in itertools.pairwise(frames):
            if a.sum() > 0.02 * a.size:
                both, either = both + int((a & b).sum()), either + int((a | b).sum())
                assert (a & b).sum() / (a | b).sum() > 0.75
        later = video.frame(150).type_map > 0
        travelled.append((frames[0] & later).sum() / max((frames[0] | later).sum(), 1))
    assert both > 0.88 * either
    assert min(travelled) < 0.8


def test_an_instrument_keeps_its_number_and_type() -> None:
    video = SyntheticOperation(CONFIG, 3, 250)
    types: dict[int, set[int]] = {}
    for index in range(0, 250, 50):
        frame = video.frame(index)
        for number in np.unique(frame.instance_map[frame.instance_map > 0]):
            types.setdefault(int(number), set()).update(
                np.unique(frame.type_map[frame.instance_map == number]).tolist()
            )
    assert types and all(len(found) == 1 for found in types.values())
    assert set(types) <= {1, 2}


def test_the_content_area_stands_still() -> None:
    config = dataclasses.replace(CONFIG, content_shapes=(0.0, 1.0, 0.0, 0.0))
    video = SyntheticOperation(config, 1, 100)
    first, last = video.frame(0), video.frame(99)
    np.testing.assert_array_equal(first.content, last.content)
    assert not first.content.all()
    assert (first.rgb != last.rgb).any()


def test_frames_beyond_the_end_and_impossible_videos_are_refused() -> None:
    video = SyntheticOperation(CONFIG, 0, 2)
    assert len(video) == 2
    with pytest.raises(IndexError, match="frame 2 of a video of 2"):
        video.frame(2)
    with pytest.raises(ValueError, match="at least 1 frame"):
        SyntheticOperation(CONFIG, 0, 0)
    with pytest.raises(ValueError, match="seed -1"):
        SyntheticOperation(CONFIG, -1, 5)


def test_the_showcase_shows_instruments() -> None:
    config = showcase(120, 160, 25.0)
    for seed in range(5):
        frame = SyntheticOperation(config, seed, 10).frame(0)
        assert len(np.unique(frame.type_map)) > 1
        assert (frame.rgb[..., 0] != frame.rgb[..., 2]).any(), "in colour"
