"""What was seen in a frame -> messages -> bytes -> back: every field that the interface files name, without ROS.

With rclpy's classes tests/ros/test_messages.py does the same.
"""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any

import numpy as np
import pytest
from clip_rl_perception.messages import message_types, scene_messages
from clip_rl_perception.messages.message_types import BAG_TYPES, INSTRUMENTS, STATUS, MessageTypes, header
from clip_rl_perception.messages.scene_messages import Status
from clip_rl_perception.runs.run_record import STAGES
from clip_rl_perception.scene.types import Basis, Box, Instrument, Keypoint, Validity
from every_field import LABELS, distinct_instrument, distinct_status, message_fields


def through_bytes(message: Any, kind: str) -> Any:
    store = message_types.typestore()
    return store.deserialize_cdr(store.serialize_cdr(message, kind), kind)


def as_it_is(message: Any, kind: str) -> Any:
    return message


PLAIN = MessageTypes(lambda name: types.SimpleNamespace, list)
WAYS = pytest.mark.parametrize(
    ("kinds", "sent"), [(BAG_TYPES, through_bytes), (PLAIN, as_it_is)], ids=["rosbags", "plain"]
)


@WAYS
def test_every_field_of_a_tag_survives(kinds: MessageTypes, sent: Any) -> None:
    instrument = distinct_instrument()
    made = scene_messages.tags(header(17, "cam", kinds), [instrument], LABELS, "0123456789ab", kinds)
    back = sent(made, INSTRUMENTS)
    assert (back.model_id, message_types.stamp_of(back), back.header.frame_id) == ("0123456789ab", 17, "cam")
    assert scene_messages.instruments_of(back) == (instrument,)
    (tag,) = back.instruments
    assert {name for name in vars(tag) if not name.startswith("_")} == set(message_fields("InstrumentTag"))
    (*_, point) = tag.keypoints
    assert {name for name in vars(point) if not name.startswith("_")} == set(message_fields("Keypoint"))
    assert tag.class_name == LABELS.names[instrument.class_id]


def test_the_instrument_has_what_its_tag_has() -> None:
    fields = {field.name for field in dataclasses.fields(Instrument)}
    assert fields - {"footprint"} == set(message_fields("InstrumentTag")) - {"class_name"}
    assert [field.name for field in dataclasses.fields(Keypoint)] == list(message_fields("Keypoint"))


def test_old_fields_of_a_tag_come_first() -> None:
    """Readers of the definition in a recording find them where they were."""
    assert list(message_fields("InstrumentTag"))[:12] == [
        "track_id", "class_id", "class_name", "confidence", "box", "tip", "axis", "area", "visibility",
        "touches_border", "age", "velocity",
    ]  # fmt: skip


@WAYS
def test_every_field_of_a_status_survives(kinds: MessageTypes, sent: Any) -> None:
    status = distinct_status()
    made = scene_messages.status(header(status.stamp_ns, types=kinds), status, kinds)
    assert scene_messages.status_of(sent(made, STATUS)) == status
    named = {field.name for field in dataclasses.fields(Status)} - {"stage_ms", "stamp_ns"}
    named = named - {"basis"} | {field.name for field in dataclasses.fields(Basis)}
    named |= {"header", *(f"{stage}_ms" for stage in STAGES)}
    assert named == set(message_fields("SceneStatus"))


def test_a_validity_of_another_version_is_no_frame_to_use() -> None:
    message = scene_messages.status(header(0), Status(Validity.DEGRADED, "low contrast"))
    message.validity = 77
    said = scene_messages.status_of(message)
    assert said.validity is Validity.INVALID_INPUT
    assert said.reason.startswith("validity 77 of its status is unknown here")
    assert said.reason.endswith("; low contrast")


def test_what_is_unknown_is_not_a_number() -> None:
    message = scene_messages.status(header(0), Status(Validity.INVALID_INPUT, "step"))
    assert math.isnan(message.novelty) and math.isnan(message.age_ms) and message.network_ms == 0.0
    assert list(message.looks) == [] and math.isnan(message.disagreement) and message.memory_share == 0.0
    back = scene_messages.status_of(through_bytes(message, STATUS))
    assert (back.novelty, back.age_ms, back.refine_steps, back.basis) == (None, None, 0, Basis())


class Grown(types.SimpleNamespace):
    """Stands for a message of a package that is not installed: it has whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        setattr(self, name, [] if name in ("detections", "results") else Grown())
        return getattr(self, name)


def test_detections() -> None:
    instrument = dataclasses.replace(distinct_instrument(), box=Box(3, 4, 11, 6), track_id=np.int64(7))
    found = scene_messages.detections("header", [instrument], LABELS, MessageTypes(lambda name: Grown, list))
    ((detection,), (result, kind)) = (found.detections, found.detections[0].results)
    assert (found.header, detection.header, detection.id) == ("header", "header", "7")
    assert (detection.bbox.center.position.x, detection.bbox.center.position.y) == (8.0, 6.5)
    assert (detection.bbox.size_x, detection.bbox.size_y) == (11.0, 6.0)
    assert result.hypothesis.class_id == LABELS.names[instrument.class_id]
    assert result.hypothesis.score == instrument.confidence
    assert (kind.hypothesis.class_id, kind.hypothesis.score) == (instrument.type_name, instrument.type_probability)


def test_a_detection_without_identity_or_type_has_none() -> None:
    instrument = dataclasses.replace(distinct_instrument(), track_id=0, type_name="", type_probability=0.0)
    (detection,) = scene_messages.detections(
        None, [instrument], LABELS, MessageTypes(lambda name: Grown, list)
    ).detections
    assert detection.id == "" and len(detection.results) == 1


def test_numbers_are_pythons_own() -> None:
    """The scene floor may hand over numpy scalars, and whole numbers for floats; rosidl takes neither."""
    one = np.float32(1)
    points = (Keypoint("wrist", one, 2, one, np.bool_(True)),)
    instrument = Instrument(
        np.uint8(1), one, Box(*map(np.int64, (1, 2, 3, 4))), (one, one), (1, one), np.int64(3), np.bool_(False),
        type_probability=one, keypoints=points, confirmed=np.bool_(True), unseen_s=1,
    )  # fmt: skip
    (tag,) = scene_messages.tags(None, [instrument], LABELS, "x", PLAIN).instruments
    basis = Basis(("plain",), one, 2, one)
    status = scene_messages.status(
        None, dataclasses.replace(distinct_status(), novelty=one, age_ms=2, basis=basis), PLAIN
    )
    found = [*vars(tag).items(), *vars(status).items(), *vars(tag.keypoints[0]).items()]
    for name in ("box", "tip", "axis", "velocity"):
        found += vars(getattr(tag, name)).items()
    kinds = {name: type(value) for name, value in found if not isinstance(value, types.SimpleNamespace)}
    assert {type(name) for name in status.looks} == {str} and kinds.pop("looks") is tuple
    assert kinds.pop("keypoints") is list and (kinds["visible"], kinds["unseen_s"]) == (bool, float)
    assert set(kinds.values()) == {int, float, bool, str, type(None)}
    assert {name for name, kind in kinds.items() if kind is type(None)} == {"header"}
    assert {
        kinds[name] for name in ("x", "confidence", "area", "novelty", "age_ms", "network_ms", "memory_age_ms")
    } == {float}
    assert {kinds[name] for name in ("memory_share", "disagreement")} == {float}
