"""Where what diagnostics say goes: the topic, the log, and the systemd that started the node."""

from __future__ import annotations

import re

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from clip_rl_perception.nodes.diagnostics import Level, Report, diagnostic_array
from clip_rl_perception.ros.service_manager import of_this_process


class DiagnosticsPublisher:
    """Publishes on /diagnostics, whatever the lifecycle state; called once a second, and when something happens."""

    def __init__(self, node: Node) -> None:
        """Make the publisher of `node`."""
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._trouble = ""
        self._manager = of_this_process()
        if self._manager.fault:
            node.get_logger().error(self._manager.fault)

    def publish(self, reports: list[Report], *, hardware_id: str, alive: bool) -> None:
        """Tell everybody.

        Args:
            reports: the first one goes into the log too, where it WARNs of something new.
            hardware_id: what they are about.
            alive: the node does its work, as far as that is known beside the fact that this thread gets here.
        """
        source = reports[0]
        trouble = re.sub(r"[\d.]+", "", source.message) if source.level is Level.WARN else ""
        if trouble and trouble != self._trouble:  # once, not with every new number
            self._node.get_logger().warning(f"{source.component}: {source.message}")
        self._trouble = trouble
        name, stamp = self._node.get_fully_qualified_name().strip("/"), self._node.get_clock().now().to_msg()
        self._publisher.publish(diagnostic_array(name, hardware_id, stamp, reports))
        self._manager.report(alive, "; ".join(f"{report.component}: {report.message}" for report in reports))
