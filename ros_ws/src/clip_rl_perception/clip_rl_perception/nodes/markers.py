"""Instrument tags as visualization_msgs markers, for RViz and every other ROS viewer.

Boxes, axes, tips and names lie on a plane `depth` metres before the camera, where its pixels project to; in RViz's
Camera display they cover what they mark. The plane is for looking: one camera does not tell how far an instrument is.

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
from std_msgs.msg import ColorRGBA, Header

from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.scene.pinhole import Pinhole
from clip_rl_perception.scene.types import Box, Instrument

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


def cleared(header: Header) -> Any:
    """A MarkerArray that removes every marker: this frame has none."""
    from visualization_msgs.msg import Marker, MarkerArray

    return MarkerArray(markers=[Marker(header=header, action=Marker.DELETEALL)])


def marker_array(
    header: Header, instruments: Sequence[Instrument], labels: LabelSpace, plane: MarkerPlane, *, usable: bool
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
    opacity = 1.0 if usable else PALE
    message.markers.append(_outline(header, plane))
    for tag in instruments:
        color = _color(labels, tag.class_id, opacity)
        message.markers += [
            _box(header, tag, plane, color),
            _axis(header, tag, plane, ColorRGBA(r=1.0, g=1.0, b=1.0, a=opacity)),
            _tip(header, tag, plane, color),
            _name(header, tag, labels, plane, color),
        ]
    return message


def _marker(header: Header, namespace: str, number: int, kind: int, color: ColorRGBA) -> Any:
    from visualization_msgs.msg import Marker

    marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD, color=color)
    marker.lifetime = Duration(sec=LIFETIME_S)
    marker.pose.orientation.w = 1.0
    return marker


def _outline(header: Header, plane: MarkerPlane) -> Any:
    """The image's border: where the plane is."""
    from visualization_msgs.msg import Marker

    marker = _marker(header, "image", 0, Marker.LINE_STRIP, ColorRGBA(r=0.5, g=0.5, b=0.5, a=0.5))
    marker.points = plane.points(_corners(Box(0, 0, *plane.size)))
    marker.scale.x = plane.metres_per_px * LINE_PX / 2
    return marker


def _box(header: Header, tag: Instrument, plane: MarkerPlane, color: ColorRGBA) -> Any:
    from visualization_msgs.msg import Marker

    marker = _marker(header, "box", _number(tag), Marker.LINE_STRIP, color)
    marker.points = plane.points(_corners(tag.box))
    marker.scale.x = plane.metres_per_px * LINE_PX
    return marker


def _axis(header: Header, tag: Instrument, plane: MarkerPlane, color: ColorRGBA) -> Any:
    from visualization_msgs.msg import Marker

    marker = _marker(header, "axis", _number(tag), Marker.ARROW, color)
    tip = np.asarray(tag.tip, np.float64)
    start = tip - np.asarray(tag.axis, np.float64) * AXIS_LENGTH * max(tag.box.width, tag.box.height)
    marker.points = plane.points([start, tip])
    line = plane.metres_per_px * LINE_PX
    marker.scale.x, marker.scale.y, marker.scale.z = line, 3 * line, 4 * line  # shaft, head, head's length
    return marker


def _tip(header: Header, tag: Instrument, plane: MarkerPlane, color: ColorRGBA) -> Any:
    from visualization_msgs.msg import Marker

    marker = _marker(header, "tip", _number(tag), Marker.SPHERE, color)
    (marker.pose.position,) = plane.points([tag.tip])
    marker.scale.x = marker.scale.y = marker.scale.z = plane.metres_per_px * TIP_PX
    return marker


def _name(header: Header, tag: Instrument, labels: LabelSpace, plane: MarkerPlane, color: ColorRGBA) -> Any:
    from visualization_msgs.msg import Marker

    marker = _marker(header, "name", _number(tag), Marker.TEXT_VIEW_FACING, color)
    letters = TEXT * plane.size[1]
    above = tag.box.y - letters if tag.box.y > 1.5 * letters else tag.box.y + tag.box.height + letters
    (marker.pose.position,) = plane.points([(tag.box.x + (tag.box.width - 1) / 2, above)])
    marker.scale.z = plane.metres_per_px * letters
    name = labels.names[tag.class_id] if tag.class_id < len(labels) else f"class {tag.class_id}"
    marker.text = f"#{tag.track_id} {name} {100 * tag.confidence:.0f}%"
    return marker


def _corners(box: Box) -> list[tuple[float, float]]:
    """The outline of a box, closed: the borders of its outermost pixels."""
    left, top, right, bottom = box.x - 0.5, box.y - 0.5, box.x + box.width - 0.5, box.y + box.height - 0.5
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]


def _number(tag: Instrument) -> int:
    """Marker ids are int32, track ids uint32."""
    return int(tag.track_id) & 0x7FFFFFFF


def _color(labels: LabelSpace, class_id: int, opacity: float) -> ColorRGBA:
    red, green, blue = labels.classes[class_id].color if class_id < len(labels) else (255, 255, 255)
    return ColorRGBA(r=red / 255, g=green / 255, b=blue / 255, a=opacity)
