"""What recording and transmission do: compression, interlacing, lost blocks, lost resolution."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray

from clip_rl_training.corruptions.scene_corruptions import Result


def jpeg(rgb: ByteArray, loss: float, random: np.random.Generator) -> Result:
    """JPEG at quality 100 - `loss`."""
    quality = max(1, round(100 - loss))
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise RuntimeError("OpenCV cannot decode the JPEG that it has just written")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8), None


def interlacing(rgb: ByteArray, shift: float, random: np.random.Generator) -> Result:
    """Two fields taken apart in time: odd lines are moved sideways by `shift` x the width (at least 1 px)."""
    distance = max(1, round(shift * rgb.shape[1])) * int(random.choice([-1, 1]))
    combed = rgb.copy()
    columns = np.clip(np.arange(rgb.shape[1]) - distance, 0, rgb.shape[1] - 1)
    combed[1::2] = rgb[1::2][:, columns]
    return combed, None


def dropped_blocks(rgb: ByteArray, share: float, random: np.random.Generator) -> Result:
    """Lost packets: blocks that are grey or hold what belongs elsewhere. `share`: of the blocks, 0 to 1."""
    height, width = rgb.shape[:2]
    side = max(1, min(height, width) // 24)
    rows, columns = -(-height // side), -(-width // side)
    # Losses come in runs along the lines of the coding order; the order of runs is fixed, so severities nest.
    run = 4
    starts = random.permutation(-(-rows * columns // run))
    kinds = random.random(len(starts))
    jumps = random.integers(-6 * side, 6 * side + 1, (len(starts), 2))
    damaged = rgb.copy()
    for place in range(round(share * len(starts))):
        for block in range(int(starts[place]) * run, min((int(starts[place]) + 1) * run, rows * columns)):
            y, x = block // columns * side, block % columns * side
            area = damaged[y : y + side, x : x + side]
            if kinds[place] < 0.5:
                area[:] = (128, 128, 128) if kinds[place] < 0.35 else (16, 140, 16)
            else:
                ys = np.clip(np.arange(y, y + area.shape[0]) + jumps[place, 0], 0, height - 1)
                xs = np.clip(np.arange(x, x + area.shape[1]) + jumps[place, 1], 0, width - 1)
                area[:] = rgb[np.ix_(ys, xs)]
    return damaged, None


def low_resolution(rgb: ByteArray, factor: float, random: np.random.Generator) -> Result:
    """Scaled down by 1 + `factor` and up again."""
    height, width = rgb.shape[:2]
    small = (max(1, round(width / (1 + factor))), max(1, round(height / (1 + factor))))
    reduced = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8), None
