"""Pieces of the generator with answers that can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_training.synthetic.drawing import noise
from clip_rl_training.synthetic.drawing.banks import texture_bank
from clip_rl_training.synthetic.drawing.shapes import (
    blob_outline,
    bounds,
    disc_or_box,
    fill,
    fill_alpha,
    seam,
    transform,
)
from clip_rl_training.synthetic.instruments import geometry
from clip_rl_training.synthetic.instruments.finishes import Finish, response_table
from clip_rl_training.synthetic.instruments.geometry import Part
from clip_rl_training.synthetic.instruments.kinematics import Motion, part_homographies, sample_motion, sample_placement
from clip_rl_training.synthetic.instruments.rendering import render_part
from clip_rl_training.synthetic.tissue.flap import lay_flap

WHITE = Finish((0.9, 0.9, 0.9), 0.0, 0.3, 0.0, 0.0, 0.0)


def square(low: float, high: float) -> np.ndarray:
    return np.array([[low, low], [high, low], [high, high], [low, high]], np.float64)


def test_fill_counts_the_covered_share_of_each_pixel() -> None:
    coverage = fill((20, 20), [square(1.55, 16.45), square(5.55, 11.45)])
    expected = np.zeros((20, 20), np.uint8)
    expected[2:17, 2:17] = 255
    expected[6:12, 6:12] = 0
    np.testing.assert_array_equal(coverage > 127, expected > 0)
    assert np.abs(coverage.astype(int) - expected).max() <= 112, "edges within one point of the grid"
    half = fill((20, 20), [np.array([[2.0, 3.55], [9.7, 3.55], [9.7, 8.45], [2.0, 8.45]])])
    assert half[5, 1:12].tolist() == [0, 128, 255, 255, 255, 255, 255, 255, 255, 64, 0], (
        "a half on the left, a quarter on the right"
    )


def test_large_areas_are_filled_as_exactly_up_to_a_coarser_grid() -> None:
    coverage = fill((300, 400), [square(20.55, 250.45)])
    assert int((coverage > 127).sum()) == 230 * 230


def test_a_part_marks_exactly_the_pixels_it_covers_by_half() -> None:
    part = Part(1, square(-1, 1), WHITE, "plate", (square(-0.4, 0.4),))
    homography = np.array([[10.0, 0, 19.5], [0, 10.0, 19.5], [0, 0, 1]])
    image, pieces = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)
    light = np.ones((40, 40, 3), np.float32)
    render_part(image, pieces, 7, part, homography, (0.0, 0.0), (0.5, 0.5, 0.5), 1.0, light, 0.0, texture_bank(0))
    expected = np.zeros((40, 40), np.bool_)
    expected[10:30, 10:30] = True
    expected[16:24, 16:24] = False
    np.testing.assert_array_equal(pieces == 7, expected)
    assert set(np.unique(pieces)) == {0, 7}
    assert image[11:15, 11:29].min() > 60, "lit where the part is"
    assert not image[17:23, 17:23].any(), "what shows through the hole is untouched"
    assert not image[:9].any() and not image[31:].any()


def test_a_part_outside_the_picture_changes_nothing() -> None:
    image, pieces = np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.uint8)
    far = np.array([[10.0, 0, 400.0], [0, 10.0, 20.0], [0, 0, 1]])
    light = np.ones((40, 40, 3), np.float32)
    render_part(
        image, pieces, 7, Part(1, square(-1, 1), WHITE), far, (0, 0), (0, 0, 0), 1.0, light, 2.0, texture_bank(0)
    )
    assert not image.any() and not pieces.any()


def test_transform_applies_a_perspective() -> None:
    homography = np.array([[2.0, 0, 1], [0, 3.0, 2], [0.5, 0, 1]])
    np.testing.assert_allclose(transform(np.array([[2.0, 1.0]]), homography), [[5 / 2, 5 / 2]])


def test_bounds_clip_to_the_picture() -> None:
    assert bounds(square(-5, 3), (10, 20), margin=1) == (0, 0, 5, 5)
    assert bounds(square(30, 40), (10, 20)) is None


def test_disc_and_box_outlines() -> None:
    circle = disc_or_box((5.0, 6.0), (3.0, 3.0), 1.0)
    np.testing.assert_allclose(np.hypot(circle[:, 0] - 5, circle[:, 1] - 6), 3.0, atol=1e-9)
    box = disc_or_box((5.0, 6.0), (3.0, 2.0), 0.0)
    np.testing.assert_allclose([box.min(axis=0), box.max(axis=0)], [[2, 4], [8, 8]])


def test_jaws_are_mirror_images_that_meet_on_the_axis() -> None:
    upper = geometry.curved_jaw(5.0, 0.6, 0.3, 0.0, 1.0)
    assert upper[:, 0].min() == 0 and upper[:, 0].max() == pytest.approx(5.0)
    assert upper[:, 1].min() == 0
    np.testing.assert_allclose(geometry.mirror(geometry.mirror(upper)), upper)
    slot = geometry.jaw_slot(5.0, 0.2, 0.8, 0.6, 0.3, 0.0)
    assert slot[:, 0].min() >= 1.0 - 1e-9 and slot[:, 0].max() <= 4.0 + 1e-9
    assert slot[:, 1].min() > 0 and slot[:, 1].max() < 0.6, "the opening lies inside the jaw"


def test_motion_is_bounded_and_known_at_any_time() -> None:
    assert Motion((2.0,), (0.5,), (0.25,)).at(1.0) == pytest.approx(0.25 * np.sin(2.5))
    motion = sample_motion(np.random.default_rng(0))
    values = np.array([motion.at(t) for t in np.linspace(0, 60, 2000)])
    assert np.abs(values).max() <= 1.0 + 1e-9
    assert np.abs(np.diff(values)).max() < 0.1


def test_a_shaft_runs_through_its_pivot_at_all_times() -> None:
    from clip_rl_training.synthetic.instruments.designs import sample_design

    rng = np.random.default_rng(5)
    placement = sample_placement(rng, sample_design(rng, 1, 0.0), (200, 300), 12.0, 25.0)
    pivot = np.array(placement.pivot)
    assert not (0 <= pivot[0] < 300 and 0 <= pivot[1] < 200)
    for time in (0.0, 0.7, 3.1):
        homography = part_homographies(placement, time)[0]
        near, far = transform(np.array([[0.0, 0.0], [-40.0, 0.0]]), homography)
        direction = (far - near) / np.linalg.norm(far - near)
        offset = pivot - near
        assert abs(direction[0] * offset[1] - direction[1] * offset[0]) < 1e-2


@pytest.mark.parametrize("shape", range(4))
def test_instruments_show_a_piece_of_their_shaft_or_all_of_their_jaws(shape: int) -> None:
    from clip_rl_training.synthetic.content import sample_content
    from clip_rl_training.synthetic.instruments.designs import sample_design

    shafts = 0
    for seed in range(70):
        rng = np.random.default_rng([shape, seed])
        seen = sample_content(rng, (240, 320), tuple(float(shape == i) for i in range(4))).mask((240, 320))
        design, radius = sample_design(rng, 1 + seed % 7, 0.0), rng.uniform(6, 40)
        placement = sample_placement(rng, design, seen.shape, radius, 20.0, rng.uniform(0, 2 * np.pi), seen)
        joint, pivot = np.array(placement.joint), np.array(placement.pivot)
        outwards = (pivot - joint) / np.linalg.norm(pivot - joint)

        def shows(
            behind: float, joint: np.ndarray = joint, out: np.ndarray = outwards, seen: np.ndarray = seen
        ) -> bool:
            x, y = np.rint(joint + behind * out).astype(int)
            return bool(0 <= x < 320 and 0 <= y < 240 and seen[y, x])

        assert not shows(float(np.linalg.norm(pivot - joint))), "the shaft's fixed point lies outside the picture"
        lengths = np.arange(max(0.08 * 240, 1.5 * radius), 0.3 * 240 + 61)
        shaft = any(map(shows, lengths))
        shafts += shaft
        jaws = shows(-radius * (design.wrist_length + design.yaw_length))
        assert shaft or (design.opening > 0 and jaws), f"seed {seed}"
    assert shafts >= 60, "few only peep in"


def test_ends_of_tubes_are_round_and_narrower() -> None:
    outline = geometry.tube(-60.0, 2.0, 0.7, 0.5)

    def width(u: float) -> float:
        mask = fill((400, 900), [outline * 100 + (850, 200)])
        return float((mask[:, round(850 + 100 * u)] > 127).sum() / 100)

    assert width(-4.0) == pytest.approx(2.0, abs=0.03) and width(-0.6) == pytest.approx(1.44, abs=0.04)
    assert 0.2 < width(-0.05) < 0.75, "no straight edge across"
    assert outline[:, 0].max() == 0.0


def test_a_seam_is_sharp_on_one_side_and_halved_where_the_outline_is() -> None:
    outline = blob_outline(np.random.default_rng(0), (150.0, 150.0), 90.0, 90.0, 0.0, 0.0)
    alpha = seam((300, 300), outline, 1.5, 15.0, 0.0)
    assert alpha.min() == 0.0 and alpha.max() == 1.0
    soft = fill_alpha((300, 300), [outline], 15.0)
    unlike = (alpha > 0.5) != (soft > 0.5)
    assert not unlike.any(), "labels begin where they would without the seam"
    row = alpha[150]
    right, left = row[200:] > 0, row[:100] < 1
    edge = (row > 0.1) & (row < 0.9)
    assert edge[200:].sum() < 8 < 25 < edge[:100].sum()
    assert right.any() and left.any()


def test_a_flap_has_a_shaded_rim_and_shades_what_lies_below() -> None:
    image, background = np.full((200, 200, 3), 200, np.uint8), np.full((200, 200, 3), 100, np.uint8)
    outline = disc_or_box((100.0, 100.0), (50.0, 50.0), 1.0)
    covered = lay_flap(image, background, outline, 200.0)
    np.testing.assert_array_equal(covered, fill_alpha((200, 200), [outline], 0.8) > 0.5)
    assert image[100, 100].tolist() == [100] * 3 and image[100, 52].max() < 60, "its rim turns away"
    assert image[2, 2].tolist() == [200] * 3 and image[100, 46].max() < 180, "a shadow beside it"
    assert not lay_flap(image, background, outline + 500, 200.0).any()


def test_textures_are_seamless_and_normalised() -> None:
    rng = np.random.default_rng(0)
    for field in (noise.fractal(rng, 128), noise.fibres(rng, 128), noise.grain(rng, 128, 8.0, 1.0)):
        assert field.mean() == pytest.approx(0, abs=1e-4) and field.std() == pytest.approx(1, abs=1e-3)
        for axis in (0, 1):
            inside = np.abs(np.diff(field, axis=axis)).mean()
            seam = np.abs(np.take(field, 0, axis) - np.take(field, -1, axis)).mean()
            assert seam < 3 * inside


def test_finishes_are_brightest_where_they_face_the_light() -> None:
    table = response_table(np.random.default_rng(0), Finish((0.5, 0.4, 0.3), 0.8, 0.2, 0.0, 0.0, 0.0), (0.5, 0.2, 0.2))
    assert table.shape == (256, 3)
    assert int(table.sum(axis=1).argmax()) in range(124, 133)
    assert (table[128] > table[20]).all() and (table[128] > table[235]).all()
