"""What one eye's perception node and camera say, brought together by stamp."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from clip_rl_interfaces.msg import InstrumentTagArray, SceneStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo as CameraInfoMessage
from sensor_msgs.msg import Image

from clip_rl_perception.messages.message_types import stamp_in, stamp_of
from clip_rl_perception.messages.scene_messages import Status, instruments_of, status_of
from clip_rl_perception.pictures.image_codec import ImageError
from clip_rl_perception.pictures.stereo_frames import eye_of
from clip_rl_perception.rig.eye_joining import IMAGE, INSTANCES, TAGS, WAITING, EyeJoiner
from clip_rl_perception.rig.picture_input import PICTURES, Picture, PictureInput
from clip_rl_perception.ros.joining import STATUS
from clip_rl_perception.ros.qos import best_effort, reliable
from clip_rl_perception.ros.transport_topics import is_remapped, topic_beside
from clip_rl_perception.stereo.camera_geometry import CameraInfo
from clip_rl_perception.stereo.eye_view import EyeView, Words

RESULTS = reliable(10)
INFO = best_effort(1)


@dataclasses.dataclass(frozen=True)
class EyeFrame:
    """All that was said of one frame of an eye."""

    status: Status
    header: Any
    """Of the image."""
    parts: Mapping[str, Any]
    """Those that are there: the image, a `Picture`; tags and instances as they came, bytes."""
    fault: str = ""
    """Why it is not known which of them belong together, one line; empty where it is."""

    @property
    def doubt(self) -> str:
        """Why the picture may not be what was sent; empty: nothing is known against it."""
        return self.parts[IMAGE].doubt if IMAGE in self.parts else ""


class EyeInput:
    """Subscriptions of one eye.

    Args:
        node: gets them.
        side: "left" or "right", which stands before the names of the topics.
        pictures: the images of this eye, or of both.
        layout: what an image holds, of `stereo_frames.LAYOUTS`.
        arrived: gets each frame with its stamp, ns, when its status and all that goes with it are there.
        recalibrated: called when camera_info says other than before.
    """

    def __init__(
        self,
        node: Node,
        side: str,
        pictures: PictureInput,
        layout: str,
        arrived: Callable[[str, int, EyeFrame], None],
        recalibrated: Callable[[], None],
    ) -> None:
        self.side = side
        self._layout = layout
        self._arrived, self._recalibrated = arrived, recalibrated
        self._joiner = EyeJoiner()
        self.topic = pictures.topic
        """Of the images, after remapping."""
        self.info_topic = str(node.resolve_topic_name(_info_topic(node, side, layout, self.topic)))
        """Of the calibration, after remapping."""
        self.info: CameraInfo | None = None
        """The newest calibration; None while none came."""
        pictures.listen(self._on_picture)
        self._listen(node, InstrumentTagArray, f"{side}/instruments", TAGS, RESULTS)
        self._listen(node, Image, f"{side}/instances", INSTANCES, PICTURES)
        node.create_subscription(SceneStatus, f"{side}/status", self._on_status, copy.copy(RESULTS))
        node.create_subscription(CameraInfoMessage, self.info_topic, self._on_info, copy.copy(INFO))

    def view(self, frame: EyeFrame) -> EyeView:
        """A frame's image, instances and tags.

        Raises:
            ImageError: image, tags or instances are missing or not usable; one line says why.
        """
        if frame.fault:
            raise ImageError(frame.fault)
        if IMAGE not in frame.parts:
            raise ImageError(
                f"no image of this stamp came from {self.topic}; is it lost on its way, or its perception node more "
                f"than {WAITING} images behind?"
            )
        for part in (TAGS, INSTANCES):
            if part not in frame.parts:
                raise ImageError(f"no {part} of this stamp came from its perception node; are they lost on their way?")
        image = eye_of(frame.parts[IMAGE].rgb, self._layout, self.side)
        tags = deserialize_message(frame.parts[TAGS], InstrumentTagArray)
        instances = _words(deserialize_message(frame.parts[INSTANCES], Image))
        return EyeView(image, instances, instruments_of(tags), tuple(tag.class_name for tag in tags.instruments))

    def _listen(self, node: Node, kind: type, topic: str, part: str, profile: QoSProfile) -> None:
        """Messages are kept as bytes: only those of frames that are used are deserialised."""
        node.create_subscription(
            kind,
            topic,
            lambda data: self._put(part, stamp_in(data), data),
            copy.copy(profile),
            raw=True,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _on_picture(self, picture: Picture) -> None:
        self._put(IMAGE, picture.stamp_ns, picture)

    def _on_status(self, message: SceneStatus) -> None:
        self._put(STATUS, stamp_of(message), message)

    def _on_info(self, message: CameraInfoMessage) -> None:
        before, self.info = self.info, CameraInfo.of(message)
        if before is not None and before != self.info:
            self._recalibrated()

    def _put(self, part: str, stamp_ns: int, value: Any) -> None:
        for joined in self._joiner.put(part, stamp_ns, value):
            frame = EyeFrame(status_of(joined.status), joined.status.header, joined.parts, joined.fault)
            self._arrived(self.side, joined.stamp_ns, frame)


def _info_topic(node: Node, side: str, layout: str, image: str) -> str:
    """Beside the eye's images; where both eyes' lie on one topic, below the eye's own name."""
    named = f"{side}/camera_info"
    return named if layout != "single" or is_remapped(node, named) else topic_beside(node, image, "camera_info")


def _words(message: Any) -> Words:
    """uint16 (height, width) of a mono16 Image: a view of its data."""
    size = message.step * message.height
    if message.encoding != "mono16" or message.step < 2 * message.width or not 0 < size <= len(message.data):
        raise ImageError(
            f"instances are {message.encoding or 'of no encoding'}, {message.width}x{message.height}, "
            f"{message.step} bytes a row; expected mono16 of the perception node"
        )
    kind = ">u2" if message.is_bigendian else "<u2"
    rows = np.frombuffer(message.data, np.uint8)[:size].reshape(message.height, message.step)
    return np.asarray(np.ascontiguousarray(rows[:, : 2 * message.width]).view(kind), np.uint16)
