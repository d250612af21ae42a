"""Augmentation of one labelled image: geometry into the network's view, then what cameras and recorders do to colour.

Everything is drawn from the generator that is handed in, so that a sample is a function of its index alone. NumPy and
OpenCV suffice and cost about 5 ms at 288x352.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.labels import UNLABELLED
from clip_rl_perception.scene.letterbox import PAD_RGB

from clip_rl_training.typed_config import check_number

_SPREADS = ("rotation", "stretch", "gain", "gamma", "colour", "saturation")
_PROBABILITIES = (
    "flip", "upside_down", "whole_frame", "mix", "grayscale", "shading", "blur", "resample", "noise", "jpeg", "blocks",
)  # fmt: skip
_OUTSIDE = 254
"""Marks padding on the way; never a class (`MAX_CLASSES` leaves it spare)."""


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Ranges and probabilities at severity 1; the curriculum's `augmentation` scales them all."""

    scale: tuple[float, float] = (0.8, 2.2)
    """Zoom relative to the view that just holds the whole content area."""
    rotation: float = 20.0
    """Largest rotation, degrees."""
    stretch: float = 0.08
    """Largest change of the aspect ratio; cameras keep it nearly."""
    flip: float = 0.5
    """Probability of a left-right flip."""
    upside_down: float = 0.1
    """Probability of an up-down flip: instruments mostly enter from the sides and from below."""
    whole_frame: float = 0.25
    """Probability that the whole frame is shown, with the black surround of the content area."""
    gain: float = 0.35
    """Spread of the exposure gain, as log."""
    gamma: float = 0.35
    """Spread of gamma, as log."""
    colour: float = 0.15
    """Spread of the gains of red, green, blue, as log: colour temperature and white balance."""
    mix: float = 0.25
    """Probability of a random mix of the colour channels: other cameras and other tissue."""
    saturation: float = 0.5
    """Spread of the saturation factor."""
    grayscale: float = 0.2
    """Probability of a grayscale image."""
    keep_gray: bool = False
    """An image without any colour stays so, as a monochrome camera's does; else it may get a cast."""
    shading: float = 0.3
    """Probability of a slope of brightness over the image."""
    blur: float = 0.3
    """Probability of defocus or motion blur."""
    resample: float = 0.2
    """Probability of detail lost by a smaller format on the way."""
    noise: float = 0.4
    """Probability of sensor noise."""
    jpeg: float = 0.4
    """Probability of JPEG compression."""
    blocks: float = 0.15
    """Probability of flat patches over the image; their labels are ignored."""

    def __post_init__(self) -> None:
        low, high = self.scale or (1.0, 1.0)
        if not 0 < low <= high:
            raise ValueError(
                f"augment.scale is {low:g} to {high:g}; expected two numbers above 0, the smaller one first"
            )
        for name in _SPREADS:
            check_number(f"augment.{name}", getattr(self, name), least=0.0)
        for name in _PROBABILITIES:
            check_number(f"augment.{name}", getattr(self, name), least=0.0, most=1.0)


def augment(
    rgb: ByteArray,
    labels: ByteArray,
    content: npt.NDArray[np.bool_],
    *,
    size: tuple[int, int],
    rng: np.random.Generator,
    config: AugmentConfig,
    severity: float = 1.0,
) -> tuple[ByteArray, ByteArray]:
    """One random view of a labelled image.

    Args:
        rgb: uint8 (H0, W0, 3).
        labels: uint8 (H0, W0), 255 = ignored.
        content: bool (H0, W0), True where the camera shows the patient.
        size: (H, W) of the result.
        rng: source of every random number.
        config: ranges at severity 1.
        severity: 0 gives the plain view of the content area, 1 all of `config`.

    Returns:
        Image uint8 (H, W, 3) and labels uint8 (H, W). Padding has the pipeline's colour and label 255.
    """
    if rng.random() < config.whole_frame * severity:
        content = np.ones_like(content)
    rgb, labels, content = _cut(rgb, labels, content)
    matrix = _view(content, size, rng, config, severity)
    image, mask = warp(rgb, labels, matrix, size)
    image = _photometric(image, rng, config, severity)
    if rng.random() < config.blocks * severity:
        image, mask = _cover(image, mask, rng)
    return _padded(image, mask)


def plain_view(
    rgb: ByteArray, labels: ByteArray, content: npt.NDArray[np.bool_], *, size: tuple[int, int]
) -> tuple[ByteArray, ByteArray]:
    """The content area scaled into `size` with its aspect kept and centred, as the pipeline shows it; see `augment`."""
    box, matrix = plain_place(content, size)
    return _padded(*warp(rgb[box], labels[box], matrix, size))


def plain_place(content: npt.NDArray[np.bool_], size: tuple[int, int]) -> tuple[tuple[slice, slice], FloatArray]:
    """Rows and columns of a frame that `plain_view` shows, and the matrix (2, 3) from their pixels to the view's."""
    box = _box(content)
    return box, _fit(content[box], size)


def _cut(
    rgb: ByteArray, labels: ByteArray, content: npt.NDArray[np.bool_]
) -> tuple[ByteArray, ByteArray, npt.NDArray[np.bool_]]:
    box = _box(content)
    return rgb[box], labels[box], content[box]


def _box(content: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The content's box: beside it the pipeline shows padding, not the camera's surround."""
    x, y, width, height = _bounds(content)
    left, top = round(x - (width - 1) / 2), round(y - (height - 1) / 2)
    return slice(top, top + round(height)), slice(left, left + round(width))


def warp(rgb: ByteArray, labels: ByteArray, matrix: FloatArray, size: tuple[int, int]) -> tuple[ByteArray, ByteArray]:
    """Image and labels under the affine `matrix` (2, 3), source to target pixels; shrinking averages the image.

    Pixels that come from outside the source are labelled `_OUTSIDE`.
    """
    height, width = size
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2].astype(np.float64)))))
    source = rgb
    if scale < 0.7:
        # warpAffine samples without averaging: soften first what it would skip over.
        source = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.45 / scale), np.uint8)
    image = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    mask = cv2.warpAffine(
        labels, matrix, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=_OUTSIDE
    )
    return np.asarray(image, np.uint8), np.asarray(mask, np.uint8)


def _padded(image: ByteArray, mask: ByteArray) -> tuple[ByteArray, ByteArray]:
    """Padding as the pipeline draws it, whatever happened to the image's colours."""
    outside = mask == _OUTSIDE
    image[outside] = PAD_RGB
    mask[outside] = UNLABELLED
    return image, mask


def _bounds(content: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Centre x, centre y, width, height of the content area, px; the whole image where there is none."""
    rows, columns = np.flatnonzero(content.any(1)), np.flatnonzero(content.any(0))
    if not rows.size:
        height, width = content.shape
        return (width - 1) / 2, (height - 1) / 2, float(width), float(height)
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    return (left + right) / 2, (top + bottom) / 2, float(right - left + 1), float(bottom - top + 1)


def _fit(content: npt.NDArray[np.bool_], size: tuple[int, int]) -> FloatArray:
    x, y, width, height = _bounds(content)
    scale = min(size[1] / width, size[0] / height)
    return np.array(
        [[scale, 0, (size[1] - 1) / 2 - scale * x], [0, scale, (size[0] - 1) / 2 - scale * y]], dtype=np.float32
    )


def _view(
    content: npt.NDArray[np.bool_],
    size: tuple[int, int],
    rng: np.random.Generator,
    config: AugmentConfig,
    severity: float,
) -> FloatArray:
    """Affine matrix (2, 3) from source to target pixels: crop, scale, rotation, flips."""
    x, y, width, height = _bounds(content)
    fit = min(size[1] / width, size[0] / height)
    low, high = (math.log(value) * severity for value in config.scale)
    scale = fit * math.exp(rng.uniform(low, high))
    ratio = math.exp(rng.uniform(-config.stretch, config.stretch) * severity / 2)
    angle = math.radians(rng.uniform(-config.rotation, config.rotation) * severity) * rng.random()
    mirror_x = -1.0 if rng.random() < config.flip else 1.0
    mirror_y = -1.0 if rng.random() < config.upside_down * severity else 1.0
    linear = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = linear @ np.diag([scale * ratio * mirror_x, scale / ratio * mirror_y])
    # The centre of the view wanders over the content area as far as the zoom leaves room, and a little beyond.
    slack = max(0.0, scale / fit - 1.0) / 2 * fit / scale + 0.06 * severity
    x += rng.uniform(-slack, slack) * width
    y += rng.uniform(-slack, slack) * height
    offset = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2]) - linear @ np.array([x, y])
    return np.concatenate((linear, offset[:, None]), axis=1).astype(np.float32)


def _photometric(image: ByteArray, rng: np.random.Generator, config: AugmentConfig, severity: float) -> ByteArray:
    if rng.random() < config.blur * severity:
        image = _blur(image, rng, severity)
    if rng.random() < config.resample * severity:
        height, width = image.shape[:2]
        factor = rng.uniform(0.4, 0.9)
        small = cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    gray = config.keep_gray and is_gray(image[::4, ::4])  # before the colours change
    value: FloatArray = image.astype(np.float32) / np.float32(255.0)
    if rng.random() < config.shading * severity:
        value = value * _slope(value.shape[:2], rng)[..., None]
    value, gray = _colour(value, rng, config, severity, gray)
    if rng.random() < config.noise * severity:
        spread = np.float32(rng.uniform(0.005, 0.05))
        noise = rng.standard_normal(value.shape, dtype=np.float32)
        if gray and config.keep_gray:
            noise = noise[..., :1]
        value = value + spread * (np.float32(0.4) + np.sqrt(np.maximum(value, 0.0))) * noise
    result: ByteArray = (np.clip(value, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    if rng.random() < config.jpeg * severity:
        _, data = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(25, 90))])
        result = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return result


def is_gray(pixels: ByteArray) -> bool:
    """Whether red, green and blue of uint8 (..., 3) differ by no more than JPEG makes them differ."""
    return bool(np.ptp(pixels.astype(np.int16), axis=-1).mean() < 2.0)


def _colour(
    value: FloatArray, rng: np.random.Generator, config: AugmentConfig, severity: float, stays_gray: bool
) -> tuple[FloatArray, bool]:
    """Exposure, gamma, white balance, channel mix, saturation, grayscale of an image in 0..1; whether it is gray."""
    gains = np.exp(rng.normal(0.0, config.gain, 1) * severity + rng.normal(0.0, config.colour, 3) * severity)
    value = value * gains.astype(np.float32)
    if rng.random() < config.mix * severity:
        mixing = 0.6 * rng.dirichlet(np.ones(3), 3) + 0.4 * np.eye(3)
        value = value @ mixing.T.astype(np.float32)
    gray = value @ np.array([0.299, 0.587, 0.114], np.float32)
    becomes_gray = rng.random() < config.grayscale * severity
    if becomes_gray or stays_gray:
        value = np.repeat(gray[..., None], 3, axis=2)
    else:
        factor = max(0.0, 1.0 + rng.uniform(-config.saturation, config.saturation) * severity)
        value = gray[..., None] + np.float32(factor) * (value - gray[..., None])
    gamma = math.exp(rng.normal(0.0, config.gamma) * severity)
    value = np.asarray(np.clip(value, 0.0, 1.0) ** np.float32(gamma), np.float32)
    return value, becomes_gray or stays_gray


def _blur(image: ByteArray, rng: np.random.Generator, severity: float) -> ByteArray:
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.4 + 1.6 * severity)), np.uint8)
    length = int(rng.integers(3, 4 + round(8 * severity)))
    kernel = np.zeros((length, length), np.float32)
    centre, angle = (length - 1) / 2, rng.uniform(0, math.pi)
    delta = (centre * math.cos(angle), centre * math.sin(angle))
    start, end = (
        (round(centre - delta[0]), round(centre - delta[1])),
        (round(centre + delta[0]), round(centre + delta[1])),
    )
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _slope(shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    """A smooth field of factors around 1, (H, W)."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    a, b, c = rng.normal(0.0, 0.35, 3).astype(np.float32)
    return np.asarray(np.exp(a * x + b * y - np.abs(c) * (x * x + y * y)), np.float32)


def _cover(image: ByteArray, mask: ByteArray, rng: np.random.Generator) -> tuple[ByteArray, ByteArray]:
    """One to three flat rectangles, as dropped blocks and burnt-in boxes; what lies below is not to be guessed."""
    image, mask = image.copy(), mask.copy()
    height, width = mask.shape
    for _ in range(int(rng.integers(1, 4))):
        h, w = int(rng.uniform(0.03, 0.2) * height), int(rng.uniform(0.03, 0.3) * width)
        y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        image[y : y + h, x : x + w] = rng.integers(0, 256, 3) if rng.random() < 0.5 else rng.integers(0, 256)
        mask[y : y + h, x : x + w] = 255
    return image, mask
