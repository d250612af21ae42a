"""The input's CameraInfo, for whoever draws in its camera's space: the newest message, or none."""

from __future__ import annotations

import copy
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo

from clip_rl_perception.pictures.stereo_frames import eye_size
from clip_rl_perception.ros.late_events import ending_well
from clip_rl_perception.ros.qos import best_effort
from clip_rl_perception.ros.transport_topics import topic_beside
from clip_rl_perception.scene.pinhole import Pinhole, roi_of, shown_part

CAMERA_INFO_QOS = best_effort(1)
"""A best-effort subscriber takes every publisher."""


class CameraInfoInput:
    """A subscription of `camera_info` from activation to deactivation; its messages are optional."""

    def __init__(self, node: Node, image: str, layout: str = "single") -> None:
        """Subscribe to that of the images on `image`, an absolute name; `layout`: see `stereo_frames.LAYOUTS`."""
        self._node, self._layout = node, layout
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
        return calibration_told(self._newest, self._subscription.topic_name, image_size, self._layout)

    def pinhole(self, width: int, height: int) -> Pinhole | None:
        """The camera of an image of this size; None without a calibrated CameraInfo."""
        info = self._newest
        if info is None:
            return None
        return Pinhole.calibrated(info.p, info.k, (info.width, info.height), (width, height), roi_of(info))

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _on_message(self, message: CameraInfo) -> None:
        self._newest = message


def calibration_told(info: Any, topic: str, image_size: tuple[int, int], layout: str) -> str:
    """What a CameraInfo (None: there is none) says of images of (width, height), which hold what `layout` says."""
    if info is None:
        return f"none on {topic}"
    x, y, shown_width, shown_height = shown_part((info.width, info.height), roi_of(info))
    size, (width, height) = f"{shown_width}x{shown_height}", eye_size(image_size, layout)
    if (shown_width, shown_height) != (info.width, info.height):
        size += f" from {x}, {y} of {info.width}x{info.height} (roi)"
    if Pinhole.calibrated(info.p, info.k, (0, 0), (1, 1)) is None:
        return f"none in {topic}: P and K are zero"
    if layout != "single" and (shown_width, shown_height) == image_size:
        # One eye's where both were squeezed into one picture; nothing tells it from a driver that knows no layout.
        return f"{topic}, {size}, the size of both eyes together: taken as one eye's, squeezed to {width}x{height}"
    if width and shown_width and shown_height and abs(shown_width * height - shown_height * width) > shown_width:
        what = "images are" if layout == "single" else "each eye's half is"
        return f"{topic} is of {size}, {what} {width}x{height}: another camera's or mode's"
    return f"{topic}, {size}"
