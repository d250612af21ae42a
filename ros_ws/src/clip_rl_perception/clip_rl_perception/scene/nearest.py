"""Whose the surroundings of instruments are."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


def nearest_owner(owners: npt.NDArray[np.integer[Any]], reach: float) -> npt.NDArray[np.intp]:
    """The number of the nearest cell that has one, up to `reach` cells away, else 0.

    Args:
        owners: numbers from 1, 0 none, (h, w).
        reach: cells.

    Returns:
        (h, w).
    """
    distance, nearest = cv2.distanceTransformWithLabels(
        np.asarray(owners == 0, np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    number = np.zeros(int(nearest.max()) + 1, np.intp)
    own = owners > 0
    number[nearest[own]] = owners[own]
    return np.where(distance <= reach, number[nearest], 0)
