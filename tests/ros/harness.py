"""What the ROS tests share: the node's process, this process's side of DDS, a real checkpoint, frames."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from clip_rl_interfaces.msg import InstrumentTagArray, SceneStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_processes import GUARD_S, PLAIN, node_command
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue, SetParametersResult
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.client import Client
from rclpy.exceptions import InvalidHandle
from rclpy.executors import SingleThreadedExecutor
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

ANSWER_S = 60.0
"""After this a service's answer counts as lost; configuring takes seconds."""
POLL_S = 0.5
LOG_LINES = 40
RELIABLE = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=50, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
RELIABLE_INPUT = {"qos_overrides./image.subscription.reliability": "reliable"}
"""Parameters of a node, in the root namespace, that must get every single frame of a test."""
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "shutdown": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
}
REACHED = {
    "configure": "inactive",
    "activate": "active",
    "deactivate": "inactive",
    "cleanup": "unconfigured",
    "shutdown": "finalized",
}
"""Lifecycle state that a transition leads to."""
Answer = TypeVar("Answer")


class NodeProcess:
    """perception_node in a process of its own; ends with the `with` block, by force if it must."""

    running: ClassVar[list[NodeProcess]] = []
    """Those that should be alive: waiting for one that has crashed is pointless."""

    def __init__(
        self,
        log: Path,
        *,
        parameters: dict[str, Any] | None = None,
        namespace: str = "",
        arguments: list[str] | None = None,
    ) -> None:
        self.log = log
        module = "nodes.perception_node"
        command = node_command(module, parameters=parameters, namespace=namespace, ros_arguments=arguments or ())
        environment = {**os.environ, **PLAIN}
        self._stream = log.open("w")
        self.process = subprocess.Popen(command, stdout=self._stream, stderr=subprocess.STDOUT, env=environment)
        self.running.append(self)

    def text(self) -> str:
        """Everything that the process has written."""
        return self.log.read_text()

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._reset()
        self.process.kill()
        self.process.wait(GUARD_S)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal and wait; returns the exit status."""
        self._reset()
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(GUARD_S)

    def _reset(self) -> None:
        if self in self.running:
            self.running.remove(self)

    @classmethod
    def check(cls) -> None:
        """Fail with the log of a process that has ended by itself."""
        for process in cls.running:
            status = process.process.poll()
            if status is not None:
                cls.running.remove(process)
                raise AssertionError(f"the node ended with status {status}:\n{process.text()}")

    @classmethod
    def logs(cls) -> str:
        """The last lines of what every running process has written, for the message of a failed test."""
        return "\n".join(
            f"--- {process.log}:\n" + "\n".join(process.text().splitlines()[-LOG_LINES:]) for process in cls.running
        )

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.end()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the node did not end on SIGTERM:\n{self.text()}") from None
        finally:
            self._stream.close()


class Inbox:
    """Messages of one topic as they come."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: list[Any] = []

    def put(self, message: Any) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def all(self) -> list[Any]:
        with self._changed:
            return list(self._messages)

    def clear(self) -> None:
        with self._changed:
            self._messages.clear()

    def comes(self, wanted: Callable[[Any], bool], seconds: float) -> Any | None:
        """The first message that is `wanted`, among those that came and those that come in time; else None."""
        found: list[Any] = []

        def look() -> bool:
            found[:] = [message for message in self._messages if wanted(message)][:1]
            return bool(found)

        with self._changed:
            self._changed.wait_for(look, seconds)
        return found[0] if found else None

    def wait(self, wanted: Callable[[Any], bool] = lambda _: True, what: str = "a message") -> Any:
        """The first message that is `wanted`, among those that came and those that will."""
        for _ in range(round(GUARD_S / POLL_S)):
            found = self.comes(wanted, POLL_S)
            if found is not None:
                return found
            NodeProcess.check()
        with self._changed:
            got = f"got {len(self._messages)} others: {self._messages[-3:]}"
        raise AssertionError(f"{what} did not come; {got}\n{NodeProcess.logs()}")


class Tester:
    """A node of the test process, spun on a thread of its own."""

    __test__ = False

    def __init__(self, domain: int) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("tester", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._clients: dict[str, Client] = {}
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._stamp = 0

    def __enter__(self) -> Tester:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.shutdown(GUARD_S)
        self._thread.join(GUARD_S)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def _spin(self) -> None:
        while self.context.ok():
            try:
                self.executor.spin()
                return
            except InvalidHandle:
                # rclpy issue 1355: the test destroyed an entity that the executor was about to look at; go on
                continue

    # ------------------------------------------------------------ topics

    def subscribe(self, kind: type, topic: str, qos: QoSProfile = RELIABLE) -> Inbox:
        """Collect a topic; the subscription stays until `unsubscribe`."""
        inbox = Inbox()
        group = MutuallyExclusiveCallbackGroup()  # its own: destroyed at the wrong moment it locks its group for good
        inbox.subscription = self.node.create_subscription(  # type: ignore[attr-defined]
            kind, topic, inbox.put, qos, callback_group=group
        )
        return inbox

    def unsubscribe(self, inbox: Inbox) -> None:
        self.node.destroy_subscription(inbox.subscription)  # type: ignore[attr-defined]

    def camera(self, topic: str = "/image", kind: type = Image, qos: QoSProfile = RELIABLE) -> Publisher:
        """A publisher that somebody has subscribed to."""
        publisher = self.node.create_publisher(kind, topic, qos, callback_group=MutuallyExclusiveCallbackGroup())
        self.wait(lambda: publisher.get_subscription_count() > 0, f"a subscriber of {topic}")
        return publisher

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Poll until true."""
        pause = threading.Event()
        for _ in range(round(GUARD_S / 0.02)):
            if condition():
                return
            NodeProcess.check()
            pause.wait(0.02)
        raise AssertionError(f"{what} did not come about\n{NodeProcess.logs()}")

    # ------------------------------------------------------------ services

    def call(self, kind: type, name: str, request: Any) -> Any:
        """Call a service, waiting for it to appear."""
        for _ in range(3):
            # A server that has not yet discovered the client's reader executes the request and loses the answer; the
            # requests of these tests may be made twice.
            answer = self._call_once(kind, name, request)
            if answer is not None:
                return answer
        raise AssertionError(f"service {name} did not answer\n{NodeProcess.logs()}")

    def _call_once(self, kind: type, name: str, request: Any) -> Any | None:
        """None where no answer came in ANSWER_S."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(kind, name)
        self.wait(client.service_is_ready, f"service {name}")
        done, answers = threading.Event(), []

        def answered(future: Any) -> None:
            answers.append(future.result())
            done.set()

        client.call_async(request).add_done_callback(answered)
        if done.wait(ANSWER_S):
            return answers[0]
        NodeProcess.check()
        return None

    def transition(self, label: str, *, node: str = "/perception_node", succeed: bool = True) -> None:
        """Ask for a lifecycle transition, once: made twice, the second is impossible."""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[label]))
        if not succeed:  # what is refused may be asked again
            assert not self.call(ChangeState, f"{node}/change_state", request).success, f"{label} was not refused"
            return
        answer = self._call_once(ChangeState, f"{node}/change_state", request)
        # A lost answer is to be read from the state; the question waits until the transition is over.
        success = answer.success if answer is not None else self.state(node) == REACHED[label]
        assert success, f"{label}: success is {success}"

    def state(self, node: str = "/perception_node") -> str:
        """Label of the lifecycle state."""
        return self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label

    def set_parameter(self, name: str, value: Any, node: str = "/perception_node") -> SetParametersResult:
        kinds = {
            bool: (ParameterType.PARAMETER_BOOL, "bool_value"),
            int: (ParameterType.PARAMETER_INTEGER, "integer_value"),
            float: (ParameterType.PARAMETER_DOUBLE, "double_value"),
            str: (ParameterType.PARAMETER_STRING, "string_value"),
        }
        kind, field = kinds[type(value)]
        parameter = ParameterMessage(name=name, value=ParameterValue(type=kind, **{field: value}))
        request = SetParameters.Request(parameters=[parameter])
        return self.call(SetParameters, f"{node}/set_parameters", request).results[0]

    def get_parameter(self, name: str, node: str = "/perception_node") -> ParameterValue:
        return self.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=[name])).values[0]

    def describe_parameter(self, name: str, node: str = "/perception_node") -> Any:
        request = DescribeParameters.Request(names=[name])
        return self.call(DescribeParameters, f"{node}/describe_parameters", request).descriptors[0]

    # ------------------------------------------------------------ frames

    def now(self, offset_s: float = 0.0) -> Time:
        """The system's time, plus an offset; never the same one twice."""
        self._stamp = max(self._stamp + 1, self.node.get_clock().now().nanoseconds)
        stamp = self._stamp + round(offset_s * 1e9)
        return Time(sec=stamp // 10**9, nanosec=stamp % 10**9)


class Rig:
    """A camera for one node, and the results that come back.

    The node under test subscribes reliably (`RELIABLE_INPUT`), so that a single frame is never lost on its way; what
    best effort does is tested with streams.
    """

    def __init__(self, tester: Tester, namespace: str = "", *, kind: type = Image, topic: str = "image") -> None:
        root = f"/{namespace}" if namespace else ""
        self.tester = tester
        self.mask = tester.subscribe(Image, f"{root}/mask")
        self.tags = tester.subscribe(InstrumentTagArray, f"{root}/instruments")
        self.status = tester.subscribe(SceneStatus, f"{root}/status")
        self.camera = tester.camera(f"{root}/{topic}", kind)

    def prime(self, make: Callable[[], Any] | None = None) -> None:
        """Send frames until every result has come once: DDS matches the two directions of a topic one by one."""
        make = make or (lambda: image(picture(), self.tester.now()))
        inboxes = (self.mask, self.tags, self.status)
        for inbox in inboxes:
            inbox.clear()
        sent: list[Any] = []  # an answer may take longer than the time until the next frame
        for _ in range(round(GUARD_S)):
            message = make()
            sent.append(message.header)
            self.camera.publish(message)
            if all(inbox.comes(lambda other: other.header in sent, 1.0) for inbox in inboxes):
                return
            NodeProcess.check()
        raise AssertionError(f"the node does not answer\n{NodeProcess.logs()}")

    def send(self, message: Any) -> SceneStatus:
        """Publish, and wait for this stamp's status."""
        self.camera.publish(message)
        status: SceneStatus = self.of(self.status, message)
        return status

    def of(self, inbox: Inbox, message: Any) -> Any:
        """The message of `inbox` with the same header, to the nanosecond."""
        return inbox.wait(lambda other: other.header == message.header, f"an answer to {message.header}")

    def close(self) -> None:
        """Take the camera and the subscriptions off the test's node."""
        for inbox in (self.mask, self.tags, self.status):
            self.tester.unsubscribe(inbox)
        self.tester.node.destroy_publisher(self.camera)


def later(stamp: Time, seconds: float) -> Time:
    """A stamp so much later, or earlier."""
    total = stamp.sec * 10**9 + stamp.nanosec + round(seconds * 1e9)
    return Time(sec=total // 10**9, nanosec=total % 10**9)


def picture(height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    """A picture as warm and as rough as tissue, uint8 RGB (height, width, 3), another one for every seed."""
    rows, columns = np.mgrid[:height, :width]
    phase = 0.7 * seed
    light = np.sin(columns / 9 + phase) + np.cos(rows / 7 - phase)
    grain = np.random.default_rng(seed).normal(0, 0.25, (height, width))
    red = 150 + 40 * (light + grain)
    return np.clip(np.stack([red, 0.5 * red, 0.4 * red], axis=2), 0, 255).astype(np.uint8)


def image(rgb: np.ndarray, stamp: Time, frame_id: str = "endoscope_optical") -> Image:
    """A bgr8 message of an RGB array."""
    message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding="bgr8", step=rgb.shape[1] * 3)
    message.header.stamp, message.header.frame_id = stamp, frame_id
    message.data = array("B", np.ascontiguousarray(rgb[..., ::-1]).tobytes())
    return message


def compressed(data: bytes, stamp: Time, frame_id: str = "endoscope_optical") -> CompressedImage:
    """A CompressedImage with these bytes."""
    message = CompressedImage(format="bgr8; jpeg compressed bgr8", data=array("B", data))
    message.header.stamp, message.header.frame_id = stamp, frame_id
    return message
