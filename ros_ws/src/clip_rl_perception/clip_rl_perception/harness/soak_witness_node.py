"""The witness of `clip-rl soak`: notes what the perception node publishes, and which picture each mask belongs to.

The log has a JSON line for each message: ``kind``, the header's ``frame`` and ``stamp``; of a mask the ``picture``
whose expected mask it is most like, and the share of pixels that ``agree``; of a status what it says and its counters.
Messages are taken as bytes and looked at by a thread of their own: a busy machine must not lose what the node has sent.
What is lost all the same, the numbers of the publisher show: a line ``lost`` says of which ``topic`` and how many.
A line ``health`` has the ``level`` and ``text`` of what the node's diagnostics say of its input.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from clip_rl_interfaces.msg import InstrumentTagArray, SceneStatus
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.harness.listening import turns
from clip_rl_perception.messages.image_messages import plane_of
from clip_rl_perception.messages.message_types import stamp_of
from clip_rl_perception.ros.qos import reliable
from clip_rl_perception.ros.shutdown import ShutdownSignals
from clip_rl_perception.ros.spin import living

TOPICS = {"mask": (Image, 100), "tags": (InstrumentTagArray, 1000), "status": (SceneStatus, 1000)}
"""Type, and how many messages may wait until a busy machine gives this process its turn; by kind of line."""
COUNTERS = ("received", "processed", "dropped", "invalid")


class SoakWitness(Node):
    """Subscribes to ``mask``, ``instruments`` and ``status``."""

    def __init__(self, expected: list[ByteArray], log: Any) -> None:
        """Subscribe; `expected` masks by size, each uint8 (pictures, H, W)."""
        super().__init__("witness")
        self._expected = {masks.shape[1:]: masks for masks in expected}
        self._bytes = {mask.tobytes(): index for masks in expected for index, mask in enumerate(masks)}
        self._log = log
        self._numbers = dict.fromkeys(TOPICS, 0)
        """The publisher's of the last message."""
        self._waiting: queue.SimpleQueue[tuple[str, bytes, int | None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._look, name="looking")
        self._thread.start()
        for kind, (message_type, depth) in TOPICS.items():
            topic = "instruments" if kind == "tags" else kind
            self.create_subscription(message_type, topic, self._taker(kind), reliable(depth), raw=True)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable(10))

    def ready(self) -> bool:
        """At once: nodes come and go."""
        return True

    def close(self) -> None:
        """Look at what has arrived, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _taker(self, kind: str) -> Callable[[bytes, dict[str, Any]], None]:
        # rclpy tells by the number of arguments that the second is wanted.
        def take(data: bytes, info: dict[str, Any]) -> None:
            self._waiting.put((kind, data, info.get("publication_sequence_number")))

        return take

    def _on_diagnostics(self, message: Any) -> None:
        for part in message.status:
            if part.name.endswith(": input"):
                line = {"kind": "health", "level": part.level[0], "text": part.message}
                self._log.write(json.dumps(line) + "\n")

    def _look(self) -> None:
        while (item := self._waiting.get()) is not None:
            kind, data, number = item
            if number is not None:
                before = self._numbers[kind] if number > self._numbers[kind] else 0  # else it is another publisher
                if number > before + 1:
                    self._log.write(json.dumps({"kind": "lost", "topic": kind, "count": number - before - 1}) + "\n")
                self._numbers[kind] = number
            message = deserialize_message(data, TOPICS[kind][0])
            if kind == "tags":
                self._note(kind, message)
            else:
                (self._on_mask if kind == "mask" else self._on_status)(message)

    def _on_mask(self, message: Any) -> None:
        mask = plane_of(message)
        if (index := self._bytes.get(mask.tobytes())) is not None:
            self._note("mask", message, picture=index, agree=1.0, size=mask.shape)
            return
        shares = [float(np.mean(mask == other)) for other in self._expected.get(mask.shape, ())] or [0.0]
        best = int(np.argmax(shares))
        self._note("mask", message, picture=best, agree=shares[best], size=mask.shape)

    def _on_status(self, message: Any) -> None:
        said = {"validity": int(message.validity), "reason": message.reason}
        self._note("status", message, **said, **{name: int(getattr(message, name)) for name in COUNTERS})

    def _note(self, kind: str, message: Any, **more: Any) -> None:
        line = {"kind": kind, "frame": message.header.frame_id, "stamp": stamp_of(message), **more}
        self._log.write(json.dumps(line) + "\n")


def main(args: list[str] | None = None) -> None:
    """Entry point: PICTURES --log FILE."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, help="folder with expected.npz: masks by size")
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args(remove_ros_args(args)[1:])
    stop = ShutdownSignals()
    with np.load(arguments.pictures / "expected.npz") as stored:
        expected = [stored[name] for name in sorted(stored.files)]
    with (
        arguments.log.open("w", encoding="utf-8", buffering=1) as log,
        living(lambda: SoakWitness(expected, log), args) as node,
    ):
        try:
            for _ in turns(node, stop.is_set):
                pass
        finally:
            node.close()
    sys.exit(0)


if __name__ == "__main__":
    main()
