"""Both eyes in one picture: each half is its eye's, to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.pictures.encodings import ImageError
from clip_rl_perception.pictures.stereo_frames import eye_of

LEFT, RIGHT = np.random.default_rng(1).integers(0, 255, (2, 6, 8, 3), np.uint8)


@pytest.mark.parametrize(("layout", "axis"), [("side_by_side", 1), ("top_bottom", 0)])
def test_halves(layout: str, axis: int) -> None:
    both = np.concatenate([LEFT, RIGHT], axis)
    for turned in (both, both[:, :, ::-1].copy()[:, :, ::-1]):  # as bgr8 is seen
        assert np.array_equal(eye_of(turned, layout, "left"), LEFT)
        assert np.array_equal(eye_of(turned, layout, "right"), RIGHT)
        assert eye_of(turned, layout, "right").flags.c_contiguous


def test_one_eye_is_left_alone() -> None:
    assert eye_of(LEFT, "single", "right") is LEFT


@pytest.mark.parametrize(("layout", "told"), [("side_by_side", "even width"), ("top_bottom", "even height")])
def test_odd_sizes_are_refused(layout: str, told: str) -> None:
    with pytest.raises(ImageError, match=f"the image is 7x5; two eyes {layout} need an {told}"):
        eye_of(np.zeros((5, 7, 3), np.uint8), layout, "left")
