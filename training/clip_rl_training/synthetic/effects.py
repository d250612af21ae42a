"""What the air, the lens, the sensor and the console do to the picture; none of it changes labels."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray

from clip_rl_training.synthetic.drawing.banks import TextureBank
from clip_rl_training.synthetic.drawing.rendered_frame import as_bytes, as_floats


def add_smoke(image: ByteArray, cover: FloatArray, color: tuple[float, float, float]) -> ByteArray:
    """Blend `color` (0..255) over the image by `cover` (H, W), 0..1."""
    veil = np.empty_like(image)
    veil[:] = np.array(color, np.uint8)
    return as_bytes(cv2.blendLinear(image, veil, 1.0 - cover, cover))


def smoke_cover(size: tuple[int, int], field: FloatArray, drift: tuple[float, float], density: float) -> FloatArray:
    """Opacity of smoke, (H, W): a small seamless field moved by `drift` (in field widths) and enlarged."""
    rows, columns = field.shape
    moved = np.roll(field, (int(drift[1] * rows) % rows, int(drift[0] * columns) % columns), (0, 1))
    small = np.clip((moved * 0.35 + 0.45) * density, 0.0, 0.92).astype(np.float32)
    return as_floats(cv2.resize(small, (size[1], size[0]), interpolation=cv2.INTER_CUBIC).clip(0, 0.95))


def add_bloom(image: ByteArray, strength: float, unit: float) -> ByteArray:
    """Glow around highlights: light above 3/4 of full scale, spread by the optics."""
    small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    bright = cv2.GaussianBlur(np.maximum(small, 190) - 190, (0, 0), max(0.8, 0.006 * unit))
    glow = cv2.resize(bright, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return as_bytes(cv2.addWeighted(image, 1.0, glow, strength, 0))


def tone_curve(
    exposure: float, gamma: float, contrast: float, black: float, cast: tuple[float, float, float]
) -> ByteArray:
    """Look-up table uint8 (1, 256, 3): exposure, gamma, contrast round the middle, lifted black, colour cast."""
    level = np.linspace(0, 1, 256)
    columns = []
    for factor in cast:
        value = np.clip(level * exposure * factor, 0, None)
        value = np.where(
            value > 0.8, 0.8 + 0.2 * np.tanh((value - 0.8) / 0.2), value
        )  # the shoulder of a camera's knee
        value = np.clip(value, 0, 1) ** gamma
        value = np.clip((value - 0.45) * contrast + 0.45, 0, 1)
        columns.append(black + (1 - black) * value)
    return np.round(np.stack(columns, axis=1) * 255).astype(np.uint8)[None]


def apply_curve(image: ByteArray, curve: ByteArray) -> ByteArray:
    """Image through a `tone_curve`."""
    return as_bytes(cv2.LUT(image, curve))


def to_gray(image: ByteArray, weights: tuple[float, float, float]) -> ByteArray:
    """Grayscale as three equal channels, by channel weights."""
    plane = cv2.transform(image, np.array([weights], np.float32))
    return as_bytes(cv2.merge([plane, plane, plane]))


def equalize(image: ByteArray, share: float) -> ByteArray:
    """Histogram equalisation of a gray picture, blended in by `share`: the hard look of contrast-stretched archives."""
    plane = np.ascontiguousarray(image[:, :, 0])
    hard = cv2.addWeighted(plane, 1 - share, cv2.equalizeHist(plane), share, 0)
    return as_bytes(cv2.merge([hard, hard, hard]))


def motion_blur(image: ByteArray, length: float, angle: float) -> ByteArray:
    """Blur along a line of `length` px at `angle` rad: the mean of shifted copies, doubled in number by each step."""
    height, width = image.shape[:2]
    reach = length / 4
    while reach >= 0.5:
        dx, dy = round(float(np.cos(angle)) * reach), round(float(np.sin(angle)) * reach)
        if (dx, dy) != (0, 0):
            x, y = abs(dx), abs(dy)
            wide = cv2.copyMakeBorder(image, y, y, x, x, cv2.BORDER_REPLICATE)
            ahead = wide[y + dy : y + dy + height, x + dx : x + dx + width]
            behind = wide[y - dy : y - dy + height, x - dx : x - dx + width]
            image = as_bytes(cv2.addWeighted(ahead, 0.5, behind, 0.5, 0))
        reach /= 2
    return image


def sharpen(image: ByteArray, amount: float, radius: float) -> ByteArray:
    """Unsharp masking, with the bright and dark rims that endoscope consoles add."""
    return as_bytes(cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), radius), -amount, 0))


def add_noise(
    image: ByteArray, bank: TextureBank, rng: np.random.Generator, luma: float, chroma: float, salt: float
) -> ByteArray:
    """Sensor noise of standard deviation `luma` and `chroma` (0..255); `salt` is the share of dead and hot pixels."""
    size = (image.shape[0], image.shape[1])
    base = bank.sensor_noise(rng, size)
    if chroma > 0:
        planes = [cv2.addWeighted(base, luma, bank.sensor_noise(rng, size), chroma, 0) for _ in range(3)]
    else:
        planes = [base * np.float32(luma)] * 3
    result = cv2.add(image, cv2.merge(planes), dtype=cv2.CV_8U)
    if salt > 0:
        count = int(salt * size[0] * size[1])
        rows, columns = rng.integers(0, size[0], count), rng.integers(0, size[1], count)
        result[rows, columns] = rng.choice(np.array([0, 255], np.uint8), count)[:, None]
    return as_bytes(result)


def compress(image: ByteArray, quality: int) -> ByteArray:
    """JPEG there and back."""
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(as_bytes(cv2.imdecode(data, cv2.IMREAD_COLOR))[:, :, ::-1])


def soften(image: ByteArray, factor: float) -> ByteArray:
    """Resolution lost by scaling down by `factor` and up again."""
    height, width = image.shape[:2]
    # Below 2 bilinear sampling skips next to nothing, at a fifth of the cost.
    reduced = (max(8, int(width / factor)), max(8, int(height / factor)))
    small = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA if factor > 2 else cv2.INTER_LINEAR)
    return as_bytes(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def interlace(image: ByteArray, shift: int) -> ByteArray:
    """Every other row moved by `shift` px: two fields of a moving picture."""
    result = image.copy()
    result[1::2] = np.roll(image[1::2], shift, axis=1)
    return result


def render_overlay(rng: np.random.Generator, image: ByteArray) -> None:
    """Console text on the picture's rim, in place."""
    height, width = image.shape[:2]
    words = ("30 DEG", "ZOOM 1.0", "LAMP OK", "00:12:41", "REC", "ARM 2", "CAUTERY", "NOT FOR DIAGNOSIS")
    for _ in range(int(rng.integers(1, 4))):
        scale = height / 480 * rng.uniform(0.25, 0.6)
        text = words[int(rng.integers(len(words)))]
        (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        x, y = int(rng.uniform(0.02, 0.75) * width), int(rng.choice([0.05, 0.985]) * height)
        if rng.random() < 0.6:
            cv2.rectangle(image, (x - 3, y - h - 3), (x + w + 3, y + 4), (10, 10, 10), -1)
        cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (230, 230, 200), 1, cv2.LINE_AA)
