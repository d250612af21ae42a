"""Instruments in space as visualization_msgs markers: points, their uncertainty, shafts and names, where they are."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.ros.ros_types import ros_type
from clip_rl_perception.stereo.space_types import Instrument3D, Keypoint3D, SpaceScene, SpaceValidity

LIFETIME_S = 2
"""After this without a new array viewers drop the markers, s."""
PALE = 0.3
"""Opacity of what should not be used."""
SHAFT_M, POINT_M, LETTERS_M = 0.03, 0.002, 0.006
"""Length of drawn shafts, size of points, height of letters."""
DEVIATIONS = 2.5
"""Radius of drawn uncertainty in standard deviations: nine of ten true points lie inside."""
COLORS = ((0.2, 0.8, 1.0), (1.0, 0.7, 0.2), (0.5, 1.0, 0.4), (1.0, 0.5, 0.9))
"""By track."""


def space_markers(header: Any, scene: SpaceScene) -> Any:
    """A MarkerArray of a moment, which begins by deleting what the last one drew.

    Args:
        header: of the left image.
        scene: what was found; pale unless it is OK.
    """
    marker = ros_type("visualization_msgs/msg/Marker")
    message = ros_type("visualization_msgs/msg/MarkerArray")(markers=[marker(header=header, action=marker.DELETEALL)])
    opacity = 1.0 if scene.validity is SpaceValidity.OK else PALE
    for place, tool in enumerate(scene.instruments):
        if tool.valid:
            message.markers += _markers_of(header, place, tool, opacity)
    return message


def _markers_of(header: Any, place: int, tool: Instrument3D, opacity: float) -> list[Any]:
    red, green, blue = COLORS[tool.left_track_id % len(COLORS)]
    color = ColorRGBA(r=red, g=green, b=blue, a=opacity)
    faint = ColorRGBA(r=red, g=green, b=blue, a=opacity * PALE)
    known = [point for point in tool.keypoints if point.valid]
    dots = _marker(header, "points", place, "POINTS", color, (POINT_M, POINT_M, 0.0))
    dots.points = [_point(point.position) for point in known]
    made = [dots]
    for index, point in enumerate(known):
        made.append(_ellipsoid(header, 4 * place + index, point, faint))
    end = next((point for point in known if point.name == "wrist"), known[0])
    if math.isfinite(tool.axis[0]):
        arrow = _marker(header, "axis", place, "ARROW", color, (POINT_M / 2, POINT_M, POINT_M))
        arrow.points = [
            _point(np.array(end.position) - SHAFT_M * np.array(tool.axis)),
            _point(end.position),
        ]
        made.append(arrow)
    name = _marker(header, "name", place, "TEXT_VIEW_FACING", color, (0.0, 0.0, LETTERS_M))
    name.pose.position = _point(np.array(end.position) - (0.0, 2 * LETTERS_M, 0.0))
    name.text = f"{tool.type_name or tool.class_name} {tool.left_track_id}: {end.position[2] * 1e3:.0f} mm"
    return [*made, name]


def _ellipsoid(header: Any, number: int, point: Keypoint3D, color: ColorRGBA) -> Any:
    """Axes and turn of a covariance."""
    values, vectors = np.linalg.eigh(np.reshape(point.covariance, (3, 3)))
    if np.linalg.det(vectors) < 0:
        vectors = vectors * (-1.0, 1.0, 1.0)
    sizes = 2 * DEVIATIONS * np.sqrt(np.maximum(values, 1e-12))
    made = _marker(header, "uncertainty", number, "SPHERE", color, (float(sizes[0]), float(sizes[1]), float(sizes[2])))
    made.pose.position = _point(point.position)
    turn = made.pose.orientation
    turn.x, turn.y, turn.z, turn.w = _quaternion(vectors)
    return made


def _quaternion(turn: DoubleArray) -> tuple[float, float, float, float]:
    """x, y, z, w of a rotation matrix."""
    vector = np.asarray(cv2.Rodrigues(turn)[0], np.float64).ravel()
    angle = float(np.linalg.norm(vector))
    x, y, z = (vector * (math.sin(angle / 2) / max(angle, 1e-12))).tolist()
    return x, y, z, math.cos(angle / 2)


def _point(at: Any) -> Point:
    x, y, z = (float(value) for value in at)
    return Point(x=x, y=y, z=z)


def _marker(
    header: Any, namespace: str, number: int, kind: str, color: ColorRGBA, scale: tuple[float, float, float]
) -> Any:
    made = ros_type("visualization_msgs/msg/Marker")(header=header, ns=namespace, id=number, color=color)
    made.type, made.action = getattr(made, kind), made.ADD
    made.scale.x, made.scale.y, made.scale.z = scale
    made.lifetime = Duration(sec=LIFETIME_S)
    made.pose.orientation.w = 1.0
    return made
