from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.scene.letterbox import (
    PAD_RGB,
    content_mask,
    frame_to_grid,
    frame_to_network,
    grid_content_mask,
    grid_to_frame,
    inside_content,
    make_letterbox,
    network_to_frame,
    shown_size,
    to_network,
)
from clip_rl_perception.scene.types import Box, ContentArea, Letterbox
from hypothesis import example, given, settings
from hypothesis import strategies as st

NETWORK = (64, 96)


@st.composite
def views(draw: st.DrawFn, smallest: int = 1, largest: int = 8192) -> Letterbox:
    height = draw(st.integers(max(16, smallest), largest))
    width = draw(st.integers(max(16, smallest), largest))
    x = draw(st.integers(0, width - smallest))
    y = draw(st.integers(0, height - smallest))
    crop = Box(x, y, draw(st.integers(smallest, width - x)), draw(st.integers(smallest, height - y)))
    network = draw(st.sampled_from([NETWORK, (352, 448), (32, 32), (224, 64)]))
    return make_letterbox((height, width), network, ContentArea(crop))


def test_whole_frame_of_the_usual_size() -> None:
    view = make_letterbox((1024, 1280), (352, 448))
    assert view.crop == Box(0, 0, 1280, 1024)
    assert view.scale == 352 / 1024
    assert (view.pad_x, view.pad_y) == (4, 0)  # 1280 * 0.34375 = 440 columns in 448
    assert shown_size(view) == (352, 440)


def test_formula_by_hand() -> None:
    view = Letterbox((100, 200), (50, 60), Box(20, 10, 100, 80), 0.5, pad_x=5, pad_y=3)
    # x: (30 - 20 + 0.5) * 0.5 - 0.5 + 5 = 9.75; y: (10 - 10 + 0.5) * 0.5 - 0.5 + 3 = 2.75
    np.testing.assert_allclose(frame_to_network([30, 10], view), [9.75, 2.75])
    # the logit grid: (9.75 + 0.5) / 4 - 0.5 = 2.0625
    np.testing.assert_allclose(frame_to_grid([30, 10], view), [2.0625, 0.3125])


@given(views(), st.floats(-100, 9000), st.floats(-100, 9000))
def test_mapping_there_and_back(view: Letterbox, x: float, y: float) -> None:
    np.testing.assert_allclose(network_to_frame(frame_to_network([x, y], view), view), [x, y], atol=1e-6)
    np.testing.assert_allclose(grid_to_frame(frame_to_grid([x, y], view), view), [x, y], atol=1e-6)


@given(views())
def test_the_crop_fits_and_fills_one_direction(view: Letterbox) -> None:
    height, width = shown_size(view)
    assert 1 <= height <= view.network_size[0] and 1 <= width <= view.network_size[1]
    assert height == view.network_size[0] or width == view.network_size[1]
    assert 0 <= view.pad_x <= view.network_size[1] - width and 0 <= view.pad_y <= view.network_size[0] - height
    ends = [[view.crop.x, view.crop.y], [view.crop.x + view.crop.width - 1, view.crop.y + view.crop.height - 1]]
    inside = frame_to_network(ends, view)
    # Centres of the corner pixels land inside the input, up to the rounding of the shown size.
    assert (inside >= -0.5).all()
    assert inside[1, 0] <= view.network_size[1] and inside[1, 1] <= view.network_size[0]


@settings(deadline=None, max_examples=40)
@given(views(smallest=24, largest=700))
@example(make_letterbox((321, 613), (64, 96), ContentArea(Box(7, 5, 401, 299))))
@example(make_letterbox((2000, 700), (64, 96)))
# Blocks of two leave 22 columns to be drawn on 21.7: as many as there are.
@example(make_letterbox((174, 52), (32, 32), ContentArea(Box(4, 60, 44, 65))))
def test_pixels_lie_where_the_formula_says(view: Letterbox) -> None:
    """A frame whose red is its x and green its y, both in 0..255 over the crop, shows the formula in every pixel."""
    crop = view.crop
    rows, columns = np.mgrid[0 : view.frame_size[0], 0 : view.frame_size[1]]
    frame = np.zeros((*view.frame_size, 3), np.float64)
    step_x, step_y = 255 / max(crop.width - 1, 1), 255 / max(crop.height - 1, 1)
    frame[..., 0] = (columns - crop.x) * step_x
    frame[..., 1] = (rows - crop.y) * step_y
    out = to_network(np.clip(np.rint(frame), 0, 255).astype(np.uint8), view)
    height, width = shown_size(view)
    margin_y, margin_x = min(3, height // 3), min(3, width // 3)
    grid = np.stack(np.meshgrid(view.pad_x + np.arange(width), view.pad_y + np.arange(height)), axis=-1)
    want = np.clip(network_to_frame(grid, view) - [crop.x, crop.y], 0, [crop.width - 1, crop.height - 1])
    shown = out[view.pad_y : view.pad_y + height, view.pad_x : view.pad_x + width].astype(np.float64)
    inner = np.s_[margin_y : height - margin_y, margin_x : width - margin_x]
    # One grey level of rounding in the frame and one in each of two resizes.
    if height > 6 and width > 6:
        np.testing.assert_allclose(shown[..., 0][inner], want[..., 0][inner] * step_x, atol=2.0)
        np.testing.assert_allclose(shown[..., 1][inner], want[..., 1][inner] * step_y, atol=2.0)


@settings(deadline=None, max_examples=40)
@given(views(largest=600))
def test_all_that_is_not_shown_is_padding(view: Letterbox) -> None:
    frame = np.full((*view.frame_size, 3), 7, np.uint8)
    used = np.full((*view.network_size, 3), 200, np.uint8)  # an earlier frame's pixels must not stay
    out = to_network(frame, view, used)
    assert out is used
    height, width = shown_size(view)
    shown = np.zeros(view.network_size, bool)
    shown[view.pad_y : view.pad_y + height, view.pad_x : view.pad_x + width] = True
    assert (out[shown] == 7).all()
    assert (out[~shown] == PAD_RGB).all()


@pytest.mark.parametrize("size", [(16, 16), (8192, 16), (16, 8192), (1, 1), (17, 3000)])
def test_extreme_frames(size: tuple[int, int]) -> None:
    frame = np.full((*size, 3), 90, np.uint8)
    view = make_letterbox(size, (352, 448))
    out = to_network(frame, view)
    assert out.shape == (352, 448, 3)
    assert (out == 90).all(-1).sum() == np.prod(shown_size(view))


def test_shrinking_averages() -> None:
    checks = (np.indices((512, 768)).sum(0) % 2 * 255).astype(np.uint8)
    out = to_network(np.repeat(checks[..., None], 3, axis=2), make_letterbox((512, 768), (64, 96)))
    assert abs(out.astype(int) - 127).max() <= 1


@pytest.mark.parametrize(
    ("crop", "size"),
    [
        (Box(0, 0, 0, 5), (10, 10)),
        (Box(-1, 0, 5, 5), (10, 10)),
        (Box(6, 0, 5, 5), (10, 10)),
        (Box(0, 0, 5, 5), (0, 10)),
    ],
)
def test_impossible_views_are_refused(crop: Box, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"not a part of|at least 1x1"):
        make_letterbox(size, NETWORK, ContentArea(crop))


def test_wrong_frames_are_refused() -> None:
    view = make_letterbox((20, 30), NETWORK)
    with pytest.raises(ValueError, match=r"rgb is uint8 \(30, 20, 3\); expected uint8 \(20, 30, 3\)"):
        to_network(np.zeros((30, 20, 3), np.uint8), view)
    with pytest.raises(ValueError, match="rgb is float64"):
        to_network(np.zeros((20, 30, 3)), view)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out is uint8"):
        to_network(np.zeros((20, 30, 3), np.uint8), view, np.zeros((5, 5, 3), np.uint8))


def test_circle_mask_has_the_circle_s_area() -> None:
    view = make_letterbox((200, 300), NETWORK, ContentArea(Box(50, 0, 200, 200), circle=(149.5, 99.5, 100.0)))
    mask = content_mask(view)
    assert mask is not None and set(np.unique(mask)) == {0, 255}
    assert abs((mask > 0).sum() / (np.pi * 100**2) - 1) < 0.005
    grid = grid_content_mask(view)
    assert grid.shape == (16, 24)
    # 16 nodes span 200 px, so a node covers 12.5 x 12.5 px
    assert abs(grid.sum() * 12.5**2 / (np.pi * 100**2) - 1) < 0.06


def test_rounded_corners_by_hand() -> None:
    view = make_letterbox((100, 120), NETWORK, ContentArea(Box(10, 0, 100, 100), corner_radius=20.0))
    mask = content_mask(view)
    assert mask is not None
    area = 100 * 100 - (4 - np.pi) * 20**2
    assert abs((mask > 0).sum() / area - 1) < 0.005
    assert not mask[:, :10].any() and not mask[:, 110:].any()
    assert mask[50, 10] == 255 and mask[0, 60] == 255 and mask[0, 10] == 0 and mask[99, 109] == 0
    assert mask[6, 16] == 255  # on the diagonal the corner takes (1 - 1/sqrt 2) * 20 = 5.86 px
    assert mask[4, 14] == 0


def test_plain_rectangles_need_no_mask() -> None:
    view = make_letterbox((100, 120), NETWORK, ContentArea(Box(10, 0, 100, 100)))
    assert content_mask(view) is None
    points = [[9.4, 5], [9.6, 5], [109.4, 99.4], [109.6, 5], [50, 99.6]]
    assert inside_content(points, view).tolist() == [False, True, True, False, False]
    assert grid_content_mask(view).sum() == 16 * 16  # 64 network rows for 100 px: the crop is 64x64 network pixels


def test_a_content_thinner_than_a_node_still_has_nodes() -> None:
    view = make_letterbox((16, 8192), (352, 448))
    assert grid_content_mask(view).any()
