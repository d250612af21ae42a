"""Scenes made by hand -> messages, every field; serialised and read back as DDS does it."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from clip_rl_interfaces.msg import ClassList, InstrumentTagArray, SceneStatus
from clip_rl_perception.labels import label_space_from_names, load_label_space
from clip_rl_perception.messages import message_types, scene_messages
from clip_rl_perception.messages.class_messages import class_list, label_space_of
from clip_rl_perception.messages.image_messages import image, jpeg
from clip_rl_perception.messages.message_types import BAG_TYPES, MessageTypes
from clip_rl_perception.messages.scene_messages import Status
from clip_rl_perception.nodes.newest_frame import FrameCounts
from clip_rl_perception.nodes.publishers import PUBLICATION_MODE, send_in_background
from clip_rl_perception.ros.ros_types import ROS_TYPES
from clip_rl_perception.scene.types import Basis, Box, Instrument, Letterbox, Scene, Validity
from every_field import LABELS as NAMES
from every_field import distinct_instrument, distinct_status, message_fields
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

LABELS = label_space_from_names(["tissue", "bipolar forceps", "scissors"])
HEADER = Header(stamp=Time(sec=12, nanosec=345678901), frame_id="left_optical")


def scene() -> Scene:
    instrument = Instrument(
        class_id=2,
        confidence=0.75,
        box=Box(x=3, y=4, width=11, height=6),
        tip=(5.5, 6.25),
        axis=(0.6, -0.8),
        area=44.0,
        touches_border=True,
        visibility=0.5,
        track_id=7,
        age=9,
        velocity=(12.0, -3.5),
    )
    view = Letterbox((20, 30), (32, 32), Box(0, 0, 30, 20), 1.0, 1, 6)
    return Scene(
        label_map=np.full((20, 30), 2, np.uint8),
        confidence=None,
        instruments=(instrument,),
        validity=Validity.OK,
        reason="",
        novelty=0.25,
        view=view,
        refined=np.zeros((3, 8, 8), np.float32),
        stage_ms={"preprocess": 1.0, "network": 2.0, "refine": 3.0, "postprocess": 4.0, "tags": 5.0},
        basis=Basis(("plain",)),
        disagreement=np.zeros((8, 8), np.float32),
    )


def over_the_wire(message: Any) -> Any:
    return deserialize_message(serialize_message(message), type(message))


def test_sending_in_the_background_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PUBLICATION_MODE, "SYNCHRONOUS")
    send_in_background()
    assert os.environ[PUBLICATION_MODE] == "SYNCHRONOUS"
    monkeypatch.delenv(PUBLICATION_MODE)
    send_in_background()
    assert os.environ[PUBLICATION_MODE] == "ASYNCHRONOUS"


def test_tags() -> None:
    made = scene_messages.tags(HEADER, scene().instruments, LABELS, "abcdef012345", ROS_TYPES)
    received: InstrumentTagArray = over_the_wire(made)
    assert received.header == HEADER and received.model_id == "abcdef012345"
    (tag,) = received.instruments
    assert (tag.track_id, tag.class_id, tag.class_name, tag.age) == (7, 2, "scissors", 9)
    assert (tag.confidence, tag.area, tag.visibility, tag.touches_border) == (0.75, 44.0, 0.5, True)
    assert (tag.box.x_offset, tag.box.y_offset, tag.box.width, tag.box.height) == (3, 4, 11, 6)
    assert (tag.tip.x, tag.tip.y, tag.tip.z) == (5.5, 6.25, 0.0)
    assert (tag.axis.x, tag.axis.y, tag.axis.z) == (0.6, -0.8, 0.0)
    assert (tag.velocity.x, tag.velocity.y) == (12.0, -3.5)


def in_a_bag(message: Any, kind: str) -> Any:
    """Written by rclpy, read by rosbags."""
    return message_types.typestore().deserialize_cdr(serialize_message(message), kind)


def from_a_bag(message: Any, kind: str) -> Any:
    """Written by rosbags, read by rclpy."""
    return deserialize_message(bytes(message_types.typestore().serialize_cdr(message, kind)), ROS_TYPES.named(kind))


WAYS = pytest.mark.parametrize(
    ("kinds", "sent"),
    [(ROS_TYPES, lambda message, kind: over_the_wire(message)), (ROS_TYPES, in_a_bag), (BAG_TYPES, from_a_bag)],
    ids=["rclpy", "rclpy to rosbags", "rosbags to rclpy"],
)


@WAYS
def test_every_field_survives_with_and_without_ros(kinds: MessageTypes, sent: Any) -> None:
    instrument, status = distinct_instrument(), distinct_status()
    header = message_types.header(status.stamp_ns, "cam", kinds)
    tags = sent(scene_messages.tags(header, [instrument], NAMES, "abc", kinds), message_types.INSTRUMENTS)
    assert scene_messages.instruments_of(tags) == (instrument,)
    assert (tags.instruments[0].class_name, tags.model_id) == (NAMES.names[instrument.class_id], "abc")
    said = sent(scene_messages.status(header, status, kinds), message_types.STATUS)
    assert scene_messages.status_of(said) == status
    space = load_label_space("endovis2018")
    classes = sent(class_list(space, 17, kinds), message_types.CLASS_LIST)
    assert label_space_of(classes) == space and message_types.stamp_of(classes) == 17


def test_interface_files_are_those_that_ros_compiled() -> None:
    for name in ("InstrumentTag", "Keypoint", "SceneStatus"):
        kind = ROS_TYPES.named(f"clip_rl_interfaces/msg/{name}")
        assert list(kind.get_fields_and_field_types()) == list(message_fields(name))


def test_numpy_numbers_are_taken() -> None:
    """The scene floor may hand over numpy scalars; rclpy accepts only Python's own."""
    instrument = dataclasses.replace(
        scene().instruments[0],
        class_id=np.uint8(1),
        confidence=np.float32(0.5),
        box=Box(np.int64(1), np.int64(2), np.int64(3), np.int64(4)),
        tip=(np.float32(1), np.float32(2)),
        area=np.float64(3),
        touches_border=np.bool_(False),
        track_id=np.int64(5),
        age=np.int64(6),
    )
    made = scene_messages.tags(HEADER, [instrument], LABELS, "x", ROS_TYPES)
    assert over_the_wire(made).instruments[0].box.width == 3


def test_status_of_a_processed_and_of_a_rejected_frame() -> None:
    seen = scene()
    told = Status(
        Validity.STALE,
        "old",
        novelty=seen.novelty,
        stage_ms={"decode": 0.5, **seen.stage_ms, "publish": 0.75, "total": 20.0},
        age_ms=30.0,
        **dataclasses.asdict(FrameCounts(4, 3, 2, 1)),
        model_id="abc",
        engine="torch fp32 288x352",
    )
    done: SceneStatus = over_the_wire(scene_messages.status(HEADER, told, ROS_TYPES))
    assert done.header == HEADER and (done.validity, done.reason) == (SceneStatus.STALE, "old")
    assert (done.decode_ms, done.preprocess_ms, done.network_ms, done.refine_ms) == (0.5, 1.0, 2.0, 3.0)
    assert (done.postprocess_ms, done.tags_ms, done.publish_ms, done.total_ms) == (4.0, 5.0, 0.75, 20.0)
    assert (done.age_ms, done.novelty, done.refine_steps) == (30.0, 0.25, 0)
    assert (done.received, done.processed, done.dropped, done.invalid) == (4, 3, 2, 1)
    assert (done.model_id, done.engine) == ("abc", "torch fp32 288x352")
    rejected = over_the_wire(scene_messages.status(HEADER, Status(Validity.INVALID_INPUT, "step"), ROS_TYPES))
    assert rejected.validity == SceneStatus.INVALID_INPUT and math.isnan(rejected.novelty)
    assert (rejected.network_ms, rejected.refine_steps) == (0.0, 0)


def test_validity_constants_agree() -> None:
    for kind in Validity:
        assert getattr(SceneStatus, kind.name) == kind.value


def test_class_list() -> None:
    received: ClassList = over_the_wire(class_list(LABELS, 5_000_000_000, ROS_TYPES))
    assert list(received.names) == ["tissue", "bipolar forceps", "scissors"]
    assert list(received.ids) == [0, 1, 2] and list(received.instrument) == [False, True, True]
    assert received.prompts[1] == "a photo of a bipolar forceps in surgery"
    assert received.header.stamp == Time(sec=5) and received.header.frame_id == ""
    color = received.colors[1]
    assert [round(v * 255) for v in (color.r, color.g, color.b)] == list(LABELS.classes[1].color) and color.a == 1.0


def test_images() -> None:
    mask: Image = over_the_wire(image(HEADER, np.arange(12, dtype=np.uint8).reshape(3, 4), types=ROS_TYPES))
    assert mask.header == HEADER and (mask.height, mask.width, mask.step, mask.encoding) == (3, 4, 4, "mono8")
    assert list(mask.data) == list(range(12))
    picture = over_the_wire(jpeg(HEADER, np.zeros((8, 8, 3), np.uint8), ROS_TYPES, quality=80))
    assert picture.header == HEADER and bytes(picture.data[:2]) == b"\xff\xd8"
