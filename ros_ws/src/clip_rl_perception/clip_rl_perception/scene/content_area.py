"""Where a frame shows the patient: the circle, rounded rectangle or rectangle inside a black surround.

An estimate believes a border only when it is dark outside, sharp, and long enough: dark scenes fade instead of ending,
and black instruments reach over only a part of a side. Where nothing can be told, there is no estimate and the whole
frame is shown. The tracker takes the median of recent estimates, so that the network's view, and with it the memory of
the last frame, does not change because one frame looked odd.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray, DoubleArray
from clip_rl_perception.scene.circle_fit import fit_circle
from clip_rl_perception.scene.types import Box, ContentArea


@dataclasses.dataclass(frozen=True)
class ContentAreaConfig:
    """How content areas are found."""

    small_side: int = 160
    """Longer side of the small picture that circles are searched in, px."""
    smallest_frame: int = 64
    """Frames with a shorter side than this are shown whole, px."""
    brightest_black: int = 28
    """A surround is at most this bright (0 to 255): black in limited-range video is 16."""
    margin: int = 10
    """How much brighter than the surround a pixel of the content is, grey levels."""
    least_side: float = 0.35
    """Part of a side's length that must be bright just inside a straight border."""
    stray: float = 0.1
    """Part of a side's length outside a straight border that may be bright: text in the surround."""
    soft: float = 0.005
    """Widest transition at a straight border, as a part of the frame's width or height."""
    step: int = 8
    """Smallest rise in brightness across a round border, grey levels."""
    every: int = 12
    """Frames between estimates, once `settle` estimates were made."""
    settle: int = 5
    """Estimates made at once when a stream begins, one per frame."""
    memory: int = 7
    """Estimates that the median is taken over."""
    tolerance: float = 0.012
    """Changes below this part of the frame's longer side leave the content area as it is."""


def estimate_content_area(rgb: ByteArray, config: ContentAreaConfig | None = None) -> ContentArea | None:
    """Content area of one frame.

    Args:
        rgb: uint8 (height, width, 3).
        config: thresholds.

    Returns:
        The content area, the whole frame where its borders are bright; None where it cannot be told.
    """
    config = config or ContentAreaConfig()
    height, width = rgb.shape[:2]
    if min(height, width) < config.smallest_frame:
        return None
    small, scale = _small_brightness(rgb, config.small_side)
    rim = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    black = float(np.percentile(rim, 5))
    if black > config.brightest_black:
        return ContentArea(Box(0, 0, width, height))
    threshold = black + config.margin

    crop = _straight_borders(rgb, threshold, config)
    circle = fit_circle(small, scale, crop, threshold)
    if circle is not None and _is_sharp(rgb, *_circle_border(circle, crop), config):
        left, top = max(crop.x, round(circle[0] - circle[2])), max(crop.y, round(circle[1] - circle[2]))
        right = min(crop.x + crop.width, round(circle[0] + circle[2]) + 1)
        bottom = min(crop.y + crop.height, round(circle[1] + circle[2]) + 1)
        return ContentArea(Box(left, top, right - left, bottom - top), circle=circle)
    radius = _corner_radius(rgb, crop, threshold, config)
    whole = crop.width == width and crop.height == height and radius == 0
    if whole and np.mean(rim > threshold) < 0.5:
        return None
    return ContentArea(crop, corner_radius=radius)


def _small_brightness(rgb: ByteArray, side: int) -> tuple[ByteArray, float]:
    """Brightest channel of a small picture, uint8, and small pixels per frame pixel."""
    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    # OpenCV would copy a view with turned channels; their order does not matter here.
    frame = rgb[..., ::-1] if rgb.strides[2] == -1 else rgb
    # Every third pixel or so, averaged: reading all of a large frame would take longer than the rest.
    sampled = cv2.resize(frame, (min(width, 3 * size[0]), min(height, 3 * size[1])), interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(sampled, size, interpolation=cv2.INTER_AREA)
    return _brightest(np.asarray(small, np.uint8)), scale


def _straight_borders(rgb: ByteArray, threshold: float, config: ContentAreaConfig) -> Box:
    """Crop off dark bars at the four sides, to the pixel."""
    height, width = rgb.shape[:2]
    rows = np.linspace(0.03 * height, 0.97 * height - 1, 48).astype(int)
    columns = np.linspace(0.03 * width, 0.97 * width - 1, 48).astype(int)
    along_x = np.mean(_brightest(rgb[rows]) > threshold, axis=0)
    along_y = np.mean(_brightest(rgb[:, columns]) > threshold, axis=1)
    left, right = _bar(along_x, config), _bar(along_x[::-1], config)
    top, bottom = _bar(along_y, config), _bar(along_y[::-1], config)
    return Box(left, top, width - left - right, height - top - bottom)


def _bar(bright: DoubleArray, config: ContentAreaConfig) -> int:
    """Width of the dark bar at the start of a profile of bright shares; 0 where there is no sharp end of one."""
    reach = int(0.4 * len(bright))
    inside = np.flatnonzero(bright[:reach] >= config.least_side)
    if inside.size == 0 or inside[0] == 0:
        return 0
    end = int(inside[0])
    # The share may wander below `stray` anywhere outside (text), but must then jump.
    outside = np.flatnonzero(bright[:end] <= config.stray)
    if outside.size == 0 or end - outside[-1] - 1 > max(3, config.soft * len(bright)):
        return 0
    dark_share = np.mean(bright[: outside[-1] + 1] <= config.stray)
    return end if dark_share > 0.7 else 0


def _circle_border(circle: tuple[float, float, float], crop: Box) -> tuple[DoubleArray, DoubleArray]:
    """Points on the circle inside the crop, (n, 2), and unit vectors towards its centre."""
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    outward = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    points = np.array(circle[:2]) + circle[2] * outward
    room = 0.02 * max(crop.width, crop.height)
    inside = (
        (points[:, 0] > crop.x + room)
        & (points[:, 0] < crop.x + crop.width - 1 - room)
        & (points[:, 1] > crop.y + room)
        & (points[:, 1] < crop.y + crop.height - 1 - room)
    )
    return points[inside], -outward[inside]


def _is_sharp(rgb: ByteArray, points: DoubleArray, inward: DoubleArray, config: ContentAreaConfig) -> bool:
    """Whether brightness jumps at half or more of the border points, rather than fading like a vignette."""
    if len(points) < 3:
        return False
    size = max(rgb.shape[:2])
    near, far = max(3.0, 0.005 * size), max(8.0, 0.03 * size)
    outside = np.mean([_brightness_at(rgb, points - factor * near * inward) for factor in (1, 1.5, 2)], axis=0)
    inside = np.mean([_brightness_at(rgb, points + factor * near * inward) for factor in (1, 1.5, 2)], axis=0)
    deep = _brightness_at(rgb, points + far * inward)
    rise = inside - outside
    return bool(np.mean((rise >= config.step) & (rise >= 0.45 * (deep - outside))) >= 0.5)


def _brightness_at(rgb: ByteArray, points: DoubleArray) -> DoubleArray:
    x = np.clip(np.rint(points[:, 0]).astype(int), 0, rgb.shape[1] - 1)
    y = np.clip(np.rint(points[:, 1]).astype(int), 0, rgb.shape[0] - 1)
    return _brightest(rgb[y, x]).astype(np.float64)


def _brightest(rgb: ByteArray) -> ByteArray:
    """Largest channel, (..., 3) -> (...): even dark tissue has some red. Faster than a maximum over the last axis."""
    return np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])


def _corner_radius(rgb: ByteArray, crop: Box, threshold: float, config: ContentAreaConfig) -> float:
    """Radius of rounded corners, from how far each diagonal stays dark; 0 where three corners do not agree on one."""
    shorter = min(crop.width, crop.height)
    steps = np.arange(int(0.15 * shorter))
    depths, points, inward = [], [], []
    for corner_x, direction_x in ((crop.x, 1), (crop.x + crop.width - 1, -1)):
        for corner_y, direction_y in ((crop.y, 1), (crop.y + crop.height - 1, -1)):
            path = np.stack([corner_x + direction_x * steps, corner_y + direction_y * steps], axis=-1)
            bright = np.flatnonzero(_brightness_at(rgb, path.astype(np.float64)) > threshold)
            if bright.size and bright[0] >= max(3, 0.008 * shorter):
                depths.append(float(bright[0]))
                points.append(path[bright[0]] - 0.5 * np.array([direction_x, direction_y]))
                inward.append(np.array([direction_x, direction_y]) / np.sqrt(2))
    if len(depths) < 3:
        return 0.0
    middle = float(np.median(depths))
    agree = np.abs(np.array(depths) - middle) <= max(2.0, 0.25 * middle)
    if agree.sum() < 3 or not _is_sharp(rgb, np.array(points)[agree], np.array(inward)[agree], config):
        return 0.0
    # A corner of radius r takes (1 - 1/sqrt 2) r of the diagonal's extent along each axis.
    return middle / (1 - math.sqrt(0.5))


@dataclasses.dataclass(frozen=True)
class ContentAreaTracker:
    """The content area of a stream: the median of recent estimates, kept until another is certain. Immutable."""

    config: ContentAreaConfig = dataclasses.field(default_factory=ContentAreaConfig)
    frame_size: tuple[int, int] = (0, 0)
    """(height, width) of the last frame; another size begins anew."""
    frames: int = 0
    """Frames of this size so far."""
    recent: tuple[ContentArea, ...] = ()
    """Latest estimates, oldest first."""
    current: ContentArea | None = None
    """In force; None: the whole frame."""

    def update(self, rgb: ByteArray) -> tuple[ContentArea, ContentAreaTracker]:
        """Content area for a frame, uint8 (height, width, 3), and the tracker for the next one."""
        size = (rgb.shape[0], rgb.shape[1])
        state = self if size == self.frame_size else ContentAreaTracker(self.config, size)
        config = self.config
        if state.frames < config.settle or state.frames % config.every == 0:
            estimate = estimate_content_area(rgb, config)
            if estimate is not None:
                recent = (*state.recent, estimate)[-config.memory :]
                current = _consensus(recent, state.current, size, config)
                state = dataclasses.replace(state, recent=recent, current=current)
        state = dataclasses.replace(state, frames=state.frames + 1)
        return state.current or ContentArea(Box(0, 0, size[1], size[0])), state


def _kind(area: ContentArea) -> str:
    return "circle" if area.circle is not None else "rounded" if area.corner_radius > 0 else "rectangle"


def _numbers(area: ContentArea) -> list[float]:
    crop = area.crop
    extra = list(area.circle) if area.circle is not None else [area.corner_radius]
    return [crop.x, crop.y, crop.x + crop.width, crop.y + crop.height, *extra]


def _consensus(
    recent: tuple[ContentArea, ...], current: ContentArea | None, size: tuple[int, int], config: ContentAreaConfig
) -> ContentArea:
    """The median of the estimates of the most frequent kind, or `current` where that is about the same."""
    kinds = [_kind(area) for area in recent]
    # On equal counts the kind in force stays, then the latest wins.
    kind = max(kinds, key=lambda name: (kinds.count(name), current is not None and name == _kind(current)))
    values = np.median([_numbers(area) for area in recent if _kind(area) == kind], axis=0)
    if current is not None and _kind(current) == kind:
        change = np.abs(values - _numbers(current)).max()
        if change <= config.tolerance * max(size):
            return current
    left, top, right, bottom = np.rint(values[:4]).astype(int).tolist()
    box = Box(left, top, right - left, bottom - top)
    if kind == "circle":
        return ContentArea(box, circle=(float(values[4]), float(values[5]), float(values[6])))
    return ContentArea(box, corner_radius=float(values[4]))
