"""Scenes made by hand -> messages, every field; serialised and read back as DDS does it."""

from __future__ import annotations

import importlib.util
import math
import os
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from clip_rl_interfaces.msg import ClassList, InstrumentTagArray, SceneStatus
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.nodes import node_messages
from clip_rl_perception.nodes.newest_frame import FrameCounts
from clip_rl_perception.nodes.node_messages import FrameTimes
from clip_rl_perception.nodes.publishers import PUBLICATION_MODE, send_in_background
from clip_rl_perception.scene.types import Box, Instrument, Letterbox, Scene, Validity
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

LABELS = label_space_from_names(["tissue", "bipolar forceps", "scissors"])
HEADER = Header(stamp=Time(sec=12, nanosec=345678901), frame_id="left_optical")
VISION = importlib.util.find_spec("vision_msgs") is None


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
        refine_steps=3,
        preprocess_ms=1.0,
        network_ms=2.0,
        refine_ms=3.0,
        postprocess_ms=4.0,
        tags_ms=5.0,
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
    received: InstrumentTagArray = over_the_wire(node_messages.tags_message(HEADER, scene(), LABELS, "abcdef012345"))
    assert received.header == HEADER and received.model_id == "abcdef012345"
    (tag,) = received.instruments
    assert (tag.track_id, tag.class_id, tag.class_name, tag.age) == (7, 2, "scissors", 9)
    assert (tag.confidence, tag.area, tag.visibility, tag.touches_border) == (0.75, 44.0, 0.5, True)
    assert (tag.box.x_offset, tag.box.y_offset, tag.box.width, tag.box.height) == (3, 4, 11, 6)
    assert (tag.tip.x, tag.tip.y, tag.tip.z) == (5.5, 6.25, 0.0)
    assert (tag.axis.x, tag.axis.y, tag.axis.z) == (0.6, -0.8, 0.0)
    assert (tag.velocity.x, tag.velocity.y) == (12.0, -3.5)


def test_numpy_numbers_are_taken() -> None:
    """The scene floor may hand over numpy scalars; rclpy accepts only Python's own."""
    import dataclasses

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
    made = node_messages.tags_message(HEADER, dataclasses.replace(scene(), instruments=(instrument,)), LABELS, "x")
    assert over_the_wire(made).instruments[0].box.width == 3


def test_status_of_a_processed_and_of_a_rejected_frame() -> None:
    times = FrameTimes(decode=0.5, publish=0.75, total=20.0, age=30.0)
    fields = {"times": times, "counts": FrameCounts(4, 3, 2, 1), "model_id": "abc", "engine": "torch fp32 288x352"}
    done: SceneStatus = over_the_wire(
        node_messages.status_message(HEADER, validity=Validity.STALE, reason="old", scene=scene(), **fields)
    )
    assert done.header == HEADER and (done.validity, done.reason) == (SceneStatus.STALE, "old")
    assert (done.decode_ms, done.preprocess_ms, done.network_ms, done.refine_ms) == (0.5, 1.0, 2.0, 3.0)
    assert (done.postprocess_ms, done.tags_ms, done.publish_ms, done.total_ms) == (4.0, 5.0, 0.75, 20.0)
    assert (done.age_ms, done.novelty, done.refine_steps) == (30.0, 0.25, 3)
    assert (done.received, done.processed, done.dropped, done.invalid) == (4, 3, 2, 1)
    assert (done.model_id, done.engine) == ("abc", "torch fp32 288x352")
    rejected = over_the_wire(
        node_messages.status_message(HEADER, validity=Validity.INVALID_INPUT, reason="step", scene=None, **fields)
    )
    assert rejected.validity == SceneStatus.INVALID_INPUT and math.isnan(rejected.novelty)
    assert (rejected.network_ms, rejected.refine_steps) == (0.0, 0)


def test_validity_constants_agree() -> None:
    for kind in Validity:
        assert getattr(SceneStatus, kind.name) == kind.value


def test_class_list() -> None:
    received: ClassList = over_the_wire(node_messages.class_list_message(LABELS, Time(sec=5)))
    assert list(received.names) == ["tissue", "bipolar forceps", "scissors"]
    assert list(received.ids) == [0, 1, 2] and list(received.instrument) == [False, True, True]
    assert received.prompts[1] == "a photo of a bipolar forceps in surgery"
    assert received.header.stamp == Time(sec=5) and received.header.frame_id == ""
    color = received.colors[1]
    assert [round(v * 255) for v in (color.r, color.g, color.b)] == list(LABELS.classes[1].color) and color.a == 1.0


def test_images() -> None:
    mask: Image = over_the_wire(
        node_messages.image_message(HEADER, np.arange(12, dtype=np.uint8).reshape(3, 4), "mono8")
    )
    assert mask.header == HEADER and (mask.height, mask.width, mask.step, mask.encoding) == (3, 4, 4, "mono8")
    assert list(mask.data) == list(range(12))
    jpeg = over_the_wire(node_messages.jpeg_message(HEADER, np.zeros((8, 8, 3), np.uint8), 80))
    assert jpeg.header == HEADER and bytes(jpeg.data[:2]) == b"\xff\xd8"


@pytest.mark.skipif(VISION, reason="vision_msgs is not installed")
def test_vision_msgs() -> None:
    assert node_messages.vision_msgs_available()
    info = over_the_wire(node_messages.label_info_message(LABELS, Time(sec=5)))
    assert [(entry.class_id, entry.class_name) for entry in info.class_map] == list(enumerate(LABELS.names))
    found = over_the_wire(node_messages.detections_message(HEADER, scene(), LABELS))
    assert found.header == HEADER
    (detection,) = found.detections
    assert detection.header == HEADER and detection.id == "7"
    assert (detection.bbox.center.position.x, detection.bbox.center.position.y) == (8.0, 6.5)
    assert (detection.bbox.size_x, detection.bbox.size_y) == (11.0, 6.0)
    (result,) = detection.results
    assert (result.hypothesis.class_id, result.hypothesis.score) == ("scissors", 0.75)
