"""Mask files as stored; every reader of masks reads them here."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.pictures.picture_files import PNG, PictureError, as_stored, decode_stored, read_picture
from clip_rl_perception.sources.mask_coding import StoredMask

_PNG_PALETTE = b"\x03"
"""Colour type of PNGs with a palette, byte 25 (PNG specification, section 11.2.1)."""


def read_mask(file: Path) -> StoredMask:
    """The pixels of a mask file. Raises `PictureError` that begins with a verb."""
    return decode_mask(read_picture(file))


def decode_mask(content: bytes) -> StoredMask:
    """The pixels of a mask file's bytes. Raises `PictureError` that begins with a verb."""
    return StoredMask(decode_stored(content), *_indices(as_stored(content)))


def _indices(content: bytes) -> tuple[ByteArray | None, bool]:
    """What a picture with a palette, or of one bit per pixel, stores (OpenCV gives the colours alone); if a palette."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            stored = np.asarray(picture).astype(np.uint8) if picture.mode in ("P", "1") else None
            return stored, picture.mode == "P"
    except Exception as error:  # Pillow refuses more than OpenCV does, in many ways; only a palette is needed from it
        if content.startswith(PNG) and content[25:26] == _PNG_PALETTE:
            raise PictureError("has a palette that cannot be read; save it with one value per pixel") from error
        return None, False
