"""Random fields: fractal noise from image pyramids, ridges, cells, fibres."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import FloatArray

from clip_rl_training.synthetic.drawing.rendered_frame import as_floats


def normalized(field: FloatArray) -> FloatArray:
    """The field with mean 0 and standard deviation 1, float32 of the same shape."""
    return as_floats((field - field.mean()) / (field.std() + 1e-6))


def fractal(
    rng: np.random.Generator, size: int, first: int = 2, octaves: int = 7, persistence: float = 0.5
) -> FloatArray:
    """Fractal noise (size, size), mean 0, deviation 1, seamless when tiled: octaves of cubic-interpolated white noise.

    Args:
        rng: Source of randomness.
        size: Side in pixels.
        first: Grid cells across in the coarsest octave; each further octave has twice as many.
        octaves: Number of octaves; those finer than a pixel are left out.
        persistence: Amplitude ratio from one octave to the next finer one.
    """
    total = np.zeros((size, size), np.float32)
    amplitude, cells = 1.0, first
    for _ in range(octaves):
        if cells > size:
            break
        total += amplitude * _lattice(rng, size, cells, cells)
        amplitude *= persistence
        cells *= 2
    return normalized(total)


def _lattice(rng: np.random.Generator, size: int, rows: int, columns: int) -> FloatArray:
    """White noise on a grid, interpolated to (size, size), seamless when tiled."""
    grid = np.pad(rng.standard_normal((rows, columns), dtype=np.float32), 2, mode="wrap")
    full = cv2.resize(grid, None, fx=size / columns, fy=size / rows, interpolation=cv2.INTER_CUBIC)
    top, left = round(2 * size / rows), round(2 * size / columns)
    return as_floats(full[top : top + size, left : left + size])


def grain(rng: np.random.Generator, size: int, wavelength: float, stretch: float) -> FloatArray:
    """Fine seamless noise without a lattice's direction: blurred white noise of three octaves.

    Args:
        rng: Source of randomness.
        size: Side, px.
        wavelength: Of the coarsest octave, px.
        stretch: How much longer the grains are along x.
    """
    total = np.zeros((size, size), np.float32)
    for octave in range(3):
        sigma = wavelength / 2**octave / 4
        pad = int(4 * sigma * stretch) + 2
        white = np.pad(rng.standard_normal((size, size), dtype=np.float32), pad, mode="wrap")
        blurred = cv2.GaussianBlur(white, (0, 0), sigmaX=sigma * stretch, sigmaY=sigma)[pad:-pad, pad:-pad]
        total += normalized(as_floats(blurred)) * np.float32(0.6**octave)
    return normalized(total)


def ridged(rng: np.random.Generator, size: int, first: int = 3, octaves: int = 5) -> FloatArray:
    """Rounded bulges parted by sharp creases, as bowel and folds show: absolute value of noise, normalised."""
    base = fractal(rng, size, first, octaves, 0.35)
    return normalized(np.sqrt(np.abs(base) + 0.08).astype(np.float32))


def cells(rng: np.random.Generator, size: int, count: int) -> FloatArray:
    """Rounded lobules (fat, glands), seamless: smoothed distance to the borders of warped random cells, normalised."""
    points = rng.integers(0, size, (count, 2))
    seeds = np.full((size, size), 255, np.uint8)
    seeds[points[:, 1], points[:, 0]] = 0
    pad = size // 4
    seeds = np.pad(seeds, pad, mode="wrap")
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    kernel = np.ones((3, 3), np.uint8)
    index = labels.astype(np.float32)
    border = (cv2.dilate(index, kernel) != cv2.erode(index, kernel)).astype(np.uint8)
    inside = cv2.distanceTransform(1 - border, cv2.DIST_L2, 5)
    height = cv2.GaussianBlur(np.sqrt(inside), (0, 0), 0.07 * size / np.sqrt(count))
    reach = np.float32(0.25 * size / np.sqrt(count))
    grid_x, grid_y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    map_x, map_y = grid_x + pad + fractal(rng, size, 4, 4) * reach, grid_y + pad + fractal(rng, size, 4, 4) * reach
    warped = cv2.remap(height, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return normalized(as_floats(warped))


def fibres(rng: np.random.Generator, size: int, stretch: int = 24) -> FloatArray:
    """Seamless noise stretched along x: muscle strands, brushed metal, wood-like wear of shafts."""
    field = np.zeros((size, size), np.float32)
    for divide, weight in ((1, 0.6), (3, 1.0), (9, 1.3)):
        rows, columns = max(4, size // divide), max(4, size // (stretch * divide))
        field += np.float32(weight) * _lattice(rng, size, rows, columns)
    return normalized(field)


def vessel_tree(rng: np.random.Generator, size: int, trunks: int) -> FloatArray:
    """Branching vessels, seamless: wandering strokes that thin out; float32 (size, size), 0 none to 1 centre."""
    canvas = np.zeros((size, size), np.uint8)
    for _ in range(trunks):
        start = rng.uniform(0, size, 2)
        queue = [(start, rng.uniform(0, 2 * np.pi), rng.uniform(0.004, 0.011) * size, rng.uniform(0.3, 0.9) * size)]
        budget = 60
        while queue and budget > 0:
            point, angle, thickness, length = queue.pop()
            budget -= 1
            steps = max(4, int(length / (0.012 * size)))
            turns = np.cumsum(rng.normal(0, 0.16, steps)) + angle
            turns += 0.5 * np.sin(np.linspace(0, rng.uniform(3, 18), steps))
            track = point + np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0) * (length / steps)
            strength = int(np.clip(90 + 35 * thickness, 90, 255))
            copies = [track + size * np.array([i, j]) for i in (-1, 0, 1) for j in (-1, 0, 1)]
            reach = [c for c in copies if (c.max(axis=0) > 0).all() and (c.min(axis=0) < size).all()]
            strokes = [np.round(c * 16).astype(np.int32) for c in reach]
            cv2.polylines(canvas, strokes, False, strength, max(1, round(thickness)), cv2.LINE_AA, 4)
            if thickness < 0.9:
                continue
            for _ in range(int(rng.integers(2, 5))):
                where = int(rng.integers(0, steps))
                side = rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.1)
                child = (thickness * rng.uniform(0.4, 0.75), length * rng.uniform(0.3, 0.7))
                queue.insert(0, (track[where], turns[where] + side, *child))
    return as_floats(cv2.GaussianBlur(canvas, (0, 0), 0.8) * np.float32(1.0 / 255.0))
