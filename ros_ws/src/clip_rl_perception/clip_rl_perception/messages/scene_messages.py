"""What was seen in a frame as ROS messages, and back, for nodes, bags, recordings and viewers alike.

Plain values of `Instrument`, `Status` and `Basis` are in their messages by the same names: a new one is named there and
in the .msg file. What has another form in a message is named here, and nowhere else. Every number becomes Python's own
on its way: a numpy scalar in a field ends the process in rosidl's C conversion, and a whole number for a float is
misread.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clip_rl_perception.instrument_types import UNKNOWN
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.messages.message_types import (
    BAG_TYPES,
    INSTRUMENTS,
    STATUS,
    MessageTypes,
    known_validity,
    stamp_of,
)
from clip_rl_perception.runs.run_record import STAGES
from clip_rl_perception.scene.types import Basis, Box, Instrument, Keypoint, Validity


@dataclasses.dataclass(frozen=True)
class Status:
    """What is said of one frame; fields as in clip_rl_interfaces/SceneStatus."""

    validity: Validity
    reason: str = ""
    """Empty when OK."""
    novelty: float | None = None
    """Above 1 is out of distribution; None if unknown."""
    stage_ms: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """By stage of `STAGES`, ms; 0 where it is absent."""
    age_ms: float | None = None
    """Node clock minus header stamp at publishing, ms; None if unknown, as offline."""
    basis: Basis = dataclasses.field(default_factory=Basis)
    """What the result rests on."""
    refine_steps: int = 0
    """Of versions before looks."""
    received: int = 0
    """Frames since activation, as are the next four."""
    processed: int = 0
    dropped: int = 0
    invalid: int = 0
    lost: int = 0
    """Never received, as far as that is known; 0 in recordings made before it was told."""
    model_id: str = ""
    """First 12 hex digits of the checkpoint's SHA-256."""
    engine: str = ""
    """Backend, precision and network size."""
    stamp_ns: int = 0
    """Header stamp of the frame, ns: of a status that was read."""


def _plain_fields(kind: Any) -> dict[str, Callable[[Any], Any]]:
    """Names of fields that are plain values, in messages by the same names, and what makes them Python's own."""
    plain: dict[Any, Callable[[Any], Any]] = {"int": int, "float": float, "bool": bool, "str": str}
    plain["tuple[str, ...]"] = tuple
    return {field.name: plain[field.type] for field in dataclasses.fields(kind) if field.type in plain}


_TAG = _plain_fields(Instrument)
_TAG_POINTS = {
    "tip": "geometry_msgs/msg/Point32",
    "axis": "geometry_msgs/msg/Vector3",
    "velocity": "geometry_msgs/msg/Vector3",
}
"""(x, y) of an Instrument, and what they are in its tag, with z = 0."""
_KEYPOINT = _plain_fields(Keypoint)
_STATUS = _plain_fields(Status)
del _STATUS["stamp_ns"]  # the header has it
_BASIS = _plain_fields(Basis)


def tags(
    header: Any,
    instruments: Sequence[Instrument],
    space: LabelSpace,
    model_id: str,
    types: MessageTypes = BAG_TYPES,
) -> Any:
    """InstrumentTagArray of a frame, in the scene's order (by track id)."""
    made = [_tag(instrument, space, types) for instrument in instruments]
    return types.make(INSTRUMENTS, header=header, model_id=model_id, instruments=made)


def instruments_of(message: Any) -> tuple[Instrument, ...]:
    """The scene's instruments of an InstrumentTagArray, rosbags' or rclpy's, of now or of an older recording."""
    return tuple(map(_instrument, message.instruments))


def status(header: Any, said: Status, types: MessageTypes = BAG_TYPES) -> Any:
    """SceneStatus of the frame with this header."""
    return types.make(
        STATUS,
        header=header,
        **{name: kind(getattr(said, name)) for name, kind in _STATUS.items()},
        **{name: kind(getattr(said.basis, name)) for name, kind in _BASIS.items()},
        disagreement=_number(said.basis.disagreement),
        validity=int(said.validity),
        novelty=_number(said.novelty),
        age_ms=_number(said.age_ms),
        **{f"{stage}_ms": float(said.stage_ms.get(stage, 0.0)) for stage in STAGES},
    )


def status_of(message: Any) -> Status:
    """What a SceneStatus, rosbags' or rclpy's, of now or of an older recording, says; see `known_validity`."""
    plain = {name: kind(getattr(message, name)) for name, kind in _STATUS.items() if hasattr(message, name)}
    validity, plain["reason"] = known_validity(Validity, message.validity, plain["reason"], " of its status")
    return Status(
        **plain,
        validity=validity,
        basis=_basis(message),
        novelty=_known(message.novelty),
        age_ms=_known(message.age_ms),
        stage_ms={stage: float(getattr(message, f"{stage}_ms")) for stage in STAGES},
        stamp_ns=stamp_of(message),
    )


def detections(header: Any, instruments: Sequence[Instrument], space: LabelSpace, types: MessageTypes) -> Any:
    """vision_msgs/Detection2DArray of rclpy's types: boxes, track ids, class names and types with probabilities.

    The id is empty, as vision_msgs has it, where the instrument has none yet.
    """
    message = types.make("vision_msgs/msg/Detection2DArray", header=header)
    for instrument in instruments:
        box = instrument.box
        detection = types.make("vision_msgs/msg/Detection2D", header=header, id=str(int(instrument.track_id) or ""))
        detection.bbox.center.position.x = float(box.x + (box.width - 1) / 2)
        detection.bbox.center.position.y = float(box.y + (box.height - 1) / 2)
        detection.bbox.size_x, detection.bbox.size_y = float(box.width), float(box.height)
        said = [(space.names[instrument.class_id], instrument.confidence)]
        if instrument.type_name not in ("", UNKNOWN):  # the probability of an unknown one is another type's
            said.append((instrument.type_name, instrument.type_probability))
        for name, probability in said:
            result = types.make("vision_msgs/msg/ObjectHypothesisWithPose")
            result.hypothesis.class_id, result.hypothesis.score = str(name), float(probability)
            detection.results.append(result)
        message.detections.append(detection)
    return message


def _tag(instrument: Instrument, space: LabelSpace, types: MessageTypes) -> Any:
    box = instrument.box
    points = {name: (kind, getattr(instrument, name)) for name, kind in _TAG_POINTS.items()}
    return types.make(
        "clip_rl_interfaces/msg/InstrumentTag",
        **{name: kind(getattr(instrument, name)) for name, kind in _TAG.items()},
        **{name: types.make(kind, x=float(x), y=float(y), z=0.0) for name, (kind, (x, y)) in points.items()},
        class_name=space.names[instrument.class_id],
        keypoints=[
            types.make(
                "clip_rl_interfaces/msg/Keypoint",
                **{name: kind(getattr(point, name)) for name, kind in _KEYPOINT.items()},
            )
            for point in instrument.keypoints
        ],
        box=types.make(
            "sensor_msgs/msg/RegionOfInterest",
            x_offset=int(box.x),
            y_offset=int(box.y),
            height=int(box.height),
            width=int(box.width),
            do_rectify=False,
        ),
    )


def _instrument(tag: Any) -> Instrument:
    values: dict[str, Any] = {name: kind(getattr(tag, name)) for name, kind in _TAG.items() if hasattr(tag, name)}
    points = {name: getattr(tag, name) for name in _TAG_POINTS}
    values |= {name: (float(point.x), float(point.y)) for name, point in points.items()}
    box = Box(int(tag.box.x_offset), int(tag.box.y_offset), int(tag.box.width), int(tag.box.height))
    keypoints = (
        Keypoint(**{name: kind(getattr(point, name)) for name, kind in _KEYPOINT.items()})
        for point in getattr(tag, "keypoints", ())
    )
    return Instrument(**values, box=box, keypoints=tuple(keypoints))


def _basis(message: Any) -> Basis:
    values = {name: kind(getattr(message, name)) for name, kind in _BASIS.items() if hasattr(message, name)}
    return Basis(**values, disagreement=_known(getattr(message, "disagreement", math.nan)))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
