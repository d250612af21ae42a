"""How ground-truth masks are stored, and the way to class ids: one value per class, or one colour per class.

Every error names the file, the value found and the coding that was expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.metrics.confusion import IGNORED

Color = tuple[int, int, int]

_UNKNOWN = 254
"""Table entry of values without a class; ids end at 253 because of it (`labels.MAX_CLASSES` classes)."""


class CodingError(ClipRlError, ValueError):
    """A mask does not hold what its coding allows; the message names the file, the value and the coding."""


class ValueCoding:
    """Masks of one byte per pixel; colour files with equal channels count as such."""

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

    def decode(self, mask: npt.NDArray[np.generic], source: str) -> ByteArray:
        """Class ids of a stored mask.

        Args:
            mask: as read from the file, uint8 (H, W), or (H, W, 3 or 4) whose first three channels are equal.
            source: name of the file, for messages.

        Returns:
            uint8 (H, W); 255 where ignored.

        Raises:
            CodingError: another type or shape, coloured pixels, a value outside the coding.
        """
        mask = _check(mask, source)
        if mask.ndim == 3:
            if (mask[..., 0] != mask[..., 1]).any() or (mask[..., 0] != mask[..., 2]).any():
                raise CodingError(
                    f"{source}: has coloured pixels; expected one value per pixel: {self.describe()}. "
                    "For colour-coded masks use a coding by colour"
                )
            mask = mask[..., 0]
        ids = np.asarray(self._table[mask], np.uint8)
        unknown = ids == _UNKNOWN
        if unknown.any():
            raise CodingError(f"{source}: value {_most_frequent(mask[unknown])}; expected {self.describe()}")
        return ids


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

    def decode(self, mask: npt.NDArray[np.generic], source: str) -> ByteArray:
        """Class ids of a stored mask.

        Args:
            mask: RGB or RGBA as read from the file, uint8 (H, W, 3 or 4).
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
            raise CodingError(
                f"{source}: colour {_rgb(color)} in {int((codes == code).sum())} pixels, {int(unknown.sum())} pixels "
                f"without a class; expected {self.describe()}. Nearest is {_rgb(nearest)} "
                f"{self._names[self._ids[nearest]]}: was the mask resized with interpolation or saved with loss?"
            )
        return ids


MaskCoding = ValueCoding | ColorCoding


def _check(mask: npt.NDArray[np.generic], source: str) -> ByteArray:
    if mask.dtype != np.uint8 or not (mask.ndim == 2 or (mask.ndim == 3 and mask.shape[2] in (3, 4))) or not mask.size:
        raise CodingError(f"{source}: is {mask.dtype} {mask.shape}; expected 8-bit (H, W), (H, W, 3) or (H, W, 4)")
    return np.asarray(mask, np.uint8)


def _most_frequent(values: npt.NDArray[np.generic]) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def _packed(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]


def _rgb(color: Color) -> str:
    return "({},{},{})".format(*color)
