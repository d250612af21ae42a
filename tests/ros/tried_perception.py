"""What control_trials.py tries a control node with: stand_in.py, or perception_node; how each fails, what it said."""

from __future__ import annotations

import dataclasses
import math
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import rclpy.time
from builtin_interfaces.msg import Time
from clip_rl_interfaces.msg import SceneStatus
from clip_rl_training.synthetic.operation import SyntheticOperation, showcase
from harness import BEST_EFFORT, GUARD_S, NodeProcess, Tester, image
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import Image
from stand_in import FRAME_ID, Content

GAIN = 0.05
"""Of the example."""
NS = 10**9
TRAPS_OF_A_STAMP = {"not ok", "no tags", "other tags", "no status", "other camera"}
"""Those of whose own stamp no command may be."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One that arrived."""

    at_ns: int
    """When it was published, system clock."""
    stamp_ns: int
    frame_id: str
    twist: tuple[float, float]

    @property
    def moves(self) -> bool:
        return self.twist != (0.0, 0.0)


class StandIn:
    """Perception as stand_in.py plays it."""

    name = "stand-in"

    def __init__(self, tester: Tester, namespace: str, folder: Path, *, sim: bool) -> None:
        self._log = (folder / f"{namespace}_stand_in.log").open("a")
        self._command = [sys.executable, str(Path(__file__).with_name("stand_in.py")), "--ros-args"]
        self._command += ["-r", f"__ns:=/{namespace}", "-p", f"use_sim_time:={str(sim).lower()}"]
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=self._log, stderr=self._log)

    def fault(self, kind: str) -> None:
        numbers = {"kill": signal.SIGKILL, "stall": signal.SIGSTOP, "cut": signal.SIGUSR1}
        self._process.send_signal(numbers[kind])

    def mend(self, kind: str) -> None:
        if kind == "kill":
            self._process.wait(GUARD_S)
            self._process = self._started()
        else:
            self._process.send_signal({"stall": signal.SIGCONT, "cut": signal.SIGUSR2}[kind])

    def wrong(self, command: Command) -> str:
        """What is wrong with a command that moves; empty if nothing is."""
        content = Content.of(command.stamp_ns)
        if content.trap in TRAPS_OF_A_STAMP:
            return f"it rests on a frame with {content.trap}"
        expected = [GAIN * (at / length - 0.5) for at, length in zip(content.tip, content.size, strict=True)]
        if not all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(command.twist, expected, strict=True)):
            return f"{command.twist} where mask and tags of its stamp give {expected}"
        return "" if command.frame_id == FRAME_ID else f"frame_id '{command.frame_id}'"

    def close(self) -> None:
        self._process.kill()
        self._process.wait(GUARD_S)
        self._log.close()


class RealNode:
    """perception_node with the shipped model, and a camera that shows it a synthetic operation."""

    name = "perception_node"

    def __init__(
        self, tester: Tester, namespace: str, folder: Path, *, sim: Callable[[], int] | None = None, hz: float = 4.0
    ) -> None:
        """`sim`: simulated time, ns, where camera and node live by that."""
        self._tester, self._namespace, self._folder, self._sim = tester, namespace, folder, sim
        self._ok: set[int] = set()
        self._status = tester.node.create_subscription(
            SceneStatus, f"/{namespace}/status", self._on_status, 50, callback_group=MutuallyExclusiveCallbackGroup()
        )
        self._camera = tester.node.create_publisher(Image, f"/{namespace}/image", BEST_EFFORT)
        video = SyntheticOperation(showcase(288, 352, 25.0), 2, 40)
        self._frames = [image(video.frame(index).rgb, tester.now()) for index in range(len(video))]
        self._over, self._dark, self._lives = threading.Event(), threading.Event(), 0
        self._thread = threading.Thread(target=self._film, args=(1 / hz,), daemon=True)
        self._thread.start()
        self._process = self._started()

    def _started(self) -> NodeProcess:
        self._lives += 1
        parameters = {"model": "demo", "engine": "torch", "threads": 1, "autostart": True, "max_age_ms": 0.0}
        parameters |= {"use_sim_time": True} if self._sim else {}
        return NodeProcess(
            self._folder / f"{self._namespace}{self._lives}.log", parameters=parameters, namespace=self._namespace
        )

    def _now(self) -> Time:
        return rclpy.time.Time(nanoseconds=self._sim()).to_msg() if self._sim else self._tester.now()

    def _film(self, period_s: float) -> None:
        number = 0
        while not self._over.wait(period_s):
            if self._dark.is_set():
                continue
            message = self._frames[abs(number % (2 * len(self._frames) - 2) - len(self._frames) + 1)]  # to and fro
            message.header.stamp = self._now()
            self._camera.publish(message)
            number += 1

    def _on_status(self, message: SceneStatus) -> None:
        if message.validity == SceneStatus.OK:
            self._ok.add(message.header.stamp.sec * NS + message.header.stamp.nanosec)

    def fault(self, kind: str) -> None:
        if kind == "kill":
            self._process.kill()
        elif kind == "stall":
            self._process.process.send_signal(signal.SIGSTOP)
        elif kind == "no images":
            self._dark.set()
        else:  # the publishers go
            for label in ("deactivate", "cleanup"):
                self._tester.transition(label, node=f"/{self._namespace}/perception_node")

    def mend(self, kind: str) -> None:
        if kind == "kill":
            self._process = self._started()
        elif kind == "stall":
            self._process.process.send_signal(signal.SIGCONT)
        elif kind == "no images":
            self._dark.clear()
        else:
            for label in ("configure", "activate"):
                self._tester.transition(label, node=f"/{self._namespace}/perception_node")

    def wrong(self, command: Command) -> str:
        return "" if command.stamp_ns in self._ok else "no status says OK of its stamp"

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._process.end()
        self._tester.node.destroy_subscription(self._status)
        self._tester.node.destroy_publisher(self._camera)
