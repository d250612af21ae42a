"""The pictures of a soak, and the mask that each of them has to lead to."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.picture_encoding import encode_picture
from clip_rl_perception.pictures.picture_files import decode_rgb
from clip_rl_perception.resources import share_path
from clip_rl_perception.stream_options import ModelOptions

DIMMEST = 40
"""No pixel is darker: the content area is the whole frame then, whatever the frames before have shown."""
LEAST_DIFFERENCE = 0.01
"""Masks of two pictures differ in at least this share of the pixels."""


def prepare(folder: Path, sizes: tuple[tuple[int, int], ...], model: ModelOptions) -> None:
    """Write ``SIZE_NUMBER.jpg``, and ``expected.npz`` with the masks by size, uint8 (pictures, H, W).

    Args:
        folder: where to.
        sizes: (width, height) each.
        model: what makes the masks; without memory of the frame before, so that a mask depends on its picture alone.

    Raises:
        ClipRlError: the model cannot be loaded, or its masks do not tell the pictures apart.
    """
    from clip_rl_perception.stream import load  # torch takes seconds, and stays: run this in a process of its own

    folder.mkdir(parents=True, exist_ok=True)
    shipped = [cv2.imread(str(path)) for path in sorted(share_path("models", "golden").glob("*.jpg"))]
    pictures = [np.ascontiguousarray(turned) for bgr in shipped if bgr is not None for turned in (bgr, bgr[:, ::-1])]
    expected = {}
    with load(model) as loaded:
        for number, size in enumerate(sizes):
            masks = []
            for index, bgr in enumerate(pictures):
                bright = DIMMEST + cv2.resize(bgr, size, interpolation=cv2.INTER_AREA) * ((255 - DIMMEST) / 255)
                file = folder / f"{number}_{index:02}.jpg"
                content = encode_picture(".jpg", bright.astype(np.uint8))
                file.write_bytes(content)
                rgb = decode_rgb(content)
                masks.append(loaded.pipeline.process(rgb, 0)[0].label_map)
            expected[str(number)] = np.stack(masks)
            for one, other in itertools.combinations(masks, 2):
                if np.mean(one != other) < LEAST_DIFFERENCE:
                    raise ClipRlError(f"model '{model.model}' gives two pictures nearly the same mask; name another")
    np.savez(folder / "expected.npz", **expected)  # type: ignore[arg-type]
