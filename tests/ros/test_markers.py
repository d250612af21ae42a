"""Markers: their geometry from a scene made by hand, then over DDS from a running node, and what RViz asks for."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from builtin_interfaces.msg import Duration
from harness import NodeProcess, Rig, Tester, image, picture
from sensor_msgs.msg import CameraInfo

if importlib.util.find_spec("visualization_msgs") is None:
    pytest.skip("visualization_msgs is not installed", allow_module_level=True)

from clip_rl_perception.labels import load_label_space
from clip_rl_perception.nodes.markers import PALE, MarkerPlane, cleared, marker_array
from clip_rl_perception.scene.pinhole import Pinhole
from clip_rl_perception.scene.types import Box, Instrument, Keypoint
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

ROOT = Path(__file__).resolve().parents[2]
RVIZ = ROOT / "ros_ws" / "src" / "clip_rl_perception" / "rviz" / "perception.rviz"
LABELS = load_label_space("endovis2018-type")
HEADER = Header(frame_id="left_optical")
PLANE = MarkerPlane(Pinhole(100.0, 100.0, 50.0, 40.0), depth=0.1, size=(101, 81))  # 1 mm a pixel
TAG = Instrument(
    class_id=2,
    confidence=0.87,
    box=Box(x=20, y=30, width=40, height=20),
    tip=(20.0, 45.0),
    axis=(-0.8, 0.6),
    area=300.0,
    touches_border=True,
    track_id=7,
)


def by_namespace(message: MarkerArray) -> dict[str, Marker]:
    received: MarkerArray = deserialize_message(serialize_message(message), MarkerArray)
    return {marker.ns: marker for marker in received.markers}


def xyz(point: Any) -> tuple[float, float, float]:
    return (point.x, point.y, point.z)


def test_geometry_colour_and_name() -> None:
    markers = by_namespace(marker_array(HEADER, [TAG], LABELS, PLANE, usable=True))
    assert set(markers) == {"", "image", "box", "axis", "tip", "name"}
    assert markers[""].action == Marker.DELETEALL
    box = markers["box"]
    expected = [(-0.0305, -0.0105), (0.0095, -0.0105), (0.0095, 0.0095), (-0.0305, 0.0095), (-0.0305, -0.0105)]
    np.testing.assert_allclose([xyz(p) for p in box.points], [(x, y, 0.1) for x, y in expected], atol=1e-9)
    assert (box.type, box.action, box.id) == (Marker.LINE_STRIP, Marker.ADD, 7)
    np.testing.assert_allclose([box.color.r, box.color.g, box.color.b], np.array(LABELS.classes[2].color) / 255)
    assert box.color.a == 1.0
    np.testing.assert_allclose(xyz(markers["tip"].pose.position), (-0.03, 0.005, 0.1), atol=1e-9)
    start, end = (np.array(xyz(point)) for point in markers["axis"].points)
    np.testing.assert_allclose(end, (-0.03, 0.005, 0.1), atol=1e-9)
    direction = (end - start) / np.linalg.norm(end - start)
    np.testing.assert_allclose(direction, (-0.8, 0.6, 0.0), atol=1e-9)
    assert markers["name"].text == f"#7 {LABELS.names[2]} 87%"
    assert xyz(markers["name"].pose.position)[1] < -0.0105, "the name stands above the box: y points down"
    corner = xyz(markers["image"].points[2])
    np.testing.assert_allclose(corner, (0.0505, 0.0405, 0.1), atol=1e-9)


def test_every_marker_has_the_frames_header_a_lifetime_and_a_pose_that_viewers_take() -> None:
    message = marker_array(HEADER, [TAG, dataclasses.replace(TAG, track_id=8)], LABELS, PLANE, usable=True)
    keys = [(marker.ns, marker.id) for marker in message.markers]
    assert len(set(keys)) == len(keys), "viewers refuse two markers of one name"
    for marker in message.markers[1:]:
        assert marker.header == HEADER
        assert marker.lifetime != Duration(), "it would stay when the node is gone"
        assert marker.pose.orientation.w == 1.0
        assert marker.scale.x > 0 or marker.type == Marker.TEXT_VIEW_FACING


def test_what_should_not_be_used_is_pale() -> None:
    markers = by_namespace(marker_array(HEADER, [TAG], LABELS, PLANE, usable=False))
    assert {round(markers[name].color.a, 6) for name in ("box", "axis", "tip", "name")} == {PALE}


def test_largest_track_id_is_a_marker_id() -> None:
    tag = dataclasses.replace(TAG, track_id=2**32 - 1)
    assert by_namespace(marker_array(HEADER, [tag], LABELS, PLANE, usable=True))["box"].id == 2**31 - 1


def test_keypoints_in_sight_are_points() -> None:
    points = (Keypoint("entry", -9.0, 40.0, 0.9, False), Keypoint("wrist", 30.0, 41.0, 0.9, True))
    markers = by_namespace(
        marker_array(HEADER, [dataclasses.replace(TAG, keypoints=points)], LABELS, PLANE, usable=True)
    )
    (point,) = markers["keypoints"].points
    np.testing.assert_allclose(xyz(point), (-0.02, 0.001, 0.1), atol=1e-9)
    assert (markers["keypoints"].type, markers["keypoints"].id) == (Marker.POINTS, 7)


def test_unconfirmed_ones_are_pale_and_do_not_displace_each_other() -> None:
    tags = [dataclasses.replace(TAG, track_id=number, confirmed=number > 0) for number in (0, 0, 7)]
    message = marker_array(HEADER, tags, LABELS, PLANE, usable=True)
    names = [marker for marker in message.markers if marker.ns == "name"]
    assert len({marker.id for marker in names}) == 3
    assert [round(marker.color.a, 6) for marker in names] == [PALE, PALE, 1.0]
    assert [marker.text for marker in names] == [f"{LABELS.names[2]} 87%"] * 2 + [f"#7 {LABELS.names[2]} 87%"]


def test_cleared() -> None:
    (marker,) = cleared(HEADER).markers
    assert (marker.action, marker.header) == (Marker.DELETEALL, HEADER)


# ---- over DDS


def marked(rig: Rig, tester: Tester, inbox: Any, make: Any) -> tuple[Any, MarkerArray]:
    """Send frames until the markers of one come back."""
    for _ in range(100):
        message = make()
        rig.send(message)
        found = inbox.comes(lambda other, sent=message: other.markers[0].header == sent.header, 0.5)
        if found is not None:
            return message, found
    raise AssertionError("no markers came")


def test_markers_of_a_frame_are_its_tags(rig: Rig, tester: Tester) -> None:
    inbox = tester.subscribe(MarkerArray, "/markers")
    info = CameraInfo(width=80, height=60)
    info.p = [90.0, 0.0, 40.0, 0.0, 0.0, 90.0, 30.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    publisher = tester.node.create_publisher(CameraInfo, "/camera_info", 1)
    try:
        tester.wait(lambda: publisher.get_subscription_count() > 0, "a subscriber of /camera_info")
        for _ in range(50):
            publisher.publish(info)
            message, markers = marked(rig, tester, inbox, lambda: image(picture(), tester.now(), "left_optical"))
            outline = next(marker for marker in markers.markers if marker.ns == "image")
            if abs(outline.points[0].x - (-40.5 / 90 * 0.1)) < 1e-6:
                break
        else:
            raise AssertionError(f"the plane ignores camera_info: {outline.points[0]}")
        tags = rig.of(rig.tags, message).instruments
        assert tags, "the random network tags nothing on this picture: the test shows nothing"
        drawn = {marker.id: marker for marker in markers.markers if marker.ns == "tip"}
        assert set(drawn) == {tag.track_id for tag in tags}
        for tag in tags:
            at = drawn[tag.track_id].pose.position
            expected = ((tag.tip.x - 40) / 90 * 0.1, (tag.tip.y - 30) / 90 * 0.1, 0.1)
            np.testing.assert_allclose(xyz(at), expected, atol=1e-6)
        assert all(marker.header == message.header for marker in markers.markers)
    finally:
        tester.node.destroy_publisher(publisher)
        tester.unsubscribe(inbox)


def test_rejected_frame_clears_the_markers(rig: Rig, tester: Tester) -> None:
    inbox = tester.subscribe(MarkerArray, "/markers")
    try:
        marked(rig, tester, inbox, lambda: image(picture(), tester.now()))
        bad = image(picture(), tester.now())
        bad.encoding = "nonsense"
        rig.send(bad)
        answer = inbox.wait(lambda other: other.markers[0].header == bad.header, "an answer to the bad frame")
        assert [marker.action for marker in answer.markers] == [Marker.DELETEALL]
    finally:
        tester.unsubscribe(inbox)


KINDS = {"Image": "sensor_msgs/msg/Image", "Camera": "sensor_msgs/msg/Image"}
KINDS["MarkerArray"] = "visualization_msgs/msg/MarkerArray"


def test_rviz_asks_for_what_the_node_publishes(tester: Tester, node: NodeProcess) -> None:
    """Every display: a topic of the node (or its input), of the display's type, with a QoS that both can keep."""
    displays = yaml.safe_load(RVIZ.read_text(encoding="utf-8"))["Visualization Manager"]["Displays"]
    assert {display["Topic"]["Value"] for display in displays} == {
        "/image", "/overlay", "/markers", "/mask", "/confidence", "/disagreement",
    }  # fmt: skip
    for display in displays:
        topic, plugin = display["Topic"], display["Class"].removeprefix("rviz_default_plugins/")
        name = topic["Value"]
        look = tester.node.get_publishers_info_by_topic
        if name == "/image":
            look = tester.node.get_subscriptions_info_by_topic

        def of(topic: str = name, look: Any = look) -> list[Any]:
            # An endpoint is in the graph before its node's name is known.
            return [info for info in look(topic) if info.node_name == "perception_node"]

        tester.wait(of, f"the node at {name}")
        of_node = of()
        assert {info.topic_type for info in of_node} == {KINDS[plugin]}, name
        if name != "/image":
            (info,) = of_node
            assert topic["Reliability Policy"] in ("Best Effort", info.qos_profile.reliability.name.title()), name
            assert topic["Durability Policy"] in ("Volatile",), name


def test_without_visualization_msgs_there_are_no_markers_and_one_line_says_so(
    tester: Tester, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: "
        "None if name == 'visualization_msgs' else find(name, package)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    parameters = {"model": str(checkpoint), "engine": "torch"}
    with NodeProcess(tmp_path / "node.log", parameters=parameters, namespace="bare") as process:
        tester.transition("configure", node="/bare/perception_node")
        tester.transition("activate", node="/bare/perception_node")
        tester.wait(lambda: tester.node.count_publishers("/bare/mask") > 0, "the node's publishers")
        assert tester.node.count_publishers("/bare/markers") == 0
        assert tester.node.count_subscribers("/bare/camera_info") == 0
        assert process.text().count("visualization_msgs is not installed: no markers") == 1
