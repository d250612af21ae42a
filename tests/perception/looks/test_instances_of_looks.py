"""What the instance head says of a mirror image, told of the plain picture."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.looks.look import MIRRORS, Look, mean_said


def said_at(row: int, column: int, axis: tuple[float, float]) -> np.ndarray:
    said = np.zeros((9, 4, 6), np.float32)
    said[:, row, column] = [*axis, 0.5, -0.25, 1.0, 0.2, 3.0, 4.0, 5.0]
    return said


@pytest.mark.parametrize("look", MIRRORS, ids=lambda look: look.name)
def test_places_and_vectors_turn_back_together(look: Look) -> None:
    plain = said_at(1, 4, (0.6, 0.8))
    mirrored = plain[:, :: look.down, :: look.across].copy()
    mirrored[[0, 2]] *= look.across
    mirrored[[1, 3]] *= look.down
    back = look.instances_to_plain(mirrored)
    assert back is not None
    np.testing.assert_array_equal(back, plain)


def test_a_part_of_the_frame_and_a_network_without_a_head_say_nothing() -> None:
    assert Look("corner", part=(0.0, 0.0, 0.5, 0.5)).instances_to_plain(said_at(0, 0, (1.0, 0.0))) is None
    assert Look("plain").instances_to_plain(None) is None
    assert mean_said([None, None]) is None


def test_the_mean_of_two_looks_has_axes_of_unit_length() -> None:
    mean = mean_said([said_at(1, 4, (1.0, 0.0)), None, said_at(1, 4, (0.0, 1.0))])
    assert mean is not None
    np.testing.assert_allclose(mean[:2, 1, 4], [np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_allclose(mean[2:, 1, 4], said_at(1, 4, (1.0, 0.0))[2:, 1, 4])
