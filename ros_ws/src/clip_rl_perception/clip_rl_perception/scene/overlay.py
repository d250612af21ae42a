"""Class colours, boxes, tips, axes, identities and validity drawn over a frame, for people to look at."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.scene.types import Box, Instrument, Scene, Validity

_WHITE = (255, 255, 255)
_DARK = (16, 16, 16)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BANNER_COLORS = {
    Validity.DEGRADED: (150, 100, 0),
    Validity.STALE: (150, 100, 0),
    Validity.OUT_OF_BODY: (160, 20, 20),
    Validity.OUT_OF_DISTRIBUTION: (160, 20, 20),
    Validity.INVALID_INPUT: (160, 20, 20),
}


def draw_overlay(
    rgb: ByteArray,
    result: Scene | ByteArray,
    space: LabelSpace,
    tags: Sequence[Instrument] = (),
    *,
    opacity: float = 0.45,
) -> ByteArray:
    """Picture of what was seen in a frame.

    The background class and unlabelled pixels keep their look; other classes are tinted and outlined.

    Args:
        rgb: uint8 (height, width, 3); not changed.
        result: a scene, which brings its own tags and validity; or a label map, uint8 (height, width).
        space: names and colours of the classes.
        tags: instruments to draw over a label map.
        opacity: of the class colours, 0 to 1.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        ValueError: frame and label map differ in size.
    """
    labels = result.label_map if isinstance(result, Scene) else result
    if isinstance(result, Scene):
        tags = result.instruments
    if labels.shape != rgb.shape[:2]:
        raise ValueError(f"label map is {labels.shape}, the frame {rgb.shape[:2]}; sizes must agree")
    picture = _tint(rgb, labels, space, opacity)
    unit = max(0.35, min(rgb.shape[0] / 1024, rgb.shape[1] / 1000))
    taken: list[Box] = []
    for tag in tags:
        _draw_geometry(picture, tag, _color(space, tag.class_id), unit)
    if isinstance(result, Scene) and result.validity != Validity.OK:
        taken.append(Box(0, 0, picture.shape[1], draw_banner(picture, result.validity, result.reason)))
    for tag in tags:
        _draw_name(picture, tag, space, unit, taken)
    return picture


def spoken(tag: Instrument, class_name: str, percent: str = "%") -> str:
    """An instrument in a few words: identity, type where it is known, else class, and how sure that is."""
    name, share = class_name, tag.confidence
    if tag.type_name:
        name, share = tag.type_name, tag.type_probability
    return f"{f'#{tag.track_id} ' if tag.track_id else ''}{name} {100 * share:.0f}{percent}"


def draw_caption(picture: ByteArray, text: str) -> None:
    """Write one line of `text` into the lower left corner, in place."""
    scale = max(0.4, picture.shape[0] / 1400)
    (width, height), below = cv2.getTextSize(text, _FONT, scale, 1)
    margin = round(10 * scale)
    left, base = margin * 2, picture.shape[0] - margin * 2 - below
    corner = picture[base - height - margin : base + below + margin, left - margin : left + width + margin]
    corner[:] = corner // 4
    cv2.putText(picture, text, (left, base), _FONT, scale, (240, 240, 240), 1, cv2.LINE_AA)


def draw_banner(picture: ByteArray, validity: Validity, reason: str) -> int:
    """Write validity and reason across the top of a picture, in place; returns the banner's height, px.

    Too long a reason ends in dots.
    """
    height, width = picture.shape[:2]
    unit = max(0.35, min(height / 1024, width / 1000))
    text = _ascii(f"{validity.name.replace('_', ' ')}: {reason}" if reason else validity.name.replace("_", " "))
    margin: int = max(2, round(10 * unit))
    while len(text) > 4 and _text_size(text, unit)[0] > width - 2 * margin:
        text = text[:-4].rstrip(" .") + "..."
    _, text_height, below = _text_size(text, unit)
    banner = text_height + below + 2 * margin
    picture[:banner] = _BANNER_COLORS.get(validity, _DARK)
    _write(picture, text, (margin, text_height + margin), unit, _WHITE)
    return banner


def _tint(rgb: ByteArray, labels: ByteArray, space: LabelSpace, opacity: float) -> ByteArray:
    """Blend class colours over the frame, and outline classes."""
    picture = rgb.copy()
    drawn = cv2.LUT(labels, _drawn_table(len(space)))
    left, top, width, height = cv2.boundingRect(drawn)
    if width == 0 or height == 0:
        return picture
    # One pixel around, so that outlines see both sides of every border.
    part = np.s_[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1]
    colors = cv2.LUT(cv2.cvtColor(labels[part], cv2.COLOR_GRAY2RGB), _color_table(space))
    mask = drawn[part]
    blended = cv2.addWeighted(picture[part], 1 - opacity, colors, opacity, 0)
    picture[part] = cv2.copyTo(blended, mask, np.ascontiguousarray(picture[part]))
    size = 3 if rgb.shape[0] > 600 else 2
    edge = cv2.morphologyEx(labels[part], cv2.MORPH_GRADIENT, np.ones((size, size), np.uint8))
    edge = cv2.min(cv2.threshold(edge, 0, 255, cv2.THRESH_BINARY)[1], mask)
    picture[part] = cv2.copyTo(colors, edge, np.ascontiguousarray(picture[part]))
    return picture


def _draw_geometry(picture: ByteArray, tag: Instrument, color: tuple[int, int, int], unit: float) -> None:
    thin, thick = max(1, round(1.5 * unit)), max(1, round(3 * unit))
    box = tag.box
    cv2.rectangle(picture, (box.x, box.y), (box.x + box.width - 1, box.y + box.height - 1), color, thin)
    tip = (round(tag.tip[0]), round(tag.tip[1]))
    length = 0.35 * max(box.width, box.height)
    start = (round(tag.tip[0] - tag.axis[0] * length), round(tag.tip[1] - tag.axis[1] * length))
    bright = _WHITE if tag.confirmed else color
    for shade, width in ((_DARK, thick + 2 * thin), (bright, thick)):
        cv2.line(picture, start, tip, shade, width, cv2.LINE_AA)
    radius = max(2, round(9 * unit))
    cv2.circle(picture, tip, radius, _DARK, thick + 2 * thin, cv2.LINE_AA)
    cv2.circle(picture, tip, radius, bright, thick, cv2.LINE_AA)
    cv2.circle(picture, tip, max(1, radius // 3), color, -1, cv2.LINE_AA)
    for point in tag.keypoints:
        if point.visible:
            place = (round(point.x), round(point.y))
            cv2.circle(picture, place, max(2, radius // 2), _DARK, -1, cv2.LINE_AA)
            cv2.circle(picture, place, max(1, radius // 3), color, -1, cv2.LINE_AA)


def _draw_name(picture: ByteArray, tag: Instrument, space: LabelSpace, unit: float, taken: list[Box]) -> None:
    """Write identity, class and confidence at the box, below other names where they would overlap."""
    name = space.names[tag.class_id] if tag.class_id < len(space) else f"class {tag.class_id}"
    text = _ascii(spoken(tag, name))
    size = 0.8 * unit
    width, height, below = _text_size(text, size)
    margin = max(1, round(5 * unit))
    plate_width, plate_height = width + 2 * margin, height + below + 2 * margin
    x = max(0, min(tag.box.x, picture.shape[1] - plate_width))
    y = tag.box.y - plate_height if tag.box.y >= plate_height else tag.box.y
    for _ in range(len(taken) + 1):
        hit = [
            other
            for other in taken
            if x < other.x + other.width
            and other.x < x + plate_width
            and y < other.y + other.height
            and other.y < y + plate_height
        ]
        if not hit:
            break
        y = max(other.y + other.height for other in hit)
    y = max(0, min(y, picture.shape[0] - plate_height))
    taken.append(Box(x, y, plate_width, plate_height))
    picture[y : y + plate_height, x : x + plate_width] = _DARK
    picture[y : y + plate_height, x : x + margin] = _color(space, tag.class_id)
    _write(picture, text, (x + margin + max(1, margin // 2), y + margin + height), size, _WHITE)


def _color(space: LabelSpace, class_id: int) -> tuple[int, int, int]:
    return space.classes[class_id].color if class_id < len(space) else _WHITE


@functools.lru_cache(maxsize=8)
def _color_table(space: LabelSpace) -> ByteArray:
    """Colours by label, uint8 (1, 256, 3)."""
    return np.ascontiguousarray(space.palette[None])


@functools.lru_cache(maxsize=8)
def _drawn_table(classes: int) -> ByteArray:
    """255 for labels that are drawn: all classes but the background."""
    table = np.zeros(256, np.uint8)
    table[1:classes] = 255
    table[UNLABELLED] = 0
    return table


def _ascii(text: str) -> str:
    """OpenCV's font has no other letters."""
    return text.encode("ascii", "replace").decode("ascii")


def _thickness(size: float) -> int:
    return max(1, round(1.7 * size))


def _text_size(text: str, size: float) -> tuple[int, int, int]:
    """(width, height above the base line, height below it), px."""
    (width, height), below = cv2.getTextSize(text, _FONT, size, _thickness(size))
    return int(width), int(height), int(below)


def _write(picture: ByteArray, text: str, origin: tuple[int, int], size: float, color: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, origin, _FONT, size, color, _thickness(size), cv2.LINE_AA)
