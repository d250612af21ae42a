"""Drawn pictures of what an endoscope sees outside the body: room, desk, drape, hands, card, trocar.

Each: (random, (H, W)) -> uint8 RGB. They are as rough as the small network's eye: large shapes in the right colours
under the light of a room or of the endoscope itself; `as_camera` gives all of them what a camera adds.
"""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray

from clip_rl_training.corruptions.random_fields import blurred, clouds, smooth_field, to_bytes
from clip_rl_training.validity.drawn_graphics import Color, Size, any_color, plain, write

_DRAPES: tuple[Color, ...] = (
    (40, 90, 150),
    (30, 110, 120),
    (40, 120, 90),
    (70, 130, 180),
    (150, 180, 200),
    (90, 150, 140),
)
_SKIN: tuple[Color, ...] = ((225, 180, 150), (200, 150, 120), (160, 110, 80), (110, 75, 55), (240, 205, 180))
_GLOVES: tuple[Color, ...] = ((225, 220, 205), (150, 190, 225), (120, 110, 190), (235, 225, 170), (60, 140, 130))


def _fabric(random: np.random.Generator, size: Size, color: Color, folds: float = 0.35) -> FloatArray:
    """Woven cloth in folds, float (H, W, 3)."""
    angle = float(random.uniform(0, np.pi))
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    warp = clouds(random, size, float(random.uniform(1, 4)), 3)
    fold = np.sin(2 * np.pi * (random.uniform(1, 6) * (np.cos(angle) * x + np.sin(angle) * y) + 1.2 * warp))
    weave = random.normal(0, random.uniform(0.01, 0.06), size)
    light = 1 + folds * (0.6 * fold + 0.8 * (warp - 0.5)) + weave
    return np.asarray(light[..., None] * np.array(color), np.float32)


def _lit(random: np.random.Generator, image: FloatArray | ByteArray) -> FloatArray:
    """Under uneven light of a room: a slope and soft shadows."""
    size = (image.shape[0], image.shape[1])
    light = random.uniform(0.5, 1.1) + random.uniform(0.1, 0.6) * (smooth_field(random, size, 1.5) - 0.5)
    return np.asarray(image * light[..., None], np.float32)


def drape(random: np.random.Generator, size: Size) -> ByteArray:
    """Sterile drapes: one cloth or two that meet in a seam, perhaps with a hole or a clamp."""
    image = _fabric(random, size, _DRAPES[int(random.integers(0, len(_DRAPES)))], float(random.uniform(0.1, 0.6)))
    if random.random() < 0.4:
        other = _fabric(random, size, _DRAPES[int(random.integers(0, len(_DRAPES)))])
        seam = size[1] * random.uniform(0.3, 0.7) + np.linspace(-1, 1, size[0]) * size[1] * random.uniform(-0.3, 0.3)
        image = np.where((np.arange(size[1])[None] > seam[:, None])[..., None], other, image)
    made = to_bytes(_lit(random, np.asarray(image, np.float32)))
    if random.random() < 0.3:
        x, y = int(random.integers(0, size[1])), int(random.integers(0, size[0]))
        end = (x + size[1] // 3, y + size[0] // 6)
        cv2.line(made, (x, y), end, (170, 170, 175), max(3, size[0] // 40), cv2.LINE_AA)
    return made


def desk(random: np.random.Generator, size: Size) -> ByteArray:
    """A table from above or aslant: wood, laminate or steel, with papers, cups, cables, boxes on it."""
    colors = ((170, 125, 80), (120, 80, 50), (205, 190, 165), (220, 220, 218), (120, 124, 128), (60, 60, 64))
    color = colors[int(random.integers(0, len(colors)))]
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    grain = np.sin(2 * np.pi * (random.uniform(5, 40) * (y + 0.15 * smooth_field(random, size, 2)) + 0.3 * x))
    image = to_bytes(_lit(random, np.array(color) * (1 + random.uniform(0, 0.12) * grain)[..., None]))
    unit = size[0]
    for _ in range(int(random.integers(2, 9))):
        center = (float(random.uniform(0, size[1])), float(random.uniform(0, size[0])))
        extent = (float(random.uniform(0.08, 0.5) * unit), float(random.uniform(0.05, 0.35) * unit))
        kind = int(random.integers(0, 4))
        if kind == 0:  # a paper, a book, a box
            corners = cv2.boxPoints((center, extent, float(random.uniform(0, 180)))).astype(np.int32)
            cv2.fillPoly(image, [corners + unit // 60], (30, 28, 26), cv2.LINE_AA)
            paper = any_color(random, 200, 256) if random.random() < 0.5 else any_color(random)
            cv2.fillPoly(image, [corners], paper, cv2.LINE_AA)
            if random.random() < 0.4:
                write(image, "report 12", (int(center[0]), int(center[1])), unit * 0.03, (30, 30, 30))
        elif kind == 1:  # a cup, a reel
            middle, radius = (int(center[0]), int(center[1])), int(0.3 * extent[0]) + 4
            cv2.circle(image, middle, radius, any_color(random), -1, cv2.LINE_AA)
            cv2.circle(image, middle, max(1, int(radius * 0.8)), any_color(random, 0, 120), -1, cv2.LINE_AA)
        elif kind == 2:  # a cable
            bend = np.cumsum(random.normal(0, 1, (60, 2)), axis=0)
            line = (np.array(center) + unit * 0.03 * blurred(bend.astype(np.float32), 2)).astype(np.int32)
            cv2.polylines(image, [line], False, any_color(random, 0, 90), max(2, unit // 70), cv2.LINE_AA)
        else:  # a keyboard
            left, top, key = int(center[0]), int(center[1]), max(6, unit // 28)
            for row in range(4):
                for column in range(10):
                    corner = (left + column * key, top + row * key)
                    cv2.rectangle(image, corner, (corner[0] + key - 2, corner[1] + key - 2), (45, 45, 48), -1)
    return image


def room(random: np.random.Generator, size: Size) -> ByteArray:
    """A room in perspective: walls, floor, ceiling with lamps, a door or window, cabinets, a screen."""
    height, width = size
    image = np.zeros((height, width, 3), np.uint8)
    x0, x1 = sorted((width * random.uniform(0.05, 0.95, 2)).astype(int).tolist())
    x1 = max(x1, x0 + width // 5)
    y0, y1 = round(height * random.uniform(0.05, 0.35)), round(height * random.uniform(0.6, 0.95))
    wall = np.array(any_color(random, 130, 245)) * 0.4 + 0.6 * random.uniform(120, 235)
    far = ((0, 0), (width, 0), (width, height), (0, height))
    near = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    floor = np.array(any_color(random, 60, 200))
    tones = (wall * 1.1, wall * 0.85, floor, wall * 0.75)
    for side, tone in enumerate(tones):
        corners = np.array([far[side], far[(side + 1) % 4], near[(side + 1) % 4], near[side]], np.int32)
        cv2.fillPoly(image, [corners], tuple(float(part) for part in np.clip(tone, 0, 255)))
    cv2.rectangle(image, near[0], near[2], tuple(float(part) for part in np.clip(wall, 0, 255)), -1)
    for _ in range(int(random.integers(2, 9))):  # window, door, cabinet, screen, picture
        left, top = int(random.integers(0, width)), int(random.integers(0, height))
        right, low = left + round(width * random.uniform(0.05, 0.3)), top + round(height * random.uniform(0.08, 0.45))
        face = (245, 248, 255) if random.random() < 0.25 else any_color(random)
        cv2.rectangle(image, (left, top), (right, low), face, -1)
        cv2.rectangle(image, (left, top), (right, low), any_color(random, 0, 110), max(1, height // 120))
    for _ in range(int(random.integers(0, 4))):  # lamps
        at = (int(random.integers(0, width)), int(random.integers(0, height // 3)))
        cv2.ellipse(image, at, (width // 14, height // 30), 0, 0, 360, (255, 255, 250), -1, cv2.LINE_AA)
    return to_bytes(_lit(random, image))


def hands(random: np.random.Generator, size: Size) -> ByteArray:
    """Fingers, bare or in gloves, from one side over a drape, a table or the dark."""
    behind = int(random.integers(0, 3))
    if behind == 0:
        image = drape(random, size)
    elif behind == 1:
        image = desk(random, size)
    else:
        image = plain(size, any_color(random, 0, 60))
    colors = _GLOVES if random.random() < 0.6 else _SKIN
    color = np.array(colors[int(random.integers(0, len(colors)))], np.float32)
    unit = size[0]
    for _ in range(int(random.integers(1, 3))):
        side, reach = float(random.uniform(0, 2 * np.pi)), unit * float(random.uniform(0.3, 0.9))
        middle = np.array([size[1] / 2, size[0] / 2]) + random.normal(0, 0.15 * unit, 2)
        palm = middle + 0.6 * unit * np.array([np.cos(side), np.sin(side)])
        cover = np.zeros(size, np.uint8)
        thick = unit * float(random.uniform(0.07, 0.14))
        cv2.circle(cover, tuple(palm.astype(int).tolist()), int(2.2 * thick), 255, -1, cv2.LINE_AA)
        for finger in range(int(random.integers(2, 6))):
            turn = side + np.pi + (finger - 2) * float(random.uniform(0.15, 0.35))
            joint = palm + 0.6 * reach * np.array([np.cos(turn), np.sin(turn)])
            turn += float(random.uniform(-0.6, 0.6))
            tip = joint + 0.5 * reach * np.array([np.cos(turn), np.sin(turn)])
            line = np.stack([palm, joint, tip]).astype(np.int32)
            cv2.polylines(cover, [line], False, 255, int(thick), cv2.LINE_AA)
        depth = cv2.distanceTransform((cover > 127).astype(np.uint8), cv2.DIST_L2, 3) / max(1.0, thick)
        shade = 0.45 + 0.6 * np.minimum(1, 1.6 * depth) + 0.1 * (smooth_field(random, size, 8) - 0.5)
        alpha = cover[..., None] / 255.0
        image = to_bytes(image * (1 - alpha) + alpha * shade[..., None] * color)
    return image


def white_card(random: np.random.Generator, size: Size) -> ByteArray:
    """The card or swab that white balance is taken on: near white, in the endoscope's own light, little else."""
    tint = np.array(any_color(random, 215, 256), np.float32)
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    falloff = np.hypot(x - size[1] / size[0] * random.uniform(0.35, 0.65), y - random.uniform(0.35, 0.65))
    grain = random.normal(0, random.uniform(0, 0.03), size)
    grain += random.uniform(0, 0.08) * (smooth_field(random, size, 30) - 0.5)
    image = to_bytes(tint * (random.uniform(0.6, 1.15) - random.uniform(0.1, 0.8) * falloff**2 + grain)[..., None])
    if random.random() < 0.3:
        end = (size[1], int(size[0] * random.uniform(0.2, 0.8)))
        cv2.line(image, (0, size[0] // 2), end, (90, 90, 90), 2, cv2.LINE_AA)
    return image


def _tube(random: np.random.Generator, size: Size, wall: Color, ribs: float) -> ByteArray:
    """Inside a tube: a dark wall with glints, ring after ring, and the opening at its far end."""
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    aspect = size[1] / size[0]
    radius = np.hypot(x - aspect * random.uniform(0.35, 0.65), y - random.uniform(0.35, 0.65))
    angle = np.arctan2(y - 0.5, x - aspect / 2)
    opening = float(random.uniform(0.1, 0.38))
    near = np.clip((radius - opening) / 0.8, 0, 1)
    rings = 1 + ribs * np.sin(2 * np.pi * random.uniform(3, 9) * np.log(radius + 0.05))
    glint = np.exp(-np.square((angle - random.uniform(-3, 3)) / random.uniform(0.1, 0.5)))
    light = (0.25 + random.uniform(0.3, 1.0) * near**1.5) * rings + random.uniform(0, 1.2) * glint * near
    image = light[..., None] * np.array(wall) * random.uniform(0.5, 1.2)
    if random.random() < 0.55:  # light of what lies beyond
        inside = np.array(any_color(random, 150, 256)) * (0.7 + 0.5 * smooth_field(random, size, 3)[..., None])
    elif random.random() < 0.6:
        inside = np.array([170, 85, 75]) * (0.4 + 0.9 * clouds(random, size, 3)[..., None])
    else:
        inside = np.full((*size, 3), 6.0)
    edge = np.clip((opening - radius) * random.uniform(15, 80) + 0.5, 0, 1)[..., None]
    return to_bytes(image * (1 - edge) + inside * edge)


def trocar(random: np.random.Generator, size: Size) -> ByteArray:
    """Inside a plastic trocar: smooth grey, white or tinted wall around the opening."""
    walls: tuple[Color, ...] = ((60, 60, 62), (110, 110, 110), (35, 35, 38), (190, 190, 188), (90, 110, 130))
    return _tube(random, size, walls[int(random.integers(0, len(walls)))], float(random.uniform(0, 0.12)))


def steel_trocar(random: np.random.Generator, size: Size) -> ByteArray:
    """Inside a metal trocar: ribbed, glinting wall."""
    return _tube(random, size, (150, 150, 155), float(random.uniform(0.15, 0.45)))


def lamp(random: np.random.Generator, size: Size) -> ByteArray:
    """The lamp over the table: bright lenses in a ring, before a dark or light ceiling."""
    image = plain(size, any_color(random, 20, 80) if random.random() < 0.6 else any_color(random, 130, 200))
    center = (size[1] * random.uniform(0.3, 0.7), size[0] * random.uniform(0.3, 0.7))
    unit = size[0] * random.uniform(0.2, 0.45)
    cv2.circle(image, (int(center[0]), int(center[1])), int(1.25 * unit), any_color(random, 150, 230), -1, cv2.LINE_AA)
    count = int(random.integers(4, 10))
    glow = np.zeros((*size, 3), np.float32)
    for index in range(count + 1):
        turn, far = 2 * np.pi * index / count, 0.8 * unit * (index < count)
        at = (int(center[0] + far * np.cos(turn)), int(center[1] + far * np.sin(turn)))
        cv2.circle(glow, at, int(unit * 0.24), (255.0, 250.0, 235.0), -1, cv2.LINE_AA)
    return to_bytes(np.maximum(image, glow) + 0.6 * blurred(glow, 0.06 * size[0]))


def tiles(random: np.random.Generator, size: Size) -> ByteArray:
    """A tiled or speckled floor or wall in perspective, perhaps with a foot switch and cables."""
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    depth = 1 + random.uniform(0, 2.5) * (1 - y)
    u, v = (x - 0.5) * depth * random.uniform(3, 9), depth * random.uniform(3, 9)
    joint = np.maximum(np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5)) > 0.47
    tone = np.array(any_color(random, 90, 230)) * (1 + 0.08 * random.normal(0, 1, size))[..., None]
    image = to_bytes(_lit(random, np.where(joint[..., None], 70.0, tone).astype(np.float32)))
    if random.random() < 0.5:
        at = (size[1] * random.uniform(0.2, 0.8), size[0] * random.uniform(0.3, 0.8))
        corners = cv2.boxPoints((at, (size[0] * 0.3, size[0] * 0.2), 20.0)).astype(np.int32)
        cv2.fillPoly(image, [corners], any_color(random), cv2.LINE_AA)
    return image


def tray(random: np.random.Generator, size: Size) -> ByteArray:
    """Instruments side by side on a cloth or in a steel tray: outside the body, however like instruments they look."""
    cloth = _DRAPES[int(random.integers(0, len(_DRAPES)))] if random.random() < 0.6 else (165, 168, 172)
    image = to_bytes(_lit(random, _fabric(random, size, cloth, 0.12)))
    angle = float(random.uniform(-0.4, 0.4))
    for part in np.linspace(0.1, 0.9, int(random.integers(3, 9))):
        start = np.array([part * size[1], size[0] * random.uniform(0.05, 0.3)])
        end = start + size[0] * random.uniform(0.4, 0.7) * np.array([np.sin(angle), np.cos(angle)])
        wide = max(3, int(size[0] * random.uniform(0.015, 0.04)))
        first, last = start.astype(int).tolist(), end.astype(int).tolist()
        cv2.line(image, (first[0] + 4, first[1] + 4), (last[0] + 4, last[1] + 4), (25, 30, 35), wide, cv2.LINE_AA)
        cv2.line(image, tuple(first), tuple(last), (185, 187, 190), wide, cv2.LINE_AA)
        cv2.circle(image, tuple(first), 2 * wide, (150, 152, 156), max(2, wide // 2), cv2.LINE_AA)
    return image


def towel(random: np.random.Generator, size: Size) -> ByteArray:
    """Gauze or a towel right before the lens: a light weave of threads and gaps."""
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    bend = 0.06 * (clouds(random, size, 3) - 0.5)
    count = float(random.uniform(25, 70))
    weave = np.maximum(np.sin(2 * np.pi * count * (x + bend)), np.sin(2 * np.pi * count * (y + bend)))
    tone = np.array([240, 240, 235]) if random.random() < 0.6 else np.array(any_color(random, 120, 240))
    light = (0.72 + 0.16 * weave + 0.35 * (clouds(random, size, 2) - 0.5))[..., None]
    return to_bytes(_lit(random, np.asarray(tone * light, np.float32)))


def as_camera(random: np.random.Generator, image: ByteArray) -> ByteArray:
    """What an endoscope's camera adds: its own light that falls off, blur, tint, noise, sometimes no colours."""
    size = (image.shape[0], image.shape[1])
    made = np.asarray(blurred(image, size[0] * float(random.choice([0.001, 0.004, 0.012]))), np.float32)
    if random.random() < 0.5:
        y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
        made = made * (1.15 - random.uniform(0.1, 0.45) * (x * x + y * y))[..., None]
    made = made * random.uniform(0.6, 1.3) * np.exp(random.normal(0, 0.06, 3))
    if random.random() < 0.25:
        made = made.mean(axis=-1, keepdims=True) * np.ones(3)
    return to_bytes(made + random.normal(0, random.uniform(0, 8), (*size, 1)))


def in_circle(random: np.random.Generator, image: ByteArray) -> ByteArray:
    """Seen through round optics: black outside a circle."""
    height, width = image.shape[:2]
    shown = np.zeros((height, width), np.uint8)
    radius = int(height * random.uniform(0.46, 0.6))
    cv2.circle(shown, (width // 2, height // 2), radius, 255, -1, cv2.LINE_AA)
    return to_bytes(image * (shown[..., None] / 255.0))
