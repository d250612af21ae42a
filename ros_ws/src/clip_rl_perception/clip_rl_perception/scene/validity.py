"""How far a frame's outputs can be used, and the reason in one line.

Checked here: whether the picture shows the inside of a body at all, whether it resembles the training images, and
whether it is good enough to segment. Age is the node's business. All statistics come from a small copy of the content.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import cv2
import numpy as np

from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from clip_rl_perception.kernels import appearance_kernels
from clip_rl_perception.kernels.block_mean import block_mean, can_take
from clip_rl_perception.scene.letterbox import inside_content, make_letterbox, network_to_frame, shown_size
from clip_rl_perception.scene.picture_measures import measure_picture
from clip_rl_perception.scene.types import Letterbox, Validity

_SMALL = 64
"""Longer side of the small copy, px."""


@dataclasses.dataclass(frozen=True)
class ValidityConfig:
    """Limits of what is valid. Colours are judged on pixels that are neither black nor blown out."""

    novelty_limit: float = 1.0
    """Novelty above this is OUT_OF_DISTRIBUTION; 1 is the checkpoint's calibrated limit, infinity turns it off."""
    surgery_limit: float = 0.5
    """Probability of surgery below this is OUT_OF_BODY or OUT_OF_DISTRIBUTION, where the checkpoint has a classifier;
    0 turns it off."""
    body_check: bool = True
    """Let frames be OUT_OF_BODY: by the classifier; where there is none or it is turned off, by their colours."""
    colored: float = 0.1
    """Mean saturation (0 to 1) below which a picture counts as grey: its colours then say nothing about the body."""
    tissue: float = 0.12
    """Part of the coloured pixels in which red must be the largest channel, as in all tissue, blood and fat."""
    cold: float = 0.5
    """Part of all judged pixels above which blue and green mean drapes or walls: outside the body."""
    dark: float = 12.0
    """Mean brightness (0 to 255) below which a frame is too dark."""
    glare: float = 0.4
    """Part of blown-out pixels above which a frame is overexposed."""
    contrast: float = 8.0
    """Standard deviation of brightness (0 to 255) below which smoke, fog or a covered lens is suspected."""
    detail: float = 4.0
    """Mean absolute Laplacian (3x3) of the middle at network size below which a frame is blurred; usual: 15 to 40."""


@dataclasses.dataclass(frozen=True)
class FrameAppearance:
    """What a frame looks like; measured in its content."""

    brightness: float
    """Mean of the largest channel, 0 to 255."""
    contrast: float
    """Standard deviation of the largest channel, 0 to 255."""
    glare: float
    """Part of pixels with all channels at 250 or more."""
    saturation: float
    """Mean of (max - min) / max over judged pixels, 0 to 1; 0 when none can be judged."""
    tissue: float
    """Part of the coloured pixels in which red is the largest channel; 1 when none is coloured."""
    cold: float
    """Part of the judged pixels that are coloured and in which blue or green is the largest channel."""
    detail: float
    """Mean absolute Laplacian (3x3) of the grey image in the middle of the content."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a frame shows, by the checkpoint's classifier; the three sum up to 1."""

    surgery: float
    """Probability of the inside of a body."""
    out_of_body: float
    """Of what else a camera sees: room, drape, hands, trocar."""
    out_of_distribution: float
    """Of no camera's picture at all, or nothing like the training images: screen, text, test picture, noise."""


def measure_frame(
    network_rgb: ByteArray, view: Letterbox, *, measures: bool = True
) -> tuple[FrameAppearance, FloatArray | None]:
    """Measure a frame as the network sees it.

    Args:
        network_rgb: uint8 (H, W, 3), from `to_network`.
        view: how it was made; padding and what lies outside the content are left out.
        measures: measure also what a classifier asks.

    Returns:
        Its appearance, and `picture_measures.MEASURES`, float32 (M,); None where they are not asked for.
    """
    pixels, factor = _small_copy(network_rgb, view)
    mask, detail = _small_mask(view, (pixels.shape[1], pixels.shape[0]), factor), _detail(network_rgb, view)
    brightness, contrast, glare, saturation, tissue, cold = appearance_kernels.measure(pixels, mask)
    appearance = FrameAppearance(brightness, contrast, glare, saturation, tissue, cold, detail)
    return appearance, measure_picture(pixels, mask, detail) if measures else None


def measure_appearance(network_rgb: ByteArray, view: Letterbox) -> FrameAppearance:
    """The appearance alone; see `measure_frame`."""
    return measure_frame(network_rgb, view, measures=False)[0]


def warm_up() -> None:
    """Compile what `measure_appearance` needs, once per process, so that the first frame does not wait for it."""
    measure_frame(np.zeros((8, 8, 3), np.uint8), make_letterbox((8, 8), (8, 8)))


def _detail(network_rgb: ByteArray, view: Letterbox) -> float:
    """Sharpness, in the middle half of the content: at its border a round surround is always sharp."""
    height, width = shown_size(view)
    top, left = view.pad_y + height // 4, view.pad_x + width // 4
    middle = network_rgb[top : top + max(1, height // 2), left : left + max(1, width // 2)]
    edges = cv2.Laplacian(cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY), cv2.CV_16S, ksize=3)
    return float(cv2.mean(cv2.convertScaleAbs(edges))[0])


def _small_copy(network_rgb: ByteArray, view: Letterbox) -> tuple[ByteArray, int]:
    """A copy whose pixels are blocks of the content's side, uint8 (height, width, 3), and the side of a block, px.

    What makes no whole block at the right and lower edges is left out.
    """
    height, width = shown_size(view)
    shown = network_rgb[view.pad_y : view.pad_y + height, view.pad_x : view.pad_x + width]
    factor = max(1, math.ceil(max(height, width) / _SMALL))
    factor_y, factor_x = min(factor, height), min(factor, width)
    if can_take(shown, factor_x, factor_y):
        return block_mean(shown, factor_x, factor_y), factor
    columns, rows = width // factor_x, height // factor_y
    whole = shown[: rows * factor_y, : columns * factor_x]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8), factor


@functools.lru_cache(maxsize=8)
def _small_mask(view: Letterbox, size: tuple[int, int], factor: int) -> BoolArray:
    """Which pixels of the small copy of (width, height) have their centre in the content; all where none has."""
    height, width = shown_size(view)
    x = view.pad_x + (np.arange(size[0]) + 0.5) * min(factor, width) - 0.5
    y = view.pad_y + (np.arange(size[1]) + 0.5) * min(factor, height) - 0.5
    mask = inside_content(network_to_frame(np.stack(np.meshgrid(x, y), axis=-1), view), view)
    return mask if mask.any() else np.ones_like(mask)


def judge(
    network_rgb: ByteArray,
    view: Letterbox,
    novelty: float,
    truncated: bool,
    config: ValidityConfig,
    *,
    failure: str = "",
    tell: Callable[[FloatArray], DoubleArray] | None = None,
) -> tuple[Validity, str]:
    """Measure a frame and `check` it, whose arguments and results it has.

    Args:
        network_rgb: the frame as the network sees it, uint8 (H, W, 3).
        view: how it was made.
        novelty: see `check`.
        truncated: see `check`.
        config: see `check`.
        failure: see `check`.
        tell: gives `Shown`, (3,), of `picture_measures.MEASURES`, float32 (M,); None: no classifier.
    """
    asked = tell is not None and config.surgery_limit > 0
    appearance, measures = measure_frame(network_rgb, view, measures=asked)
    shown = Shown(*tell(measures).tolist()) if tell is not None and measures is not None else None
    return check(appearance, novelty, truncated, config, failure=failure, shown=shown)


def check(
    look: FrameAppearance,
    novelty: float,
    truncated: bool,
    config: ValidityConfig | None = None,
    *,
    failure: str = "",
    shown: Shown | None = None,
) -> tuple[Validity, str]:
    """Validity of a processed frame and why, one line; the reason is empty when it is OK.

    The gravest finding decides: out of body, then out of distribution, then degraded; its reason comes first.

    Args:
        look: of the frame.
        novelty: 1 is the calibrated limit; NaN if unknown, which is never held against a frame.
        truncated: looks were left out because of the latency budget.
        config: limits.
        failure: of a look after the first, one line; empty where none failed.
        shown: what the classifier says; None where the checkpoint has none.
    """
    config = config or ValidityConfig()
    findings: list[tuple[Validity, str]] = []
    colored = look.saturation >= config.colored
    if shown is not None:  # colour alone knows less: tissue may be violet or green
        if shown.surgery < config.surgery_limit:
            findings.append(_other_than_surgery(shown, config))
    elif config.body_check and colored and look.tissue < config.tissue and look.cold > config.cold:
        findings.append(
            (Validity.OUT_OF_BODY, f"{look.cold:.0%} of the picture is blue or green, expected tissue colours")
        )
    if novelty > config.novelty_limit:
        text = f"unlike the training images: novelty {novelty:.2f}, expected at most {config.novelty_limit:.2f}"
        findings.append((Validity.OUT_OF_DISTRIBUTION, text))
    degraded = [failure] if failure else []
    if truncated:
        degraded.append("looks left out: they did not fit the latency budget")
    # One cause each: a dark picture has no contrast either, and one without contrast no detail.
    if look.brightness < config.dark:
        degraded.append(f"too dark: mean brightness {look.brightness:.0f}, expected at least {config.dark:.0f}")
    elif look.glare > config.glare:
        degraded.append(f"overexposed: {look.glare:.0%} blown out, expected at most {config.glare:.0%}")
    elif look.contrast < config.contrast:
        degraded.append(
            f"low contrast (smoke, fog or a covered lens): {look.contrast:.1f} grey levels, "
            f"expected at least {config.contrast:.1f}"
        )
    elif look.detail < config.detail:
        degraded.append(f"blurred: detail {look.detail:.1f}, expected at least {config.detail:.1f}")
    findings += [(Validity.DEGRADED, reason) for reason in degraded]
    if not findings:
        return Validity.OK, ""
    findings.sort(key=lambda finding: _GRAVEST_FIRST.index(finding[0]))
    return findings[0][0], "; ".join(reason for _, reason in findings)


_GRAVEST_FIRST = (Validity.OUT_OF_BODY, Validity.OUT_OF_DISTRIBUTION, Validity.DEGRADED)


def _other_than_surgery(shown: Shown, config: ValidityConfig) -> tuple[Validity, str]:
    """Which of the two it is; without `body_check` whatever is no surgery is out of distribution."""
    expected = f"probability of surgery {shown.surgery:.2f}, expected at least {config.surgery_limit:.2f}"
    if config.body_check and shown.out_of_body >= shown.out_of_distribution:
        return Validity.OUT_OF_BODY, f"like a view outside the body (room, drape, hands, trocar): {expected}"
    return Validity.OUT_OF_DISTRIBUTION, f"unlike an endoscope's picture (screen, text, noise, drawing): {expected}"
