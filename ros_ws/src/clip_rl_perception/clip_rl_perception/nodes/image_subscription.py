"""The node's image subscription: transport, quality of service, and what happens to its publishers."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import (
    QoSMessageLostInfo,
    QoSRequestedIncompatibleQoSInfo,
    QoSSubscriptionMatchedInfo,
    SubscriptionEventCallbacks,
)
from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.utilities import get_rmw_implementation_identifier

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.messages.message_types import stamp_of
from clip_rl_perception.messages.transports import FFMPEG, RAW, TRANSPORTS, split_topic, topic_of
from clip_rl_perception.nodes.camera_search import nobody_publishes
from clip_rl_perception.nodes.image_losses import ImageLosses
from clip_rl_perception.ros.late_events import ending_well
from clip_rl_perception.ros.qos import best_effort
from clip_rl_perception.ros.ros_types import ros_type
from clip_rl_perception.ros.spin import shared_memory_fault
from clip_rl_perception.ros.transport_topics import transport_topic

REORDERED_NS = 1_000_000_000
"""Longest time that a packet's picture may lie before one that came already, ns: B-frames."""
IMAGE_QOS = best_effort(1)
"""Only the newest image matters; a best-effort subscriber takes every publisher."""
PACKET_QOS = best_effort(60)
"""Every packet matters: without one, there is no picture until the next key frame."""
CONFINED = {"ROS_LOCALHOST_ONLY": ("1",), "ROS_AUTOMATIC_DISCOVERY_RANGE": ("LOCALHOST", "OFF")}
"""Variables that hide other machines, and by which values."""


def input_topic(node: Node, transport: str) -> str:
    """Name after remapping of the images that a transport of `TRANSPORTS` brings."""
    return str(node.resolve_topic_name(transport_topic(node, topic_of("image", transport))))


def advice() -> str:
    """What to do where images are lost on their way, by the middleware in use; see docs/ros_interface.md."""
    smaller = "let it send compressed images"
    if fault := shared_memory_fault():
        return f"{fault}, or {smaller}"
    if "fastrtps" not in get_rmw_implementation_identifier():
        return f"raise net.core.rmem_max here, or {smaller}"
    fast_dds = "FASTRTPS" if os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy") else "FASTDDS"
    name = f"{fast_dds}_DEFAULT_PROFILES_FILE"
    profile = os.environ.get(name) or "config/fastdds_shm.xml of clip_rl_perception"
    return f"start the camera with {name}={profile} and as the same user, or {smaller}"


class TransportMissingError(ClipRlError):
    """The messages of a transport are not installed."""


def message_class(transport: str) -> Any:
    """Rclpy's class of a transport's messages; raises `TransportMissingError` where its package is not installed."""
    kind = TRANSPORTS[transport]
    try:
        return ros_type(kind)
    except ImportError as error:
        package = kind.partition("/")[0]
        apt = f"ros-{os.environ.get('ROS_DISTRO', '<distro>')}-{package.replace('_', '-')}"
        raise TransportMissingError(
            f"image_transport {transport} needs {package}, which cannot be had here ({error}): apt install {apt}"
        ) from None


class ImageInput:
    """A subscription from activation to deactivation.

    Args:
        node: gets the subscription.
        transport: a key of `TRANSPORTS`.
        received: gets every message, on an executor thread; must return at once.
        lost: told how many more images than was known never came.
        longest_gap_s: between two images beyond which the camera stood still and nothing was lost, s.
        incompatible: told the topic and a sentence when a publisher offers what the subscription cannot take.

    Raises:
        RuntimeError, InvalidQosOverridesError: a qos_overrides parameter has no such value.
    """

    def __init__(
        self,
        node: Node,
        *,
        transport: str,
        received: Callable[[Any], None],
        lost: Callable[[int], None],
        longest_gap_s: float,
        incompatible: Callable[[str, str], None],
    ) -> None:
        self._node, self._transport = node, transport
        self._received, self._lost, self._incompatible = received, lost, incompatible
        self._losses = ImageLosses(longest_gap_s)
        self._newest_ns = 0
        self.publishers = 0
        """Matched publishers."""
        self._matched_at = time.monotonic()
        self.size = (0, 0)
        """(width, height) that the newest message tells, px; zeros where it tells none (CompressedImage)."""
        self.topic = input_topic(node, transport)
        """Name after remapping."""
        subscription = node.create_subscription(
            message_class(transport),
            transport_topic(node, topic_of("image", transport)),
            self._on_message,
            copy.copy(PACKET_QOS if transport == FFMPEG else IMAGE_QOS),
            # Its own: destroyed between an event's readiness and its taking (rclpy issue 1284), a subscription leaves
            # its group locked: executors free a group only where taking did not raise.
            callback_group=MutuallyExclusiveCallbackGroup(),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._on_incompatible, matched=self._on_matched, message_lost=self._on_lost
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._subscription = ending_well(subscription)
        node.get_logger().info(f"subscribed to {self.topic}")
        base = node.resolve_topic_name("image")
        camera, named = split_topic(base)
        if named != RAW:
            node.get_logger().warning(
                f"image is remapped to {base}, the topic of a transport; remap it to {camera} and set image_transport "
                f"to {named}"
            )

    @property
    def matched_s(self) -> float:
        """Time since the newest publisher was matched, or since subscribing, s."""
        return time.monotonic() - self._matched_at

    def absence(self) -> str:
        """Why nothing comes, by what others publish; empty while a publisher is matched."""
        if self.publishers:
            return ""
        wanted = set(TRANSPORTS.values())
        published: dict[str, set[str]] = {}
        for topic, kinds in self._node.get_topic_names_and_types():
            if topic == self.topic or wanted & set(kinds):
                for publisher in self._node.get_publishers_info_by_topic(topic):
                    if (
                        publisher.node_name != self._node.get_name()
                    ):  # not what this one makes, nor its twin of the other eye
                        published.setdefault(topic, set()).add(publisher.topic_type)
        confined = [f"{name}={os.environ[name]}" for name, values in CONFINED.items() if os.environ.get(name) in values]
        return nobody_publishes(
            {name: input_topic(self._node, name) for name in TRANSPORTS},
            self._transport,
            published,
            domain=self._node.context.get_domain_id(),
            confined=" ".join(confined),
        )

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _on_message(self, message: Any) -> None:
        if self.publishers <= 1:  # the stamps of two cameras have no period
            stamp = stamp_of(message)
            reordered = self._transport == FFMPEG and 0 < self._newest_ns - stamp < REORDERED_NS
            if not reordered:
                self._newest_ns = stamp
                self._lost(self._losses.arrived(stamp))
        self.size = getattr(message, "width", 0), getattr(message, "height", 0)
        self._received(message)

    def _on_incompatible(self, event: QoSRequestedIncompatibleQoSInfo) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._incompatible(
            self.topic,
            f"a publisher of {self.topic} offers an incompatible {policy}; nothing comes from it: take out "
            f"qos_overrides.{self.topic}.subscription.{policy.lower()}, or let the publisher offer what it asks for",
        )

    def _on_matched(self, event: QoSSubscriptionMatchedInfo) -> None:
        if event.current_count > self.publishers:
            self._matched_at = time.monotonic()
        self.publishers = event.current_count
        self._losses.restart()
        self._node.get_logger().info(f"{self.topic}: {self.publishers} publishers matched")

    def _on_lost(self, event: QoSMessageLostInfo) -> None:
        self._lost(self._losses.told(event.total_count))
