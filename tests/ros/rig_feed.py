"""What two perception nodes and two cameras publish of a rendered scene, for the stereo node under test."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from clip_rl_interfaces.msg import Instrument3DArray, InstrumentTagArray, SceneStatus
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.messages import scene_messages
from clip_rl_perception.messages.image_messages import image as image_message
from clip_rl_perception.messages.message_types import header
from clip_rl_perception.messages.scene_messages import Status
from clip_rl_perception.ros.ros_types import ROS_TYPES
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.stereo.camera_geometry import CameraInfo
from clip_rl_perception.stereo.eye_view import EyeView
from diagnostic_msgs.msg import DiagnosticArray
from harness import GUARD_S, Inbox, NodeProcess, Tester, image
from node_processes import node_command, running
from sensor_msgs.msg import CameraInfo as CameraInfoMessage
from sensor_msgs.msg import Image
from stereo_scene import Rig, Tool, views

RIG = Rig(size=(480, 384), focal=390.0)
TOOLS = [
    Tool((-0.02, 0.09, 0.03), (-0.012, 0.004, 0.085), ((-0.008, -0.006, 0.09), (-0.014, -0.006, 0.091)), "driver"),
    Tool((0.1, -0.05, 0.05), (0.02, -0.012, 0.1), ((0.012, -0.008, 0.104), (0.014, -0.002, 0.104)), "prograsp"),
]
SPACE = label_space_from_names(["background", "instrument"])
PERIOD_NS = 33_333_333


class Feed:
    """Publishers of both eyes under `namespace`, and what the stereo node answers."""

    def __init__(self, tester: Tester, namespace: str, *, kind: type = Image, apart: bool = True) -> None:
        """`apart`: each eye has images of its own."""
        self.tester, self._stamp_ns = tester, 0
        self.points = tester.subscribe(Instrument3DArray, f"/{namespace}/instruments_3d")
        self.diagnostics = tester.subscribe(DiagnosticArray, "/diagnostics")
        self.seen: dict[str, EyeView] = dict(zip(("left", "right"), views(RIG, TOOLS), strict=True))
        self.infos: dict[str, CameraInfo] = {side: RIG.info(eye) for eye, side in enumerate(self.seen)}
        suffix = {"CompressedImage": "/compressed", "FFMPEGPacket": "/ffmpeg"}.get(kind.__name__, "")
        kinds = {
            f"image{suffix}": kind, "camera_info": CameraInfoMessage, "instruments": InstrumentTagArray,
            "instances": Image, "status": SceneStatus,
        }  # fmt: skip
        self._out = {
            (side, topic.removesuffix(suffix)): tester.camera(f"/{namespace}/{side}/{topic}", made)
            for side in self.seen
            for topic, made in kinds.items()
            if apart or topic != f"image{suffix}"
        }

    def close(self) -> None:
        """Take everything off the test's node."""
        for inbox in (self.points, self.diagnostics):
            self.tester.unsubscribe(inbox)
        for publisher in self._out.values():
            self.tester.node.destroy_publisher(publisher)

    def next_stamp(self) -> int:
        """Of the next moment, ns."""
        now = self.tester.node.get_clock().now().nanoseconds
        self._stamp_ns = max(self._stamp_ns + PERIOD_NS, now)
        return self._stamp_ns

    def info(self, side: str, stamp_ns: int) -> None:
        """The calibration of an eye."""
        values = dataclasses.asdict(self.infos[side])
        named = {name: values[name] for name in ("width", "height", "distortion_model")}
        message = CameraInfoMessage(**named, **{name: list(values[name]) for name in "dkrp"})
        message.header = header(stamp_ns, f"{side}_optical", ROS_TYPES)
        self._out[side, "camera_info"].publish(message)

    def eye(
        self, side: str, stamp_ns: int, status: Status | None = None, parts: tuple[str, ...] = (), **change: Any
    ) -> None:
        """A frame of an eye and all that is said of it; `parts`: those alone; `change`: fields of its messages."""
        self.info(side, stamp_ns)
        view = self.seen[side]
        head = header(stamp_ns, f"{side}_optical", ROS_TYPES)
        said = status or Status(Validity.OK)
        picture = image(view.image, Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), f"{side}_optical")
        assert view.instances is not None
        made = {
            "image": change.get("image", picture),
            "instruments": scene_messages.tags(head, view.instruments, SPACE, "0123456789ab", ROS_TYPES),
            "instances": change.get("instances", image_message(head, view.instances, "mono16", ROS_TYPES)),
            "status": scene_messages.status(head, said, ROS_TYPES),
        }
        for name, message in made.items():
            if (side, name) in self._out and (not parts or name in parts):
                self._out[side, name].publish(message)

    def other_status(self, side: str, stamp_ns: int, validity: int) -> None:
        """A status of an eye with a validity that need not be known."""
        message = scene_messages.status(header(stamp_ns, f"{side}_optical", ROS_TYPES), Status(Validity.OK), ROS_TYPES)
        message.validity = validity
        self._out[side, "status"].publish(message)

    def moment(self, *, skew_ns: int = 0, **change: Any) -> Instrument3DArray:
        """Both eyes at once, and the answer."""
        stamp = self.next_stamp()
        self.eye("right", stamp + skew_ns)
        self.eye("left", stamp, **change)
        return self.answer(stamp)

    def answer(self, stamp_ns: int) -> Instrument3DArray:
        """What was published for a left stamp."""
        wanted = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self.points.wait(lambda message: message.header.stamp == wanted, f"points of {stamp_ns}")

    def prime(self) -> None:
        """Moments until one has an answer: DDS matches topics one by one."""
        for _ in range(round(GUARD_S)):
            stamp = self.next_stamp()
            self.eye("right", stamp)
            self.eye("left", stamp)
            wanted = Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
            answer = self.points.comes(lambda message, wanted=wanted: message.header.stamp == wanted, 1.0)
            if answer is not None and answer.validity == Instrument3DArray.OK:
                return
        raise AssertionError(f"the stereo node does not answer\n{NodeProcess.logs()}")


@contextlib.contextmanager
def stereo_node(log: Path, namespace: str, **parameters: Any) -> Iterator[subprocess.Popen[bytes]]:
    """stereo_node in a process of its own; every image of a test must reach it, so it subscribes reliably."""
    suffix = f"/{parameters['image_transport']}" if "image_transport" in parameters else ""
    apart = parameters.get("stereo_layout", "single") == "single"
    images = [f"{side}/image{suffix}" for side in ("left", "right")] if apart else [f"image{suffix}"]
    for topic in (*images, "left/instances", "right/instances"):
        parameters[f"qos_overrides./{namespace}/{topic}.subscription.reliability"] = "reliable"
    with running(node_command("rig.stereo_node", parameters=parameters, namespace=namespace), log) as process:
        yield process


def blank(view: EyeView) -> EyeView:
    """The same eye before nothing."""
    assert view.instances is not None
    return dataclasses.replace(view, instances=np.zeros_like(view.instances), instruments=(), class_names=())


def report_of(inbox: Inbox, namespace: str) -> Any:
    """The newest status of the stereo node in /diagnostics, None where there is none."""
    name = f"{namespace}/stereo_node: rig"
    found = [status for message in inbox.all() for status in message.status if status.name == name]
    return found[-1] if found else None
