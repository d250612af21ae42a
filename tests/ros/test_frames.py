"""Frames in, results out: headers, equality with the pipeline run here, encodings, sizes, lazy outputs, counts."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_interfaces.msg import ClassList, SceneStatus
from diagnostic_msgs.msg import DiagnosticArray
from harness import LATCHED, NodeProcess, Rig, Tester, image, picture
from sensor_msgs.msg import CompressedImage, Image

FLOOD = 40
"""Pictures at once; the camera keeps more than that for a subscriber that is behind."""


def test_headers_come_back_untouched_and_the_mask_is_the_pipelines(rig: Rig, tester: Tester, checkpoint: Path) -> None:
    rgb = picture()
    message = image(rgb, tester.now(), frame_id="left_optical / odd name")
    status = rig.send(message)
    assert status.validity in (SceneStatus.OK, SceneStatus.DEGRADED), status.reason
    mask = rig.of(rig.mask, message)
    tags = rig.of(rig.tags, message)
    assert (mask.height, mask.width, mask.encoding, mask.step) == (60, 80, "mono8", 80)
    expected = offline_label_map(checkpoint, rgb)
    np.testing.assert_array_equal(np.frombuffer(mask.data, np.uint8).reshape(60, 80), expected)
    assert tags.model_id == status.model_id and len(status.model_id) == 12
    assert status.engine == "torch fp32 96x128"
    assert status.total_ms >= status.network_ms > 0
    assert status.age_ms > 0


def offline_label_map(checkpoint: Path, rgb: np.ndarray) -> np.ndarray:
    """What the same model gives in this process."""
    from clip_rl_perception.nodes.model_options import model_options
    from clip_rl_perception.nodes.parameters import NodeParameters
    from clip_rl_perception.stream import StreamRunner, load

    with load(model_options(NodeParameters(model=str(checkpoint), engine="torch"))) as model:
        scene, _ = StreamRunner(model).process(rgb, 10**18)
        return scene.label_map


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "rgba8", "mono8", "mono16", "bayer_rggb8", "yuv422_yuy2"])
def test_every_kind_of_encoding_gives_a_mask(rig: Rig, tester: Tester, encoding: str) -> None:
    channels = {"rgb8": 3, "bgra8": 4, "rgba8": 4, "mono16": 2, "yuv422_yuy2": 2}.get(encoding, 1)
    message = image(picture(), tester.now())
    message.encoding, message.step = encoding, 80 * channels + 8
    message.data = array("B", np.resize(picture(seed=5), 60 * message.step).tobytes())
    status = rig.send(message)
    assert status.validity != SceneStatus.INVALID_INPUT, status.reason
    mask = rig.of(rig.mask, message)
    assert (mask.height, mask.width) == (60, 80)


def test_size_and_encoding_may_change_with_every_frame(rig: Rig, tester: Tester) -> None:
    for height, width, encoding in ((60, 80, "bgr8"), (100, 64, "rgb8"), (48, 200, "bgr8"), (60, 80, "rgb8")):
        message = image(picture(height, width), tester.now())
        message.encoding = encoding
        status = rig.send(message)
        assert status.validity != SceneStatus.INVALID_INPUT, status.reason
        mask = rig.of(rig.mask, message)
        assert (mask.height, mask.width) == (height, width)


def test_maps_and_overlay_only_while_somebody_listens(rig: Rig, tester: Tester) -> None:
    names = ("/confidence", "/disagreement", "/instances", "/overlay", "/overlay/compressed")
    confidence = tester.subscribe(Image, "/confidence")
    disagreement = tester.subscribe(Image, "/disagreement")
    instances = tester.subscribe(Image, "/instances")
    overlay = tester.subscribe(Image, "/overlay")
    packed = tester.subscribe(CompressedImage, "/overlay/compressed")
    inboxes = (confidence, disagreement, instances, overlay, packed)
    tester.wait(lambda: all(tester.node.count_subscribers(name) == 1 for name in names), "subscriptions")
    rgb = picture()
    assert tester.set_parameter("views", 2).successful
    # the node learns of a subscriber a moment later than this process: frames go on until the pictures come
    message = image(rgb, tester.now())
    for _ in range(50):
        message = image(rgb, tester.now())
        rig.send(message)  # the overlays come after the status
        if all(inbox.comes(lambda m, sent=message: m.header == sent.header, 1.0) for inbox in inboxes):
            break
    sure, torn, numbers, shown, jpeg = (rig.of(inbox, message) for inbox in inboxes)
    assert (sure.encoding, sure.height, sure.width) == ("mono8", 60, 80)
    assert np.frombuffer(sure.data, np.uint8).max() > 0
    assert (torn.encoding, torn.height, torn.width) == ("mono8", 60, 80)
    # Two looks at each frame, whatever memory there is: of a random network they disagree somewhere.
    assert np.frombuffer(torn.data, np.uint8).max() > 0
    assert (numbers.encoding, numbers.height, numbers.width, numbers.step) == ("mono16", 60, 80, 160)
    tags = {tag.track_id for tag in rig.of(rig.tags, message).instruments}
    assert {*np.frombuffer(numbers.data, "<u2").tolist(), 0} == {0, *tags}, "all tracks, and nothing else"
    assert (shown.encoding, shown.height, shown.width) == ("bgr8", 60, 80)
    decoded = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    pixels = np.frombuffer(shown.data, np.uint8).reshape(60, 80, 3)
    assert np.abs(decoded.astype(int) - pixels).mean() < 12, "the two overlays differ"
    assert tester.set_parameter("views", 1).successful
    for inbox in inboxes:
        tester.unsubscribe(inbox)
    for _ in range(50):
        status = rig.send(image(rgb, tester.now()))
        if not any(tester.node.count_subscribers(name) for name in names):
            break
    assert status.validity != SceneStatus.INVALID_INPUT


def test_mask_at_network_size(rig: Rig, tester: Tester) -> None:
    assert tester.set_parameter("mask_size", "network").successful
    try:
        message = image(picture(120, 160), tester.now())
        rig.send(message)
        mask = rig.of(rig.mask, message)
        assert (mask.height, mask.width) == (96, 128)
    finally:
        assert tester.set_parameter("mask_size", "full").successful


def test_plain_looks_alone_follow_the_parameter(rig: Rig, tester: Tester) -> None:
    assert tester.set_parameter("refine_steps", 0).successful
    try:
        masks = []
        for _ in range(2):
            message = image(picture(), tester.now())
            assert rig.send(message).refine_steps == 0
            masks.append(bytes(rig.of(rig.mask, message).data))
        assert masks[0] == masks[1], "each frame alone, the same way up"
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


@pytest.fixture()
def slow_rig(tester: Tester, checkpoint: Path, tmp_path: Path) -> Iterator[Rig]:
    """A node of its own that takes far longer for a picture than the picture for its way, and loses none on the way."""
    parameters = {"model": str(checkpoint), "network_size": "960x1280", "autostart": True, "max_age_ms": 0.0}
    subscription = "qos_overrides./flood/image.subscription."
    parameters |= {subscription + "reliability": "reliable", subscription + "depth": 2 * FLOOD}
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="flood"):
        rig = Rig(tester, "flood")
        rig.prime()
        yield rig
        rig.close()


def test_a_flood_is_dropped_and_counted(slow_rig: Rig, tester: Tester) -> None:
    rig = slow_rig
    before = after = rig.send(image(picture(), tester.now()))
    sent = 0
    while after.dropped == before.dropped:  # the first time, unless this process was held up between two pictures
        assert sent < 20 * FLOOD, f"{sent} small pictures at once, and all of them went through a large network"
        flood = [image(picture(), tester.now()) for _ in range(FLOOD)]  # made before, so that none waits for the next
        for message in flood:
            rig.camera.publish(message)
        rig.of(rig.status, flood[-1])  # the newest is processed whatever was dropped
        after = rig.send(image(picture(), tester.now()))
        sent += FLOOD + 1
    received, processed = after.received - before.received, after.processed - before.processed
    dropped, invalid = after.dropped - before.dropped, after.invalid - before.invalid
    assert (received, processed + dropped, invalid) == (sent, sent, 0), "every picture is counted, and once"
    answered = [status for status in rig.status.all() if status.processed > before.processed]
    assert len(answered) == processed, "every processed frame has exactly one status"


def test_diagnostics_tell_how_it_goes(rig: Rig, tester: Tester) -> None:
    status = rig.send(image(picture(), tester.now()))
    diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")

    def told() -> bool:
        rig.send(image(picture(), tester.now()))  # what they tell of times is about the newest seconds
        return diagnostics.comes(tells, 1.0) is not None

    def tells(message: DiagnosticArray) -> bool:
        parts = {part.name: part for part in message.status}
        if set(parts) != {"perception_node: input", "perception_node: inference"}:
            return False  # another node's
        source, inference = (
            {pair.key: pair.value for pair in parts[f"perception_node: {name}"].values}
            for name in ("input", "inference")
        )
        return (
            int(inference["processed"]) >= status.processed
            and (inference["model"], inference["engine"]) == (status.model_id, status.engine)
            and (inference["state"], source["topic"]) == ("active", "/image")
            and float(inference["total p99 (ms)"]) > 0
            and parts["perception_node: inference"].hardware_id == status.engine
            and message.header.stamp.sec > 0
        )

    tester.wait(told, "diagnostics of the running node")
    tester.unsubscribe(diagnostics)


def test_novelty_is_a_number_or_unknown(rig: Rig, tester: Tester) -> None:
    status = rig.send(image(picture(), tester.now()))
    assert status.novelty >= 0 or math.isnan(status.novelty)
