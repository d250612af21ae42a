"""One image message to all outputs of its stamp, on the inference thread.

Order: decode, check the stamp, pipeline, fill every message, then publish: mask, tags, confidence, disagreement and
instances, the status of the same stamp (only now is it known that they exist), and last the pictures for people.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.messages import scene_messages
from clip_rl_perception.messages.image_messages import image, jpeg
from clip_rl_perception.messages.message_types import stamp_of
from clip_rl_perception.messages.scene_messages import Status
from clip_rl_perception.nodes.health import Health
from clip_rl_perception.nodes.markers import MarkerPlane, cleared, marker_array
from clip_rl_perception.nodes.model_options import model_options
from clip_rl_perception.nodes.newest_frame import FrameCounter
from clip_rl_perception.nodes.packet_thread import PacketFrame
from clip_rl_perception.nodes.parameters import NodeParameters
from clip_rl_perception.nodes.publishers import Outputs, wanted
from clip_rl_perception.pictures.encodings import contiguous_rgb
from clip_rl_perception.pictures.image_codec import ImageError, decode_message
from clip_rl_perception.pictures.stereo_frames import eye_of
from clip_rl_perception.ros.ros_types import ROS_TYPES
from clip_rl_perception.scene.instance_masks import track_numbers
from clip_rl_perception.scene.label_map import full_size_disagreement
from clip_rl_perception.scene.outcome import conclude
from clip_rl_perception.scene.overlay import draw_overlay
from clip_rl_perception.scene.pinhole import Pinhole
from clip_rl_perception.scene.stamps import StampVerdict
from clip_rl_perception.scene.types import Scene, Validity
from clip_rl_perception.stream import LoadedModel, PreparedInput, StreamRunner, failure

Plane = TypeVar("Plane", np.uint8, np.uint16)


@dataclasses.dataclass(frozen=True)
class DecodedMessage:
    """An image message on its way into the network."""

    taken_up: float
    """When work on it began, `time.monotonic`, s."""
    image: PreparedInput | None
    """None where the message could not be decoded."""
    error: Exception | None = None
    """Why not."""
    decode_ms: float = 0.0


class FrameProcessor:
    """What the worker runs. `process` and `failed` come from the inference thread, `reset` from any.

    `prepare` may run on a thread of its own, for the next frame while `process` has this one.

    Args:
        model: model, engine and classes; frames are one stream through it, which begins here.
        outputs: publishers.
        counter: counts processed and invalid frames here; received and dropped ones are counted by the worker.
        health: told of every status.
        parameters: gives the parameters in force; asked once per frame.
        now_ns: the node's clock, ns.
        warn: logs one line, throttled.
        camera: the calibrated camera of an image of (width, height); None where there is none.
    """

    def __init__(
        self,
        model: LoadedModel,
        outputs: Outputs,
        counter: FrameCounter,
        health: Health,
        *,
        parameters: Callable[[], NodeParameters],
        now_ns: Callable[[], int],
        warn: Callable[[str], None],
        camera: Callable[[int, int], Pinhole | None] = lambda width, height: None,
    ) -> None:
        self._model = model
        self._stream = StreamRunner(model)
        self._outputs = outputs
        self._counter = counter
        self._health = health
        self._parameters = parameters
        self._now_ns = now_ns
        self._warn = warn
        self._camera = camera
        self._configured: NodeParameters | None = None
        """Those that the pipeline's configuration comes from."""
        self._last_seen: ByteArray | None = None
        """What the network saw last."""
        self._reset = threading.Event()
        self._taken_up = 0.0

    def reset(self) -> None:
        """Before the next frame, drop tracks, the previous result and the stamps seen."""
        self._reset.set()

    def prepare(self, message: Any) -> DecodedMessage:
        """Decode a sensor_msgs/Image, CompressedImage or `PacketFrame`, crop and resize it; publishes nothing."""
        start = time.monotonic()
        try:
            video = isinstance(message, PacketFrame)
            rgb = message.to_rgb() if video else decode_message(message, as_view=True)
            settings = self._parameters()
            rgb = eye_of(rgb, settings.stereo_layout, settings.eye)
            decode_ms = (time.monotonic() - start) * 1e3 + (message.decode_ms if video else 0.0)
            return DecodedMessage(start, self._stream.prepare(rgb), decode_ms=decode_ms)
        except (ImageError, EngineError) as error:  # told when it is this frame's turn
            return DecodedMessage(start, None, error)

    def process(self, message: Any, prepared: DecodedMessage) -> None:
        """Handle a message that `prepare` has prepared; counts it and publishes its status in any case."""
        self._taken_up = prepared.taken_up
        parameters = self._parameters()
        if self._reset.is_set():
            self._reset.clear()
            self._stream.reset()
        if prepared.image is None:
            if isinstance(prepared.error, ImageError):
                self._reject(message, str(prepared.error))
            elif prepared.error is not None:
                self.failed(message, prepared.error)
            return
        stamp_ns = stamp_of(message)
        verdict = self._check(stamp_ns, parameters)
        if not verdict.good:
            self._warn(verdict.reason)
            if parameters.stamp_policy == "reject":
                self._reject(message, verdict.reason)
                return
        if parameters is not self._configured:
            self._configured = parameters
            self._model.use_config(model_options(parameters).pipeline_config())
        seen = prepared.image.frame.network_rgb
        self._health.pictured(time.monotonic(), self._last_seen is None or not np.array_equal(seen, self._last_seen))
        self._last_seen = seen
        scene, labels = self._stream.process(prepared.image, stamp_ns, want_confidence=wanted(self._outputs.confidence))
        self._publish(message, prepared, scene, labels, verdict, parameters)

    def failed(self, message: Any, error: Exception) -> None:
        """Report a frame that could not be processed."""
        self._reject(message, failure(error))

    def _check(self, stamp_ns: int, parameters: NodeParameters) -> StampVerdict:
        return self._stream.check_stamp(
            stamp_ns,
            self._now_ns(),
            future_tolerance_ns=round(parameters.future_tolerance_ms * 1e6),
            jump_ns=round(parameters.clock_jump_ms * 1e6),
            reject_future=parameters.stamp_policy == "reject",
        )

    def _publish(
        self,
        message: Any,
        prepared: DecodedMessage,
        scene: Scene,
        labels: LabelSpace,
        verdict: StampVerdict,
        parameters: NodeParameters,
    ) -> None:
        assert prepared.image is not None
        outputs, header, model_id = self._outputs, message.header, self._model.model_id
        begun = self._elapsed_ms()
        mask = _sized(scene.label_map, scene, parameters)
        results = [
            (outputs.mask, image(header, mask, types=ROS_TYPES)),
            (outputs.instruments, scene_messages.tags(header, scene.instruments, labels, model_id, ROS_TYPES)),
        ]
        if scene.confidence is not None:
            confidence = _sized(scene.confidence, scene, parameters)
            results.append((outputs.confidence, image(header, confidence, types=ROS_TYPES)))
        if wanted(outputs.disagreement):
            disagreement = _sized(full_size_disagreement(scene.disagreement, scene.view), scene, parameters)
            results.append((outputs.disagreement, image(header, disagreement, types=ROS_TYPES)))
        if wanted(outputs.instances):
            numbers = _sized(track_numbers(scene, labels), scene, parameters)
            results.append((outputs.instances, image(header, numbers, "mono16", ROS_TYPES)))
        if wanted(outputs.detections):
            detections = scene_messages.detections(header, scene.instruments, labels, ROS_TYPES)
            results.append((outputs.detections, detections))
        for publisher, made in results:
            publisher.publish(made)
        stages = {"decode": prepared.decode_ms, **scene.stage_ms, "publish": self._elapsed_ms() - begun}
        age_ms = self._age_ms(message)
        doubt = message.doubt if isinstance(message, PacketFrame) else ""
        validity, reason = conclude(
            scene.validity, scene.reason, verdict, age_ms=age_ms, max_age_ms=parameters.max_age_ms, doubt=doubt
        )
        self._counter.add(processed=1)
        said = Status(validity, reason, scene.novelty, stages, age_ms, scene.basis)
        self._report(header, said, age_ms)
        told = dataclasses.replace(scene, validity=validity, reason=reason)
        self._publish_pictures(header, prepared.image.frame.rgb, told, labels, parameters)

    def _publish_pictures(
        self, header: Any, rgb: ByteArray, scene: Scene, labels: LabelSpace, parameters: NodeParameters
    ) -> None:
        if wanted(self._outputs.markers):
            plane = self._marker_plane(rgb.shape[1], rgb.shape[0], parameters)
            usable = scene.validity in (Validity.OK, Validity.DEGRADED)
            self._outputs.markers.publish(marker_array(header, scene.instruments, labels, plane, usable=usable))
        raw, compressed = wanted(self._outputs.overlay), wanted(self._outputs.overlay_compressed)
        if not (raw or compressed):
            return
        picture = draw_overlay(contiguous_rgb(rgb), scene, labels, opacity=parameters.overlay_opacity)
        if raw:
            pixels = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), np.uint8)
            self._outputs.overlay.publish(image(header, pixels, "bgr8", ROS_TYPES))
        if compressed:
            self._outputs.overlay_compressed.publish(jpeg(header, picture, ROS_TYPES, quality=parameters.jpeg_quality))

    def _marker_plane(self, width: int, height: int, parameters: NodeParameters) -> MarkerPlane:
        camera = self._camera(width, height) or Pinhole.assumed(width, height, parameters.marker_fov_deg)
        return MarkerPlane(camera, parameters.marker_depth_m, (width, height))

    def _reject(self, message: Any, reason: str) -> None:
        self._warn(reason)
        self._counter.add(invalid=1)
        age_ms = self._age_ms(message)
        self._report(message.header, Status(Validity.INVALID_INPUT, reason, age_ms=age_ms), age_ms)
        if wanted(self._outputs.markers):
            self._outputs.markers.publish(cleared(message.header))

    def _report(self, header: Any, said: Status, age_ms: float) -> None:
        """Publish the status, completed by what the stream has come to."""
        total_ms = self._elapsed_ms()
        said = dataclasses.replace(
            said,
            stage_ms={**said.stage_ms, "total": total_ms},
            **dataclasses.asdict(self._counter.counts),
            model_id=self._model.model_id,
            engine=self._model.engine_name,
        )
        self._outputs.status.publish(scene_messages.status(header, said, ROS_TYPES))
        self._health.published(time.monotonic(), said.validity, said.reason, total_ms, age_ms)

    def _age_ms(self, message: Any) -> float:
        return (self._now_ns() - stamp_of(message)) / 1e6

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._taken_up) * 1e3


def _sized(full: npt.NDArray[Plane], scene: Scene, parameters: NodeParameters) -> npt.NDArray[Plane]:
    """A full-size map at the size that `mask_size` asks for: the whole frame, aspect kept, nearest value."""
    if parameters.mask_size == "full":
        return full
    height, width = full.shape
    scale = min(scene.view.network_size[0] / height, scene.view.network_size[1] / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(full, size, interpolation=cv2.INTER_NEAREST), full.dtype)
