"""Measures of small pictures, where they can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.arrays import BoolArray, ByteArray
from clip_rl_perception.scene.picture_measures import MEASURES, measure_picture


def measured(small: ByteArray, mask: BoolArray | None = None, detail: float = 0.0) -> dict[str, float]:
    mask = np.ones(small.shape[:2], np.bool_) if mask is None else mask
    values = measure_picture(small, mask, detail)
    assert values.dtype == np.float32 and values.shape == (len(MEASURES),) and np.isfinite(values).all()
    return dict(zip(MEASURES, values.tolist(), strict=True))


def test_one_color_is_flat() -> None:
    found = measured(np.full((40, 60, 3), 128, np.uint8))
    assert found["flat"] == 1 and found["strong_edges"] == 0 and found["edges"] == pytest.approx(0, abs=1e-4)
    assert found["entropy"] == pytest.approx(0, abs=1e-4) and found["largest_level"] == 1
    assert found["green_to_red"] == found["blue_to_yellow"] == 0, "grey"
    assert found["center"] == pytest.approx(1)


def test_bars_run_along_an_axis() -> None:
    """Levels 50 and 150 in upright bars of 10 px: two of ten columns at each edge differ, by 100 / 2 each side."""
    small = np.full((40, 60, 3), 50, np.uint8)
    small[:, np.arange(60) // 10 % 2 == 1] = 150
    found = measured(small)
    assert found["edges_along_axes"] == pytest.approx(1, abs=1e-3)
    assert found["edges_one_way"] == pytest.approx(1, abs=1e-3)
    assert found["largest_level"] == 0.5 and found["entropy"] == pytest.approx(np.log(2), rel=1e-3)
    assert found["flat"] == pytest.approx(50 / 60), "five edges of two columns"
    assert found["row_profile"] == 0 and found["column_profile"] > 0.9


def test_noise_has_edges_everywhere_and_no_profile() -> None:
    found = measured(np.random.default_rng(0).integers(0, 256, (50, 64, 3)).astype(np.uint8), detail=200.0)
    assert found["flat"] < 0.1 and found["edges_along_axes"] < 0.6 and found["edges_one_way"] < 0.1
    assert found["detail"] == pytest.approx(np.log1p(200))


def test_tissue_is_red_and_a_drape_is_not() -> None:
    tissue = measured(np.full((30, 40, 3), (180, 80, 75), np.uint8))
    drape = measured(np.full((30, 40, 3), (30, 110, 120), np.uint8))
    assert tissue["green_to_red"] > 0.2 and drape["green_to_red"] < -0.1
    assert tissue["blue_to_yellow"] > 0.1 and drape["blue_to_yellow"] < 0


def test_what_lies_outside_the_content_and_its_rim_do_not_count() -> None:
    y, x = np.mgrid[:50, :50]
    mask = np.hypot(x - 24.5, y - 24.5) < 20
    small = np.where(mask[..., None], np.uint8(120), np.uint8(0)).repeat(3, axis=2)
    found = measured(small, mask)
    assert found["edges"] == pytest.approx(0, abs=1e-3) and found["largest_level"] == 1
    assert found["lightness_spread"] == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 64), (64, 1)])
def test_any_size_is_measured(size: tuple[int, int]) -> None:
    assert measured(np.full((*size, 3), 90, np.uint8))["flat"] == 1
