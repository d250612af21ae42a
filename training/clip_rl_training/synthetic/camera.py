"""Camera and tissue motion: which point of the tissue canvas each pixel sees at a time."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from clip_rl_perception.arrays import FloatArray

from clip_rl_training.synthetic.drawing.rendered_frame import as_bytes, as_floats
from clip_rl_training.synthetic.instruments.kinematics import Motion, sample_motion
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.tissue.tissue import Tissue

_GRID = 16
"""Nodes per side of the coarse displacement grid."""


@dataclasses.dataclass(frozen=True)
class Camera:
    """Motion of the camera and of the tissue under it; lengths in px."""

    margin: int
    """Canvas pixels beyond the image on every side."""
    reach: float
    """Largest excursion."""
    pan: tuple[Motion, Motion]
    roll: Motion
    """Times 0.03 rad."""
    breath: Motion
    """Periodic swelling of the tissue."""
    swell: tuple[float, float, float]
    """Centre x, y of the swelling and its size."""


def sample_camera(rng: np.random.Generator, config: SceneConfig, margin: int) -> Camera:
    """A hand-held or robot-held camera: mostly still, slow drifts; breathing at 0.15 to 0.4 Hz."""
    unit = min(config.height, config.width)
    rate = 2 * np.pi * rng.uniform(0.15, 0.4)
    return Camera(
        margin=margin,
        reach=config.camera_motion * unit * float(rng.uniform(0.2, 1.0)),
        pan=(sample_motion(rng, 0.2, 1.2), sample_motion(rng, 0.2, 1.2)),
        roll=sample_motion(rng, 0.2, 0.8),
        breath=Motion((float(rate),), (float(rng.uniform(0, 6.28)),), (1.0,)),
        swell=(
            float(rng.uniform(0, config.width)),
            float(rng.uniform(0, config.height)),
            float(rng.uniform(0.004, 0.02)) * unit,
        ),
    )


def view_tissue(tissue: Tissue, camera: Camera, size: tuple[int, int], time: float, aside: float = 0.0) -> Tissue:
    """The tissue as the camera sees it at `time` s: shifted, rolled and swollen, (H, W).

    Another eye sees it `aside` px further left; beyond the canvas it sees its mirror image, not streaks.
    """
    border = cv2.BORDER_REFLECT_101 if aside else cv2.BORDER_REPLICATE
    height, width = size
    rows, columns = np.meshgrid(
        np.linspace(0, height - 1, _GRID, dtype=np.float32),
        np.linspace(0, width - 1, _GRID, dtype=np.float32),
        indexing="ij",
    )
    columns += np.float32(aside)
    angle = 0.03 * camera.roll.at(time) * min(1.0, camera.reach / 10)
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = columns - width / 2, rows - height / 2
    map_x = cosine * x - sine * y + width / 2 + camera.margin + camera.reach * camera.pan[0].at(time)
    map_y = sine * x + cosine * y + height / 2 + camera.margin + camera.reach * camera.pan[1].at(time)
    dx, dy = columns - camera.swell[0], rows - camera.swell[1]
    distance = (dx**2 + dy**2) / (0.35 * min(size)) ** 2
    push = camera.swell[2] * camera.breath.at(time) * np.exp(-distance)
    map_x += push * dx / (0.35 * min(size))
    map_y += push
    full_x = _enlarge(map_x, size)
    full_y = _enlarge(map_y, size)
    fixed, weights = cv2.convertMaps(full_x, full_y, cv2.CV_16SC2)

    planes = [
        as_floats(cv2.remap(plane, fixed, weights, cv2.INTER_LINEAR, borderMode=border)) for plane in tissue.planes()
    ]
    classes = cv2.remap(tissue.classes, full_x, full_y, cv2.INTER_NEAREST, borderMode=border)
    red, green, blue, slope_x, slope_y, openness, gloss = planes
    return Tissue(red, green, blue, slope_x, slope_y, openness, gloss, as_bytes(classes), tissue.names)


def _enlarge(grid: FloatArray, size: tuple[int, int]) -> FloatArray:
    """A coarse map whose outer nodes lie on the outer pixels, interpolated to (H, W)."""
    height, width = size
    scale_x, scale_y = (_GRID - 1) / max(width - 1, 1), (_GRID - 1) / max(height - 1, 1)
    matrix = np.array([[scale_x, 0, 0], [0, scale_y, 0]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return as_floats(
        cv2.warpAffine(as_floats(grid), matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    )
