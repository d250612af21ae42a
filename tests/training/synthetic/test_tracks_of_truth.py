"""Identities that the stream gives to the true instruments of synthetic videos."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from functools import cache

import pytest
from clip_rl_perception.scene.tracks import TrackMemory, track_instruments
from clip_rl_perception.scene.types import Instrument, Letterbox
from clip_rl_training.synthetic.operation import SyntheticOperation, showcase
from true_instruments import true_instruments, view_of

FRAMES = 50
Video = list[tuple[int, Letterbox, dict[int, Instrument]]]


@cache
def video(seed: int) -> Video:
    operation = SyntheticOperation(showcase(192, 256, 25.0), seed, FRAMES)
    return [(round(frame.stamp * 1e9), view_of(frame), true_instruments(frame)) for frame in operation]


def followed(frames: Video, hidden: tuple[int, range] | None = None, *, keypoints: bool = True) -> dict[int, list[int]]:
    """Track ids by true instrument, frame by frame; `hidden`: one that is not found in some frames."""
    memory, found = TrackMemory(), defaultdict(list)
    for place, (stamp, view, instruments) in enumerate(frames):
        seen = {
            number: item if keypoints else dataclasses.replace(item, keypoints=())
            for number, item in instruments.items()
            if hidden is None or number != hidden[0] or place not in hidden[1]
        }
        tags, memory = track_instruments(tuple(seen.values()), stamp, view, memory)
        for number, item in seen.items():
            found[number] += [tag.track_id for tag in tags if tag.footprint is item.footprint]
    return found


@pytest.mark.parametrize("keypoints", [True, False])
@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_instrument_has_one_identity(seed: int, every: int, keypoints: bool) -> None:
    """At 25 and at 5 frames per second."""
    found = followed(video(seed)[::every], keypoints=keypoints)
    confirmed = [{number for number in numbers if number} for numbers in found.values()]
    assert confirmed and all(len(numbers) <= 1 for numbers in confirmed)
    several = [number for numbers in confirmed for number in numbers]
    assert len(set(several)) == len(several) > 0, "no two have the same"


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_second_out_of_sight_costs_no_identity(seed: int, every: int) -> None:
    frames = video(seed)
    always = [number for number in frames[0][2] if all(number in instruments for _, _, instruments in frames)]
    largest = max(always, key=lambda number: frames[0][2][number].area)
    away = range(10 // every, 35 // every)
    found = followed(frames[::every], (largest, away))
    assert len(found[largest]) == len(frames[::every]) - len(away) and set(found[largest]) == {found[largest][0]} != {0}
