"""Array types by their element: every annotation names one of these. Shapes are in docstrings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]
"""Pictures, label maps, confidence."""
FloatArray = npt.NDArray[np.float32]
"""What networks compute with."""
DoubleArray = npt.NDArray[np.float64]
"""Measures and coordinates."""
CountArray = npt.NDArray[np.int64]
"""Counts of pixels."""
BoolArray = npt.NDArray[np.bool_]
"""Masks."""
