"""Notes when masks and status messages arrive, and keeps nothing else: the lightest witness of what the node does.

Messages are taken as bytes; of masks only the header stamp is read. SIGINT or SIGTERM ends it and writes one JSON file:
by namespace ``masks``, pairs of header stamp and arrival in ns, and ``status``, the `Status` of every frame.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clip_rl_interfaces.msg import SceneStatus
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image

from clip_rl_perception.harness import events
from clip_rl_perception.harness.listening import turns
from clip_rl_perception.messages.message_types import stamp_in
from clip_rl_perception.messages.scene_messages import status_of
from clip_rl_perception.ros.qos import reliable
from clip_rl_perception.ros.shutdown import ShutdownSignals
from clip_rl_perception.ros.spin import living

QOS = reliable(50)


class LatencyRecorderNode(Node):
    """Subscribes to ``mask`` and ``status`` of each namespace."""

    def __init__(self, namespaces: list[str]) -> None:
        """Subscribe."""
        super().__init__("arrivals")
        self.masks: dict[str, list[tuple[int, int]]] = {name: [] for name in namespaces}
        self.statuses: dict[str, list[bytes]] = {name: [] for name in namespaces}
        self._topics: list[str] = []
        for name in namespaces:
            self._subscribe(Image, f"{name}/mask", functools.partial(self._on_mask, name))
            self._subscribe(SceneStatus, f"{name}/status", self.statuses[name].append)

    def ready(self) -> bool:
        """True as soon as somebody publishes each topic."""
        return all(self.count_publishers(topic) > 0 for topic in self._topics)

    def result(self) -> dict[str, Any]:
        """What arrived."""
        return {
            name: {
                "masks": self.masks[name],
                "status": [
                    dataclasses.asdict(status_of(deserialize_message(data, SceneStatus)))
                    for data in self.statuses[name]
                ],
            }
            for name in self.masks
        }

    def _subscribe(self, kind: Any, topic: str, received: Callable[[bytes], None]) -> None:
        self._topics.append(topic)
        self.create_subscription(kind, topic, received, QOS, raw=True)

    def _on_mask(self, name: str, data: bytes) -> None:
        self.masks[name].append((stamp_in(data), time.time_ns()))


def main(args: list[str] | None = None) -> None:
    """Entry point: OUT.json --namespaces /a /b."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--namespaces", nargs="+", required=True)
    arguments = parser.parse_args(remove_ros_args(args)[1:])
    stop = ShutdownSignals()
    with living(lambda: LatencyRecorderNode(arguments.namespaces), args) as node:
        for _ in turns(node, stop.is_set):
            pass
        arguments.out.write_text(json.dumps(node.result()), encoding="utf-8")
        events.emit("done")


if __name__ == "__main__":
    main()
