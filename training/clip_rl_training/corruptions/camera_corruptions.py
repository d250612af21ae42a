"""What lens, light and sensor do: defocus, motion, exposure, colour, noise."""

from __future__ import annotations

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray

from clip_rl_training.corruptions.random_fields import blurred, to_bytes
from clip_rl_training.corruptions.scene_corruptions import Result


def defocus(rgb: ByteArray, radius: float, random: np.random.Generator) -> Result:
    """Blur by a disc of `radius` x the shorter side."""
    return _filtered(rgb, _disc(radius * min(rgb.shape[:2]))), None


def motion_blur(rgb: ByteArray, length: float, random: np.random.Generator) -> Result:
    """Blur along a random direction by `length` x the shorter side."""
    angle = float(random.uniform(0, np.pi))
    return _filtered(rgb, _line(length * min(rgb.shape[:2]), angle)), None


def darkness(rgb: ByteArray, loss: float, random: np.random.Generator) -> Result:
    """Too little light, more so towards the rim, and the sensor's noise in it. `loss`: share of light lost, 0 to 1."""
    height, width = rgb.shape[:2]
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    center = random.uniform(0.35, 0.65, 2).astype(np.float32)
    distance = np.hypot(x / width - center[0], y / height - center[1])
    light = (1 - loss) * np.clip(1.15 - 0.9 * loss * distance, 0, 1)
    noise = random.standard_normal(rgb.shape, np.float32) * np.float32(4 * loss)
    return to_bytes(rgb * light[..., None] + noise), None


def overexposure(rgb: ByteArray, gain: float, random: np.random.Generator) -> Result:
    """Too much light: gain 1 + `gain`, clipped, with bloom around what saturates."""
    bright = rgb.astype(np.float32) * np.float32(1 + gain)
    beyond = np.clip(bright - 255, 0, None)
    bloom = np.asarray(blurred(beyond, 0.02 * min(rgb.shape[:2])), np.float32)
    return to_bytes(bright + 0.6 * bloom), None


def colour_shift(rgb: ByteArray, amount: float, random: np.random.Generator) -> Result:
    """Wrong white balance and hue: channel gains exp(+-`amount`) and a rotation of hue by 60 degrees x `amount`."""
    direction = random.uniform(-1, 1, 3)
    direction -= direction.mean()  # brightness stays
    direction /= max(float(np.abs(direction).max()), 1e-6)
    balanced = to_bytes(rgb * np.exp(np.float32(amount) * direction))
    hsv = cv2.cvtColor(balanced, cv2.COLOR_RGB2HSV)
    turn = round(30 * amount) * int(random.choice([-1, 1]))  # OpenCV's hue has 180 steps
    hsv[..., 0] = ((hsv[..., 0].astype(np.int16) + turn) % 180).astype(np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8), None


def desaturation(rgb: ByteArray, amount: float, random: np.random.Generator) -> Result:
    """Colours lost, as on a wrongly set or monochrome chain. `amount`: 0 keeps, 1 is grey."""
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)[..., None]
    return to_bytes(rgb * (1 - amount) + grey * amount), None


def sensor_noise(rgb: ByteArray, level: float, random: np.random.Generator) -> Result:
    """Shot and read noise of a high gain; `level`: standard deviation of mid-grey, 0..255."""
    noise = random.standard_normal(rgb.shape, np.float32)
    spread = np.sqrt(0.25 + 0.75 * rgb.astype(np.float32) / 128)
    return to_bytes(rgb + np.float32(level) * spread * noise), None


def _disc(radius: float) -> FloatArray:
    """Disc of fractional radius, sum 1: drawn at four times the resolution, then averaged down."""
    reach = int(np.ceil(radius))
    side = 2 * reach + 1
    fine = (np.arange(side * 4) + 0.5) / 4 - side / 2
    inside = (fine[:, None] ** 2 + fine[None] ** 2 <= (radius + 0.5) ** 2).astype(np.float32)
    kernel = inside.reshape(side, 4, side, 4).mean(axis=(1, 3))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _line(length: float, angle: float) -> FloatArray:
    """Line through the middle, `length` px long, smooth at its ends, sum 1."""
    reach = int(np.ceil(length / 2)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.clip(1 - np.abs(across), 0, 1) * np.clip(length / 2 + 0.5 - np.abs(along), 0, 1)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _filtered(rgb: ByteArray, kernel: FloatArray) -> ByteArray:
    return np.asarray(cv2.filter2D(rgb, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8).reshape(rgb.shape)
