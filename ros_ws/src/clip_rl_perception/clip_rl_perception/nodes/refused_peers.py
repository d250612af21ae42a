"""Publishers and subscribers that quality of service keeps from the node: told while they are there.

The middleware tells when one comes, and never that it has gone or come back with another: the graph is asked.
"""

from __future__ import annotations

import collections

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible

from clip_rl_perception.nodes.health import Health

LOOKS = 3
"""After so many in vain one has gone: the graph may hear of a peer later than its event comes."""


class RefusedPeers:
    """Lasting facts of a node's `Health`, by topic.

    Args:
        node: whose publishers and subscriptions they are.
        health: told of them.
    """

    def __init__(self, node: Node, health: Health) -> None:
        self._node, self._health = node, health
        self._unseen: collections.Counter[str] = collections.Counter()
        """In how many looks in a row the graph knew of none on a topic."""

    def came(self, topic: str, text: str) -> None:
        """One is on `topic`, an absolute name; `text` says what is the matter."""
        self._node.get_logger().error(text)
        self._unseen.pop(topic, None)
        self._health.event(topic, text)

    def look(self) -> None:
        """Forget those that have gone."""
        for topic in self._health.events:
            self._unseen[topic] = 0 if self._is_refused(topic) else self._unseen[topic] + 1
            if self._unseen[topic] >= LOOKS:
                self.forget(topic)

    def forget(self, topic: str = "") -> None:
        """What was on `topic`, or on all, is no more: the node has left it."""
        for name in [topic] if topic else self._health.events:
            self._unseen.pop(name, None)
            self._health.event(name, "")

    def _is_refused(self, topic: str) -> bool:
        ours = self._node.get_name(), self._node.get_namespace()
        publishers = self._node.get_publishers_info_by_topic(topic)
        return any(
            ours in ((one.node_name, one.node_namespace), (other.node_name, other.node_namespace))
            and qos_check_compatible(one.qos_profile, other.qos_profile)[0] == QoSCompatibility.ERROR
            for other in self._node.get_subscriptions_info_by_topic(topic)
            for one in publishers
        )
