"""Keypoints of synthetic instruments: where they lie beside the pixels that they are said to belong to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from clip_rl_perception.scene.types import KEYPOINTS
from clip_rl_training.synthetic.drawing.rendered_frame import SUCTION, InstrumentTruth, SyntheticFrame
from clip_rl_training.synthetic.operation import SyntheticOperation, showcase


def frames(count: int) -> list[SyntheticFrame]:
    config = showcase(240, 320, 25.0)
    return [SyntheticOperation(config, seed, 25).frame(seed % 25) for seed in range(count)]


def point(truth: InstrumentTruth, name: str) -> tuple[float, float] | None:
    return next(((p.x, p.y) for p in truth.keypoints if p.name == name), None)


def test_every_instrument_that_is_seen_is_told_with_its_type_and_points() -> None:
    for frame in frames(8):
        assert [truth.instance for truth in frame.instruments] == [n for n in np.unique(frame.instance_map) if n]
        for truth in frame.instruments:
            types = np.unique(frame.type_map[frame.instance_map == truth.instance])
            assert types.tolist() == [truth.type_id]
            names = [keypoint.name for keypoint in truth.keypoints]
            assert names == [name for name in KEYPOINTS if name in names]
            assert "tip_1" in names
            assert ("wrist" in names) == (truth.type_id != SUCTION)
            assert np.hypot(*truth.axis) == pytest.approx(1)
            assert 0.02 * 240 < truth.radius < 0.12 * 240


def test_visible_points_lie_on_their_instrument_and_others_do_not_lie_in_the_picture_or_are_covered() -> None:
    visible = 0
    for frame in frames(8):
        height, width = frame.instance_map.shape
        for truth in frame.instruments:
            rows, columns = np.nonzero(frame.instance_map == truth.instance)
            for keypoint in truth.keypoints:
                distance = np.hypot(columns - keypoint.x, rows - keypoint.y).min()
                if keypoint.visible:
                    visible += 1
                    assert -0.5 <= keypoint.x < width - 0.5 and -0.5 <= keypoint.y < height - 0.5
                    assert distance < 20
                else:
                    assert distance > 1
    assert visible > 20


def test_the_entry_lies_at_the_border_of_the_content_and_the_tip_is_farther_inside() -> None:
    found = 0
    for frame in frames(8):
        padded = np.pad(frame.content, 3)
        for truth in frame.instruments:
            entry, tip = point(truth, "entry"), point(truth, "tip_1")
            if entry is None or tip is None:
                continue
            x, y = round(entry[0]) + 3, round(entry[1]) + 3
            near = padded[y - 3 : y + 4, x - 3 : x + 4]
            assert near.any() and not near.all()
            found += 1
    assert found > 8


def test_points_move_with_the_instrument() -> None:
    operation = SyntheticOperation(dataclasses.replace(showcase(240, 320, 25.0), camera_motion=0.0), 3, 25)
    first, later = operation.frame(0), operation.frame(20)
    before = {truth.instance: point(truth, "tip_1") for truth in first.instruments}
    after = {truth.instance: point(truth, "tip_1") for truth in later.instruments}
    both = [number for number in before if after.get(number) is not None]
    assert both
    assert any(np.hypot(*(np.array(before[n]) - np.array(after[n]))) > 1 for n in both)


def test_the_same_frame_has_the_same_points() -> None:
    config = showcase(240, 320, 25.0)
    assert (
        SyntheticOperation(config, 5, 25).frame(7).instruments == SyntheticOperation(config, 5, 9).frame(7).instruments
    )


def test_label_maps_that_are_moved_lose_the_points() -> None:
    frame = frames(1)[0]
    assert frame.instruments
    moved = frame.mapped(lambda rgb: rgb[:, ::-1], lambda labels: labels[:, ::-1])
    assert moved.instruments == ()


@pytest.mark.parametrize("seed", range(3))
def test_a_pivot_outside_the_picture_gives_one_entry_per_instrument(seed: int) -> None:
    frame = SyntheticOperation(showcase(240, 320, 25.0), seed, 25).frame(0)
    for truth in frame.instruments:
        assert sum(keypoint.name == "entry" for keypoint in truth.keypoints) <= 1
