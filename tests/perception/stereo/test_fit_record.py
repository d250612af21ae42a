"""What several moments say of a rig that single ones do not."""

from __future__ import annotations

from clip_rl_perception.stereo.fit_record import MOMENTS, FitRecord


def record(*moments: tuple[int, int, int, int]) -> FitRecord:
    made = FitRecord()
    for moment in moments:
        made.add(*moment)
    return made


def test_a_rig_does_not_fit_where_hardly_any_of_several_instruments_do() -> None:
    none, one = (2, 3, 0, 0), (2, 2, 1, 0)
    assert not record().unfitting
    assert not record(*[none] * (MOMENTS - 1)).unfitting
    assert record(*[none] * MOMENTS).unfitting
    assert record(*[none] * (MOMENTS - 2), one, one).unfitting  # 2 of 20
    assert not record(*[none] * (MOMENTS - 3), one, one, one).unfitting
    assert record(*[one] * MOMENTS, *[none] * MOMENTS).unfitting  # what was long ago does not count


def test_of_a_single_instrument_its_masks_may_be_all_that_differs() -> None:
    assert not record(*[(1, 2, 0, 0)] * 5 * MOMENTS).unfitting
    assert not record(*[(2, 0, 0, 0)] * 5 * MOMENTS).unfitting
    assert record(*[(2, 2, 0, 0), (1, 1, 0, 0)] * MOMENTS).unfitting
    assert not record(*[(2, 2, 0, 0), (1, 1, 1, 0)] * MOMENTS).unfitting, "but one that fits speaks for the rig"


def test_eyes_are_swapped_where_more_fits_the_other_way_round() -> None:
    fits, mirrored = (2, 2, 2, 0), (2, 2, 0, 2)
    assert record(mirrored, mirrored).swapped and not record(fits, fits).swapped and not record((2, 2, 0, 0)).swapped
    assert record((3, 3, 0, 3)).swapped, "one moment of several may be enough"
    assert not record(fits, mirrored, fits, mirrored).swapped
    assert record(mirrored, mirrored, fits).swapped
    assert not record(mirrored, *[fits] * MOMENTS).swapped


def test_one_or_two_pairs_the_other_way_round_are_masks_that_err() -> None:
    one, two = (1, 1, 0, 1), (2, 2, 0, 2)
    assert not record(one, one).swapped and not record(two).swapped and record(one, one, one).swapped
    assert not record().swapped and not record(one, (1, 1, 0, 0)).swapped
