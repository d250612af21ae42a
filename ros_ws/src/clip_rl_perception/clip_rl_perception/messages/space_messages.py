"""Instruments in space as ROS messages, and back; as scene_messages.py does it for what is seen in a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from clip_rl_perception.arrays import Vector
from clip_rl_perception.messages.message_types import BAG_TYPES, MessageTypes, header, known_validity
from clip_rl_perception.stereo.space_types import (
    Covariance,
    Instrument3D,
    Keypoint3D,
    Source,
    SpaceScene,
    SpaceValidity,
)

INSTRUMENTS_3D = "clip_rl_interfaces/msg/Instrument3DArray"


def space_message(
    left_header: Any,
    right_header: Any | None,
    scene: SpaceScene,
    types: MessageTypes = BAG_TYPES,
    *,
    total_ms: float = 0.0,
    age_ms: float = 0.0,
) -> Any:
    """Instrument3DArray of a moment.

    Args:
        left_header: of the left image.
        right_header: of the right image; None where there is none.
        scene: what was found.
        types: the classes to make it of.
        total_ms: both eyes' frames there until now.
        age_ms: node clock minus left stamp.
    """
    return types.make(
        INSTRUMENTS_3D,
        header=left_header,
        right_header=header(0, "", types) if right_header is None else right_header,
        skew_ms=float(scene.skew_ms),
        validity=int(scene.validity),
        reason=str(scene.reason),
        baseline=float(scene.baseline),
        instruments=[_instrument(instrument, types) for instrument in scene.instruments],
        pairing_ms=float(scene.pairing_ms),
        matching_ms=float(scene.matching_ms),
        total_ms=float(total_ms),
        age_ms=float(age_ms),
    )


def space_scene_of(message: Any) -> SpaceScene:
    """What an Instrument3DArray, rosbags' or rclpy's, says; see `known_validity`.

    A point of an unknown source is not known.
    """
    validity, reason = known_validity(SpaceValidity, message.validity, str(message.reason))
    return SpaceScene(
        validity=validity,
        reason=reason,
        instruments=tuple(map(_instrument_of, message.instruments)),
        baseline=float(message.baseline),
        skew_ms=float(message.skew_ms),
        pairing_ms=float(message.pairing_ms),
        matching_ms=float(message.matching_ms),
    )


def _instrument(made: Instrument3D, types: MessageTypes) -> Any:
    return types.make(
        "clip_rl_interfaces/msg/Instrument3D",
        left_track_id=int(made.left_track_id),
        right_track_id=int(made.right_track_id),
        class_name=str(made.class_name),
        type_name=str(made.type_name),
        valid=bool(made.valid),
        reason=str(made.reason),
        keypoints=[_keypoint(point, types) for point in made.keypoints],
        axis=_vector("geometry_msgs/msg/Vector3", made.axis, types),
        axis_covariance=types.array(np.array(made.axis_covariance, np.float64)),
        axis_std=float(made.axis_std),
        width_distance=float(made.width_distance),
        width_distance_std=float(made.width_distance_std),
    )


def _instrument_of(message: Any) -> Instrument3D:
    return Instrument3D(
        left_track_id=int(message.left_track_id),
        right_track_id=int(message.right_track_id),
        class_name=str(message.class_name),
        type_name=str(message.type_name),
        reason=str(message.reason),
        keypoints=tuple(map(_keypoint_of, message.keypoints)),
        axis=_numbers(message.axis),
        axis_covariance=_matrix(message.axis_covariance),
        axis_std=float(message.axis_std),
        width_distance=float(message.width_distance),
        width_distance_std=float(message.width_distance_std),
    )


def _keypoint(point: Keypoint3D, types: MessageTypes) -> Any:
    return types.make(
        "clip_rl_interfaces/msg/Keypoint3D",
        name=str(point.name),
        valid=bool(point.valid),
        reason=str(point.reason),
        source=int(point.source),
        position=_vector("geometry_msgs/msg/Point", point.position, types),
        covariance=types.array(np.array(point.covariance, np.float64)),
        disparity=float(point.disparity),
        disparity_std=float(point.disparity_std),
        score=float(point.score),
    )


def _keypoint_of(message: Any) -> Keypoint3D:
    return Keypoint3D(
        name=str(message.name),
        reason=str(message.reason),
        source=Source(message.source) if message.source in tuple(Source) else Source.NONE,
        position=_numbers(message.position),
        covariance=_matrix(message.covariance),
        disparity=float(message.disparity),
        disparity_std=float(message.disparity_std),
        score=float(message.score),
    )


def _vector(kind: str, values: Vector, types: MessageTypes) -> Any:
    x, y, z = values
    return types.make(kind, x=float(x), y=float(y), z=float(z))


def _numbers(vector: Any) -> Vector:
    return float(vector.x), float(vector.y), float(vector.z)


def _matrix(values: Any) -> Covariance:
    one, two, three, four, five, six, seven, eight, nine = (float(value) for value in values)
    return one, two, three, four, five, six, seven, eight, nine
