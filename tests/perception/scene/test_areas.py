"""Areas and entries of models without an instance head, on grids drawn by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import BoolArray, ByteArray
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.scene.areas import find_areas
from clip_rl_perception.scene.instances import instances_of, rim_of

TYPES = label_space_from_names(["background", "forceps", "scissors", "probe"])
GRID = (72, 88)
EVERYWHERE = np.ones(GRID, np.bool_)


def drawn(*strokes: tuple[int, int, int, int, int, int]) -> ByteArray:
    """Lines of (x0, y0, x1, y1, width, class)."""
    labels = np.zeros(GRID, np.uint8)
    for x0, y0, x1, y1, width, value in strokes:
        cv2.line(labels, (x0, y0), (x1, y1), value, width)
    return labels


def test_the_rim_lies_along_the_sides_of_whatever_is_no_content() -> None:
    content = EVERYWHERE.copy()
    content[:, :10] = False
    rim = rim_of(content)
    assert rim[:, 10].all() and rim[0, 10:].all() and rim[-1, 10:].all() and rim[:, -1].all()
    assert not rim[1:-1, 11:-1].any() and not rim[:, :10].any()


def test_entries_are_the_middles_of_contacts() -> None:
    areas = find_areas(drawn((0, 20, 50, 20, 5, 1), (80, 71, 60, 50, 5, 2), (30, 55, 40, 55, 3, 3)), EVERYWHERE, TYPES)
    assert len(areas.entries) == 3
    assert areas.entries[0] == pytest.approx((0, 20))
    assert areas.entries[1] == pytest.approx((80, 71), abs=1.5)
    assert np.isnan(areas.entries[2]).all()


def test_of_two_that_meet_head_on_each_keeps_its_side() -> None:
    labels = drawn((0, 30, 50, 30, 7, 1), (87, 50, 48, 32, 7, 1))
    areas = find_areas(labels, EVERYWHERE, TYPES)
    assert len(areas.entries) == 2
    left = areas.owners[30, 5]
    assert areas.owners[30, 35] == left and areas.owners[48, 82] == 3 - left


def test_two_that_cross_keep_what_lies_beyond() -> None:
    areas = find_areas(drawn((0, 10, 70, 55, 7, 1), (0, 60, 70, 15, 7, 1)), EVERYWHERE, TYPES)
    assert len(areas.entries) == 2
    assert areas.owners[12, 3] == areas.owners[53, 67] != areas.owners[58, 3] == areas.owners[17, 67]


def test_a_frayed_contact_is_no_second_entry() -> None:
    labels = drawn((0, 30, 60, 30, 11, 1))
    labels[29:32, :2] = 0
    assert len(find_areas(labels, EVERYWHERE, TYPES).entries) == 1


@pytest.mark.parametrize(("gap", "count"), [(3, 1), (4, 2)])
def test_a_loose_piece_belongs_to_what_lies_within_the_gap(gap: int, count: int) -> None:
    labels = np.zeros(GRID, np.uint8)
    labels[30:36, :40] = 1
    labels[30:36, 40 + gap : 52 + gap] = 1
    assert len(find_areas(labels, EVERYWHERE, TYPES).entries) == count


def test_two_that_enter_beside_each_other_are_not_joined() -> None:
    labels = np.zeros(GRID, np.uint8)
    labels[30:36, :40] = labels[38:44, :40] = 1
    assert len(find_areas(labels, EVERYWHERE, TYPES).entries) == 2


@pytest.mark.parametrize("labels", [np.ones(GRID, np.uint8), np.zeros(GRID, np.uint8)])
def test_a_full_and_an_empty_grid(labels: ByteArray) -> None:
    areas = find_areas(labels, EVERYWHERE, TYPES)
    assert len(areas.entries) == labels.max()
    assert (areas.owners == labels).all()


@pytest.mark.parametrize("content", [EVERYWHERE, np.hypot(*(np.indices(GRID) - [[[35]], [[43]]])) < 34])
def test_every_cell_has_one_owner_and_the_largest_come_first(content: BoolArray) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        strokes = [
            (*rng.integers((-10, -10, -10, -10), (98, 82, 98, 82)).tolist(), int(rng.integers(1, 14)), kind)
            for kind in rng.integers(1, 4, rng.integers(1, 7)).tolist()
        ]
        labels = drawn(*strokes)
        if seed % 3 == 0:
            specks = rng.random(GRID) < 0.02
            labels[specks] = rng.integers(0, 4, int(specks.sum()))
        areas = find_areas(labels, content, TYPES)
        sizes = np.bincount(areas.owners.ravel(), minlength=len(areas.entries) + 1)[1:]
        assert (sizes >= max(1.0, 0.0005 * content.sum())).all() and (np.diff(sizes) <= 0).all()
        assert not areas.owners[~content | (labels == 0)].any()
        found = instances_of(areas.owners, len(sizes), labels, content, TYPES)
        for index, touches in enumerate(found.touches.tolist()):
            own = np.zeros(GRID[0] * GRID[1], np.bool_)
            own[found.cells[found.starts[index] : found.starts[index + 1]]] = True
            np.testing.assert_array_equal(own.reshape(GRID), areas.owners == index + 1)
            assert touches == bool((own.reshape(GRID) & rim_of(content)).any())
            assert touches or np.isnan(areas.entries[index, 0])
