"""Labelled pictures for the classifier: surgery, outside the body, nothing of the kind; each by seed and index."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.model.frame_classifier import OUT_OF_BODY, OUT_OF_DISTRIBUTION, SURGERY

from clip_rl_training.corruptions import CORRUPTIONS, corrupt_and_cover
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stills import render_still
from clip_rl_training.validity import drawn_graphics, drawn_rooms
from clip_rl_training.validity.drawn_graphics import Size
from clip_rl_training.validity.package_pictures import PHOTO, PackagePicture


@dataclasses.dataclass(frozen=True)
class Example:
    """A picture and what it shows."""

    rgb: ByteArray
    """uint8 (H, W, 3)."""
    label: int
    """`SURGERY`, `OUT_OF_BODY` or `OUT_OF_DISTRIBUTION`."""
    source: str
    """The drawn kind, the package and file, or how a scene was damaged."""


@dataclasses.dataclass(frozen=True)
class DrawnKind:
    """A kind of drawn picture."""

    draw: Callable[[np.random.Generator, Size], ByteArray]
    label: int
    fitted: bool
    """Fitted on; else only tested on."""


DRAWN = {
    kind.draw.__name__: kind
    for kind in (
        *(
            DrawnKind(draw, OUT_OF_DISTRIBUTION, True)
            for draw in (
                drawn_graphics.color_bars, drawn_graphics.no_signal, drawn_graphics.page, drawn_graphics.windows,
                drawn_graphics.noise, drawn_graphics.checkerboard, drawn_graphics.gradient, drawn_graphics.chart,
                drawn_graphics.one_color,
            )
        ),
        *(
            DrawnKind(draw, OUT_OF_DISTRIBUTION, False)
            for draw in (
                drawn_graphics.test_card, drawn_graphics.terminal, drawn_graphics.analog_noise, drawn_graphics.logo,
                drawn_graphics.menu, drawn_graphics.waves,
            )
        ),
        *(
            DrawnKind(draw, OUT_OF_BODY, True)
            for draw in (
                drawn_rooms.drape, drawn_rooms.desk, drawn_rooms.room, drawn_rooms.hands, drawn_rooms.white_card,
                drawn_rooms.trocar,
            )
        ),
        *(
            DrawnKind(draw, OUT_OF_BODY, False)
            for draw in (
                drawn_rooms.steel_trocar, drawn_rooms.lamp, drawn_rooms.tiles, drawn_rooms.tray, drawn_rooms.towel,
            )
        ),
    )
}  # fmt: skip
"""Kinds by name; those not fitted on are for tests alone."""

SIZES: tuple[Size, ...] = ((320, 470), (360, 640), (480, 640), (480, 600), (400, 500))
"""Of cameras, made small: the network sees 288 x 352 px, (height, width)."""

_ROUND = 0.2
"""Share of pictures of rooms that are seen through round optics."""


def drawn_example(name: str, seed: int, index: int) -> Example:
    """Picture `index` of a kind of `DRAWN`."""
    kind = DRAWN[name]
    random = np.random.default_rng([seed, zlib.crc32(name.encode()), index])
    image = kind.draw(random, SIZES[int(random.integers(0, len(SIZES)))])
    if kind.label == OUT_OF_BODY:
        image = drawn_rooms.as_camera(random, image)
        image = drawn_rooms.in_circle(random, image) if random.random() < _ROUND else image
    else:
        image = _as_recorded(random, image)
    return Example(image, kind.label, name)


def package_example(picture: PackagePicture, seed: int, index: int) -> Example:
    """Variant `index` of a picture: 0 is the whole of it as it is, the others are parts, mirrored, in other light."""
    label = OUT_OF_BODY if picture.kind == PHOTO else OUT_OF_DISTRIBUTION
    if index == 0:
        return Example(_within(picture.rgb, 640), label, picture.name)
    random = np.random.default_rng([seed, zlib.crc32(picture.name.encode()), index])
    height, width = picture.rgb.shape[:2]
    size = SIZES[int(random.integers(0, len(SIZES)))]
    part = float(random.uniform(0.45, 1.0)) * min(height / size[0], width / size[1])
    rows, columns = max(8, int(part * size[0])), max(8, int(part * size[1]))
    top, left = int(random.integers(0, height - rows + 1)), int(random.integers(0, width - columns + 1))
    step = -1 if random.random() < 0.5 else 1
    shown = np.ascontiguousarray(picture.rgb[top : top + rows, left : left + columns][:, ::step])
    how = cv2.INTER_AREA if part > 1 else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(shown, size[::-1], interpolation=how), np.uint8)
    if label == OUT_OF_BODY:
        image = drawn_rooms.as_camera(random, image)
        image = drawn_rooms.in_circle(random, image) if random.random() < _ROUND else image
    else:
        image = _as_recorded(random, image)
    return Example(image, label, picture.name)


def surgery_example(config: SceneConfig, seed: int, index: int) -> Example:
    """Scene `index`: half of them clean, the others damaged as streams are, in another light or without colours."""
    random = np.random.default_rng([seed, index])
    size = SIZES[int(random.integers(0, len(SIZES)))]
    config = dataclasses.replace(config, height=size[0] // 8 * 8, width=size[1] // 8 * 8)
    image, told = np.ascontiguousarray(render_still(random, config).rgb), []
    if random.random() < 0.2:  # nearer
        rows, columns = (int(side * random.uniform(0.5, 0.9)) for side in image.shape[:2])
        top, left = int(random.integers(0, image.shape[0] - rows)), int(random.integers(0, image.shape[1] - columns))
        image = np.asarray(cv2.resize(image[top : top + rows, left : left + columns], size[::-1]), np.uint8)
    if random.random() < 0.25:  # another camera's light
        gamma, gain = np.exp(random.normal(0, 0.3)), random.uniform(0.6, 1.4)
        table = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
        image, told = np.asarray(cv2.LUT(image, table), np.uint8), ["light"]
    if random.random() < 0.2:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image, told = np.repeat(gray[..., None], 3, axis=2), [*told, "gray"]
    if random.random() < 0.5:
        for name in random.choice(list(CORRUPTIONS), int(random.integers(1, 3)), replace=False).tolist():
            severity, pattern = float(random.uniform(0.5, 3.5)), int(random.integers(1 << 31))
            image, _ = corrupt_and_cover(name, image, severity, seed=pattern)
            told.append(name)
    return Example(image, SURGERY, "surgery: " + (", ".join(told) or "clean"))


def drawn_examples(*, fitted: bool, each: int, seed: int) -> Iterator[Example]:
    """So many pictures of each drawn kind of one half."""
    for name, kind in DRAWN.items():
        if kind.fitted == fitted:
            for index in range(each):
                yield drawn_example(name, seed, index)


def _as_recorded(random: np.random.Generator, image: ByteArray) -> ByteArray:
    """What a capture chain adds to a screen: a little blur or noise, JPEG, sometimes no colours."""
    if random.random() < 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 2.0)), np.uint8)
    if random.random() < 0.3:
        spread = random.uniform(1, 8)
        image = np.clip(image + random.normal(0, spread, image.shape), 0, 255).astype(np.uint8)
    if random.random() < 0.2:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if random.random() < 0.3:
        image, _ = corrupt_and_cover("jpeg", image, float(random.uniform(0.5, 4)))
    return image


def _within(rgb: ByteArray, side: int) -> ByteArray:
    scale = side / max(rgb.shape[:2])
    if scale >= 1:
        return rgb
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
