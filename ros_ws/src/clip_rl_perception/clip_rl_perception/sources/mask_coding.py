"""How ground-truth masks are stored, and the way to class ids: one value per class, or one colour per class.

Every error names the file, the value found and the coding that was expected.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.metrics.confusion import IGNORED

Color = tuple[int, int, int]

_LOSS = "was the mask resized with interpolation or saved with loss?"

_UNKNOWN = 254
"""Table entry of values without a class; ids end at 253 because of it (`labels.MAX_CLASSES` classes)."""


@dataclasses.dataclass(frozen=True, eq=False)
class StoredMask:
    """The pixels of a mask as stored."""

    pixels: npt.NDArray[Any]
    """(H, W), or (H, W, 3 or 4) with R, G, B first; of a palette the colours, of one bit 0 and 255."""
    indices: ByteArray | None = None
    """(H, W): of a picture with a palette what points into it, of one bit per pixel 0 and 1; None of any other."""
    palette: bool = False
    """Whether the picture has one."""


class CodingError(ClipRlError, ValueError):
    """A mask does not hold what its coding allows; the message names the file, the value and the coding."""


class ValueCoding:
    """Masks of one byte per pixel; colour files with equal channels count as such, and palettes by their indices."""

    def __init__(self, ids: Mapping[int, int], names: Mapping[int, str], ignore: Iterable[int] = ()) -> None:
        """`ids`: class id by stored value; `names`: class name by id, for messages; `ignore`: values read as 255."""
        self._table = np.full(256, _UNKNOWN, np.uint8)
        for value in ignore:
            self._table[value] = IGNORED
        for value, index in ids.items():
            self._table[value] = index
        ignored = np.flatnonzero(self._table == IGNORED).tolist()
        self._described = ", ".join(f"{value} {names[index]}" for value, index in sorted(ids.items()))
        if ignored:
            self._described += f"; ignored: {', '.join(map(str, ignored))}"

    def describe(self) -> str:
        """The coding in words: values with their class names."""
        return self._described

    def decode(self, mask: StoredMask | npt.NDArray[np.generic], source: str) -> ByteArray:
        """Class ids of a stored mask.

        Indices of a palette and single bits are the values, as segmentation tools store them, unless the coding knows
        only what they look like: a palette of greys, black and white as 0 and 255.

        Args:
            mask: as stored, uint8 (H, W), or (H, W, 3 or 4) whose first three channels are equal.
            source: name of the file, for messages.

        Returns:
            uint8 (H, W); 255 where ignored.

        Raises:
            CodingError: another type or shape, coloured pixels, a value outside the coding, indices that could be
                meant either way.
        """
        if isinstance(mask, StoredMask) and mask.indices is not None:
            return self._of_palette(mask.indices, mask.pixels, source)
        values = single_channel(mask, source, self.describe())
        ids = np.asarray(self._table[values], np.uint8)
        unknown = ids == _UNKNOWN
        if unknown.any():
            value = _most_frequent(values[unknown])
            raise CodingError(
                f"{source}: value {value}; expected {self.describe()}. {int(unknown.sum())} of {ids.size} pixels have "
                f"no class: {_LOSS}"
            )
        return ids

    def _of_palette(self, indices: ByteArray, pixels: npt.NDArray[Any], source: str) -> ByteArray:
        by_index = np.asarray(self._table[indices], np.uint8)
        known = not (by_index == _UNKNOWN).any()
        if _is_grey(pixels):
            by_grey = np.asarray(self._table[pixels if pixels.ndim == 2 else pixels[..., 0]], np.uint8)
            if not known and not (by_grey == _UNKNOWN).any():
                return by_grey
            if known and (by_grey < _UNKNOWN).all() and (by_grey != by_index).any():
                raise CodingError(
                    f"{source}: has a palette whose indices and whose greys both are {self.describe()}, and differ; "
                    "save it with one 8-bit value per pixel"
                )
        if not known:
            raise CodingError(
                f"{source}: has a palette, and its index {_most_frequent(indices[by_index == _UNKNOWN])} no class; "
                f"expected {self.describe()}. For colour-coded masks use a coding by colour"
            )
        return by_index


class ColorCoding:
    """Masks that paint each class in its colour; an alpha channel is not looked at."""

    def __init__(self, ids: Mapping[Color, int], names: Mapping[int, str], ignore: Iterable[Color] = ()) -> None:
        """`ids`: class id by (R, G, B); `names`: class name by id, for messages; `ignore`: colours read as 255."""
        self._ids = dict(ids)
        self._names = dict(names)
        self._ignore = tuple(ignore)
        self._table: ByteArray | None = None

    def describe(self) -> str:
        """The coding in words: colours (R,G,B) with their class names."""
        words = ", ".join(f"{_rgb(color)} {self._names[index]}" for color, index in self._ids.items())
        return words + (f"; ignored: {', '.join(map(_rgb, self._ignore))}" if self._ignore else "")

    def decode(self, mask: StoredMask | npt.NDArray[np.generic], source: str) -> ByteArray:
        """Class ids of a stored mask.

        Args:
            mask: RGB or RGBA as stored, uint8 (H, W, 3 or 4).
            source: name of the file, for messages.

        Returns:
            uint8 (H, W); 255 where ignored.

        Raises:
            CodingError: another type or shape, a colour outside the coding.
        """
        mask = _check(mask, source)
        if mask.ndim == 2:
            raise CodingError(f"{source}: has one channel; expected colours (R,G,B): {self.describe()}")
        if self._table is None:
            # All 2^24 colours: 16 MB once, and decoding is a single look-up per pixel.
            self._table = np.full(1 << 24, _UNKNOWN, np.uint8)
            for color in self._ignore:
                self._table[_packed(color)] = IGNORED
            for color, index in self._ids.items():
                self._table[_packed(color)] = index
        codes = (mask[..., 0].astype(np.int32) << 16) | (mask[..., 1].astype(np.int32) << 8) | mask[..., 2]
        ids = np.asarray(self._table[codes], np.uint8)
        unknown = ids == _UNKNOWN
        if unknown.any():
            code = _most_frequent(codes[unknown])
            color = (code >> 16, code >> 8 & 255, code & 255)
            nearest = min(self._ids, key=lambda known: sum((a - b) ** 2 for a, b in zip(known, color, strict=True)))
            swapped = color[0] != color[2] and color[::-1] in self._ids
            raise CodingError(
                f"{source}: colour {_rgb(color)} in {int((codes == code).sum())} pixels, {int(unknown.sum())} pixels "
                f"without a class; expected {self.describe()}. Nearest is {_rgb(nearest)} "
                f"{self._names[self._ids[nearest]]}: "
                + ("are red and blue swapped, in the map or in the mask?" if swapped else _LOSS)
            )
        return ids


MaskCoding = ValueCoding | ColorCoding


def single_channel(mask: StoredMask | npt.NDArray[np.generic], source: str, expected: str) -> ByteArray:
    """The one value per pixel, uint8 (H, W), of a mask without palette; `expected` says which in `CodingError`."""
    if isinstance(mask, StoredMask) and mask.indices is not None:
        raise CodingError(f"{source}: has a palette; expected one value per pixel: {expected}")
    pixels = _check(mask, source)
    if pixels.ndim == 2:
        return pixels
    if not _is_grey(pixels):
        raise CodingError(
            f"{source}: has coloured pixels; expected one value per pixel: {expected}. "
            "For colour-coded masks use a coding by colour"
        )
    return np.asarray(pixels[..., 0], np.uint8)


def _is_grey(pixels: npt.NDArray[Any]) -> bool:
    return pixels.ndim == 2 or bool(
        (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()
    )


def _check(stored: StoredMask | npt.NDArray[np.generic], source: str) -> ByteArray:
    mask = stored.pixels if isinstance(stored, StoredMask) else stored
    if mask.dtype != np.uint8 or not (mask.ndim == 2 or (mask.ndim == 3 and mask.shape[2] in (3, 4))) or not mask.size:
        raise CodingError(f"{source}: is {mask.dtype} {mask.shape}; expected 8-bit (H, W), (H, W, 3) or (H, W, 4)")
    if mask.ndim == 3 and mask.shape[2] == 4 and (mask[..., :3] == mask[0, 0, :3]).all() and np.ptp(mask[..., 3]):
        raise CodingError(f"{source}: is of one colour, all that it shows is transparency; save it without alpha")
    return np.asarray(mask, np.uint8)


def _most_frequent(values: npt.NDArray[np.generic]) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def _packed(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _rgb(color: Color) -> str:
    return "({},{},{})".format(*color)
