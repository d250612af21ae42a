"""Where an instrument is: a shaft through a fixed point outside the picture, a wrist, two jaws; smooth in time."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from clip_rl_perception.arrays import BoolArray

from clip_rl_training.synthetic.drawing.shapes import Points
from clip_rl_training.synthetic.instruments.designs import SHAFT_LENGTH, Design


@dataclasses.dataclass(frozen=True)
class Motion:
    """A smooth random motion: a sum of sines, at most 1 in size, known at every time."""

    rates: tuple[float, ...]
    phases: tuple[float, ...]
    weights: tuple[float, ...]

    def at(self, time: float) -> float:
        """Value at `time` in s."""
        return float(
            sum(w * np.sin(r * time + p) for w, r, p in zip(self.weights, self.rates, self.phases, strict=True))
        )


def sample_motion(rng: np.random.Generator, slowest: float = 0.3, fastest: float = 3.0) -> Motion:
    """A motion of three sines; angular rates in rad/s, faster ones smaller."""
    rates = np.exp(rng.uniform(np.log(slowest), np.log(fastest), 3))
    weights = rng.uniform(0.3, 1.0, 3) / np.sqrt(rates / slowest)
    weights /= weights.sum()
    return Motion(tuple(rates.tolist()), tuple(rng.uniform(0, 2 * np.pi, 3).tolist()), tuple(weights.tolist()))


@dataclasses.dataclass(frozen=True)
class Placement:
    """An instrument in a scene. Lengths in px."""

    design: Design
    pivot: tuple[float, float]
    """Point that the shaft always runs through, outside the picture."""
    joint: tuple[float, float]
    """Rest position of the shaft's end."""
    radius: float
    """Half the shaft's width at its end."""
    widening: float
    """Width at the pivot over width at the end: perspective."""
    reach: float
    """Largest excursion of the end."""
    insertion: float
    """Largest movement in and out along the shaft."""
    shrinking: float
    """Size of the jaws over that of the shaft's end: they point away from the lens."""
    bend: tuple[float, float, float]
    """Wrist, yaw and foreshortening (0.45 to 1) at rest."""
    opening: float
    """Jaw angle at rest, rad."""
    motions: tuple[Motion, ...]
    """Of x, y, wrist, yaw, opening, depth, insertion."""
    flip: bool
    """Jaws mirrored."""
    thickness: float = 1.0
    """Of its shaft, over that of a da Vinci instrument: 8 mm."""


def part_homographies(placement: Placement, time: float) -> list[Points]:
    """Local coordinates to image pixels, a 3x3 homography per part of the design, at `time` in s."""
    frames = joint_homographies(placement, time)
    return [frames[part.joint] for part in placement.design.parts]


def joint_homographies(placement: Placement, time: float) -> dict[str, Points]:
    """The same by what parts move with, see `Part.joint`; and "jaws", the middle between both."""
    design = placement.design
    moved = [motion.at(time) for motion in placement.motions]
    pivot = np.array(placement.pivot)
    inwards = np.array(placement.joint) - pivot
    end = np.array(placement.joint) + placement.reach * np.array(moved[:2])
    end += inwards * (placement.insertion * moved[6] / float(np.linalg.norm(inwards)))
    radius = placement.radius * (1.0 + 0.08 * moved[5])
    along = (end - pivot) / max(float(np.linalg.norm(end - pivot)), 1e-6)
    heading = float(np.arctan2(along[1], along[0]))

    across = np.array([-along[1], along[0]])
    far = end - along * float(np.linalg.norm(end - pivot))
    wide = radius * placement.widening
    reach = float(np.linalg.norm(end - pivot)) / radius
    local = np.array([[-reach, -1], [-reach, 1], [0, 1], [0, -1]], np.float32)
    image = np.array(
        [far - across * wide, far + across * wide, end + across * radius, end - across * radius], np.float32
    )
    frames = {"shaft": np.asarray(cv2.getPerspectiveTransform(local, image), np.float64)}

    side = -1.0 if placement.flip else 1.0
    wrist_angle = heading + design.bend * float(np.clip(placement.bend[0] + 0.4 * moved[2], -1, 1))
    yaw_angle = wrist_angle + 0.9 * design.bend * float(np.clip(placement.bend[1] + 0.4 * moved[3], -1, 1))
    shorten = placement.bend[2]
    opening = design.opening * float(np.clip(placement.opening + 0.5 * moved[4], 0.02, 1.0))

    def frame(origin: Points, angle: float, size: float) -> Points:
        cosine, sine = np.cos(angle) * size, np.sin(angle) * size
        return np.array(
            [[cosine * shorten, -sine * side, origin[0]], [sine * shorten, cosine * side, origin[1]], [0.0, 0.0, 1.0]]
        )

    def ahead(origin: Points, angle: float, length: float) -> Points:
        return origin + length * np.array([np.cos(angle), np.sin(angle)])

    small = radius * placement.shrinking
    between = 0.5 * (radius + small)
    second = ahead(end, wrist_angle, design.wrist_length * shorten * radius)
    third = ahead(second, yaw_angle, design.yaw_length * shorten * between)
    frames["wrist"] = frame(end, wrist_angle, radius)
    frames["yaw"] = frame(second, yaw_angle, between)
    frames["jaws"] = frame(third, yaw_angle, small)
    frames["upper"] = frame(third, yaw_angle + side * opening, small)
    frames["lower"] = frame(third, yaw_angle - side * opening, small)
    return frames


def _cut_shaft(design: Design, length: float) -> Design:
    """The design with shafts as long as the picture needs, in radii: a longer one would only dilute its texture."""
    parts = []
    for part in design.parts:
        outline = part.outline.copy()
        outline[outline[:, 0] <= -SHAFT_LENGTH, 0] = -length
        parts.append(dataclasses.replace(part, outline=outline))
    return dataclasses.replace(design, parts=tuple(parts))


def _lies_in(point: Points, seen: BoolArray) -> bool:
    x, y = round(float(point[0])), round(float(point[1]))
    return 0 <= y < seen.shape[0] and 0 <= x < seen.shape[1] and bool(seen[y, x])


def sample_placement(
    rng: np.random.Generator,
    design: Design,
    size: tuple[int, int],
    radius: float,
    reach: float,
    side: float | None = None,
    seen: BoolArray | None = None,
) -> Placement:
    """Put an instrument into a picture of `size` (H, W): it enters from a border and points inwards.

    Args:
        rng: Source of randomness.
        design: The instrument.
        size: (H, W), px.
        radius: Half the shaft's width at its end, px.
        reach: Largest excursion in a video, px.
        side: Direction it comes from as an angle, rad (0 is right, pi/2 is below), or None to draw one.
        seen: The content area, bool (H, W), in which a piece of the shaft, or all of the jaws where those peep in,
            shall lie at rest; None leaves it to chance.
    """
    height, width = size
    unit = min(height, width)
    angle = side if side is not None else rng.uniform(0, 2 * np.pi)
    total = radius * (design.wrist_length + design.yaw_length + 3.0)
    target = np.array([width / 2 + rng.normal(0, 0.22) * width, height / 2 + rng.normal(0, 0.22) * height])
    target = np.clip(target, 0.04 * unit, [width - 0.04 * unit, height - 0.04 * unit])
    direction = np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([width, height]) / 2
    while seen is not None and not _lies_in(target, seen):  # the middle always shows the patient
        target = middle + 0.8 * (target - middle)
    joint = target + direction * total * rng.uniform(0.3, 1.0)
    shown = max(unit * rng.uniform(0.08, 0.3), 1.5 * radius)
    if rng.random() < 0.06:  # only the jaws peep in; a tube has none
        joint = middle + direction * np.array([width, height]) * rng.uniform(0.42, 0.55)
        shown = -radius * (design.wrist_length + design.yaw_length) if design.opening > 0 else shown
    # A shorter piece would be a stub that nobody can tell from a thing lying there.
    for _ in range(200):
        if seen is None or _lies_in(joint + direction * shown, seen):
            break
        joint = joint - direction * 0.02 * unit
    length = 1.25 * float(np.hypot(height, width)) + reach
    pivot = joint + direction * length
    return Placement(
        design=_cut_shaft(design, length / radius),
        pivot=(float(pivot[0]), float(pivot[1])),
        joint=(float(joint[0]), float(joint[1])),
        radius=radius,
        widening=float(np.exp(rng.uniform(np.log(1.0), np.log(5.0)))),
        shrinking=float(rng.uniform(0.6, 1.0)),
        reach=reach,
        insertion=reach * float(rng.uniform(0.2, 2.5)),
        bend=(float(rng.uniform(-1, 1)) ** 3, float(rng.uniform(-1, 1)) ** 3, float(rng.uniform(0.45, 1.0))),
        opening=float(rng.uniform(0, 1)) ** 1.5,
        motions=tuple(sample_motion(rng) for _ in range(7)),
        flip=bool(rng.random() < 0.5),
    )
