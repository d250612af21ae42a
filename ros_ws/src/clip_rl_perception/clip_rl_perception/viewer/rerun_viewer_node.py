"""Shows what the perception node sees on a live web page (Rerun), served by this process.

It subscribes only while a browser has the page open: with nobody looking, the perception node computes no confidence
map and no image crosses to this process. It listens best effort, so that it never holds a publisher up.

    ros2 run clip_rl_perception rerun_viewer_node --ros-args -r image:=/camera/image_raw -p port:=9090
"""

from __future__ import annotations

import sys
import time
from typing import Any

from clip_rl_interfaces.msg import ClassList, Instrument3DArray, InstrumentTagArray, SceneStatus
from rcl_interfaces.msg import Log
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.labels import LabelError
from clip_rl_perception.messages.class_messages import label_space_of
from clip_rl_perception.messages.image_messages import plane_of
from clip_rl_perception.messages.message_types import stamp_in, stamp_of
from clip_rl_perception.messages.scene_messages import Status, instruments_of, status_of
from clip_rl_perception.messages.space_messages import space_scene_of
from clip_rl_perception.messages.transports import topic_of
from clip_rl_perception.pictures.image_codec import ImageError, decode_message
from clip_rl_perception.pictures.stereo_frames import eye_of
from clip_rl_perception.ros.declared_parameters import declare_all
from clip_rl_perception.ros.joining import STATUS, StampJoiner
from clip_rl_perception.ros.parameter_fields import ParameterError
from clip_rl_perception.ros.qos import best_effort, latched
from clip_rl_perception.ros.spin import serve
from clip_rl_perception.ros.transport_topics import IMAGES, transport_topic
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.viewer.frame_view import FrameView
from clip_rl_perception.viewer.rerun_scene import RerunScene
from clip_rl_perception.viewer.sdk import rerun
from clip_rl_perception.viewer.server import RerunServer
from clip_rl_perception.viewer.viewer_parameters import ViewerParameters

LOOK_PERIOD_S = 0.5
"""How often it is seen whether somebody looks."""
NODE = "perception_node"

PICTURES = best_effort(2)
SMALL = best_effort(20)
LATCHED = latched()
_LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "ERROR"}


class RerunViewerNode(Node):
    """See the module."""

    def __init__(self, **node_options: Any) -> None:
        """Serve the page.

        Raises:
            ParameterError: a parameter is not possible.
            ViewerError: rerun-sdk is missing, or a port is taken.
        """
        super().__init__("rerun_viewer", **node_options)
        self._settings = declare_all(self, ViewerParameters, whole_numbers=True)
        self._points_topic()  # refused now, and not when somebody looks
        module = rerun()
        self._server = RerunServer(
            self.get_fully_qualified_name().strip("/").replace("/", "_"),
            address=self._settings.address,
            port=self._settings.port,
            memory_mb=self._settings.memory_mb,
        )
        self._scene = RerunScene(module, self._server.stream, live=True)
        self._joiner = StampJoiner(self._wanted)
        self._maps = [name for name in ("confidence", "disagreement") if getattr(self._settings, name)]
        self._looking: list[Any] = []
        self._next_picture = self._next_table = 0.0
        self._timer = self.create_timer(LOOK_PERIOD_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(f"live page: {self._server.url}")

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    # ---------------------------------------------------------------- who looks

    def _look(self) -> None:
        browsers = self._server.viewers()
        if browsers and not self._looking:
            self._subscribe()
            self.get_logger().info("somebody looks: subscribed")
        elif not browsers and self._looking:
            for subscription in self._looking:
                self.destroy_subscription(subscription)
            self._looking.clear()
            self._joiner.clear()
            self.get_logger().info("nobody looks: unsubscribed")

    def _subscribe(self) -> None:
        kind, topic = IMAGES[self._settings.image_transport], topic_of("image", self._settings.image_transport)
        self._listen(kind, transport_topic(self, topic), "image", PICTURES)
        self._listen(Image, "mask", "mask", PICTURES)
        for part in self._maps:
            self._listen(Image, part, part, PICTURES)
        self._listen(InstrumentTagArray, "instruments", "tags", SMALL)
        subscribe = self.create_subscription
        self._looking.append(subscribe(SceneStatus, "status", self._on_status, SMALL))
        self._looking.append(subscribe(ClassList, "classes", self._on_classes, LATCHED))
        self._looking.append(subscribe(Log, "/rosout", self._on_log, SMALL))
        self._looking.append(subscribe(Instrument3DArray, self._points_topic(), self._on_points, SMALL))

    def _points_topic(self) -> str:
        above = self.get_namespace().rpartition("/")[0]
        topic = self._settings.points or f"{above}/instruments_3d"
        try:
            self.resolve_topic_name(topic)
        except RuntimeError as error:  # of rclpy, with a place in rcl's source after the comma
            raise ParameterError(f"points: '{topic}' is no topic: {one_line(error).partition(', at ')[0]}") from None
        return topic

    def _listen(self, kind: type, topic: str, part: str, profile: QoSProfile) -> None:
        """Take messages as bytes: only those that are shown are deserialised."""

        def received(data: bytes) -> None:
            self._put(part, stamp_in(data), data)

        self._looking.append(self.create_subscription(kind, topic, received, profile, raw=True))

    # ---------------------------------------------------------------- what is shown

    def _wanted(self, parts: Any) -> frozenset[str]:
        if parts[STATUS].validity is Validity.INVALID_INPUT:
            return frozenset((STATUS,))  # there will be no mask
        return frozenset((STATUS, "image", "mask", "tags", *self._maps))

    def _put(self, part: str, stamp_ns: int, value: Any) -> None:
        if stamp_ns == 0:  # nothing tells which image such a mask belongs to
            if part == STATUS:
                self._show(stamp_ns, {STATUS: value})
            return
        for stamp, parts in self._joiner.put(part, stamp_ns, value):
            self._show(stamp, parts)

    def _on_status(self, message: SceneStatus) -> None:
        self._put(STATUS, stamp_of(message), status_of(message))

    def _on_classes(self, message: ClassList) -> None:
        try:
            self._scene.classes(label_space_of(message))
        except LabelError as error:
            self.get_logger().warning(str(error))

    def _on_points(self, message: Instrument3DArray) -> None:
        now = time.monotonic()
        if now >= self._next_table:
            self._next_table = max(now, self._next_table + 1 / self._settings.max_hz)
            self._scene.space(stamp_of(message), space_scene_of(message))

    def _on_log(self, message: Log) -> None:
        namespace = self.get_namespace().strip("/").replace("/", ".")
        if message.name == (f"{namespace}.{NODE}" if namespace else NODE):
            self._scene.log(message.msg, _LEVELS.get(message.level, "INFO"))

    def _show(self, stamp_ns: int, parts: dict[str, Any]) -> None:
        status: Status = parts[STATUS]
        age = {} if status.age_ms is None else {"age": status.age_ms}
        view: dict[str, Any] = {
            "stamp_ns": stamp_ns,
            "validity": status.validity,
            "reason": status.reason,
            "times_ms": {**status.stage_ms, **age},
        }
        if "tags" in parts:
            view["tags"] = instruments_of(deserialize_message(parts["tags"], InstrumentTagArray))
        now = time.monotonic()
        if now < self._next_picture:
            self._scene.measure(FrameView(**view))
            return
        self._next_picture = max(now, self._next_picture + 1 / self._settings.max_hz)
        if "image" in parts:
            view["image"] = self._eye(deserialize_message(parts["image"], IMAGES[self._settings.image_transport]))
        for part in ("mask", *self._maps):
            if part in parts:
                view[part] = plane_of(deserialize_message(parts[part], Image))
        self._scene.show(FrameView(**view))

    def _eye(self, message: Any) -> Any:
        """What the perception node sees of an image."""
        try:
            return eye_of(decode_message(message), self._settings.stereo_layout, self._settings.eye)
        except ImageError:
            return None  # the status says why


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the executable `rerun_viewer_node`: 0 after a signal, 2 when it cannot serve."""
    refused = (ClipRlError, ParameterException)
    return serve(RerunViewerNode, arguments, name="rerun_viewer_node", threads=1, refused=refused)


if __name__ == "__main__":
    sys.exit(main())
