"""perception_node: a lifecycle node that turns endoscope images into masks, instrument tags and a status per frame.

configure loads and verifies model and engine, activate subscribes, deactivate finishes the frame in hand, cleanup frees
everything. The executor's threads only pass messages on and answer services; inference has a thread of its own.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.labels import LabelError
from clip_rl_perception.messages.class_messages import class_list, label_info
from clip_rl_perception.messages.transports import FFMPEG
from clip_rl_perception.nodes.camera_subscription import CameraInfoInput
from clip_rl_perception.nodes.diagnostics import NodeState, check
from clip_rl_perception.nodes.diagnostics_publisher import DiagnosticsPublisher
from clip_rl_perception.nodes.health import Health
from clip_rl_perception.nodes.image_subscription import ImageInput, advice, input_topic, message_class
from clip_rl_perception.nodes.list_services import ListServices
from clip_rl_perception.nodes.newest_frame import FrameCounter, FrameWorker
from clip_rl_perception.nodes.packet_thread import PacketThread
from clip_rl_perception.nodes.parameters import NodeParameters
from clip_rl_perception.nodes.publishers import Outputs, send_in_background
from clip_rl_perception.nodes.refused_peers import RefusedPeers
from clip_rl_perception.nodes.supervision import Supervision
from clip_rl_perception.nodes.transitions import GuardedNode, guarded, refuse_impossible_transitions
from clip_rl_perception.nodes.watchdog import Watchdog
from clip_rl_perception.ros.declared_parameters import change_checker, declare_all, read, undeclared_overrides
from clip_rl_perception.ros.parameter_fields import ParameterError
from clip_rl_perception.ros.ros_types import ROS_TYPES
from clip_rl_perception.ros.spin import serve
from clip_rl_perception.threads.collection import begin_work, end_work, loading
from clip_rl_perception.threads.priority import hand_over_quickly

if TYPE_CHECKING:
    from clip_rl_perception.nodes.frame_processor import FrameProcessor
    from clip_rl_perception.stream import LoadedModel

FINISH_S = 10.0
"""How long deactivation waits for the frame in hand."""
EXECUTOR_THREADS = 3
"""One for images, one for services and transitions, one for diagnostics."""


class PerceptionNode(GuardedNode):
    """See the module; topics, services and parameters are in docs/ros_interface.md."""

    def __init__(self, **node_options: Any) -> None:
        """Declare parameters, services and diagnostics.

        Raises:
            ParameterError: a parameter given at start is not possible.
        """
        send_in_background()
        super().__init__("perception_node", **node_options)
        refuse_impossible_transitions(self)
        self._settings = declare_all(self, NodeParameters)
        self.add_on_set_parameters_callback(change_checker(NodeParameters, lambda: self._model is not None))
        self.add_post_set_parameters_callback(self._on_parameters_changed)
        self._phase = "unconfigured"
        self._model: LoadedModel | None = None
        self._model_lock = threading.Lock()
        self._outputs: Outputs | None = None
        self._processor: FrameProcessor | None = None
        self._worker: FrameWorker[Any, Any] | None = None
        self._watchdog: Watchdog | None = None
        self._input: ImageInput | None = None
        self._packets: PacketThread | None = None
        self._camera_info: CameraInfoInput | None = None
        self._counter, self._health = FrameCounter(), Health()
        self._refused = RefusedPeers(self, self._health)
        self._supervision = Supervision(self)
        service_group, timer_group = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        self._lists = ListServices(
            self, lambda: self._model, classes_changed=self._publish_classes, group=service_group
        )
        self.create_service(Trigger, "reset", self._on_reset, callback_group=timer_group)
        self._diagnostics = DiagnosticsPublisher(self)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(1.0, self._publish_diagnostics, callback_group=timer_group, clock=steady)
        if self._settings.autostart:
            self._autostart = self.create_timer(0.0, self._on_autostart, clock=steady)

    # ---------------------------------------------------------------- lifecycle

    @guarded
    @loading()
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load, verify and warm up; on failure one line says what, and the node can be configured again."""
        self._phase, self.fault = "configuring", ""
        hand_over_quickly()
        started = time.monotonic()
        try:
            message_class(self._settings.image_transport)
            settings = self._settings
            promised = {"deadline_s": settings.status_deadline_s, "lease_s": settings.status_lease_s}
            self._outputs = Outputs(self, self._refused.came, late=self._on_late, **promised)
            # torch takes seconds to import: the node and its services are there at once, configuring waits for it
            from clip_rl_perception.nodes.model_options import model_options
            from clip_rl_perception.stream import load

            model = load(model_options(settings), log=self.get_logger().info)
            self._supervision.configured(self._outputs.status, settings)
        except Exception as error:
            known = isinstance(error, (ClipRlError, EngineError, LabelError))
            text = one_line(error)
            self.fault = f"configure failed: {text if known else f'{type(error).__name__}: {text}'}"
            self.get_logger().error(self.fault)
            self._release()
            return TransitionCallbackReturn.FAILURE
        with self._model_lock:
            self._model = model
        begin_work(self)
        self.get_logger().info(
            f"configured in {time.monotonic() - started:.1f} s: model {model.model_id}, {model.engine_name}, "
            f"{len(model.space)} classes of '{model.space.name}'"
        )
        self._phase = "inactive"
        return super().on_configure(state)

    @guarded
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and begin to work."""
        from clip_rl_perception.nodes.frame_processor import FrameProcessor

        assert self._model is not None and self._outputs is not None
        super().on_activate(state)
        self._counter = FrameCounter()
        self._health.begin(time.monotonic())
        if self._outputs.markers is not None:
            topic = input_topic(self, self._settings.image_transport)
            self._camera_info = CameraInfoInput(self, topic, self._settings.stereo_layout)
        camera_info = self._camera_info
        self._processor = FrameProcessor(
            self._model,
            self._outputs,
            self._counter,
            self._health,
            parameters=lambda: self._settings,
            now_ns=lambda: self.get_clock().now().nanoseconds,
            warn=lambda text: self.get_logger().warning(text, throttle_duration_sec=2.0),
            camera=lambda width, height: camera_info.pinhole(width, height) if camera_info is not None else None,
        )
        stall_s = self._settings.stall_timeout_s
        self._watchdog = watchdog = Watchdog(stall_s, stalled=self._on_stalled, recovered=self._on_recovered)
        work = (self._processor.prepare, self._processor.process)
        self._worker = FrameWorker(*work, failed=self._on_failed, watchdog=watchdog, counter=self._counter)
        self._publish_classes()
        self._worker.start()
        if self._settings.image_transport == FFMPEG:
            self._packets = PacketThread(self._settings.after_loss, self._submit)
        self._input = ImageInput(
            self,
            transport=self._settings.image_transport,
            received=self._on_image,
            lost=self._on_lost,
            longest_gap_s=stall_s,
            incompatible=self._refused.came,
        )
        for name in undeclared_overrides(self):
            self.get_logger().warning(f"parameter '{name}' was given but is not known; is it misspelt?")
        self._phase = "active"
        self._supervision.activated()
        return TransitionCallbackReturn.SUCCESS

    @guarded
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, wait for the frame in hand, fall silent."""
        finished = self._stop_work()
        super().on_deactivate(state)
        self._phase = "inactive"
        if not finished:
            self.fault = f"deactivate failed: the frame in hand took more than {FINISH_S:.0f} s; engine abandoned"
            self.get_logger().error(self.fault)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    @guarded
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free model, engine and publishers."""
        self._release()
        return super().on_cleanup(state)

    @guarded
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivate and cleanup, from any state."""
        self.close()
        self._phase = "finalized"
        return super().on_shutdown(state)

    @guarded
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a failed transition: back to unconfigured, to be configured again."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop working and free everything; harmless when there is nothing to stop."""
        self._stop_work()
        self._release()

    def _stop_work(self) -> bool:
        self._supervision.deactivated()
        if self._input is not None:
            self._input.close()
            self._refused.forget(self._input.topic)
            self._input = None
        if self._packets is not None:
            self._packets.stop()
            self._packets = None
        if self._camera_info is not None:
            self._camera_info.close()
            self._camera_info = None
        finished = self._worker.stop(FINISH_S) if self._worker is not None else True
        self._worker, self._watchdog, self._processor = None, None, None
        if not finished:
            with self._model_lock:
                self._model = None  # in use by the lost thread: not closed
        return finished

    def _release(self) -> None:
        with self._model_lock:
            model, self._model = self._model, None
            if model is not None:
                model.close()
        self._supervision.released()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        self._refused.forget()
        end_work(self)
        self._phase = "unconfigured"

    def _on_autostart(self) -> None:
        self._autostart.cancel()
        # Where a lifecycle manager was faster, it decides.
        if self._phase == "unconfigured" and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # ---------------------------------------------------------------- frames

    def _on_image(self, message: Any) -> None:
        packets = self._packets
        self._health.arrived(time.monotonic())
        if packets is not None:
            packets.put(message)
        else:
            self._submit(message)

    def _submit(self, message: Any) -> None:
        worker = self._worker
        if worker is not None:
            self._health.missed(time.monotonic(), replaced=worker.submit(message))

    def _on_lost(self, count: int) -> None:
        self._counter.add(lost=count)
        self._health.missed(time.monotonic(), lost=count)

    def _on_failed(self, message: Any, error: Exception) -> None:
        if self._processor is not None:
            self._processor.failed(message, error)

    # ---------------------------------------------------------------- services, parameters

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        processor = self._processor
        if processor is None:
            response.message = "the node is not active; there is nothing to forget"
            return response
        processor.reset()
        response.success, response.message = True, "tracks and memory are forgotten from the next frame on"
        return response

    def _on_parameters_changed(self, _: list[Parameter]) -> None:
        self._settings = read(self, NodeParameters)

    def _publish_classes(self) -> None:
        model, outputs = self._model, self._outputs
        if model is None or outputs is None:
            return
        stamp_ns = self.get_clock().now().nanoseconds
        outputs.classes.publish(class_list(model.space, stamp_ns, ROS_TYPES))
        if outputs.label_info is not None:
            outputs.label_info.publish(label_info(model.space, stamp_ns, ROS_TYPES))

    # ---------------------------------------------------------------- health

    def _on_late(self, count: int) -> None:
        # DDS knows no lifecycle. A miss after a miss waits for the timer: deadlines may be missed many times a second.
        if self._phase == "active" and self._health.late(time.monotonic(), count):
            self._publish_diagnostics()

    def _on_stalled(self, seconds: float) -> None:
        text = f"a frame has been in work for {seconds:.1f} s"
        self.get_logger().error(text)
        self._health.problem(time.monotonic(), text)
        self._publish_diagnostics()

    def _on_recovered(self, seconds: float) -> None:
        self.get_logger().warning(f"the stalled frame returned after {seconds:.1f} s")

    def _publish_diagnostics(self) -> None:
        model, worker, watchdog = self._model, self._worker, self._watchdog
        source, camera_info, packets = self._input, self._camera_info, self._packets
        self._refused.look()
        state = NodeState(
            lifecycle=self._phase,
            fault=self.fault,
            topic=source.topic if source is not None else "",
            publishers=source.publishers if source is not None else 0,
            matched_s=source.matched_s if source is not None else 0.0,
            absence=source.absence() if source is not None else "",
            advice=advice(),
            calibration=camera_info.calibration(source.size) if camera_info is not None and source is not None else "",
            model=model.model_id if model is not None else "",
            engine=model.engine_name if model is not None else "",
            classes=len(model.space) if model is not None else 0,
            counts=self._counter.counts,
            summary=self._health.summary(time.monotonic()),
            stalled_s=watchdog.stalled_for() if watchdog is not None else None,
            stall_timeout_s=self._settings.stall_timeout_s,
            working=all(thread is None or thread.alive for thread in (worker, packets)),
            loss_warning=self._settings.loss_warning,
            status_deadline_s=self._settings.status_deadline_s,
            bond=self._supervision.bond,
            events=self._health.events,
        )
        alive = state.working and state.stalled_s is None
        self._diagnostics.publish(check(state), hardware_id=state.engine, alive=alive)


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the executable `perception_node`: exit status 0 after a signal, 2 for an impossible parameter."""
    return serve(PerceptionNode, arguments, name="perception_node", threads=EXECUTOR_THREADS, refused=(ParameterError,))


if __name__ == "__main__":
    sys.exit(main())
