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
