"""Kept looks of made-up videos: what each look says is known, so what is best is known too."""

from __future__ import annotations

import numpy as np
from clip_rl_perception.arrays import FloatArray
from clip_rl_training.looking.cached_looks import LOOKS, WHOLE, CachedVideo

SHAPE = (18, 22)


def kept_video(
    name: str, frames: int = 8, *, right: int | None = None, seed: int = 0, light: float = 0.5, parts: bool = True
) -> CachedVideo:
    """A still scene with an instrument; look number `right` sees it, all others see half of it and something else."""
    random = np.random.default_rng(seed)
    true = np.zeros(SHAPE, bool)
    row, column = random.integers(2, 8), random.integers(2, 10)
    true[row : row + 8, column : column + 8] = True
    wrong = true.copy()
    wrong[row : row + 4] = False
    wrong[:, :2] = True
    odds = np.empty((frames, len(LOOKS), *SHAPE), np.float16)
    for look in range(len(LOOKS)):
        odds[:, look] = np.where(true if look == right else wrong, 3.0, -3.0)
    odds += random.normal(0, 0.1, odds.shape).astype(np.float16)
    if not parts:
        odds[:, WHOLE:] = np.nan
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    fit = np.ones((frames, *SHAPE), np.float32)
    fit[0] = 0
    return CachedVideo(
        name=name,
        made="up",
        log_odds=odds,
        columns=np.broadcast_to(columns, fit.shape).copy(),
        rows=np.broadcast_to(rows, fit.shape).copy(),
        fit=fit,
        luma=np.full(fit.shape, light, np.float32),
        light=_light(frames, light),
        truth=np.broadcast_to(np.where(true, 255, 0), fit.shape).astype(np.int16),
    )


def _light(frames: int, light: float) -> FloatArray:
    return np.full((frames, 8), light, np.float32)
