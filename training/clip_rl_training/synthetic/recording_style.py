"""The look of a recording: everything between the lit scene and the stored picture, drawn once per scene."""

from __future__ import annotations

import dataclasses

import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray

from clip_rl_training.synthetic import effects
from clip_rl_training.synthetic.content import Content, apply_content
from clip_rl_training.synthetic.drawing.banks import BANK_SIDE, TextureBank
from clip_rl_training.synthetic.scene_config import SceneConfig


@dataclasses.dataclass(frozen=True)
class Look:
    """Settings of the chain; lengths in px."""

    smoke_density: float
    """0 for none."""
    smoke_color: tuple[float, float, float]
    smoke_field: FloatArray
    """Small seamless field."""
    smoke_drift: tuple[float, float]
    """Field widths per second."""
    bloom: float
    curve: ByteArray
    gray: tuple[float, float, float] | None
    """Channel weights of a grayscale recording."""
    equalized: float
    defocus: float
    blur_length: float
    blur_angle: float
    soften: float
    luma_noise: float
    chroma_noise: float
    salt: float
    sharpen: float
    sharpen_radius: float
    interlace: int
    jpeg: int
    """Quality, 0 for none."""
    overlay_seed: int
    """-1 for none."""
    surround: int
    rim: float


def sample_look(rng: np.random.Generator, config: SceneConfig, bank: TextureBank, unit: float) -> Look:
    """Draw a look. `unit` is the shorter image side, px."""
    gray = rng.random() < config.grayscale
    cast = np.exp(rng.normal(0, config.colour_cast, 3))
    if rng.random() < 0.05:
        cast = np.exp(rng.normal(0, 3.5 * config.colour_cast, 3))  # a greenish, bluish or brown picture
    smoky = rng.random() < config.smoke
    tint = rng.uniform(130, 235)
    billows = bank.fields["rough"][int(rng.integers(len(bank.fields["rough"])))].values[:BANK_SIDE:8, :BANK_SIDE:8]
    haze = bank.fields["smooth"][int(rng.integers(len(bank.fields["smooth"])))].values[:BANK_SIDE:8, :BANK_SIDE:8]
    field = haze + billows * np.float32(rng.uniform(0.0, 0.5))
    weights = rng.dirichlet((5.0, 2.0, 0.8))
    noisy = rng.random() < (0.8 if gray else 0.5)
    return Look(
        smoke_density=float(rng.uniform(0.15, 1.1)) if smoky else 0.0,
        smoke_color=(float(tint), float(tint * rng.uniform(0.9, 1.0)), float(tint * rng.uniform(0.88, 1.02))),
        smoke_field=np.ascontiguousarray(field),
        smoke_drift=(float(rng.normal(0, 0.15)), float(rng.normal(0, 0.15))),
        bloom=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.6 else 0.0,
        curve=effects.tone_curve(
            float(np.exp(rng.normal(0.02, 0.15))),
            float(np.exp(rng.normal(-0.05, 0.15))),
            float(rng.uniform(0.9, 1.4) if gray else rng.uniform(0.7, 1.1)),
            float(max(0.0, rng.normal(0.0, 0.02) if gray else rng.normal(0.045, 0.03))),
            (float(cast[0]), float(cast[1]), float(cast[2])),
        ),
        gray=(float(weights[0]), float(weights[1]), float(weights[2])) if gray else None,
        equalized=float(rng.uniform(0.3, 1.0)) if gray and rng.random() < 0.5 else 0.0,
        defocus=float(unit * rng.uniform(0.001, 0.004)) if rng.random() < config.defocus * 0.3 else 0.0,
        blur_length=float(unit * rng.uniform(0.006, 0.035)) if rng.random() < config.motion_blur * 0.5 else 0.0,
        blur_angle=float(rng.uniform(0, np.pi)),
        soften=float(rng.uniform(1.2, 2.0)) if rng.random() < 0.25 else 1.0,
        luma_noise=float(np.exp(rng.uniform(np.log(0.7), np.log(8.0 if gray else 3.0)))) if noisy else 0.0,
        chroma_noise=float(rng.uniform(0, 2.5)) if noisy and not gray and rng.random() < 0.6 else 0.0,
        salt=float(rng.uniform(0.0005, 0.01)) if gray and rng.random() < 0.15 else 0.0,
        sharpen=float(rng.uniform(0.2, 1.2)) if rng.random() < 0.3 else 0.0,
        sharpen_radius=float(rng.uniform(0.8, 0.004 * unit + 0.9)),
        interlace=int(rng.integers(1, 7)) if rng.random() < config.interlace else 0,
        jpeg=int(rng.integers(35, 92)) if rng.random() < config.compression else 0,
        overlay_seed=int(rng.integers(1 << 31)) if rng.random() < config.overlay else -1,
        surround=int(rng.integers(0, 14)) if rng.random() < 0.5 else 0,
        rim=float(unit * rng.uniform(0, 0.006)),
    )


def develop(
    image: ByteArray, look: Look, content: Content, bank: TextureBank, time: float, rng: np.random.Generator
) -> ByteArray:
    """Run the chain on a lit scene.

    Args:
        image: RGB (H, W, 3).
        look: The settings.
        content: The content area.
        bank: Textures.
        time: s, moves the smoke.
        rng: Of this frame, for noise.
    """
    size = (image.shape[0], image.shape[1])
    unit = float(min(size))
    if look.smoke_density > 0:
        drift = (look.smoke_drift[0] * time, look.smoke_drift[1] * time)
        cover = effects.smoke_cover(size, look.smoke_field, drift, look.smoke_density)
        image = effects.add_smoke(image, cover, look.smoke_color)
    if look.bloom > 0:
        image = effects.add_bloom(image, look.bloom, unit)
    image = effects.apply_curve(image, look.curve)
    if look.gray is not None:
        image = effects.to_gray(image, look.gray)
        if look.equalized > 0:
            image = effects.equalize(image, look.equalized)
    if look.defocus > 0.4:
        image = effects.soften(image, 1.0 + look.defocus)
    if look.blur_length > 2:
        image = effects.motion_blur(image, look.blur_length, look.blur_angle)
    if look.interlace:
        image = effects.interlace(image, look.interlace)
    if look.luma_noise > 0:
        image = effects.add_noise(image, bank, rng, look.luma_noise, look.chroma_noise, look.salt)
    if look.soften > 1.0:
        image = effects.soften(image, look.soften)
    if look.sharpen > 0:
        image = effects.sharpen(image, look.sharpen, look.sharpen_radius)
    image = apply_content(image, content, look.surround, look.rim)
    if look.overlay_seed >= 0:
        effects.render_overlay(np.random.default_rng(look.overlay_seed), image)
    if look.jpeg:
        image = effects.compress(image, look.jpeg)
    return image
