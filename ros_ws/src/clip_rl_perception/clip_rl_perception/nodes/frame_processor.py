"""One image message to all outputs of its stamp, on the inference thread.

Order: decode, check the stamp, pipeline, fill every message, then publish: mask, tags and confidence, the status of the
same stamp (only now is it known that they exist), and last the pictures for people.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.nodes.health import Health
from clip_rl_perception.nodes.markers import MarkerPlane, cleared, marker_array
from clip_rl_perception.nodes.model_options import model_options
from clip_rl_perception.nodes.newest_frame import FrameCounter
from clip_rl_perception.nodes.node_messages import (
    FrameTimes,
    detections_message,
    image_message,
    jpeg_message,
    status_message,
    tags_message,
)
from clip_rl_perception.nodes.parameters import NodeParameters
from clip_rl_perception.nodes.publishers import Outputs, wanted
from clip_rl_perception.scene.outcome import conclude
from clip_rl_perception.scene.overlay import draw_overlay
from clip_rl_perception.scene.pinhole import Pinhole
from clip_rl_perception.scene.stamps import NANOSECONDS, StampVerdict
from clip_rl_perception.scene.types import Scene, Validity
from clip_rl_perception.sources.encodings import contiguous_rgb
from clip_rl_perception.sources.image_codec import ImageError, decode_message
from clip_rl_perception.stream import LoadedModel, PreparedInput, StreamRunner, failure


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
        self._reset = threading.Event()
        self._taken_up = 0.0

    def reset(self) -> None:
        """Before the next frame, drop tracks, the previous result and the stamps seen."""
        self._reset.set()

    def prepare(self, message: Any) -> DecodedMessage:
        """Decode a sensor_msgs/Image or CompressedImage, crop and resize it; publishes nothing."""
        start = time.monotonic()
        try:
            rgb = decode_message(message, as_view=True)
            decode_ms = (time.monotonic() - start) * 1e3
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
                self._reject(message.header, str(prepared.error))
            elif prepared.error is not None:
                self.failed(message, prepared.error)
            return
        times = FrameTimes(decode=prepared.decode_ms)
        stamp_ns = message.header.stamp.sec * NANOSECONDS + message.header.stamp.nanosec
        verdict = self._check(stamp_ns, parameters)
        if not verdict.good:
            self._warn(verdict.reason)
            if parameters.stamp_policy == "reject":
                self._reject(message.header, verdict.reason)
                return
        if parameters is not self._configured:
            self._configured = parameters
            self._model.use_config(model_options(parameters).pipeline_config())
        scene, labels = self._stream.process(prepared.image, stamp_ns, want_confidence=wanted(self._outputs.confidence))
        self._publish(message.header, stamp_ns, prepared.image.frame.rgb, scene, labels, verdict, times, parameters)

    def failed(self, message: Any, error: Exception) -> None:
        """Report a frame that could not be processed."""
        self._reject(message.header, failure(error))

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
        header: Any,
        stamp_ns: int,
        rgb: ByteArray,
        scene: Scene,
        labels: LabelSpace,
        verdict: StampVerdict,
        times: FrameTimes,
        parameters: NodeParameters,
    ) -> None:
        outputs = self._outputs
        begun = self._elapsed_ms()
        results = [
            (outputs.mask, image_message(header, _sized(scene.label_map, scene, parameters), "mono8")),
            (outputs.instruments, tags_message(header, scene, labels, self._model.model_id)),
        ]
        if scene.confidence is not None:
            results.append(
                (outputs.confidence, image_message(header, _sized(scene.confidence, scene, parameters), "mono8"))
            )
        if outputs.detections is not None and wanted(outputs.detections):
            results.append((outputs.detections, detections_message(header, scene, labels)))
        for publisher, message in results:
            publisher.publish(message)
        times.publish = self._elapsed_ms() - begun
        age_ms = (self._now_ns() - stamp_ns) / 1e6
        validity, reason = conclude(
            scene.validity, scene.reason, verdict, age_ms=age_ms, max_age_ms=parameters.max_age_ms
        )
        self._counter.add(processed=1)
        self._report(header, validity, reason, scene, times, age_ms)
        told = dataclasses.replace(scene, validity=validity, reason=reason)
        self._publish_pictures(header, rgb, told, labels, parameters)

    def _publish_pictures(
        self, header: Any, rgb: ByteArray, scene: Scene, labels: LabelSpace, parameters: NodeParameters
    ) -> None:
        if self._outputs.markers is not None and wanted(self._outputs.markers):
            plane = self._marker_plane(rgb.shape[1], rgb.shape[0], parameters)
            usable = scene.validity in (Validity.OK, Validity.DEGRADED)
            self._outputs.markers.publish(marker_array(header, scene.instruments, labels, plane, usable=usable))
        raw, compressed = wanted(self._outputs.overlay), wanted(self._outputs.overlay_compressed)
        if not (raw or compressed):
            return
        picture = draw_overlay(contiguous_rgb(rgb), scene, labels, opacity=parameters.overlay_opacity)
        if raw:
            pixels = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), np.uint8)
            self._outputs.overlay.publish(image_message(header, pixels, "bgr8"))
        if compressed:
            self._outputs.overlay_compressed.publish(jpeg_message(header, picture, parameters.jpeg_quality))

    def _marker_plane(self, width: int, height: int, parameters: NodeParameters) -> MarkerPlane:
        camera = self._camera(width, height) or Pinhole.assumed(width, height, parameters.marker_fov_deg)
        return MarkerPlane(camera, parameters.marker_depth_m, (width, height))

    def _reject(self, header: Any, reason: str) -> None:
        self._warn(reason)
        self._counter.add(invalid=1)
        age_ms = (self._now_ns() - header.stamp.sec * NANOSECONDS - header.stamp.nanosec) / 1e6
        self._report(header, Validity.INVALID_INPUT, reason, None, FrameTimes(), age_ms)
        if self._outputs.markers is not None and wanted(self._outputs.markers):
            self._outputs.markers.publish(cleared(header))

    def _report(
        self, header: Any, validity: Validity, reason: str, scene: Scene | None, times: FrameTimes, age_ms: float
    ) -> None:
        times.age, times.total = age_ms, self._elapsed_ms()
        status = status_message(
            header,
            validity=validity,
            reason=reason,
            scene=scene,
            times=times,
            counts=self._counter.counts,
            model_id=self._model.model_id,
            engine=self._model.engine_name,
        )
        self._outputs.status.publish(status)
        self._health.published(time.monotonic(), validity, reason, times.total, age_ms)

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._taken_up) * 1e3


def _sized(full: ByteArray, scene: Scene, parameters: NodeParameters) -> ByteArray:
    """A full-size map at the size that `mask_size` asks for: the whole frame, aspect kept, nearest value."""
    if parameters.mask_size == "full":
        return full
    height, width = full.shape
    scale = min(scene.view.network_size[0] / height, scene.view.network_size[1] / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(full, size, interpolation=cv2.INTER_NEAREST), np.uint8)
