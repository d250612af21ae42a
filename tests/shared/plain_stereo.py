"""What `kernels.patch_kernels` and `kernels.strip_kernels` compute, written down plainly with arrays and OpenCV.

The yardstick of test_compiled_stereo.py. Where parts lie (`nodes_of`, `parabolas`) is what the loops are given: a test
of its own compares that with the lens.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import BoolArray, DoubleArray, FloatArray
from clip_rl_perception.stereo.camera_geometry import EyeGeometry
from clip_rl_perception.stereo.disparity import BACK, BETWEEN, LEAST_RANGE, REACH, SIDE, TILT, MatchConfig
from clip_rl_perception.stereo.eye_view import EyeView, Words
from clip_rl_perception.stereo.patches import Patches, nodes_of, parabolas
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry

THINNED = 4
PLACES = np.arange(-REACH, REACH + 1)
DOWN, ACROSS = (part.reshape(-1).astype(np.float32) for part in np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2)


def take_patches(
    geometry: StereoGeometry,
    eye: EyeGeometry,
    view: EyeView,
    centres: DoubleArray,
    steps: DoubleArray,
    numbers: list[int],
    shape: tuple[int, int],
) -> Patches:
    """Parts around places of the virtual camera, wholly in gray; arguments as of the function under test."""
    height, width = shape
    count = len(centres)
    gray = np.zeros((count, height, width), np.float32)
    if not count:
        return Patches(gray, np.zeros_like(gray), np.zeros_like(gray))
    nodes = nodes_of(geometry, eye, centres, steps, shape)
    maps = np.nan_to_num(parabolas(height) @ nodes @ parabolas(width).T, nan=-1e6).astype(np.float32)
    # A parabola between nodes that lie inside may leave them by little: a border of one block is read beyond.
    lows, highs = nodes.min(axis=(2, 3)).tolist(), nodes.max(axis=(2, 3)).tolist()
    for index, step in enumerate(steps.tolist()):
        _read(view, maps[index], (*lows[index], *highs[index]), step, gray[index])
    x, y = maps[:, 0], maps[:, 1]
    inside = (x >= 0) & (x <= view.size[0] - 1) & (y >= 0) & (y <= view.size[1] - 1)
    if view.instances is None:
        return Patches(gray, np.zeros_like(gray), inside.astype(np.float32))
    owners = _owners(view.instances, view.size, maps, inside)
    own = owners == np.array(numbers, np.uint16)[:, None, None]
    own &= owners > 0
    free = inside & (own | (owners == 0))
    return Patches(gray, own.astype(np.float32), free.astype(np.float32))


def _read(
    view: EyeView, places: FloatArray, border: tuple[float, float, float, float], step: float, gray: FloatArray
) -> None:
    """One part of the picture, made of blocks of pixels about as large as a step."""
    if not all(map(math.isfinite, border)):
        return
    width, height = view.size
    shrink = max(1, round(step * 0.75))
    shrink -= shrink % 2 if shrink >= THINNED else 0
    # Whole blocks around what is needed, inside the picture.
    left, top = (max(0, (math.floor(low) - shrink) // shrink * shrink) for low in border[:2])
    right = min(width, math.ceil(border[2]) + 2 * shrink + 1)
    bottom = min(height, math.ceil(border[3]) + 2 * shrink + 1)
    if right - left < shrink or bottom - top < shrink:
        return
    columns, rows = (right - left) // shrink, (bottom - top) // shrink
    # Of large blocks every other row and column: their mean is as good, and reading them is what takes time.
    every = 2 if shrink >= THINNED and shrink % 2 == 0 else 1
    part = view.image[top : top + rows * shrink : every, left : left + columns * shrink : every]
    # Of colours green: the one of which cameras have most, and a third of the work.
    small: Any = np.ascontiguousarray(part[..., 1] if part.ndim == 3 else part)
    if shrink > 1:
        small = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_AREA)
    # Pixels that are read lie half a step before the middle of what they stand for.
    start = np.array([left - every / 2, top - every / 2], np.float32)[:, None, None]
    scaled = (places - start) * np.float32(1 / shrink) - np.float32(0.5)
    cv2.remap(
        small.astype(np.float32), scaled[0], scaled[1], cv2.INTER_LINEAR, dst=gray, borderMode=cv2.BORDER_REPLICATE
    )


def _owners(instances: Words, size: tuple[int, int], maps: FloatArray, inside: BoolArray) -> Words:
    """Numbers at the nearest pixels of `instances`, which may be smaller than the image; 0 outside."""
    height, width = instances.shape
    scale = np.array([width / size[0], height / size[1]], np.float32)[:, None, None]
    with np.errstate(invalid="ignore"):
        cells = ((maps + np.float32(0.5)) * scale).astype(np.int32)
    flat = np.clip(cells[:, 1], 0, height - 1) * width + np.clip(cells[:, 0], 0, width - 1)
    found = instances.reshape(-1)[flat] if instances.flags.c_contiguous else instances[flat // width, flat % width]
    return np.asarray(found * inside, np.uint16)


def border_weights(patches: Patches, radii: list[int]) -> FloatArray:
    """What of each part counts: the instrument's borders.

    The front of a shaft is nearer than its axis, its borders are as far: they tell the disparity of the axis.
    """
    made = np.empty_like(patches.own)
    for index, radius in enumerate(radii):
        own = patches.own[index]
        made[index] = cv2.dilate(own, np.ones((3, 3), np.uint8)) - cv2.erode(
            own, np.ones((2 * radius + 1,) * 2, np.uint8)
        )
    made *= patches.free
    return made


def search(
    left: Patches,
    right: Patches,
    weights: tuple[FloatArray, FloatArray],
    ranges: DoubleArray,
    row_stds: DoubleArray,
    config: MatchConfig,
) -> DoubleArray:
    """Score, weight, steps left over, likeness of a rival, where the way back ends, shift, its deviation: (n, 7)."""
    middle = slice(REACH + 1, REACH + 1 + SIDE)
    kernel, weight = left.gray[:, :, middle], weights[0][:, :, middle]
    windows = _windows(right.gray)
    reaches = np.clip(ranges, LEAST_RANGE, REACH)
    scores = _scores(kernel, weight, windows, right.free)
    scores[np.abs(PLACES) > reaches[:, None]] = -1.0
    best = scores.argmax(axis=1)
    every = np.arange(len(best))
    shifts, stds = _refine(kernel, weight, windows, best, _peaks(scores, best), row_stds, config.correlated)
    back = _back(left, windows, weights[1], best)
    apart = np.abs(PLACES - PLACES[best][:, None]) > 3
    apart[:, 1:-1] &= (scores[:, 1:-1] >= scores[:, :-2]) & (scores[:, 1:-1] >= scores[:, 2:])
    apart[:, [0, -1]] = False
    rivals = np.where(apart, scores, -1.0).max(axis=1)
    told = (
        scores[every, best],
        weight.sum(axis=(1, 2)),
        reaches - np.abs(PLACES[best]),
        rivals,
        back,
        PLACES[best] + shifts,
        stds,
    )
    return np.stack(told, axis=1)


def _windows(strips: FloatArray) -> FloatArray:
    """(n, places + 2, SIDE * SIDE): every window of `SIDE` columns, one more on either side of those searched."""
    strips = np.ascontiguousarray(strips)
    count, rows, columns = strips.shape
    part, row, column = strips.strides
    places = columns - SIDE + 1
    view = np.ndarray((count, places, rows, SIDE), np.float32, strips, strides=(part, column, row, column))
    return view.reshape(count, places, rows * SIDE)


def _scores(kernel: FloatArray, weight: FloatArray, windows: FloatArray, free: FloatArray) -> DoubleArray:
    """Weighted ZNCC, (n, places), of kernels (n, SIDE, SIDE) with windows; -1 where a tenth of the weight is not seen.

    `free` are the samples that windows are cut from: 0 where the other eye does not see the instrument's surroundings.
    """
    count = len(kernel)
    w = weight.reshape(count, -1)
    total = np.maximum(w.sum(axis=1), 1e-6)
    template = kernel.reshape(count, -1) - (w * kernel.reshape(count, -1)).sum(axis=1, keepdims=True) / total[:, None]
    weighted = w * template
    inner = windows[:, 1:-1]
    sums = inner @ np.stack([weighted, w], axis=2)  # (n, places, 2)
    squares = ((inner * inner) @ w[..., None])[..., 0]
    variance = squares - sums[..., 1] ** 2 / total[:, None]
    own = (weighted * template).sum(axis=1, keepdims=True)
    scores = np.asarray(sums[..., 0] / np.sqrt(np.maximum(own * variance, 1e-3)), np.float64)
    for index in np.flatnonzero(~free.all(axis=(1, 2))):
        seen = _windows(free[index : index + 1])[0, 1:-1] @ w[index]
        scores[index, seen < 0.9 * total[index]] = -1.0
    return scores


def _peaks(scores: DoubleArray, best: npt.NDArray[np.intp]) -> DoubleArray:
    """How far beyond the best whole step the parabola through its neighbours has its top, (n,); 0 at the ends."""
    every, middle = np.arange(len(best)), np.clip(best, 1, scores.shape[1] - 2)
    below, top, above = (scores[every, middle + offset] for offset in (-1, 0, 1))
    bend = below - 2 * top + above
    inside = (middle == best) & (bend < -1e-9) & (np.minimum(below, above) > -1)
    return np.where(inside, np.clip((below - above) / np.where(inside, 2 * bend, 1.0), -0.5, 0.5), 0.0)


def _refine(
    kernel: FloatArray,
    weight: FloatArray,
    windows: FloatArray,
    best: npt.NDArray[np.intp],
    begun: DoubleArray,
    row_stds: DoubleArray,
    correlated: float,
) -> tuple[DoubleArray, DoubleArray]:
    """Part of a step beyond the best whole one, and its standard deviation, samples.

    ``left(p) = gain right(p + shift + tilt p) + offset`` with p from the middle, linear in gain, gain shift, gain tilt
    (of columns and rows) and offset; the slope is the mean of both eyes', which makes the step exact to second order.
    What is seen around an instrument's end lies on one side of it and, slanted, nearer or farther: tilt tells so, known
    beforehand as `TILT` says. Pixels between those of the right eye lie on parabolas; `begun`, (n,), is about the part
    of a step.
    """
    count, every = len(best), np.arange(len(best))
    before, there, after = (windows[every, best + offset] for offset in (0, 1, 2))
    first, second = (after - before) / 2, after - 2 * there + before
    along, steep = np.zeros_like(kernel), np.zeros_like(kernel)
    along[:, :, 1:-1] = (kernel[:, :, 2:] - kernel[:, :, :-2]) / 2
    steep[:, 1:-1] = (kernel[:, 2:] - kernel[:, :-2]) / 2
    ours, rows, here = (part.reshape(count, -1) for part in (along, steep, kernel - 128))
    ones, weights = np.ones_like(there), weight.reshape(count, 1, -1)
    moved = begun
    for _ in range(2):  # the second time from where the first one led
        at = np.clip(moved, -1.0, 1.0).astype(np.float32)[:, None]
        theirs = first + at * second
        tilted = [slope * place for place in (ACROSS, DOWN) for slope in (theirs, ours)]
        seen = there - 128 + at * first + at * at / 2 * second
        basis = np.stack([seen, theirs, ours, rows, ones, here, *tilted], axis=1).astype(np.float64)
        step, std = _solve((basis * weights) @ basis.transpose(0, 2, 1), row_stds, correlated)
        moved = at[:, 0] + step
    std = np.where(np.abs(moved) <= 1.5, np.hypot(std, BETWEEN), np.inf)
    return np.asarray(np.clip(moved, -1.5, 1.5), np.float64), np.asarray(std, np.float64)


def _solve(sums: DoubleArray, row_stds: DoubleArray, correlated: float) -> tuple[DoubleArray, DoubleArray]:
    """Shifts and their standard deviations of the sums (n, 10, 10) of products that `_refine` makes."""
    count = len(sums)
    total = np.maximum(sums[:, 4, 4], 1e-6)
    design = np.zeros((count, 5, 10))  # gain, gain shift, offset, gain tilt twice
    design[:, [0, 1, 2, 3, 4], [0, 1, 4, 6, 8]] = 1.0
    known = np.full((count, 2), np.inf)
    for _ in range(3):
        normal = design @ sums @ design.transpose(0, 2, 1)
        normal += 1e-3 * np.eye(5)  # where there is nothing to see, there is still a solution
        normal[:, [3, 4], [3, 4]] += np.minimum(known, 1e9)
        aim = (design @ sums[:, :, 5:6])[..., 0]
        covariance = np.linalg.inv(normal)
        solved = (covariance @ aim[..., None])[..., 0]
        gain = np.where(np.abs(solved[:, 0]) > 1e-3, solved[:, 0], np.inf)
        for place, first in ((1, 1), (3, 6), (4, 8)):
            design[:, place, first], design[:, place, first + 1] = 0.5, 0.5 / gain
        fitted = 2 * (solved * aim).sum(axis=1) - (solved[:, None] @ normal @ solved[..., None])[:, 0, 0]
        variance = np.maximum(sums[:, 5, 5] - fitted, 0.0) / np.maximum(total - 5, 1.0)
        known = np.repeat((correlated * variance / (TILT * gain) ** 2)[:, None], 2, axis=1)
    by_row = (covariance[:, 1] * (design @ sums[:, :, 3:4])[..., 0]).sum(axis=1) / gain
    std = np.sqrt(correlated * variance * covariance[:, 1, 1] / gain**2 + (by_row * row_stds) ** 2)
    return np.asarray(solved[:, 1] / gain, np.float64), np.asarray(std, np.float64)


def _back(left: Patches, windows: FloatArray, weights: FloatArray, best: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """How far from its beginning the way back ends, samples, (n,); `windows` and `weights` are the right eye's."""
    count = len(best)
    kernel = windows[np.arange(count), best + 1].reshape(count, SIDE, SIDE)
    weight = np.stack([part[:, at : at + SIDE] for part, at in zip(weights, (best + 1).tolist(), strict=True)])
    middle = slice(REACH + 1, REACH + 1 + SIDE)
    weight = weight * left.free[:, :, middle]
    near = slice(REACH - BACK, REACH + BACK + SIDE + 2)
    scores = _scores(kernel, weight, _windows(left.gray[:, :, near]), left.free[:, :, near])
    return np.asarray(scores.argmax(axis=1) - BACK, np.intp)
