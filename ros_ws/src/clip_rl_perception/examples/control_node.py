#!/usr/bin/env python3
"""A control node that acts on perception_node only while it may: copy it, and put your own law into `velocity`.

    ros2 run clip_rl_perception control_node.py --ros-args -p limit_s:=0.3

It publishes `command` (geometry_msgs/TwistStamped, the camera's optical frame) every 20 ms. One that moves bears the
header of the frame that it rests on; all others are zero and bear the time of now. The robot's driver must stop by
itself where no command comes: this process may die too.
"""

import contextlib
import math
import time
from functools import partial

import rclpy
from clip_rl_interfaces.msg import InstrumentTagArray, SceneStatus
from geometry_msgs.msg import TwistStamped
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image

TYPES = {"mask": Image, "instruments": InstrumentTagArray, "status": SceneStatus}
PERIOD_S, FUTURE_S, GAIN, KEPT = 0.02, 0.02, 0.05, 10


class Gate:
    """The frame to act on: the newest whose mask, tags and status are there, OK, and younger than `limit_s`."""

    def __init__(self, limit_s):
        self.limit_s, self._parts, self._frame = limit_s, {}, None

    def add(self, kind, message, now_ns, steady_s):
        """A message came. `now_ns`: the clock that stamps are of; `steady_s`: one that never jumps."""
        if kind == "status" and message.validity != SceneStatus.OK:
            self._parts, self._frame = {}, None  # what came before it is no longer so
            return
        header = message.header
        key = (header.stamp.sec, header.stamp.nanosec, header.frame_id)
        parts = self._parts.setdefault(key, {"key": key, "since": steady_s})
        parts.setdefault(kind, message)  # a stamp that comes again must not change a frame that is acted on
        if len(parts) == 2 + len(TYPES) and self._young(parts, now_ns, steady_s):
            current = self.frame(now_ns, steady_s)
            if current is None or key > current["key"]:
                self._frame = parts
        while len(self._parts) > KEPT:  # frames that never became whole
            del self._parts[next(iter(self._parts))]

    def frame(self, now_ns, steady_s):
        """Its parts by kind, or None: nothing may move."""
        if self._frame is not None and not self._young(self._frame, now_ns, steady_s):
            self._frame = None
        return self._frame

    def _young(self, parts, now_ns, steady_s):
        """By the stamp, which a jump of the clock makes old or future, and by the time since it was first heard of."""
        age_s = (now_ns - parts["key"][0] * 10**9 - parts["key"][1]) / 1e9
        return -FUTURE_S <= age_s <= self.limit_s and steady_s - parts["since"] <= self.limit_s


def velocity(mask, tags):
    """Bring the first confirmed instrument's tip to the middle of the picture: m/s right, m/s down; None: no motion."""
    tips = [tag.tip for tag in tags.instruments if tag.confirmed]
    if not tips:
        return None
    return GAIN * (tips[0].x / mask.width - 0.5), GAIN * (tips[0].y / mask.height - 0.5)


class ControlNode(Node):
    """Subscribes, and commands at a fixed rate."""

    def __init__(self):
        super().__init__("control_node")
        fixed = ParameterDescriptor(dynamic_typing=True, read_only=True)  # limit_s:=1 too, at start alone
        limit_s = self.declare_parameter("limit_s", 0.3, fixed).value
        if type(limit_s) not in (int, float) or not PERIOD_S < limit_s < math.inf:
            raise SystemExit(f"control_node: limit_s is {limit_s!r}; expected a finite number above {PERIOD_S}")
        self._gate = Gate(limit_s - PERIOD_S)  # a command holds until the next one
        for kind, message_type in TYPES.items():
            self.create_subscription(message_type, kind, partial(self._on_message, kind), 5)
        self._command = self.create_publisher(TwistStamped, "command", 1)
        self.create_timer(PERIOD_S, self._on_turn, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_message(self, kind, message):
        self._gate.add(kind, message, self.get_clock().now().nanoseconds, time.monotonic())

    def _on_turn(self):
        now, command = self.get_clock().now(), TwistStamped()
        frame = self._gate.frame(now.nanoseconds, time.monotonic())
        wanted = velocity(frame["mask"], frame["instruments"]) if frame else None
        command.header.stamp = now.to_msg()
        if wanted is not None:
            command.header = frame["status"].header
            command.twist.linear.x, command.twist.linear.y = wanted
        self._command.publish(command)


if __name__ == "__main__":
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(ControlNode())
