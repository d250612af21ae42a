"""stereo_node: instruments in metres from what the perception nodes of two eyes say of the same moment.

It takes images, instances, tags, status and camera_info of both eyes, brings together what is of one stamp and which
stamps are of one moment, and publishes `instruments_3d` for every frame of the left eye: points, or a reason.

    ros2 run clip_rl_perception stereo_node --ros-args -r __ns:=/davinci -r left/image:=left/image_raw \
        -r right/image:=right/image_raw -p shaft_mm:=8.4

Where one picture holds both eyes it is taken from `image`: `-p stereo_layout:=side_by_side -r image:=image_raw`.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from clip_rl_interfaces.msg import Instrument3DArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos_overriding_options import InvalidQosOverridesError

from clip_rl_perception.kernels import compiled
from clip_rl_perception.messages.space_messages import space_message
from clip_rl_perception.messages.transports import base_topic
from clip_rl_perception.nodes.diagnostics_publisher import DiagnosticsPublisher
from clip_rl_perception.nodes.image_subscription import TransportMissingError
from clip_rl_perception.nodes.markers import markers_available
from clip_rl_perception.nodes.publishers import send_in_background, wanted
from clip_rl_perception.pictures.image_codec import ImageError
from clip_rl_perception.pictures.packet_decoder import PyAvMissingError
from clip_rl_perception.rig.eye_input import EyeFrame, EyeInput
from clip_rl_perception.rig.picture_input import PictureInput
from clip_rl_perception.rig.rig_health import RigHealth
from clip_rl_perception.rig.rig_parameters import RigParameters
from clip_rl_perception.ros.declared_parameters import declare_all, undeclared_overrides
from clip_rl_perception.ros.parameter_fields import ParameterError
from clip_rl_perception.ros.qos import reliable
from clip_rl_perception.ros.ros_types import ROS_TYPES
from clip_rl_perception.ros.spin import serve
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.stereo.moments import MomentSolver, doubts_of, named_rectified
from clip_rl_perception.stereo.space_types import SpaceScene, SpaceValidity
from clip_rl_perception.stereo.stamp_pairing import Moment, StampPairer

LOOK_PERIOD_S = 0.05
"""How often it is seen whether a frame has waited long enough."""
RESULT_QOS = reliable(5)
VIEW_QOS = reliable(1)


class StereoNode(Node):
    """See the module; topics and parameters are in docs/ros_interface.md."""

    def __init__(self, **node_options: Any) -> None:
        """Subscribe and publish.

        Raises:
            ParameterError: a parameter is not possible, or topics of both eyes are the same.
            PyAvMissingError, TransportMissingError: image_transport is ffmpeg, and video cannot be had here.
        """
        send_in_background()
        super().__init__("stereo_node", **node_options)
        self._settings = declare_all(self, RigParameters, whole_numbers=True)
        config = self._settings.config()
        if not compiled.is_warm("strip_kernels"):
            self.get_logger().info("preparing the matcher; the first start compiles it, which takes some seconds")
        self._pairer: StampPairer[EyeFrame] = StampPairer(
            round(self._settings.max_skew_ms * 1e6), round(self._settings.max_wait_ms * 1e6)
        )
        sides = ("left", "right") if self._settings.eyes == "both" else ("left",)
        self._health = RigHealth(sides)
        layout, transport = self._settings.stereo_layout, self._settings.image_transport
        if layout == "single":
            self._pictures = {side: PictureInput(self, f"{side}/image", transport) for side in sides}
        else:
            self._pictures = dict.fromkeys(sides, PictureInput(self, "image", transport))
        self._eyes = {
            side: EyeInput(self, side, pictures, layout, self._on_frame, self._on_recalibrated)
            for side, pictures in self._pictures.items()
        }
        if len(sides) == 2:
            self._check_topics(layout)
        rectified, base = self._settings.rectified, base_topic(self._eyes["left"].topic)
        self._solver = MomentSolver(
            config,
            rectified=named_rectified(base) if rectified == "auto" else rectified == "yes",
            baseline_m=self._settings.baseline_mm * 1e-3,
            changed=self._on_calibration,
        )
        self._points = self.create_publisher(Instrument3DArray, "instruments_3d", RESULT_QOS)
        self._markers: Any = None
        if markers_available():
            from visualization_msgs.msg import MarkerArray

            self._markers = self.create_publisher(MarkerArray, "markers_3d", VIEW_QOS)
        self._diagnostics = DiagnosticsPublisher(self)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(LOOK_PERIOD_S, self._look, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)
        for name in undeclared_overrides(self):
            self.get_logger().warning(f"parameter '{name}' was given but is not known; is it misspelt?")
        topics = ", ".join(dict.fromkeys(eye.topic for eye in self._eyes.values()))
        self.get_logger().info(f"listening to {topics} and what goes with them")

    def close(self) -> None:
        """Stop what runs beside the executor: the decoders of video."""
        for pictures in {*self._pictures.values()}:
            pictures.close()

    def _check_topics(self, layout: str) -> None:
        """Raise `ParameterError` where both eyes would be one."""
        left, right = self._eyes["left"], self._eyes["right"]
        if layout == "single" and left.topic == right.topic:
            raise ParameterError(
                f"left/image and right/image are both {left.topic}; expected one topic for each eye; where its "
                "pictures hold both, set stereo_layout"
            )
        if left.info_topic == right.info_topic:
            raise ParameterError(
                f"the calibrations of both eyes would be those on {left.info_topic}, beside their images; remap "
                "left/camera_info and right/camera_info to where each eye's own is published"
            )

    # ---------------------------------------------------------------- frames

    def _on_frame(self, side: str, stamp_ns: int, frame: EyeFrame) -> None:
        self._health.frame(side, time.monotonic())
        if self._settings.eyes == "left":
            self._solve(Moment(stamp_ns, frame, None, 0, False))
            return
        for moment in self._pairer.put(side, stamp_ns, frame, time.monotonic_ns()):
            self._solve(moment)

    def _look(self) -> None:
        for moment in self._pairer.waited(time.monotonic_ns()):
            self._solve(moment)

    def _solve(self, moment: Moment[EyeFrame]) -> None:
        begun = time.monotonic()
        left, right = moment.left, moment.right
        if moment.anew:
            self._solver.forget()
        alone = self._alone(moment)
        if right is not None and right.status.validity is Validity.INVALID_INPUT:
            alone, right = f"the right eye's frame was rejected: {right.status.reason}", None
        skew_ms = moment.skew_ms if right is not None else math.nan
        if left.status.validity is Validity.INVALID_INPUT:
            reason = f"the left eye's frame was rejected: {left.status.reason}"
            scene = SpaceScene(SpaceValidity.INVALID_INPUT, reason, skew_ms=skew_ms)
        else:
            scene = self._scene(left, right, skew_ms, alone)
        total_ms = (time.monotonic() - begun) * 1e3
        age_ms = (self.get_clock().now().nanoseconds - moment.stamp_ns) * 1e-6
        right_header = right.header if right is not None else None
        self._points.publish(
            space_message(left.header, right_header, scene, ROS_TYPES, total_ms=total_ms, age_ms=age_ms)
        )
        self._health.scene(scene, time.monotonic(), total_ms, age_ms)
        if self._markers is not None and wanted(self._markers):
            from clip_rl_perception.rig.space_markers import space_markers

            self._markers.publish(space_markers(left.header, scene))

    def _scene(self, left: EyeFrame, right: EyeFrame | None, skew_ms: float, alone: str) -> SpaceScene:
        infos = self._eyes["left"].info, self._eyes["right"].info if "right" in self._eyes else None
        try:
            ours = self._eyes["left"].view(left)
        except ImageError as error:
            return SpaceScene(SpaceValidity.INVALID_INPUT, f"left eye: {error}", skew_ms=skew_ms)
        theirs = None
        if right is not None:
            try:
                theirs = self._eyes["right"].view(right)
            except ImageError as error:
                alone = f"right eye: {error}"
        doubts = doubts_of(
            left.status.validity, left.status.reason,
            right.status.validity if right is not None else None, right.status.reason if right is not None else "",
        )  # fmt: skip
        for side, frame in (("left", left), ("right", right)):
            if not doubts and frame is not None and frame.doubt:
                doubts = f"{side} eye: {frame.doubt}"
        return self._solver.solve(ours, theirs, infos, skew_ms=skew_ms, alone=alone, doubts=doubts)

    def _alone(self, moment: Moment[EyeFrame]) -> str:
        """Why a moment has no right frame; empty where it has one."""
        if moment.right is not None:
            return ""
        if self._settings.eyes == "left":
            return "the right eye is not used (eyes: left)"
        if moment.fault:
            return moment.fault
        if not moment.seen:
            return f"no frame of the right eye has come; expected {self._eyes['right'].topic} and its perception node"
        way = "later" if moment.skew_ms > 0 else "earlier"
        return (
            f"no frame of the right eye within {self._settings.max_skew_ms:g} ms: the nearest is "
            f"{abs(moment.skew_ms):.1f} ms {way}; let both cameras be triggered together and both nodes keep up, "
            "or raise max_skew_ms"
        )

    # ---------------------------------------------------------------- health

    def _on_recalibrated(self) -> None:
        self._health.changed(time.monotonic())

    def _on_calibration(self, text: str) -> None:
        self._health.calibration = text
        self.get_logger().info(f"calibration: {text}")

    def _report(self) -> None:
        topics = {side: eye.topic for side, eye in self._eyes.items()}
        # All but the decoding of video is done on the thread that gets here.
        ended = [side for side, pictures in self._pictures.items() if not pictures.alive]
        report = self._health.report(topics, time.monotonic(), ended)
        self._diagnostics.publish([report], hardware_id="stereo rig", alive=not ended)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the executable `stereo_node`: 0 after a signal, 2 for an impossible parameter."""
    return serve(
        StereoNode, arguments, name="stereo_node", threads=1,
        refused=(ParameterError, InvalidQosOverridesError, PyAvMissingError, TransportMissingError),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
