"""Instrument tags as visualization_msgs markers, for RViz and every other ROS viewer.

Boxes, axes, tips, keypoints and names lie on a plane `depth` metres before the camera, where its pixels project to; in
RViz's Camera display they cover what they mark. The plane is for looking: one camera does not tell how far an
instrument is.

Every array begins by deleting what the last one drew, so that nothing of an older frame stays, even where one was lost.
visualization_msgs is optional: `markers_available` tells.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA

from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.ros.ros_types import ros_type
from clip_rl_perception.scene.overlay import spoken
from clip_rl_perception.scene.pinhole import Pinhole
from clip_rl_perception.scene.types import Box, Instrument

MARKER = "visualization_msgs/msg/Marker"
LIFETIME_S = 2
"""After this without a new array viewers drop the markers, s: the node is gone, or no frame comes."""
PALE = 0.3
"""Opacity of what should not be used."""
AXIS_LENGTH = 0.35
"""Of the drawn axis, as a fraction of the box's longer side."""
LINE_PX, TIP_PX, TEXT = 3.0, 14.0, 0.035
"""Width of lines and tips, px of the image; height of letters, fraction of the image's height."""


@functools.cache
def markers_available() -> bool:
    """True when visualization_msgs is installed."""
    return importlib.util.find_spec("visualization_msgs") is not None


@dataclasses.dataclass(frozen=True)
class MarkerPlane:
    """Where the markers of an image are."""

    camera: Pinhole
    depth: float
    """Metres before the camera."""
    size: tuple[int, int]
    """(width, height) of the image, px."""

    @property
    def metres_per_px(self) -> float:
        """Size of a pixel on the plane."""
        return self.depth / self.camera.fx

    def points(self, pixels: npt.ArrayLike) -> list[Point]:
        """Points at pixels (n, 2)."""
        return [Point(x=x, y=y, z=z) for x, y, z in self.camera.points(pixels, self.depth).tolist()]


def cleared(header: Any) -> Any:
    """A MarkerArray that removes every marker: this frame has none."""
    marker = ros_type(MARKER)
    return ros_type("visualization_msgs/msg/MarkerArray")(markers=[marker(header=header, action=marker.DELETEALL)])


def marker_array(
    header: Any, instruments: Sequence[Instrument], labels: LabelSpace, plane: MarkerPlane, *, usable: bool
) -> Any:
    """A MarkerArray of all instruments of a frame.

    Args:
        header: the input image's.
        instruments: of this frame.
        labels: names and colours.
        plane: where they are drawn.
        usable: False draws everything pale, see SceneStatus.
    """
    message = cleared(header)
    border = plane.points(_corners(Box(0, 0, *plane.size)))  # of the image: where the plane is
    line, grey = plane.metres_per_px * LINE_PX, ColorRGBA(r=0.5, g=0.5, b=0.5, a=0.5)
    message.markers.append(_marker(header, "image", 0, "LINE_STRIP", grey, (line / 2, 0.0, 0.0), points=border))
    for place, tag in enumerate(instruments, start=1):
        # Marker ids are int32, track ids uint32; those that have none yet are told apart by their place.
        number = int(tag.track_id) & 0x7FFFFFFF or -place
        message.markers += _markers_of(header, number, tag, labels, plane, 1.0 if usable else PALE)
    return message


def _markers_of(
    header: Any, number: int, tag: Instrument, labels: LabelSpace, plane: MarkerPlane, opacity: float
) -> list[Any]:
    """Box, axis, tip, name and keypoints of an instrument; pale until it is confirmed."""
    box, opacity = tag.box, opacity if tag.confirmed else PALE
    known = tag.class_id < len(labels)
    red, green, blue = labels.classes[tag.class_id].color if known else (255, 255, 255)
    color = ColorRGBA(r=red / 255, g=green / 255, b=blue / 255, a=opacity)
    white = ColorRGBA(r=1.0, g=1.0, b=1.0, a=opacity)
    line, ball, letters = plane.metres_per_px * LINE_PX, plane.metres_per_px * TIP_PX, TEXT * plane.size[1]
    tip = np.asarray(tag.tip, np.float64)
    start = tip - np.asarray(tag.axis, np.float64) * AXIS_LENGTH * max(box.width, box.height)
    above = box.y - letters if box.y > 1.5 * letters else box.y + box.height + letters
    at_tip, at_name = plane.points([tag.tip, (box.x + (box.width - 1) / 2, above)])
    name = labels.names[tag.class_id] if known else f"class {tag.class_id}"
    written = _marker(
        header, "name", number, "TEXT_VIEW_FACING", color, (0.0, 0.0, plane.metres_per_px * letters), at=at_name
    )
    written.text = spoken(tag, name)
    shaft = (line, 3 * line, 4 * line)  # shaft, head, head's length
    markers = [
        _marker(header, "box", number, "LINE_STRIP", color, (line, 0.0, 0.0), points=plane.points(_corners(box))),
        _marker(header, "axis", number, "ARROW", white, shaft, points=plane.points([start, tip])),
        _marker(header, "tip", number, "SPHERE", color, (ball, ball, ball), at=at_tip),
        written,
    ]
    seen = [(point.x, point.y) for point in tag.keypoints if point.visible]
    if seen:
        size = (ball / 2, ball / 2, 0.0)
        markers.append(_marker(header, "keypoints", number, "POINTS", white, size, points=plane.points(seen)))
    return markers


def _marker(
    header: Any,
    namespace: str,
    number: int,
    kind: str,
    color: ColorRGBA,
    scale: tuple[float, float, float],
    *,
    points: Sequence[Point] = (),
    at: Point | None = None,
) -> Any:
    made = ros_type(MARKER)(header=header, ns=namespace, id=number, color=color, points=list(points))
    made.type, made.action = getattr(made, kind), made.ADD
    made.scale.x, made.scale.y, made.scale.z = scale
    made.lifetime = Duration(sec=LIFETIME_S)
    made.pose.position = at or Point()
    made.pose.orientation.w = 1.0
    return made


def _corners(box: Box) -> list[tuple[float, float]]:
    """The outline of a box, closed: the borders of its outermost pixels."""
    left, top, right, bottom = box.x - 0.5, box.y - 0.5, box.x + box.width - 0.5, box.y + box.height - 0.5
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
