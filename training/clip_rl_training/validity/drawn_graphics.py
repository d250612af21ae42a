"""Drawn pictures that no camera took: test pictures, text, screens, noise. Each: (random, (H, W)) -> uint8 RGB."""

from __future__ import annotations

import string

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray

from clip_rl_training.corruptions.random_fields import smooth_field, to_bytes

Size = tuple[int, int]
Color = tuple[int, int, int]

_BARS = ((255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0))
_MESSAGES = ("NO SIGNAL", "No Signal", "NO INPUT", "Check cable", "HDMI 1", "INPUT 2: no signal", "Camera off")
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)


def any_color(random: np.random.Generator, low: int = 0, high: int = 256) -> Color:
    """A colour with channels in low..high-1."""
    red, green, blue = random.integers(low, high, 3).tolist()
    return red, green, blue


def write(image: ByteArray, text: str, at: tuple[int, int], height: float, color: Color, font: int = 0) -> None:
    """Write one line, `height` px high, with its lower left corner at (x, y), into `image`."""
    cv2.putText(image, text, at, font, height / 22, color, max(1, round(height / 14)), cv2.LINE_AA)


def words(random: np.random.Generator, length: int) -> str:
    """About `length` letters in words."""
    letters = list(string.ascii_letters + string.digits)
    made = ""
    while len(made) < length:
        made += "".join(random.choice(letters, int(random.integers(2, 10)))) + " "
    return made[:length]


def plain(size: Size, color: Color) -> ByteArray:
    """One colour."""
    return np.full((*size, 3), color, np.uint8)


def color_bars(random: np.random.Generator, size: Size) -> ByteArray:
    """Bars of television's colours at 75 or 100 %, upright or lying, whole or above a ramp and a row of patches."""
    level = float(random.choice([0.75, 1.0]))
    count = int(random.integers(6, 9))
    bars = (np.array(_BARS[:count]) * level).astype(np.uint8)
    image = cv2.resize(bars[None], size[::-1], interpolation=cv2.INTER_NEAREST)
    if random.random() < 0.5:
        top = round(size[0] * random.uniform(0.6, 0.8))
        image[top:] = cv2.resize(bars[None, ::-1], (size[1], size[0] - top), interpolation=cv2.INTER_NEAREST)
        lower = round(top + (size[0] - top) * random.uniform(0.2, 0.6))
        image[lower:] = np.linspace(0, 255, size[1])[None, :, None]
    if random.random() < 0.2:
        image = cv2.resize(np.ascontiguousarray(image.transpose(1, 0, 2)), size[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(image, np.uint8)


def no_signal(random: np.random.Generator, size: Size) -> ByteArray:
    """A plain or shaded screen with a short message, perhaps in a box, perhaps with a second line or a logo."""
    ground = plain(size, (0, 0, 0)) if random.random() < 0.35 else plain(size, any_color(random))
    if random.random() < 0.25:
        ground = to_bytes(ground * np.linspace(0.4, 1, size[0])[:, None, None])
    message = str(random.choice(_MESSAGES))
    color = (255, 255, 255) if ground.mean() < 140 else (0, 0, 0)
    if random.random() < 0.3:
        color = any_color(random)
    height = size[0] * random.uniform(0.05, 0.16)
    x = round(size[1] * random.uniform(0.05, 0.35))
    y = round(size[0] * random.uniform(0.3, 0.7))
    if random.random() < 0.4:
        box = (x - 15, round(y - 1.6 * height)), (round(x + len(message) * height), round(y + height))
        cv2.rectangle(ground, *box, any_color(random), -1 if random.random() < 0.6 else 3)
    write(ground, message, (x, y), height, color, int(random.choice(_FONTS)))
    if random.random() < 0.3:
        write(ground, words(random, 24), (x, round(y + 1.5 * height)), height * 0.4, color)
    if random.random() < 0.2:
        cv2.circle(ground, (round(0.85 * size[1]), round(0.15 * size[0])), round(0.07 * size[0]), any_color(random), -1)
    return ground


def page(random: np.random.Generator, size: Size) -> ByteArray:
    """A page of lines of text on a light or dark ground, perhaps with a heading and a figure."""
    dark = random.random() < 0.3
    image = plain(size, any_color(random, 0, 50) if dark else any_color(random, 215, 256))
    color = any_color(random, 170, 256) if dark else any_color(random, 0, 80)
    line = size[0] * random.uniform(0.02, 0.07)
    y, x, font = 1.6 * line, round(size[1] * random.uniform(0.02, 0.15)), int(random.choice(_FONTS))
    while y < size[0]:
        if random.random() < 0.9:
            length = int(random.uniform(0.5, 1.3) * size[1] / line)
            write(image, words(random, length), (x, round(y)), line, color, font)
        y += line * 1.7
    if random.random() < 0.3:
        corner = (round(size[1] * random.uniform(0.3, 0.7)), round(size[0] * random.uniform(0.2, 0.7)))
        cv2.rectangle(image, corner, (corner[0] + size[1] // 4, corner[1] + size[0] // 4), any_color(random), -1)
    return image


def windows(random: np.random.Generator, size: Size) -> ByteArray:
    """A desktop: windows with title bars, buttons, lists and text."""
    image = plain(size, any_color(random, 20, 200))
    if random.random() < 0.5:
        image = to_bytes(image * np.linspace(0.5, 1.2, size[0])[:, None, None])
    for _ in range(int(random.integers(2, 6))):
        width, height = round(size[1] * random.uniform(0.25, 0.7)), round(size[0] * random.uniform(0.25, 0.7))
        x, y = int(random.integers(0, size[1] - width)), int(random.integers(0, size[0] - height))
        face = any_color(random, 225, 256) if random.random() < 0.65 else any_color(random, 20, 70)
        ink = (20, 20, 20) if face[0] > 128 else (220, 220, 220)
        cv2.rectangle(image, (x, y), (x + width, y + height), face, -1)
        bar = max(8, round(size[0] * 0.05))
        cv2.rectangle(image, (x, y), (x + width, y + bar), any_color(random, 40, 200), -1)
        write(image, words(random, 10), (x + 4, y + bar - 3), bar * 0.5, (255, 255, 255))
        line = size[0] * random.uniform(0.02, 0.04)
        inner = image[y + bar : y + height, x : x + width]
        for row in np.arange(2 * line, height - bar, 2 * line):
            if random.random() < 0.8:
                write(inner, words(random, int(random.uniform(5, 30))), (8, int(row)), line, ink)
        if random.random() < 0.5:
            cv2.rectangle(inner, (width // 2, 10), (width - 10, 10 + round(3 * line)), any_color(random), -1)
    return image


def noise(random: np.random.Generator, size: Size) -> ByteArray:
    """Noise without a picture: normal, even, of black and white dots, grey or coloured, fine or coarse."""
    cell = int(random.choice([1, 1, 1, 2, 3, 6]))
    shape = (-(-size[0] // cell), -(-size[1] // cell), 1 if random.random() < 0.5 else 3)
    kind, field = int(random.integers(0, 3)), np.zeros(shape)
    if kind == 0:
        field = random.normal(random.uniform(70, 180), random.uniform(25, 80), shape)
    elif kind == 1:
        field = random.uniform(0, 255, shape)
    else:
        field = np.where(random.random(shape) < random.uniform(0.1, 0.9), 255.0, 0.0)
    field = field * np.ones(3)
    return np.asarray(cv2.resize(to_bytes(field), size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def checkerboard(random: np.random.Generator, size: Size) -> ByteArray:
    """A calibration board, upright or turned, whole or with a margin; or a grid of dots or lines."""
    cells, kind = float(random.uniform(4, 24)), int(random.integers(0, 3))
    angle = float(random.uniform(0, np.pi)) if random.random() < 0.5 else 0.0
    y, x = np.mgrid[: size[0], : size[1]] * (cells / size[0])
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    if kind == 0:
        ink = (np.floor(u) + np.floor(v)) % 2 > 0
    elif kind == 1:
        ink = np.hypot(u % 1 - 0.5, v % 1 - 0.5) < random.uniform(0.15, 0.35)
    else:
        ink = np.minimum(u % 1, v % 1) < random.uniform(0.05, 0.2)
    colors = ((255, 255, 255), (0, 0, 0)) if random.random() < 0.6 else (any_color(random), any_color(random))
    return np.where(ink[..., None], np.array(colors[0]), np.array(colors[1])).astype(np.uint8)


def gradient(random: np.random.Generator, size: Size) -> ByteArray:
    """A ramp between two colours along any direction, round or in steps."""
    angle = float(random.uniform(0, 2 * np.pi))
    y, x = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    ramp = np.hypot(x, y) if random.random() < 0.3 else np.cos(angle) * x + np.sin(angle) * y
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    if random.random() < 0.4:
        steps = int(random.integers(4, 20))
        ramp = np.floor(ramp * steps) / steps
    first, second = (np.array(any_color(random)) for _ in range(2))
    return to_bytes(first + (second - first) * ramp[..., None])


def chart(random: np.random.Generator, size: Size) -> ByteArray:
    """A diagram: axes, a grid, curves, columns, a legend; or the traces of a monitor of vital signs."""
    dark = random.random() < 0.4
    image = plain(size, any_color(random, 0, 40) if dark else any_color(random, 225, 256))
    ink = (200, 200, 200) if dark else (40, 40, 40)
    left, low = round(0.1 * size[1]), round(0.88 * size[0])
    cv2.line(image, (left, low), (size[1] - 10, low), ink, 2)
    cv2.line(image, (left, low), (left, 10), ink, 2)
    if random.random() < 0.5:
        for part in np.linspace(0.1, 0.8, 6):
            cv2.line(image, (left, round(part * size[0])), (size[1] - 10, round(part * size[0])), (128, 128, 128), 1)
    if random.random() < 0.3:
        for side in range(left + 10, size[1] - 30, max(12, size[1] // 14)):
            top = round(low * random.uniform(0.1, 0.95))
            cv2.rectangle(image, (side, low), (side + size[1] // 30, top), any_color(random), -1)
    x = np.linspace(left, size[1] - 10, 300)
    for _ in range(int(random.integers(1, 6))):
        height = size[0] * (random.uniform(0.2, 0.8) + 0.1 * np.cumsum(random.normal(0, 0.12, 300)))
        if random.random() < 0.5:
            height = size[0] * (random.uniform(0.2, 0.8) + 0.08 * np.sin(x / random.uniform(3, 30)))
        points = np.stack([x, height], axis=-1).round().astype(np.int32)
        cv2.polylines(image, [points], False, any_color(random, 40, 240), int(random.integers(1, 4)), cv2.LINE_AA)
        write(image, words(random, 8), (round(0.75 * size[1]), int(random.integers(20, low))), size[0] * 0.035, ink)
    return image


def one_color(random: np.random.Generator, size: Size) -> ByteArray:
    """A screen of one colour, perhaps with a little noise: a blue screen, a black level, a muted input."""
    image = plain(size, any_color(random))
    return to_bytes(image + random.normal(0, 2, (*size, 1))) if random.random() < 0.4 else image


def test_card(random: np.random.Generator, size: Size) -> ByteArray:
    """A broadcaster's card: grid, circle, bars, steps of grey, lines of rising frequency, a name."""
    image = plain(size, (110, 110, 110))
    step = max(12, size[0] // int(random.integers(9, 16)))
    image[step // 2 :: step] = image[:, step // 2 :: step] = 235
    center, radius = (size[1] // 2, size[0] // 2), round(size[0] * random.uniform(0.38, 0.46))
    inner = plain(size, (60, 60, 60))
    rows = np.linspace(center[1] - radius, center[1] + radius, 6).astype(int)
    inner[rows[0] : rows[1]] = any_color(random, 180, 256)
    inner[rows[1] : rows[2]] = color_bars(random, size)[rows[1] : rows[2]]
    x = np.arange(size[1]) / size[1]
    inner[rows[2] : rows[3]] = (127.5 + 127.5 * np.sin(2 * np.pi * 60 * x * x))[None, :, None]
    inner[rows[3] : rows[4]] = (np.floor(x * 8) / 8 * 255)[None, :, None]
    disc = cv2.circle(np.zeros(size, np.uint8), center, radius, 1, -1).astype(np.bool_)
    image[disc] = inner[disc]
    name = str(random.choice(["TEST", "CAM 1", "HD 1080", "CLEAN FEED"]))
    write(image, name, (center[0] - radius // 2, int(rows[4]) + step), step, (255, 255, 255))
    return image


def terminal(random: np.random.Generator, size: Size) -> ByteArray:
    """A text screen: one colour of letters on black, in columns."""
    image = plain(size, any_color(random, 0, 30))
    color = ((60, 255, 60), (255, 180, 40), (230, 230, 230), (120, 180, 255))[int(random.integers(0, 4))]
    line = size[0] / random.uniform(18, 40)
    for row in range(1, int(size[0] / line / 1.3)):
        write(image, words(random, int(random.integers(3, 70))), (4, round(row * 1.3 * line)), line * 0.9, color, 1)
    return image


def analog_noise(random: np.random.Generator, size: Size) -> ByteArray:
    """An untuned analogue input: grains longer than high, brighter bands, lines that roll."""
    level, spread = random.uniform(80, 140), random.uniform(30, 70)
    grains = random.normal(level, spread, (size[0] // 2, size[1] // 5, 1)) * np.ones(3)
    image = cv2.resize(grains, size[::-1], interpolation=cv2.INTER_LINEAR)
    bands = cv2.resize(random.uniform(0.5, 1.4, (int(random.integers(3, 9)), 1)), size[::-1])
    image = image * bands[..., None]
    roll = int(random.integers(0, size[0] - 12))
    image[roll : roll + 10] = 10
    return to_bytes(image)


def logo(random: np.random.Generator, size: Size) -> ByteArray:
    """A maker's start picture: shapes of plain colours and a name on a plain or shaded ground."""
    image = plain(size, any_color(random)) if random.random() < 0.6 else gradient(random, size)
    x, y = size[1] * random.uniform(0.3, 0.7), size[0] * random.uniform(0.3, 0.6)
    unit = size[0] * random.uniform(0.1, 0.25)
    for _ in range(int(random.integers(1, 5))):
        corners = int(random.integers(3, 9))
        angles = np.arange(corners) * 2 * np.pi / corners + random.uniform(0, 1)
        shift = random.normal(0, 0.4 * unit, 2)
        points = np.stack([x + shift[0] + unit * np.cos(angles), y + shift[1] + unit * np.sin(angles)], axis=-1)
        cv2.fillPoly(image, [points.round().astype(np.int32)], any_color(random), cv2.LINE_AA)
    at = (round(0.2 * size[1]), round(0.85 * size[0]))
    write(image, words(random, 12).upper(), at, size[0] * 0.09, any_color(random), int(random.choice(_FONTS)))
    return image


def menu(random: np.random.Generator, size: Size) -> ByteArray:
    """Settings of a camera control unit: a column of entries, one of them marked, values, sliders."""
    image = plain(size, any_color(random, 0, 90))
    rows = int(random.integers(5, 11))
    height = size[0] / (rows + 2)
    marked = int(random.integers(0, rows))
    for row in range(rows):
        y = round((row + 1) * height)
        if row == marked:
            cv2.rectangle(image, (0, y), (round(0.65 * size[1]), round(y + height)), any_color(random, 60, 255), -1)
        write(image, words(random, 14), (20, round(y + 0.7 * height)), height * 0.45, (240, 240, 240))
        left = round(0.7 * size[1])
        right = round(left + 0.25 * size[1] * random.random())
        cv2.rectangle(image, (left, y + 6), (round(0.95 * size[1]), round(y + height - 6)), (150, 150, 150), 1)
        cv2.rectangle(image, (left, y + 6), (right, round(y + height - 6)), any_color(random, 80, 256), -1)
    return image


def waves(random: np.random.Generator, size: Size) -> ByteArray:
    """Moire and interference: two waves that beat, in one colour or three."""
    y, x = np.mgrid[: size[0], : size[1]] / size[0]
    layers = []
    for _ in range(3):
        (a, b, c, d), bend = random.uniform(-40, 40, 4), 0.2 * smooth_field(random, size, 3)
        layers.append(np.sin(2 * np.pi * (a * x + b * y + bend)) + np.sin(2 * np.pi * (c * x + d * y)))
    image = np.stack(layers if random.random() < 0.5 else layers[:1] * 3, axis=-1)
    return to_bytes(127 + 60 * image)
