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
from clip_rl_perception.messages.transports import FFMPEG, topic_of
from clip_rl_perception.nodes.packet_thread import PacketFrame
from clip_rl_perception.pictures.image_codec import ImageError, decode_message
from clip_rl_perception.rig.eye_joining import IMAGE, INSTANCES, TAGS, WAITING, EyeJoiner
from clip_rl_perception.rig.eye_packets import EyePackets
from clip_rl_perception.ros.joining import STATUS
from clip_rl_perception.ros.qos import best_effort, reliable
from clip_rl_perception.ros.transport_topics import IMAGES, topic_beside, transport_topic
from clip_rl_perception.stereo.camera_geometry import CameraInfo
from clip_rl_perception.stereo.eye_view import EyeView, Words

PICTURES = best_effort(4)
"""Images wait for the tags of their stamp: a few deep, as the perception node takes its time."""
RESULTS = reliable(10)
INFO = best_effort(1)


@dataclasses.dataclass(frozen=True)
class EyeFrame:
    """All that was said of one frame of an eye."""

    status: Status
    header: Any
    """Of the image."""
    parts: Mapping[str, Any]
    """Messages as they came, bytes: image, tags, instances, those that are there. Of video, the `PacketFrame`."""
    fault: str = ""
    """Why it is not known which of them belong together, one line; empty where it is."""

    @property
    def doubt(self) -> str:
        """Why the picture may not be what was sent; empty: nothing is known against it."""
        image = self.parts.get(IMAGE)
        return image.doubt if isinstance(image, PacketFrame) else ""


class EyeInput:
    """Subscriptions of one eye.

    Args:
        node: gets them.
        side: "left" or "right", which stands before the names of the topics.
        transport: a key of `TRANSPORTS`.
        arrived: gets each frame with its stamp, ns, when its status and all that goes with it are there.
        recalibrated: called when camera_info says other than before.

    Raises:
        PyAvMissingError, TransportMissingError: video cannot be had here.
    """

    def __init__(
        self,
        node: Node,
        side: str,
        transport: str,
        arrived: Callable[[str, int, EyeFrame], None],
        recalibrated: Callable[[], None],
    ) -> None:
        self.side = side
        self._arrived, self._recalibrated = arrived, recalibrated
        self._joiner = EyeJoiner()
        topic = transport_topic(node, topic_of(f"{side}/image", transport))
        self.topic = str(node.resolve_topic_name(topic))
        """Of the images, after remapping."""
        self.info_topic = str(node.resolve_topic_name(_info_topic(node, side, self.topic)))
        """Of the calibration, after remapping."""
        self.info: CameraInfo | None = None
        """The newest calibration; None while none came."""
        self._packets: EyePackets | None = None
        if transport == FFMPEG:
            self._packets = EyePackets(node, topic, self._on_picture)
        else:
            self._kind = IMAGES[transport]
            self._listen(node, self._kind, topic, IMAGE, PICTURES)
        self._listen(node, InstrumentTagArray, f"{side}/instruments", TAGS, RESULTS)
        self._listen(node, Image, f"{side}/instances", INSTANCES, PICTURES)
        node.create_subscription(SceneStatus, f"{side}/status", self._on_status, copy.copy(RESULTS))
        node.create_subscription(CameraInfoMessage, self.info_topic, self._on_info, copy.copy(INFO))

    @property
    def alive(self) -> bool:
        """False when a thread that decodes packets has ended by itself: then no picture comes any more."""
        return self._packets is None or self._packets.alive

    def close(self) -> None:
        """Decode no more; subscriptions end with the node."""
        if self._packets is not None:
            self._packets.close()

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
        picture = frame.parts[IMAGE]
        if isinstance(picture, PacketFrame):
            image = picture.to_rgb()
        else:
            image = decode_message(deserialize_message(picture, self._kind), as_view=True)
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

    def _on_picture(self, frame: PacketFrame) -> None:
        self._put(IMAGE, stamp_of(frame), frame)

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


def _info_topic(node: Node, side: str, image: str) -> str:
    beside = topic_beside(node, image, "camera_info")
    named = f"{side}/camera_info"
    remapped = node.resolve_topic_name(named) != node.resolve_topic_name(named, only_expand=True)
    return named if remapped else beside


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
