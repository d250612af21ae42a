"""How far the outputs of a frame can be used, and why not further.

What a frame looks like is judged on the content area alone, drawn small: brightness, contrast, sharpness, and the share
of warm pixels, because living tissue under white light is warm wherever the camera points. Staleness is not judged
here: only who publishes knows the age of a frame.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from clip_rl_perception.scene.types import ByteArray, NetworkView, Validity
from clip_rl_perception.scene.view import shown_size


@dataclasses.dataclass(frozen=True)
class ValidityConfig:
    """Limits beyond which a frame is not simply OK.

    The appearance limits lie well outside what 900 real frames of seven operations showed: luminance 79 to 154,
    deviation 31 to 76, sharpness 12 to 30, warm share of coloured frames at least 0.45.
    """

    novelty_limit: float = 1.0
    """Novelty above this is out of distribution; 1 is the checkpoint's calibrated limit, infinity turns it off."""
    dark_luminance: float = 25.0
    """Mean luminance below this is degraded, 0 to 255."""
    bright_share: float = 0.5
    """Share of pixels at 250 or brighter above which a frame is degraded, [0, 1]."""
    flat_deviation: float = 8.0
    """Standard deviation of luminance below which a frame is degraded: smoke, fog, a covered lens; 0 to 255."""
    blurred_sharpness: float = 2.5
    """Standard deviation of the Laplacian below which a frame is degraded: defocus, a dirty lens; luminance levels."""
    warm_share: float = 0.1
    """Share of warm pixels below which a coloured frame is out of body, [0, 1]."""
    gray_saturation: float = 0.06
    """Mean saturation below which a frame counts as gray, and warmth says nothing, [0, 1]."""


@dataclasses.dataclass(frozen=True)
class FrameLook:
    """What a frame looks like; measures of the content area."""

    luminance: float
    """Mean, 0 to 255."""
    deviation: float
    """Standard deviation of luminance."""
    sharpness: float
    """Standard deviation of the Laplacian of luminance."""
    bright_share: float
    """Share of pixels with luminance 250 or more."""
    saturation: float
    """Mean of (max - min) / max over R, G, B, [0, 1]."""
    warm_share: float
    """Share of pixels whose red is at least 1.1 times their green."""


def measure_look(network_rgb: ByteArray, view: NetworkView) -> FrameLook:
    """Measure the content of a network-sized image, uint8 (H, W, 3); padding is left out."""
    height, width = shown_size(view)
    shown = network_rgb[view.pad_y : view.pad_y + height, view.pad_x : view.pad_x + width]
    luminance = cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)
    means, deviations = cv2.meanStdDev(luminance)
    _, sharpness = cv2.meanStdDev(cv2.Laplacian(luminance, cv2.CV_16S))
    # Colour is a matter of areas: every fourth pixel of each row and column is enough.
    colors = np.ascontiguousarray(shown[::4, ::4]).reshape(-1, 3).astype(np.float32)
    lit = colors[colors.max(axis=1) > 12.0]
    if lit.size == 0:
        saturation = warm = 0.0
    else:
        saturation = float(((lit.max(axis=1) - lit.min(axis=1)) / lit.max(axis=1)).mean())
        warm = float((lit[:, 0] > 1.1 * lit[:, 1]).mean())
    return FrameLook(
        luminance=float(means[0, 0]),
        deviation=float(deviations[0, 0]),
        sharpness=float(sharpness[0, 0]),
        bright_share=float(np.count_nonzero(luminance >= 250)) / luminance.size,
        saturation=saturation,
        warm_share=warm,
    )


def judge(
    look: FrameLook, novelty: float, truncated: bool, config: ValidityConfig | None = None
) -> tuple[Validity, str]:
    """Validity of a processed frame and the reason, empty when OK.

    Args:
        look: of the frame.
        novelty: 1 is the calibrated limit; NaN if unknown, which is never held against a frame.
        truncated: the latency budget ended refinement early.
        config: limits.

    Returns:
        The gravest that applies: out of body, then out of distribution, then degraded.
    """
    config = config or ValidityConfig()
    if look.saturation >= config.gray_saturation and look.warm_share < config.warm_share:
        return Validity.OUT_OF_BODY, (
            f"no tissue colours: {look.warm_share:.0%} of the image is warm, inside the body at least "
            f"{config.warm_share:.0%} is"
        )
    if not math.isnan(novelty) and novelty > config.novelty_limit:
        return Validity.OUT_OF_DISTRIBUTION, (
            f"unlike the training images: novelty {novelty:.2f}, limit {config.novelty_limit:.2f}"
        )
    reasons = []
    if look.luminance < config.dark_luminance:
        reasons.append(f"dark: mean luminance {look.luminance:.0f}, at least {config.dark_luminance:.0f} expected")
    if look.bright_share > config.bright_share:
        reasons.append(f"overexposed: {look.bright_share:.0%} white, at most {config.bright_share:.0%} expected")
    if look.deviation < config.flat_deviation:
        reasons.append(f"no contrast: deviation {look.deviation:.1f}, at least {config.flat_deviation:.1f} expected")
    if look.sharpness < config.blurred_sharpness:
        reasons.append(f"blurred: sharpness {look.sharpness:.1f}, at least {config.blurred_sharpness:.1f} expected")
    if truncated:
        reasons.append("refinement cut short by the latency budget")
    return (Validity.DEGRADED, "; ".join(reasons)) if reasons else (Validity.OK, "")
