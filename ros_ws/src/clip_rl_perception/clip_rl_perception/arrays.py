"""Array types by their element: every annotation names one of these; shapes are in docstrings. Arrays in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]
"""Pictures, label maps, confidence."""
WordArray = npt.NDArray[np.uint16]
"""Maps of numbers that a byte cannot hold."""
FloatArray = npt.NDArray[np.float32]
"""What networks compute with."""
DoubleArray = npt.NDArray[np.float64]
"""Measures and coordinates."""
CountArray = npt.NDArray[np.int64]
"""Counts of pixels."""
BoolArray = npt.NDArray[np.bool_]
"""Masks."""
Vector = tuple[float, float, float]
"""(x, y, z)."""


def described(value: Any) -> str:
    """What a value is, for messages about one of another kind: an array's type and shape, else its class."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
