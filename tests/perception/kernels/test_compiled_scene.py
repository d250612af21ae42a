"""The compiled loops of the scene floor against the same written down plainly."""

from __future__ import annotations

import cv2
import numpy as np
import plain_instruments as plain
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.kernels import appearance_kernels
from clip_rl_perception.labels import LabelSpace, label_space_from_names, load_label_space
from clip_rl_perception.scene.areas import find_areas
from clip_rl_perception.scene.axis import fit_axis
from clip_rl_perception.scene.instruments import find_instruments
from clip_rl_perception.scene.label_map import full_size_maps, grid_winners
from clip_rl_perception.scene.letterbox import frame_to_grid, grid_content_mask, make_letterbox, shown_size
from clip_rl_perception.scene.types import Box, ContentArea, Letterbox

SPACES = {
    "types": label_space_from_names(["background", "forceps", "scissors", "probe"]),
    "parts": load_label_space("endovis2017-parts"),
}
GRID = (72, 88)
ROUND = make_letterbox((1024, 1280), (288, 352), ContentArea(Box(140, 12, 1000, 1000), circle=(640.0, 512.0, 500.0)))


def grid_scene(seed: int, space: LabelSpace) -> ByteArray:
    """Strokes of random classes and widths, from in and out of view, and on every third grid specks; uint8 (h, w)."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(GRID, np.uint8)
    for _ in range(generator.integers(1, 7)):
        ends = generator.integers((-10, -10), (98, 82), (2, 2)).tolist()
        value, width = int(generator.integers(1, len(space))), int(generator.integers(1, 14))
        cv2.line(labels, ends[0], ends[1], value, width)
    if seed % 3 == 0:
        specks = generator.random(GRID) < 0.02
        labels[specks] = generator.integers(0, len(space), int(specks.sum()))
    return labels


def border_of(view: Letterbox) -> tuple[float, float, float, float]:
    """The content's (left, top, right, bottom) in cells."""
    crop = view.crop
    far = [crop.x + crop.width - 1, crop.y + crop.height - 1]
    left, top, right, bottom = frame_to_grid([[crop.x, crop.y], far], view).ravel().tolist()
    return left, top, right, bottom


@pytest.mark.parametrize(("name", "temperature"), [("types", 1.0), ("parts", 1.7)])
def test_boxes_tips_and_confidence_are_those_of_the_plain_way(name: str, temperature: float) -> None:
    space, view = SPACES[name], ROUND
    several = 0
    for seed in range(12):
        labels, noise = grid_scene(seed, space), np.random.default_rng(seed)
        likely = np.where(np.arange(len(space))[:, None, None] == labels, 0.9, 0.1 / (len(space) - 1))
        log_probs = np.log(likely + 0.02 * noise.random(likely.shape)).astype(np.float32)
        winners = grid_winners(log_probs)
        label_map, _ = full_size_maps(log_probs, view, winners=winners)
        areas = find_areas(winners, grid_content_mask(view), space)
        several += len(areas.entries) > 1
        for seen in find_instruments(winners, log_probs, label_map, view, space, temperature=temperature):
            assert seen.footprint is not None
            rows, columns = np.nonzero(seen.footprint)
            ids = [1, 2, 3] if name == "parts" else [seen.class_id]
            weights = np.exp(log_probs[:, rows, columns].astype(np.float64) / temperature)
            assert seen.confidence == pytest.approx(np.mean(weights[ids].sum(0) / weights.sum(0)), abs=1e-5)
            assert seen.area == pytest.approx(len(rows) * (4 / view.scale) ** 2)

            own = np.isin(np.arange(256), ids)
            assert seen.box == plain.tight_box(seen.footprint > 0, own, label_map, view)
            [place] = np.unique(areas.owners[seen.footprint > 0])
            cells = np.stack([columns, rows], axis=1).astype(np.float64)
            axis = fit_axis(cells, areas.entries[place - 1], border_of(view))
            # The line is sampled every half pixel, from a place that rounding moves.
            np.testing.assert_allclose(
                seen.tip, plain.visible_tip(axis[2:4], axis[4:], own, label_map, view), atol=0.51
            )
    assert several > 5


@pytest.mark.parametrize("size", [(1024, 991), (1024, 1280), (40, 50)])
def test_a_small_copy_and_its_mask_are_of_the_same_pixels(size: tuple[int, int]) -> None:
    """A bright content in a dark surround: no pixel of the surround's edge is taken for content."""
    from clip_rl_perception.scene.validity import _small_copy, _small_mask

    height, width = size
    view = make_letterbox(size, (-(-height // 32) * 32, -(-width // 32) * 32))
    across = np.linspace(0, 255, width).astype(np.uint8)
    shown = np.zeros((*view.network_size, 3), np.uint8)
    rows, columns = shown_size(view)
    shown[view.pad_y : view.pad_y + rows, view.pad_x : view.pad_x + columns] = np.resize(across, (1, columns))[
        ..., None
    ]
    copy, factor = _small_copy(shown, view)
    assert copy.shape[1] == columns // factor and copy.shape[0] == rows // factor
    middle = shown[view.pad_y, view.pad_x + factor // 2 : view.pad_x + copy.shape[1] * factor : factor, 0]
    assert np.abs(copy[0, :, 0].astype(int) - middle).max() <= 2
    assert _small_mask(view, (copy.shape[1], copy.shape[0]), factor).all()


def test_a_look_is_that_of_the_plain_way() -> None:
    generator = np.random.default_rng(6)
    pixels = generator.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    pixels[:10] //= 12
    pixels[10:14] = np.maximum(pixels[10:14], 248)
    mask = generator.random((40, 50)) < 0.7
    red, green, blue = pixels[mask].astype(np.float64).T
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    judged = (high >= 24) & (low < 245)
    colored = judged & (high - low > 0.15 * high)
    warm = red >= np.maximum(green, blue)
    expected = (
        high.mean(),
        high.std(),
        np.mean(low >= 250),
        np.mean((high - low)[judged] / high[judged]),
        np.mean(warm[colored]),
        (colored & ~warm).sum() / judged.sum(),
    )
    np.testing.assert_allclose(appearance_kernels.measure(pixels, mask), expected, rtol=1e-9)
    black = appearance_kernels.measure(np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.bool_))
    assert black == (0, 0, 0, 0, 1, 0)
