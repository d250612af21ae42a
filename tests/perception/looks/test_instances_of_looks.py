"""What the instance head says of mirror images, told of the plain picture, and of looks at frames in turn."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.arrays import FloatArray
from clip_rl_perception.looks.instance_looks import InstanceLooks, joined
from clip_rl_perception.looks.look import MIRRORS, Look
from clip_rl_perception.looks.motion import Motion


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
    assert joined([None, None], None, 4) is None


def motion(across: float = 0.0, fit: float = 1.0) -> Motion:
    """Of 8 x 12 logit nodes, 2 x 2 to a place; what is seen was so many nodes further to the left before."""
    columns, rows = np.meshgrid(np.arange(12, dtype=np.float32), np.arange(8, dtype=np.float32))
    return Motion(columns - np.float32(across), rows, np.full((8, 12), fit, np.float32))


def in_turn(told: list[FloatArray], *moved: Motion) -> InstanceLooks:
    """One look a frame, of a turn of four."""
    looks: InstanceLooks | None = None
    for index, said in enumerate(told):
        if looks is not None:
            looks = looks.moved(moved[min(index, len(moved)) - 1])
        looks = joined([said], looks, 4)
    assert looks is not None
    return looks


def test_one_look_is_its_own() -> None:
    said = said_at(1, 4, (0.6, 0.8))
    looks = joined([said], None, 4)
    assert looks is not None
    np.testing.assert_array_equal(looks.mean(), said)


def test_of_a_scene_at_rest_the_same_is_said_wherever_the_turn_stands() -> None:
    told = [said_at(1, 4, (np.cos(angle), np.sin(angle))) * np.float32(1 + angle) for angle in (0.0, 0.3, 0.9, 1.4)]
    whole = in_turn(told, motion()).mean()
    expected = np.mean(told, axis=0)[:, 1, 4]
    expected[:2] /= np.linalg.norm(expected[:2])
    np.testing.assert_allclose(whole[:, 1, 4], expected, rtol=1e-5)
    for further in range(1, 9):
        again = in_turn([told[index % 4] for index in range(further + 4)], motion()).mean()
        np.testing.assert_allclose(again, whole, atol=1e-5)


def test_what_earlier_looks_said_moves_with_the_picture_and_counts_as_it_fits() -> None:
    before, now = said_at(1, 2, (1.0, 0.0)), said_at(1, 4, (1.0, 0.0))
    now[7] *= 3
    looks = in_turn([before, now], motion(across=4.0, fit=0.5))
    np.testing.assert_allclose(looks.weight[..., 1][:, 2:], 0.5)
    assert not looks.weight[:, :2, 1].any(), "what was out of sight counts nothing"
    mean = looks.mean()
    np.testing.assert_allclose(mean[7, 1, 4], (1.0 * now[7, 1, 4] + 0.5 * before[7, 1, 2]) / 1.5, rtol=1e-5)
    np.testing.assert_allclose(mean[2:7, 1, 4], now[2:7, 1, 4], rtol=1e-5)
    assert not mean[2:, 1, :4].any()


def test_more_looks_than_a_turn_has_are_not_kept() -> None:
    said = said_at(1, 4, (1.0, 0.0))
    looks = joined([said, 2 * said, 3 * said], in_turn([7 * said, 5 * said], motion()), 4)
    assert looks is not None and looks.said.shape == (4, 6, 4, 9)
    np.testing.assert_allclose(looks.said[1, 4, :, 8], [15.0, 10.0, 5.0, 25.0])
    whole = joined([said] * 4, looks, 4)
    assert whole is not None and whole.said.shape[2] == 4
    np.testing.assert_array_equal(whole.mean(), said)


def test_the_mean_of_two_looks_has_axes_of_unit_length() -> None:
    looks = joined([said_at(1, 4, (1.0, 0.0)), None, said_at(1, 4, (0.0, 1.0))], None, 4)
    assert looks is not None
    mean = looks.mean()
    np.testing.assert_allclose(mean[:2, 1, 4], [np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_allclose(mean[2:, 1, 4], said_at(1, 4, (1.0, 0.0))[2:, 1, 4])
