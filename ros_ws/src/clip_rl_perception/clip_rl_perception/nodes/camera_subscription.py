"""The input's CameraInfo, for whoever draws in its camera's space: the newest message, or none."""

from __future__ import annotations

import copy
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo

from clip_rl_perception.ros.late_events import ending_well
from clip_rl_perception.ros.qos import best_effort
from clip_rl_perception.ros.transport_topics import topic_beside
from clip_rl_perception.scene.pinhole import Pinhole

CAMERA_INFO_QOS = best_effort(1)
"""A best-effort subscriber takes every publisher."""


class CameraInfoInput:
    """A subscription of `camera_info` from activation to deactivation; its messages are optional."""

    def __init__(self, node: Node, image: str) -> None:
        """Subscribe to that of the images on `image`, an absolute name."""
        self._node = node
        self._newest: Any = None
        subscription = node.create_subscription(
            CameraInfo,
            topic_beside(node, image, "camera_info"),
            self._on_message,
            copy.copy(CAMERA_INFO_QOS),
            callback_group=MutuallyExclusiveCallbackGroup(),  # its own, as `inputs` has
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._subscription = ending_well(subscription)

    def calibration(self, image_size: tuple[int, int]) -> str:
        """What is known of the camera's calibration, for diagnostics; of images of (width, height), zeros: unknown."""
        info, topic = self._newest, self._subscription.topic_name
        if info is None:
            return f"none on {topic}"
        size, (width, height) = f"{info.width}x{info.height}", image_size
        if Pinhole.calibrated(info.p, info.k, (0, 0), (1, 1)) is None:
            return f"none in {topic}: P and K are zero"
        if width and info.width and info.height and abs(info.width * height - info.height * width) > info.width:
            return f"{topic} is of {size}, images are {width}x{height}: another camera's or mode's"
        return f"{topic}, {size}"

    def pinhole(self, width: int, height: int) -> Pinhole | None:
        """The camera of an image of this size; None without a calibrated CameraInfo."""
        info = self._newest
        if info is None:
            return None
        return Pinhole.calibrated(info.p, info.k, (info.width, info.height), (width, height))

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _on_message(self, message: CameraInfo) -> None:
        self._newest = message
