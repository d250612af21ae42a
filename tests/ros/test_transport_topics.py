"""Compressed images and camera_info are where image_transport has them, whatever is remapped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from clip_rl_perception.ros.transport_topics import topic_beside, transport_topic
from harness import NodeProcess, Rig, Tester
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from test_bad_input import compressed

REMAPPINGS = {
    "none": ([], "", ["/image/compressed", "/overlay/compressed", "/camera_info", "/camera_info"]),
    "namespace": (
        [],
        "psm",
        ["/psm/image/compressed", "/psm/overlay/compressed", "/psm/camera_info", "/psm/camera_info"],
    ),
    "base": (
        ["image:=/camera/image_raw"],
        "",
        ["/camera/image_raw/compressed", "/overlay/compressed", "/camera/camera_info", "/camera/camera_info"],
    ),
    "base, relative, in a namespace": (
        ["image:=left/image_raw", "overlay:=seen"],
        "rig",
        ["/rig/left/image_raw/compressed", "/rig/seen/compressed", "/rig/left/camera_info", "/rig/left/camera_info"],
    ),
    "base, by absolute name": (
        ["/rig/image:=/camera/image_raw"],
        "rig",
        ["/camera/image_raw/compressed", "/rig/overlay/compressed", "/camera/camera_info", "/camera/camera_info"],
    ),
    "base, for this node": (
        ["perception_node:image:=/camera/image_raw", "other:image:=/elsewhere"],
        "",
        ["/camera/image_raw/compressed", "/overlay/compressed", "/camera/camera_info", "/camera/camera_info"],
    ),
    "namespace by remapping": (
        ["__ns:=/a/b", "image:=image_raw"],
        "",
        ["/a/b/image_raw/compressed", "/a/b/overlay/compressed", "/a/b/camera_info", "/a/b/camera_info"],
    ),
    "compressed wins": (
        ["image:=/camera/image_raw", "image/compressed:=/usb/jpeg", "overlay/compressed:=/page/jpeg"],
        "",
        ["/usb/jpeg", "/page/jpeg", "/camera/camera_info", "/usb/camera_info"],
    ),
    "compressed alone": (
        ["image/compressed:=/camera/image_raw/compressed"],
        "",
        ["/camera/image_raw/compressed", "/overlay/compressed", "/camera_info", "/camera/camera_info"],
    ),
    "camera_info wins": (
        ["image:=/camera/image_raw", "camera_info:=/calibration"],
        "",
        ["/camera/image_raw/compressed", "/overlay/compressed", "/calibration", "/calibration"],
    ),
    "private": (
        ["image:=~/image"],
        "",
        [
            "/perception_node/image/compressed",
            "/overlay/compressed",
            "/perception_node/camera_info",
            "/perception_node/camera_info",
        ],
    ),
}


@pytest.fixture
def context(domain: int) -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    yield context
    context.try_shutdown()


@pytest.mark.parametrize("case", REMAPPINGS)
def test_names(context: Context, case: str) -> None:
    rules, namespace, wanted = REMAPPINGS[case]
    arguments = ["--ros-args", *(part for rule in rules for part in ("-r", rule))]
    node = Node("perception_node", context=context, namespace=namespace, cli_args=arguments if rules else None)
    try:

        def topic(name: str) -> str:
            return node.resolve_topic_name(transport_topic(node, name))

        beside = [node.resolve_topic_name(topic_beside(node, image, "camera_info")) for image in map(topic, IMAGES)]
        assert [topic("image/compressed"), topic("overlay/compressed"), *beside] == wanted
    finally:
        node.destroy_node()


IMAGES = ("image", "image/compressed")


def test_a_node_on_a_compressed_camera(tester: Tester, checkpoint: Path, tmp_path: Path) -> None:
    """As somebody would type it: the base topic of this node remapped, the transport a parameter."""
    parameters = {"model": str(checkpoint), "engine": "torch", "image_transport": "compressed", "autostart": True}
    parameters |= {"max_age_ms": 0.0}
    arguments = ["-r", "__node:=scope_node", "-r", "scope_node:image:=scope/image_raw"]
    with NodeProcess(tmp_path / "log", parameters=parameters, namespace="eye", arguments=arguments):
        camera = Rig(tester, kind=CompressedImage, topic="scope/image_raw/compressed", namespace="eye")
        try:
            picture = np.full((60, 80, 3), (70, 80, 170), np.uint8)
            jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
            camera.prime(lambda: compressed(jpeg, tester.now()))
            names = dict(tester.node.get_subscriber_names_and_types_by_node("scope_node", "/eye"))
            assert "/eye/scope/image_raw/compressed" in names and "/eye/scope/camera_info" in names
        finally:
            camera.close()
