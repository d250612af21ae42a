"""The node's publishers: topics, quality of service, and what is published only while somebody listens."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, TypeGuard

from clip_rl_interfaces.msg import ClassList, InstrumentTagArray, SceneStatus
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import (
    PublisherEventCallbacks,
    QoSOfferedDeadlineMissedInfo,
    QoSOfferedIncompatibleQoSInfo,
    UnsupportedEventTypeError,
)
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from clip_rl_perception.nodes.heartbeat import PROMISES, promising
from clip_rl_perception.nodes.markers import markers_available
from clip_rl_perception.ros.late_events import ending_well
from clip_rl_perception.ros.qos import latched, reliable
from clip_rl_perception.ros.transport_topics import transport_topic

RESULT_QOS = reliable(5)
"""Masks, tags and status: reliable (REP-2003), a few deep so that a subscriber's hiccup loses nothing."""
VIEW_QOS = reliable(1)
"""Pictures for people: the newest is enough."""
LATCHED_QOS = latched()
"""Late subscribers get the current value."""


PUBLICATION_MODE = "RMW_FASTRTPS_PUBLICATION_MODE"
"""What rmw_fastrtps reads when its participant is made, with the first node."""


def send_in_background() -> None:
    """Let Fast DDS send from a thread of its own: inference need not wait while a mask is copied to subscribers.

    Before the first node of the context is made. A mode that the environment names stays; other middleware knows no
    such variable.
    """
    os.environ.setdefault(PUBLICATION_MODE, "ASYNCHRONOUS")


class Outputs:
    """Publishers from configure to cleanup; silent until the node is active.

    Args:
        node: gets the publishers.
        incompatible: told the topic and a sentence when a subscriber asks for what a publisher does not offer.
        late: told how many deadlines `status` has missed since it was last told.
        deadline_s: between two of `status`, s; 0: none.
        lease_s: of `status`, s; 0: none.

    Raises:
        RuntimeError, InvalidQosOverridesError: a qos_overrides parameter has no such value.
    """

    def __init__(
        self,
        node: LifecycleNode,
        incompatible: Callable[[str, str], None],
        *,
        late: Callable[[int], None] = lambda count: None,
        deadline_s: float = 0.0,
        lease_s: float = 0.0,
    ) -> None:
        self._node = node
        self._incompatible, self._late = incompatible, late
        self._promised = {"deadline_s": deadline_s, "lease_s": lease_s}
        self._made: list[Publisher] = []
        # Their own, as `inputs` has: the node's default group serves its lifecycle.
        self._group = MutuallyExclusiveCallbackGroup()
        self.mask = self._publisher(Image, "mask", RESULT_QOS)
        self.instruments = self._publisher(InstrumentTagArray, "instruments", RESULT_QOS)
        self.status = self._publisher(SceneStatus, "status", RESULT_QOS, promises=True)
        self.confidence = self._publisher(Image, "confidence", VIEW_QOS)
        self.disagreement = self._publisher(Image, "disagreement", VIEW_QOS)
        self.instances = self._publisher(Image, "instances", VIEW_QOS)
        self.overlay = self._publisher(Image, "overlay", VIEW_QOS)
        self.overlay_compressed = self._publisher(CompressedImage, "overlay/compressed", VIEW_QOS)
        self.classes = self._publisher(ClassList, "classes", LATCHED_QOS)
        self.markers: Publisher | None = None
        if markers_available():
            from visualization_msgs.msg import MarkerArray

            self.markers = self._publisher(MarkerArray, "markers", VIEW_QOS)
        else:
            node.get_logger().info("visualization_msgs is not installed: no markers")
        self.detections: Publisher | None = None
        self.label_info: Publisher | None = None
        try:
            from vision_msgs.msg import Detection2DArray, LabelInfo
        except ImportError as error:
            node.get_logger().info(f"no detections and label_info: vision_msgs cannot be had ({error})")
        else:
            self.detections = self._publisher(Detection2DArray, "detections", RESULT_QOS)
            self.label_info = self._publisher(LabelInfo, "label_info", LATCHED_QOS)

    def destroy(self) -> None:
        """Take the publishers off the node."""
        for publisher in self._made:
            self._node.destroy_lifecycle_publisher(publisher)
        self._made.clear()

    def _publisher(self, kind: type, topic: str, profile: QoSProfile, *, promises: bool = False) -> Publisher:
        topic = transport_topic(self._node, topic)
        name = self._node.resolve_topic_name(topic)

        def refused(event: QoSOfferedIncompatibleQoSInfo) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind)
            text = f"a subscriber of {name} asks for an incompatible {policy}; it gets nothing"
            parameter = PROMISES.get(policy) if promises else None
            self._incompatible(name, f"{text}: set {parameter} to what it asks for, or less" if parameter else text)

        def late(event: QoSOfferedDeadlineMissedInfo) -> None:
            self._late(event.total_count_change)

        told: dict[str, Any] = {"incompatible_qos": refused}
        if promises:
            profile = promising(profile, **self._promised)
            told |= {"deadline": late} if self._promised["deadline_s"] else {}
        try:
            made = self._make(kind, topic, profile, PublisherEventCallbacks(**told))
        except UnsupportedEventTypeError:  # subscribers are told all the same, where the middleware tells them
            self._node.get_logger().warning(f"this middleware does not tell when {name} misses its deadline")
            made = self._make(kind, topic, profile, PublisherEventCallbacks(incompatible_qos=refused))
        self._made.append(ending_well(made))
        return made

    def _make(self, kind: type, topic: str, profile: QoSProfile, events: PublisherEventCallbacks) -> Any:
        return self._node.create_lifecycle_publisher(
            kind,
            topic,
            copy.copy(profile),
            callback_group=self._group,
            event_callbacks=events,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )


def wanted(publisher: Publisher | None) -> TypeGuard[Publisher]:
    """True while somebody subscribes."""
    return publisher is not None and publisher.get_subscription_count() > 0
