"""The right eye of synthetic scenes: disparity follows from depth, the tissue lies still, cameras say the same."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_training.synthetic.operation import SyntheticOperation, showcase
from clip_rl_training.synthetic.stereo import BASELINE_MM, BEHIND, SHAFT_RADIUS_MM, geometry_of, right_eye


@pytest.fixture(scope="module")
def operation() -> SyntheticOperation:
    return SyntheticOperation(showcase(192, 256, 25.0), seed=3, frames=4)


def test_disparity_is_that_of_two_pinhole_cameras(operation: SyntheticOperation) -> None:
    state = operation._state
    geometry, right = geometry_of(state), right_eye(state)
    assert state.placements
    for before, after in zip(state.placements, right.placements, strict=True):
        depth = geometry.focal * SHAFT_RADIUS_MM / before.radius  # thin lens: how far a shaft of 4 mm radius is
        expected = geometry.focal * BASELINE_MM / depth - geometry.tissue_disparity
        assert expected > 0, "instruments are nearer than the tissue"
        assert before.joint[0] - after.joint[0] == pytest.approx(expected)
        assert before.pivot[0] - after.pivot[0] == pytest.approx(expected)
        assert after.joint[1] == before.joint[1] and after.radius == before.radius
        assert geometry.tissue_mm >= BEHIND * depth - 1e-9


def test_the_tissue_lies_still_and_instruments_move_left(operation: SyntheticOperation) -> None:
    left, right = operation.frame(1), operation.right_frame(1)
    both = (left.type_map == 0) & (right.type_map == 0)
    assert (left.scene_map[both] == right.scene_map[both]).mean() > 0.99
    for number in np.unique(left.instance_map)[1:]:
        here, there = (np.argwhere(frame.instance_map == number) for frame in (left, right))
        if min(len(here), len(there)) > 200:
            assert there[:, 1].mean() < here[:, 1].mean() + 0.5, "the right eye sees near things further left"
    assert (left.type_map != right.type_map).any()


def test_frames_are_reproducible_and_sensors_have_noise_of_their_own(operation: SyntheticOperation) -> None:
    again = SyntheticOperation(showcase(192, 256, 25.0), seed=3, frames=4)
    assert (operation.right_frame(2).rgb == again.right_frame(2).rgb).all()
    left, right = operation.frame(2).rgb, operation.right_frame(2).rgb
    quiet = (operation.frame(2).type_map == 0) & (operation.right_frame(2).type_map == 0)
    assert (left[quiet] != right[quiet]).any()
    with pytest.raises(IndexError, match="frame 4 of a video of 4 frames"):
        operation.right_frame(4)
