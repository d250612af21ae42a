"""Frames in, results out: headers, equality with the pipeline run here, encodings, sizes, lazy outputs, counts."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_interfaces.msg import ClassList, InstrumentTagArray, SceneStatus
from harness import BEST_EFFORT, LATCHED, Inbox, NodeProcess, Tester, image, picture
from rclpy.publisher import Publisher
from sensor_msgs.msg import CompressedImage, Image


class Stream:
    """A camera and the outputs of the node under test."""

    def __init__(self, tester: Tester) -> None:
        self.tester = tester
        self.mask = tester.subscribe(Image, "/mask")
        self.tags = tester.subscribe(InstrumentTagArray, "/instruments")
        self.status = tester.subscribe(SceneStatus, "/status")
        self.camera: Publisher = tester.camera()

    def close(self) -> None:
        for inbox in (self.mask, self.tags, self.status):
            self.tester.unsubscribe(inbox)
        self.tester.node.destroy_publisher(self.camera)

    def send(self, message: Image) -> SceneStatus:
        """Publish, and wait for this stamp's status."""
        self.camera.publish(message)
        return self.of(self.status, message)

    def of(self, inbox: Inbox, message: Image) -> object:
        """The message of `inbox` with the same header, to the nanosecond."""
        return inbox.wait(lambda other: other.header == message.header, f"an answer to {message.header}")


@pytest.fixture
def stream(tester: Tester, node: NodeProcess) -> Iterator[Stream]:
    stream = Stream(tester)
    yield stream
    stream.close()


def test_headers_come_back_untouched_and_the_mask_is_the_pipelines(
    stream: Stream, tester: Tester, checkpoint: Path
) -> None:
    rgb = picture()
    message = image(rgb, tester.now(), frame_id="left_optical / odd name")
    status = stream.send(message)
    assert status.validity in (SceneStatus.OK, SceneStatus.DEGRADED), status.reason
    mask = stream.of(stream.mask, message)
    tags = stream.of(stream.tags, message)
    assert (mask.height, mask.width, mask.encoding, mask.step) == (60, 80, "mono8", 80)
    expected = offline_label_map(checkpoint, rgb)
    np.testing.assert_array_equal(np.frombuffer(mask.data, np.uint8).reshape(60, 80), expected)
    assert tags.model_id == status.model_id and len(status.model_id) == 12
    assert status.engine == "torch fp32 96x128"
    assert status.total_ms >= status.network_ms > 0
    assert status.age_ms > 0


def offline_label_map(checkpoint: Path, rgb: np.ndarray) -> np.ndarray:
    """What the same session gives in this process."""
    from clip_rl_perception.nodes.parameters import NodeParameters
    from clip_rl_perception.nodes.session import Session

    parameters = NodeParameters(model=str(checkpoint))
    session = Session.load(parameters)
    try:
        scene, _ = session.process(rgb, 10**18, parameters, want_confidence=False)
        return scene.label_map
    finally:
        session.close()


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "rgba8", "mono8", "mono16", "bayer_rggb8", "yuv422_yuy2"])
def test_every_kind_of_encoding_gives_a_mask(stream: Stream, tester: Tester, encoding: str) -> None:
    channels = {"rgb8": 3, "bgra8": 4, "rgba8": 4, "mono16": 2, "yuv422_yuy2": 2}.get(encoding, 1)
    message = image(picture(), tester.now())
    message.encoding, message.step = encoding, 80 * channels + 8
    message.data = array("B", np.resize(picture(seed=5), 60 * message.step).tobytes())
    status = stream.send(message)
    assert status.validity != SceneStatus.INVALID_INPUT, status.reason
    mask = stream.of(stream.mask, message)
    assert (mask.height, mask.width) == (60, 80)


def test_size_and_encoding_may_change_with_every_frame(stream: Stream, tester: Tester) -> None:
    for height, width, encoding in ((60, 80, "bgr8"), (100, 64, "rgb8"), (48, 200, "bgr8"), (60, 80, "rgb8")):
        message = image(picture(height, width), tester.now())
        message.encoding = encoding
        status = stream.send(message)
        assert status.validity != SceneStatus.INVALID_INPUT, status.reason
        mask = stream.of(stream.mask, message)
        assert (mask.height, mask.width) == (height, width)


def test_a_best_effort_camera_is_served(stream: Stream, tester: Tester) -> None:
    camera = tester.camera(qos=BEST_EFFORT)
    message = image(picture(), tester.now())
    camera.publish(message)
    assert stream.of(stream.status, message)
    tester.node.destroy_publisher(camera)


def test_confidence_and_overlay_only_while_somebody_listens(stream: Stream, tester: Tester) -> None:
    names = ("/confidence", "/overlay", "/overlay/compressed")
    confidence = tester.subscribe(Image, "/confidence")
    overlay = tester.subscribe(Image, "/overlay")
    packed = tester.subscribe(CompressedImage, "/overlay/compressed")
    tester.wait(lambda: all(tester.node.count_subscribers(name) == 1 for name in names), "subscriptions")
    rgb = picture()
    # the node learns of a subscriber a moment later than this process: frames go on until the pictures come
    message = image(rgb, tester.now())
    for _ in range(50):
        message = image(rgb, tester.now())
        stream.send(message)
        if all(any(m.header == message.header for m in inbox.all()) for inbox in (confidence, overlay, packed)):
            break
    sure, shown, jpeg = (stream.of(inbox, message) for inbox in (confidence, overlay, packed))
    assert (sure.encoding, sure.height, sure.width) == ("mono8", 60, 80)
    assert np.frombuffer(sure.data, np.uint8).max() > 0
    assert (shown.encoding, shown.height, shown.width) == ("bgr8", 60, 80)
    decoded = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    pixels = np.frombuffer(shown.data, np.uint8).reshape(60, 80, 3)
    assert np.abs(decoded.astype(int) - pixels).mean() < 12, "the two overlays differ"
    for inbox in (confidence, overlay, packed):
        tester.unsubscribe(inbox)
    for _ in range(50):
        status = stream.send(image(rgb, tester.now()))
        if not any(tester.node.count_subscribers(name) for name in names):
            break
    assert status.validity != SceneStatus.INVALID_INPUT


def test_mask_at_network_size(stream: Stream, tester: Tester) -> None:
    assert tester.set_parameter("mask_size", "network").successful
    try:
        message = image(picture(120, 160), tester.now())
        stream.send(message)
        mask = stream.of(stream.mask, message)
        assert (mask.height, mask.width) == (96, 128)
    finally:
        assert tester.set_parameter("mask_size", "full").successful


def test_refinement_steps_follow_the_parameter(stream: Stream, tester: Tester) -> None:
    assert tester.set_parameter("refine_steps", 0).successful
    try:
        assert stream.send(image(picture(), tester.now())).refine_steps == 0
    finally:
        assert tester.set_parameter("refine_steps", -1).successful


def test_a_late_subscriber_gets_the_class_list(tester: Tester, node: NodeProcess) -> None:
    from clip_rl_perception.labels import load_label_space

    inbox = tester.subscribe(ClassList, "/classes", LATCHED)
    classes = inbox.wait(what="the class list")
    tester.unsubscribe(inbox)
    labels = load_label_space("endovis2018-type")
    assert classes.label_space == labels.name
    assert list(classes.names) == list(labels.names)
    assert list(classes.ids) == list(range(len(labels)))
    assert list(classes.instrument) == [entry.instrument for entry in labels.classes]
    first = labels.classes[1].color
    assert [round(v * 255) for v in (classes.colors[1].r, classes.colors[1].g, classes.colors[1].b)] == list(first)
    assert classes.prompts[1] == "; ".join(labels.classes[1].texts())
    assert classes.header.frame_id == "" and classes.header.stamp.sec > 0


def test_a_flood_is_dropped_and_counted(stream: Stream, tester: Tester) -> None:
    before = stream.send(image(picture(), tester.now()))
    message = image(picture(), tester.now())
    for _ in range(60):
        message = image(picture(480, 640), tester.now())
        stream.camera.publish(message)
    stream.of(stream.status, message)  # the newest is processed whatever was dropped
    after = stream.send(image(picture(), tester.now()))
    received, processed = after.received - before.received, after.processed - before.processed
    dropped, invalid = after.dropped - before.dropped, after.invalid - before.invalid
    assert dropped > 0, "60 frames at once were all processed: this test no longer floods the node"
    assert (received, invalid) == (processed + dropped, 0)
    answered = [status for status in stream.status.all() if status.processed > before.processed]
    assert len(answered) == processed, "every processed frame has exactly one status"


def test_novelty_is_a_number_or_unknown(stream: Stream, tester: Tester) -> None:
    status = stream.send(image(picture(), tester.now()))
    assert status.novelty >= 0 or math.isnan(status.novelty)
