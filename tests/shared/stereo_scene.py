"""A stereo rig before round instruments, ray by ray: images, whose pixels are whose, exact points, tags.

Nothing of the library but its types: cameras project by the textbook (Brown's distortion, REP-104's P), shafts are real
cylinders with a front that is nearer than their axis, jaws are thinner ones, the tissue is a slanted plane.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from clip_rl_perception.scene.types import Box, Instrument, Keypoint
from clip_rl_perception.stereo.camera_geometry import CameraInfo
from clip_rl_perception.stereo.eye_view import EyeView

Array = npt.NDArray[np.float64]
RADIUS_M = 0.004
JAW_RADIUS_M = 0.0015


@dataclasses.dataclass(frozen=True)
class Tool:
    """An instrument in the left eye's rectified frame, metres."""

    entry: tuple[float, float, float]
    """A point of the axis outside the picture, or where the shaft is cut off."""
    wrist: tuple[float, float, float]
    tips: tuple[tuple[float, float, float], ...]
    type_name: str = "needle driver"
    radius: float = RADIUS_M


@dataclasses.dataclass(frozen=True)
class Rig:
    """Two cameras, `baseline` m apart, that share their rectified frame; each may be turned and have distortion."""

    size: tuple[int, int] = (640, 512)
    """(width, height)."""
    focal: float = 520.0
    baseline: float = 0.005
    distortion: tuple[float, ...] = (0.0,) * 5
    turned: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Rotation vector of R of the right eye, rad; the left one's is half of it, the other way."""

    def info(self, eye: int) -> CameraInfo:
        width, height = self.size
        cx, cy, f = (width - 1) / 2, (height - 1) / 2, self.focal
        # K of its own, as lenses have
        k = (
            (f * 1.02, 0.0, cx + 3 + eye, 0.0, f * 1.02, cy - 2, 0.0, 0.0, 1.0)
            if self.raw
            else (f, 0, cx, 0, f, cy, 0, 0, 1)
        )
        p = (f, 0.0, cx, -f * self.baseline * eye, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0)
        r = self.rotation(eye).ravel().tolist()
        return CameraInfo(width, height, tuple(map(float, k)), self.distortion, "plumb_bob", tuple(r), p)

    @property
    def raw(self) -> bool:
        return any(self.distortion) or any(self.turned)

    def rotation(self, eye: int) -> Array:
        """Camera to rectified."""
        vector = np.array(self.turned) * (1.0 if eye else -0.5)
        angle = float(np.linalg.norm(vector))
        if not angle:
            return np.eye(3)
        x, y, z = vector / angle
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)

    def pixels(self, eye: int, points: npt.ArrayLike) -> Array:
        """Pixels (n, 2) of points (n, 3), m, of the left rectified frame."""
        moved = np.asarray(points, np.float64).reshape(-1, 3) - (self.baseline * eye, 0.0, 0.0)
        info = self.info(eye)
        rays = moved @ self.rotation(eye)
        x, y = (rays[:, :2] / rays[:, 2:]).T
        if not self.raw:
            return np.column_stack([x * info.p[0] + info.p[2], y * info.p[5] + info.p[6]])
        k1, k2, p1, p2, k3 = self.distortion
        r2 = x * x + y * y
        bent = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        dx = x * bent + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        dy = y * bent + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        return np.column_stack([dx * info.k[0] + info.k[2], dy * info.k[4] + info.k[5]])

    def rays(self, eye: int, pixels: Array) -> Array:
        """Directions (n, 3) in the rectified frame: the distortion inverted by fixed-point steps."""
        info = self.info(eye)
        if not self.raw:
            x, y = (pixels - (info.p[2], info.p[6])).T / info.p[0]
            return np.column_stack([x, y, np.ones(len(x))])
        aim = (pixels - (info.k[2], info.k[5])) / (info.k[0], info.k[4])
        at = aim.copy()
        k1, k2, p1, p2, k3 = self.distortion
        for _ in range(40):
            x, y = at.T
            r2 = x * x + y * y
            bent = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
            dx, dy = 2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
            at = np.column_stack([(aim[:, 0] - dx) / bent, (aim[:, 1] - dy) / bent])
        return np.column_stack([at, np.ones(len(at))]) @ self.rotation(eye).T


def render(
    rig: Rig, tools: list[Tool], eye: int, *, seed: int = 0, noise: float = 2.0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """RGB image and instances (tool n is n + 1) as an eye sees them."""
    width, height = rig.size
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2).astype(np.float64)
    rays = rig.rays(eye, grid)
    origin = np.array([rig.baseline * eye, 0.0, 0.0])
    # Tissue: a plane about 0.14 m away.
    normal = np.array([0.15, -0.3, 1.0])
    depth = np.maximum((0.14 - origin @ normal) / (rays @ normal), 0.05)
    shade, owner = 120 + 40 * _texture(origin + rays * depth[:, None], 260.0), np.zeros(len(rays), np.uint16)
    for number, tool in enumerate(tools, start=1):
        parts = [(tool.entry, tool.wrist, tool.radius), *((tool.wrist, tip, JAW_RADIUS_M) for tip in tool.tips)]
        for place, (start, end, radius) in enumerate(parts):
            hit, surface = _capsule(origin, rays, np.array(start), np.array(end), radius)
            near = hit < depth
            points = origin + rays[near] * hit[near, None]
            light = 0.35 + 0.65 * np.clip(-surface[near, 2], 0, 1)
            shade[near] = light * (150 + 30 * place + 35 * _texture(points + number, 700.0))
            depth[near], owner[near] = hit[near], number
    rng = np.random.default_rng(1000 * seed + eye)
    gray = np.clip(shade + rng.normal(0, noise, len(shade)), 0, 255)
    rgb = np.repeat(gray.reshape(height, width, 1), 3, axis=2).astype(np.uint8)
    return rgb, owner.reshape(height, width)


def _texture(points: Array, scale: float) -> Array:
    """Smooth noise of places, -1 to 1."""
    rng = np.random.default_rng(7)
    total = np.zeros(len(points))
    for _ in range(8):
        way = rng.normal(0, scale, 3)
        total += np.sin(points @ way + rng.uniform(0, 6))
    return total / 4


def _capsule(origin: Array, rays: Array, start: Array, end: Array, radius: float) -> tuple[Array, Array]:
    """Where rays (z = 1) meet a cylinder with round ends: distances along them (inf: nowhere) and unit normals."""
    axis = end - start
    length = float(np.linalg.norm(axis))
    axis = axis / length
    best, normals = np.full(len(rays), np.inf), np.zeros_like(rays)
    side = rays - (rays @ axis)[:, None] * axis
    off = (origin - start) - ((origin - start) @ axis) * axis
    a, b, c = (side * side).sum(1), side @ off, off @ off - radius**2
    inside = b * b - a * c
    t = (-b - np.sqrt(np.maximum(inside, 0))) / np.maximum(a, 1e-12)
    along = (origin - start) @ axis + t * (rays @ axis)
    good = (inside > 0) & (t > 0) & (along > 0) & (along < length)
    best[good] = t[good]
    points = origin + rays * t[:, None]
    normals[good] = (points - start - along[:, None] * axis)[good] / radius
    for centre in (start, end):
        away = origin - centre
        a, b, c = (rays * rays).sum(1), rays @ away, away @ away - radius**2
        inside = b * b - a * c
        t = (-b - np.sqrt(np.maximum(inside, 0))) / a
        good = (inside > 0) & (t > 0) & (t < best)
        best[good] = t[good]
        normals[good] = ((origin + rays * t[:, None]) - centre)[good] / radius
    return best, normals


def points_of(tool: Tool) -> dict[str, tuple[float, float, float]]:
    """Keypoints of a tool, but the entry, which each eye has elsewhere."""
    return {"wrist": tool.wrist, **{f"tip_{number}": tip for number, tip in enumerate(tool.tips, start=1)}}


def tag_of(
    rig: Rig, tool: Tool, eye: int, owners: npt.NDArray[np.uint16], number: int, jitter: Array | None = None
) -> Instrument | None:
    """What a perception node would say of a tool; None where the eye does not see it.

    Args:
        rig: the cameras.
        tool: the instrument.
        eye: 0 or 1.
        owners: what `render` gave.
        number: of the tool there.
        jitter: (4, 2) px added to the keypoints.
    """
    rows, columns = np.nonzero(owners == number)
    if not len(rows):
        return None
    width, height = rig.size
    shaft = rig.pixels(eye, np.linspace(tool.entry, tool.wrist, 400))
    inside = ((shaft >= 0) & (shaft <= (width - 1, height - 1))).all(axis=1)
    first = int(inside.argmax()) if inside.any() else 0
    names = {
        "entry": shaft[first],
        **dict(zip(points_of(tool), rig.pixels(eye, list(points_of(tool).values())), strict=True)),
    }
    made = []
    for place, (name, at) in enumerate(names.items()):
        x, y = at if jitter is None else at + jitter[place]
        column, row = round(x), round(y)
        seen = 0 <= column < width and 0 <= row < height
        near = owners[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        made.append(Keypoint(name, float(x), float(y), 0.9, bool(seen and (near == number).any())))
    tip = next((point for point in made if point.name == "tip_1"), made[-1])
    way = names["wrist"] - names["entry"]
    way = way / max(float(np.linalg.norm(way)), 1e-9)
    box = Box(int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    return Instrument(
        1, 0.9, box, (tip.x, tip.y), (float(way[0]), float(way[1])), float(len(rows)), True,
        track_id=number, age=5, keypoints=tuple(made), type_name=tool.type_name, type_probability=0.9,
    )  # fmt: skip


def entry_in_space(rig: Rig, tool: Tool) -> tuple[float, float, float]:
    """The point of the axis at which the left eye's picture begins, m."""
    shaft = np.linspace(tool.entry, tool.wrist, 400)
    pixels = rig.pixels(0, shaft)
    inside = ((pixels >= 0) & (pixels <= (rig.size[0] - 1, rig.size[1] - 1))).all(axis=1)
    x, y, z = shaft[int(inside.argmax())].tolist()
    return x, y, z


def views(
    rig: Rig, tools: list[Tool], *, seed: int = 0, keypoint_px: float = 0.0, noise: float = 2.0
) -> tuple[EyeView, EyeView]:
    """Both eyes' frames; track numbers of the right eye begin at 11."""
    rng = np.random.default_rng(seed)
    made = []
    for eye in (0, 1):
        image, owners = render(rig, tools, eye, seed=seed, noise=noise)
        tags = []
        for number, tool in enumerate(tools, start=1):
            tag = tag_of(rig, tool, eye, owners, number, rng.normal(0, keypoint_px, (4, 2)) if keypoint_px else None)
            if tag is not None:
                tags.append(dataclasses.replace(tag, track_id=number + 10 * eye))
        numbers = np.where(owners > 0, owners + 10 * eye, 0).astype(np.uint16)
        made.append(EyeView(image, numbers, tuple(tags), ("instrument",) * len(tags)))
    return made[0], made[1]
