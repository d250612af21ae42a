"""How the node lets itself be watched: the heartbeat of `status`, and the bond with a lifecycle manager."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from clip_rl_perception.nodes.bond_client import BondClient
from clip_rl_perception.nodes.heartbeat import Heartbeat
from clip_rl_perception.nodes.parameters import NodeParameters


class Supervision:
    """One for a node's life; follows its lifecycle."""

    def __init__(self, node: Node) -> None:
        """Nothing is said yet."""
        self._heartbeat, self._bond = Heartbeat(node), BondClient(node)

    def configured(self, status: Any, settings: NodeParameters) -> None:
        """Show from now on that the publisher of `status` is alive, and offer the bond's topic."""
        self._heartbeat.begin(status, settings.status_lease_s)
        self._bond.open(settings.bond_heartbeat_period)

    def activated(self) -> None:
        """Begin a bond."""
        self._bond.begin()

    def deactivated(self) -> None:
        """End the bond, telling the other end."""
        self._bond.end()

    def released(self) -> None:
        """Fall silent; before the publisher of `status` is destroyed."""
        self._heartbeat.end()
        self._bond.close()

    @property
    def bond(self) -> str:
        """How the bond is, in words; empty where there is none."""
        return self._bond.told
