"""Where an instrument of one eye is, by the known diameter of its shaft; or why that cannot be told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from clip_rl_perception.arrays import DoubleArray, Vector
from clip_rl_perception.scene.types import Instrument
from clip_rl_perception.stereo.eye_tags import TagsInView
from clip_rl_perception.stereo.eye_view import EyeView, track_number
from clip_rl_perception.stereo.keypoint_noise import KeypointNoise
from clip_rl_perception.stereo.mono_depth import width_pose
from clip_rl_perception.stereo.shaft_outline import SAMPLES, SCANS, ShaftOutline, outline_of, scan_places
from clip_rl_perception.stereo.space_types import NO_COVARIANCE, Covariance, Keypoint3D, Source
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry

JAW_M = 0.006
"""How much nearer or farther than the shaft's axis the end of a jaw is, standard deviation."""
FARTHEST_STD = 0.5
"""Standard deviation of a distance, as a part of it, beyond which it is none."""


@dataclasses.dataclass(frozen=True)
class ShaftSizes:
    """What is known of shafts."""

    diameter_mm: float = 0.0
    """Of all that `by_type` does not name; 0: not known, distances by width are left out."""
    by_type: tuple[tuple[str, float], ...] = ()
    """(type, diameter in mm)."""
    diameter_std_mm: float = 0.1
    """Standard deviation of diameters."""
    mask_std_px: float = 1.0
    """How far a mask's border lies from the shaft's, standard deviation, px."""

    def of(self, tag: Instrument) -> float:
        """Diameter of a tag's shaft, mm; 0 where it is not known."""
        return dict(self.by_type).get(tag.type_name, self.diameter_mm)


@dataclasses.dataclass(frozen=True)
class WidthResult:
    """What the width of one shaft tells."""

    reason: str = ""
    """Why nothing; empty when it tells something."""
    points: Mapping[str, Keypoint3D] = dataclasses.field(default_factory=dict)
    """By name: those that the eye sees."""
    axis: Vector | None = None
    axis_covariance: Covariance = NO_COVARIANCE
    axis_std: float = math.nan
    distance: float = math.nan
    """z of the shaft's end, m."""
    distance_std: float = math.nan
    width_px: float = math.nan
    """Of the shaft in the picture."""


def width_of(
    geometry: StereoGeometry,
    view: EyeView,
    seen: TagsInView,
    place: int,
    sizes: ShaftSizes,
    noise: KeypointNoise,
) -> WidthResult:
    """What the width of a tag's shaft in the left eye tells.

    Args:
        geometry: of the pair; of one eye alone any baseline will do.
        view: the left eye's frame.
        seen: its tags.
        place: of the tag among them.
        sizes: diameters of shafts.
        noise: of keypoints.
    """
    tag = view.instruments[place]
    diameter = sizes.of(tag)
    if not diameter:
        return WidthResult("the diameter of its shaft is not known (shaft_mm)")
    outline = outline_in(geometry, view, seen, place, sizes.mask_std_px)
    if isinstance(outline, str):
        return WidthResult(outline)
    names = [name for name in ("wrist", "entry", "tip_1", "tip_2") if name in seen.places[place]]
    rays = (np.stack([seen.places[place][name] for name in names]) - geometry.centre) / geometry.focal
    std = noise.of_mean("wrist", None)
    diameters = (diameter * 1e-3, sizes.diameter_std_mm * 1e-3)
    found = width_pose(outline, geometry.focal, geometry.centre, diameters, rays, std)
    if found is None:
        return WidthResult("the shaft's borders are none of a cylinder before the camera", width_px=outline.width)
    pose, axis_covariance, places, covariances = found
    z, z_std = float(places[0, 2]), math.sqrt(max(float(covariances[0, 2, 2]), 0.0))
    if not z > 0 or z_std > FARTHEST_STD * z:
        return WidthResult("the shaft is too narrow in the picture to tell its distance", width_px=outline.width)
    points = {}
    for index, name in enumerate(names):
        if seen.hidden(place, name):
            continue
        spread = covariances[index]
        if name.startswith("tip"):
            ray = np.array([*rays[index], 1.0])
            spread = spread + JAW_M**2 * np.outer(ray, ray)
        points[name] = Keypoint3D(
            name, source=Source.SHAFT_WIDTH, position=vector_of(places[index]), covariance=matrix_of(spread)
        )
    return WidthResult(
        points=points,
        axis=vector_of(pose.direction),
        axis_covariance=matrix_of(axis_covariance),
        axis_std=math.sqrt(max(float(np.linalg.eigvalsh(axis_covariance)[-1]), 0.0)),
        distance=z,
        distance_std=z_std,
        width_px=outline.width,
    )


def outline_in(
    geometry: StereoGeometry, view: EyeView, seen: TagsInView, place: int, border_std: float
) -> ShaftOutline | str:
    """The borders of a tag's shaft in the left eye; a reason where they cannot be seen."""
    number, points = track_number(view.instruments[place].track_id), seen.places[place]
    if view.instances is None:
        return "there is no instances image of its eye"
    if not number:
        return "its track is not confirmed yet"
    if "wrist" not in points or "entry" not in points:
        return "its tag tells no entry and wrist"
    along, length = seen.along(place), float(np.linalg.norm(points["wrist"] - points["entry"]))
    reach = 1.5 * width_guess(view.instruments[place], view)
    t, places = scan_places(points["wrist"], along, length, reach)
    pixels = geometry.original(geometry.left, places.reshape(-1, 2))
    inside = geometry.left.sees(pixels).reshape(SCANS, SAMPLES)
    height, width = view.instances.shape
    size = np.array(view.size)
    with np.errstate(invalid="ignore"):
        cells = np.floor((pixels + 0.5) * (np.array([width, height]) / size))
    cells = np.nan_to_num(np.clip(cells, 0, (width - 1, height - 1))).astype(np.intp)
    owners = view.instances[cells[:, 1], cells[:, 0]].reshape(SCANS, SAMPLES)
    return outline_of(owners, number, inside, t, reach, points["wrist"], along, border_std)


def width_guess(tag: Instrument, view: EyeView) -> float:
    """About how wide an instrument is, px: its area over its length."""
    length = max(math.hypot(tag.box.width, tag.box.height), 1.0)
    return min(max(tag.area / length, 4.0), 0.3 * view.size[0])


def vector_of(values: DoubleArray) -> Vector:
    """Three numbers of Python's own."""
    x, y, z = values.tolist()
    return x, y, z


def matrix_of(values: DoubleArray) -> Covariance:
    """Nine numbers of Python's own, row by row."""
    one, two, three, four, five, six, seven, eight, nine = values.reshape(9).tolist()
    return one, two, three, four, five, six, seven, eight, nine
