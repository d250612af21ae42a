"""The tags of one eye in the virtual camera: where their keypoints are, and along which line their shafts lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.scene.types import Keypoint
from clip_rl_perception.stereo.camera_geometry import EyeGeometry
from clip_rl_perception.stereo.eye_view import EyeView, keypoints_of
from clip_rl_perception.stereo.pairing import END, EyeTags
from clip_rl_perception.stereo.stereo_geometry import StereoGeometry

PAIRING_CONFIDENCE = 0.3
"""Least confidence of a keypoint that pairs: of those below hardly any is where it is told, and the working end, which
every tag tells, pairs better (docs/results/stereo.md)."""
SURE = 0.55
"""The network's keypoints are either right, within a hundredth of the width, or of another place altogether: below this
most of them are of another (docs/results/stereo.md). What is surer pairs before others do."""
AXIS_PX = 20.0
"""Length of the piece of an axis whose direction is told in the virtual camera."""


@dataclasses.dataclass(frozen=True)
class TagsInView:
    """Of one eye."""

    tags: EyeTags
    """What pairs them: keypoints in sight, not quite unsure, but the entry, which each eye has elsewhere."""
    keypoints: tuple[Mapping[str, Keypoint], ...]
    """Of each tag, px of the image."""
    places: tuple[Mapping[str, DoubleArray], ...]
    """The same, (2,) px of the virtual camera, hidden ones too."""
    pixels_inside: tuple[Mapping[str, bool], ...]
    """Whether they lie in the picture."""
    least_confidence: float
    """Below which a keypoint may be anywhere."""

    def hidden(self, place: int, name: str) -> str:
        """Why the eye does not see a keypoint of a tag, or not surely; empty when it does."""
        point = self.keypoints[place].get(name)
        if point is None:
            return "its tag does not tell it"
        if not self.pixels_inside[place][name]:
            return "outside the picture"
        if not point.visible:
            return "covered"
        if self.unsure(place, name):
            return f"not sure ({self._confidence(place, name):.2f}, expected {self.least_confidence:g})"
        return ""

    def unsure(self, place: int, name: str) -> bool:
        """Whether a keypoint that a tag tells may be anywhere."""
        return self._confidence(place, name) < self.least_confidence

    def _confidence(self, place: int, name: str) -> float:
        """The entry has the wrist's: it is where the line through the wrist leaves the picture."""
        points = self.keypoints[place]
        return points["wrist" if name == "entry" and "wrist" in points else name].confidence

    def along(self, place: int) -> DoubleArray:
        """(2,) unit vector of the axis in the picture."""
        return np.array(self.tags.axes[place])


def tags_in_view(
    geometry: StereoGeometry, eye: EyeGeometry, view: EyeView, least_confidence: float = 0.0
) -> TagsInView:
    """Keypoints and axes of a frame's tags, in one go."""
    keypoints = tuple(keypoints_of(tag) for tag in view.instruments)
    named = [(place, point) for place, points in enumerate(keypoints) for point in points.values()]
    pixels = [(point.x, point.y) for _, point in named]
    for tag in view.instruments:
        back = (tag.tip[0] - AXIS_PX * tag.axis[0], tag.tip[1] - AXIS_PX * tag.axis[1])
        x, y, width, height = tag.box.x, tag.box.y, tag.box.width, tag.box.height
        pixels += [tag.tip, back, *((x + right, y + down) for right in (0, width) for down in (0, height))]
    width, height = view.size
    pixels += [(0.0, height / 2), (width - 1.0, height / 2)]
    at = np.array(pixels, np.float64)
    moved = geometry.rectified(eye, at)
    inside = eye.sees(at)
    places: tuple[dict[str, DoubleArray], ...] = tuple({} for _ in keypoints)
    within: tuple[dict[str, bool], ...] = tuple({} for _ in keypoints)
    seen: tuple[dict[str, tuple[float, float]], ...] = tuple({} for _ in keypoints)
    for index, (place, point) in enumerate(named):
        places[place][point.name] = moved[index]
        within[place][point.name] = bool(inside[index]) and bool(np.isfinite(moved[index]).all())
        pairs = point.name != "entry" and point.visible and point.confidence >= PAIRING_CONFIDENCE
        if pairs and within[place][point.name]:
            seen[place][point.name] = (float(moved[index, 0]), float(moved[index, 1]))
    ends = moved[len(named) : -2].reshape(-1, 6, 2)
    first, last = moved[-2:, 0].tolist()
    picture = (first, last) if math.isfinite(first) and math.isfinite(last) else (-math.inf, math.inf)
    ways = ends[:, 0] - ends[:, 1]
    ways /= np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-9)
    axes, trusted = [], min(SURE, least_confidence)  # what points are told of lies on the line to its wrist
    for place, points in enumerate(places):
        way = ways[place]
        if "entry" in points and "wrist" in points:
            shaft = points["wrist"] - points["entry"]
            length = float(np.linalg.norm(shaft))
            # Of an unsure wrist the line runs anywhere: the tag's own axis is of the whole instrument.
            way = shaft / length if length > AXIS_PX and keypoints[place]["wrist"].confidence >= trusted else way
        axes.append((float(way[0]), float(way[1])))
        end = ends[place, 0].tolist()
        seen[place][END] = (end[0], end[1])
    corners = ends[:, 2:]
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).tolist()
    sure = tuple(
        frozenset(name for name in each if name != END and points[name].confidence >= SURE)
        for each, points in zip(seen, keypoints, strict=True)
    )
    return TagsInView(
        EyeTags(view.instruments, seen, tuple(axes), tuple(map(tuple, boxes)), sure, picture),
        keypoints,
        places,
        within,
        least_confidence,
    )
