"""Corruptions of endoscopic images at five severities, for the robustness benchmark and for augmentation.

Ours: imagecorruptions and albumentations have no cautery smoke, blood, cloth or interlacing, nor say what is hidden.

After Hendrycks & Dietterich 2019 (ImageNet-C): each corruption at severity 1 to 5, the same random pattern growing with
the severity. Everything is a function of (name, severity, seed); sizes are relative to the image, so any size works.

    damaged, covered = corrupt_and_cover("cloth", rgb, 3, seed=7)     # covered: pixels hidden by something opaque
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable

import numpy as np
from clip_rl_perception.arrays import BoolArray, ByteArray
from clip_rl_perception.errors import ClipRlError

from clip_rl_training.corruptions import camera_corruptions, scene_corruptions, signal_corruptions
from clip_rl_training.corruptions.scene_corruptions import Result

SEVERITIES = (1, 2, 3, 4, 5)


class CorruptionError(ClipRlError, ValueError):
    """An image cannot be corrupted as asked; the message says what is possible."""


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One kind of damage."""

    apply: Callable[[ByteArray, float, np.random.Generator], Result]
    """(rgb, strength, random) -> image and covered pixels."""
    strengths: tuple[float, float, float, float, float]
    """Argument of `apply` at severity 1 to 5; its meaning is in the docstring there."""


CORRUPTIONS: dict[str, Corruption] = {
    "smoke": Corruption(scene_corruptions.smoke, (0.25, 0.4, 0.55, 0.7, 0.85)),
    "fog": Corruption(scene_corruptions.fog, (0.15, 0.3, 0.45, 0.6, 0.72)),
    "blood": Corruption(scene_corruptions.blood, (0.05, 0.1, 0.17, 0.26, 0.38)),
    "specular": Corruption(scene_corruptions.specular, (0.01, 0.025, 0.05, 0.09, 0.15)),
    "lens_dirt": Corruption(scene_corruptions.lens_dirt, (0.04, 0.09, 0.16, 0.25, 0.36)),
    "cloth": Corruption(scene_corruptions.cloth, (0.06, 0.12, 0.2, 0.3, 0.42)),
    "tissue": Corruption(scene_corruptions.tissue, (0.06, 0.12, 0.2, 0.3, 0.42)),
    "defocus": Corruption(camera_corruptions.defocus, (0.003, 0.006, 0.01, 0.015, 0.022)),
    "motion_blur": Corruption(camera_corruptions.motion_blur, (0.012, 0.024, 0.04, 0.06, 0.085)),
    "darkness": Corruption(camera_corruptions.darkness, (0.3, 0.5, 0.64, 0.75, 0.84)),
    "overexposure": Corruption(camera_corruptions.overexposure, (0.25, 0.5, 0.8, 1.2, 1.7)),
    "colour_shift": Corruption(camera_corruptions.colour_shift, (0.07, 0.14, 0.22, 0.31, 0.42)),
    "desaturation": Corruption(camera_corruptions.desaturation, (0.3, 0.5, 0.7, 0.85, 1.0)),
    "sensor_noise": Corruption(camera_corruptions.sensor_noise, (6, 12, 20, 32, 48)),
    "jpeg": Corruption(signal_corruptions.jpeg, (65, 78, 86, 91, 95)),
    "interlacing": Corruption(signal_corruptions.interlacing, (0.004, 0.009, 0.016, 0.027, 0.045)),
    "dropped_blocks": Corruption(signal_corruptions.dropped_blocks, (0.03, 0.07, 0.13, 0.21, 0.32)),
    "low_resolution": Corruption(signal_corruptions.low_resolution, (1, 2, 3.5, 5.5, 9)),
}
"""All corruptions by name."""


def corrupt_and_cover(
    name: str, rgb: ByteArray, severity: float, *, seed: int = 0
) -> tuple[ByteArray, BoolArray | None]:
    """Damage an image and say what is hidden.

    Args:
        name: key of `CORRUPTIONS`.
        rgb: uint8 (H, W, 3), any size; not changed.
        severity: 0 (unchanged) to 5; the benchmark uses 1 to 5, augmentation any value between.
        seed: picks the random pattern; non-negative.

    Returns:
        uint8 (H, W, 3), and bool (H, W) that is true where cloth or tissue hides the scene, or None where nothing does.

    Raises:
        CorruptionError: unknown name, severity out of range, wrong dtype or shape.
    """
    if name not in CORRUPTIONS:
        raise CorruptionError(f"no corruption '{name}'; known are {', '.join(CORRUPTIONS)}")
    if not 0 <= severity <= 5:
        raise CorruptionError(f"severity {severity}; expected 0 to 5")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise CorruptionError(f"image is {rgb.dtype} {rgb.shape}; expected uint8 (H, W, 3)")
    if severity == 0:
        return rgb.copy(), None
    corruption = CORRUPTIONS[name]
    strength = float(np.interp(severity, (0, *SEVERITIES), (0.0, *corruption.strengths)))
    # The generator starts anew at each severity: the same pattern, only stronger. CRC32 keeps kinds apart for one seed.
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return corruption.apply(rgb, strength, random)
