"""Cut-out instruments in a scene: chosen, varied, placed so that their cut edge lies outside, and blended in."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray, FloatArray

from clip_rl_training.synthetic.drawing.rendered_frame import as_bytes, as_floats
from clip_rl_training.synthetic.drawing.shapes import Points
from clip_rl_training.synthetic.drawing.user_images import Cutout
from clip_rl_training.synthetic.instruments.kinematics import Motion, sample_motion


@dataclasses.dataclass(frozen=True)
class PlacedCutout:
    """A cut-out in a scene. Lengths in px of the image."""

    cutout: Cutout
    matrix: Points
    """At rest: the cut-out's coordinates to the image's, (2, 3)."""
    pivot: tuple[float, float]
    """About which it swings."""
    swing: float
    """Largest angle, rad."""
    slide: tuple[float, float]
    """Largest shift along its axis, x and y."""
    motions: tuple[Motion, Motion]
    """Of angle and shift."""
    tone: ByteArray
    """Colours as varied, look-up table (1, 256, 3)."""
    softness: float
    """Of the blended edge, px."""
    reach: float
    """Length from tip to entry."""

    @property
    def tip(self) -> tuple[float, float]:
        """Rest position of the tip in the image."""
        x, y = self.matrix @ np.array([*self.cutout.tip, 1.0])
        return float(x), float(y)


def sample_cutout(
    rng: np.random.Generator, cutout: Cutout, size: tuple[int, int], radius: float, reach: float, side: float
) -> PlacedCutout:
    """Put a cut-out into a picture of `size` (H, W): its cut edge outside, its tip inside.

    Args:
        rng: Draws position, mirroring, colours.
        cutout: What to place.
        size: (H, W), px.
        radius: Half its width in the picture, px.
        reach: Largest excursion in a video, px.
        side: Direction it comes from, rad: 0 is right, pi/2 below.
    """
    height, width = size
    unit = min(height, width)
    entry = np.array(cutout.entry if cutout.entry is not None else (cutout.rgb.shape[1] / 2, cutout.rgb.shape[0] / 2))
    axis = np.array(cutout.tip) - entry
    length = max(float(np.linalg.norm(axis)), 1.0)
    scale = max(2.0 * radius / cutout.width, 8.0 / length)
    if cutout.entry is None:
        scale = min(scale, 0.6 * unit / length)
    mirror = np.diag([1.0, -1.0]) if rng.random() < 0.5 else np.eye(2)
    heading = side + np.pi  # from the entry to the tip
    turn = heading - float(np.arctan2(*(mirror @ axis)[::-1]))
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ mirror
    tip = np.array([width / 2 + rng.normal(0, 0.2) * width, height / 2 + rng.normal(0, 0.2) * height])
    tip = np.clip(tip, 0.06 * unit, [width - 0.06 * unit, height - 0.06 * unit])
    outwards = np.array([np.cos(side), np.sin(side)])
    if cutout.entry is not None:
        # Both ends of the cut edge must stay outside while it moves; farther out shows less of the instrument.
        across = np.array([-outwards[1], outwards[0]]) * (0.5 * scale * cutout.width)
        for _ in range(80):
            end = tip + outwards * scale * length
            if all(_outside(end + offset, size, 0.5 * reach + 2.0) for offset in (across, -across)):
                break
            tip = tip + outwards * 0.03 * unit
    offset = tip - linear @ np.array(cutout.tip)
    end = linear @ entry + offset
    return PlacedCutout(
        cutout=cutout,
        matrix=np.column_stack([linear, offset]),
        pivot=(float(end[0]), float(end[1])),
        swing=0.5 * reach / max(scale * length, 1.0),
        slide=(float(0.4 * reach * outwards[0]), float(0.4 * reach * outwards[1])),
        motions=(sample_motion(rng), sample_motion(rng)),
        tone=_varied(rng),
        softness=float(rng.uniform(0.0, 1.2)),
        reach=scale * length,
    )


def _outside(point: Points, size: tuple[int, int], margin: float) -> bool:
    height, width = size
    return bool(
        point[0] < -margin or point[1] < -margin or point[0] > width - 1 + margin or point[1] > height - 1 + margin
    )


def _varied(rng: np.random.Generator) -> ByteArray:
    """Contrast, gamma and a slight cast as a look-up table; brightness comes from the scene's light."""
    level = np.linspace(0, 1, 256)
    gamma, contrast = float(np.exp(rng.normal(0, 0.2))), rng.uniform(0.8, 1.2)
    cast = np.exp(rng.normal(0, 0.06, 3))
    value = np.clip((level**gamma - 0.5) * contrast + 0.5, 0, 1)
    return as_bytes(np.round(np.clip(value[:, None] * cast, 0, 1) * 255).astype(np.uint8)[None])


def cutout_matrix(placed: PlacedCutout, time: float) -> Points:
    """The cut-out's coordinates to the image's at `time` in s, (2, 3)."""
    angle = placed.swing * placed.motions[0].at(time)
    shift = placed.motions[1].at(time)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pivot = np.array(placed.pivot)
    linear = turn @ placed.matrix[:, :2]
    offset = turn @ (placed.matrix[:, 2] - pivot) + pivot + np.array(placed.slide) * shift
    return np.column_stack([linear, offset])


def cutout_silhouette(placed: PlacedCutout, matrix: Points, size: tuple[int, int]) -> ByteArray:
    """Its coverage 0..255 in an image of `size`, under `matrix` (2, 3)."""
    return as_bytes(
        cv2.warpAffine(_softened(placed.cutout.alpha, matrix), matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    )


def _softened(plane: ByteArray, matrix: Points) -> ByteArray:
    """The plane without the detail that shrinking under `matrix` would alias."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    return as_bytes(cv2.GaussianBlur(plane, (0, 0), 0.45 / scale)) if scale < 0.7 else plane


def render_cutout(
    image: ByteArray,
    pieces: ByteArray,
    first_piece: int,
    placed: PlacedCutout,
    matrix: Points,
    gain: float,
    light: FloatArray,
    blur: float,
) -> None:
    """Blend a cut-out over `image` (H, W, 3) and write piece numbers into `pieces` (H, W), both in place.

    Args:
        image: RGB.
        pieces: Piece numbers: `first_piece` plus the part id, 0 where parts are not known.
        first_piece: Number of its first piece.
        placed: The cut-out.
        matrix: Its coordinates to the image's, (2, 3).
        gain: Brightness factor.
        light: How the light fades over the image, (H, W, 3).
        blur: Defocus, standard deviation in px.
    """
    size = (image.shape[0], image.shape[1])
    cutout = placed.cutout
    coverage = cutout_silhouette(placed, matrix, size)
    if not coverage.any():
        return
    rows, columns = np.flatnonzero(coverage.any(1)), np.flatnonzero(coverage.any(0))
    margin = 2 + int(2.5 * max(blur, placed.softness))
    top, bottom = max(0, int(rows[0]) - margin), min(size[0], int(rows[-1]) + 1 + margin)
    left, right = max(0, int(columns[0]) - margin), min(size[1], int(columns[-1]) + 1 + margin)
    window = (slice(top, bottom), slice(left, right))
    local = matrix - np.array([[0, 0, left], [0, 0, top]])
    inner = (right - left, bottom - top)
    varied = as_bytes(cv2.LUT(_softened(cutout.rgb, matrix), placed.tone))
    color = cv2.warpAffine(varied, local, inner, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    color = cv2.multiply(color, light[window], scale=gain, dtype=cv2.CV_8U)
    soft = as_bytes(coverage[window])
    spread = max(blur, placed.softness)
    if spread > 0.3:
        soft = as_bytes(cv2.GaussianBlur(soft, (0, 0), spread))
    if blur > 0.4:
        color = cv2.GaussianBlur(color, (0, 0), blur)
    weight = as_floats(soft.astype(np.float32) * np.float32(1 / 255))
    image[window] = cv2.blendLinear(as_bytes(color), np.ascontiguousarray(image[window]), weight, 1.0 - weight)
    part = np.zeros((inner[1], inner[0]), np.uint8)
    if cutout.parts is not None:
        part = as_bytes(
            cv2.warpAffine(cutout.parts, local, inner, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        )
    covered = coverage[window] > 127
    pieces[window][covered] = first_piece + part[covered]
