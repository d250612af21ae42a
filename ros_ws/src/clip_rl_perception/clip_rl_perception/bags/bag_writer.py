"""Writes frames, truth and results to a rosbag2 without ROS: readable by `ros2 bag`, Foxglove and rosbags.

Conventions that `bag_source` and the demo read back:
    <topic>                 sensor_msgs/Image            raw frames, or label ids as mono8
    <topic>/compressed      sensor_msgs/CompressedImage  the same as JPEG or PNG (labels: PNG of one channel, lossless)
    <topic>/ffmpeg          ffmpeg_image_transport_msgs/FFMPEGPacket  the same as H.264 or HEVC
    <labels>/classes        clip_rl_interfaces/ClassList what the label ids mean, transient local
    <labels>/instances/compressed, <labels>/instruments  truth of tags, see `bag_truth`
    <namespace>/camera_info sensor_msgs/CameraInfo       of the image with the same header stamp
Labels belong to the image with the same header stamp.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import cv2
import numpy as np
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.messages import image_messages, message_types
from clip_rl_perception.messages.class_messages import class_list
from clip_rl_perception.messages.transports import COMPRESSED, FFMPEG, topic_of
from clip_rl_perception.metrics.tag_measures import TagTruth
from clip_rl_perception.picture_encoding import encode_jpeg, encode_picture
from clip_rl_perception.pictures.encodings import ENCODINGS, ImageError
from clip_rl_perception.pictures.packet_encoder import ENCODERS, EncodedPacket, PacketEncoder
from clip_rl_perception.pictures.pixel_encoding import encode_pixels
from clip_rl_perception.pictures.video_packets import KEY_FLAG
from clip_rl_perception.sources.bag_truth import tag_topics
from clip_rl_perception.sources.camera_model import CAMERA_INFO, CameraModel
from clip_rl_perception.sources.tag_truth import plain_instruments

IMAGE_TOPIC = "/endoscope/image_raw"
LABEL_TOPIC = "/endoscope/labels"
FRAME_ID = "endoscope_optical"
_FILES = ("jpeg", "png")
IMAGE_CODINGS: Final = (*_FILES, *ENCODINGS, *ENCODERS)
"""How images may be stored: as files, raw, as video."""

STORAGES: Final = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
"""How a bag's messages are stored; sqlite3 was the default of ROS 2 until humble."""

BAG_VERSION: Final = 8
"""rosbag2 metadata version: the newest that jazzy's tools read."""

_FOREVER = QosTime(sec=9223372036, nsec=854775807)


class BagError(ClipRlError):
    """A bag cannot be written or read; the message names it and the reason."""


def qos(*, reliable: bool = True, transient_local: bool = False, depth: int = 10) -> Qos:
    """A quality-of-service profile as bags store it."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if transient_local else QosDurability.VOLATILE,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )


class BagWriter:
    """A new rosbag2 folder; use it as a context manager.

    The bag is closed, and so readable, however the `with` block ends: what was written before an error or Ctrl-C stays.
    """

    def __init__(
        self, path: str | Path, *, overwrite: bool = False, compress: bool = False, storage: str = "mcap"
    ) -> None:
        """Create the bag.

        Args:
            path: folder to create; its last part also names the storage file inside.
            overwrite: remove a bag that is there already. Anything else at `path` is never removed.
            compress: zstd on the file's chunks (sqlite3: on every message); pays for raw masks and images, not for
                JPEG.
            storage: a key of `STORAGES`.

        Raises:
            BagError: `path` exists, the disk refuses, or there is no such storage.
        """
        self.path = Path(path)
        if storage not in STORAGES:
            raise BagError(f"no storage '{storage}'; known are {', '.join(STORAGES)}")
        clear_for_bag(self.path, overwrite=overwrite)
        self._writer = Writer(self.path, version=BAG_VERSION, storage_plugin=STORAGES[storage])
        if compress:
            mode = CompressionMode.STORAGE if storage == "mcap" else CompressionMode.MESSAGE
            self._writer.set_compression(mode, CompressionFormat.ZSTD)
        try:
            self._writer.open()
        except (OSError, WriterError) as error:
            raise BagError(f"cannot create bag {self.path}: {error}") from error
        self._connections: dict[str, Connection] = {}
        self._encoders: dict[str, PacketEncoder] = {}
        """Of video, by topic."""
        self._closed = False

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write the index and metadata.yaml; calling it again does nothing."""
        if not self._closed:
            self._closed = True
            self._writer.close()

    def write_image(
        self,
        rgb: ByteArray,
        stamp_ns: int,
        *,
        topic: str = IMAGE_TOPIC,
        frame_id: str = FRAME_ID,
        encoding: str = "jpeg",
        quality: int = 90,
    ) -> None:
        """Write one frame.

        Args:
            rgb: uint8 (H, W, 3), RGB.
            stamp_ns: header stamp and time in the bag, ns since the epoch.
            topic: base topic; ``/compressed`` is appended for jpeg and png, ``/ffmpeg`` for h264 and hevc.
            frame_id: of the header.
            encoding: of `IMAGE_CODINGS`.
            quality: of JPEG, 1 to 100; of video see `PacketEncoder`.
        """
        if encoding in _FILES:
            if encoding == "jpeg":
                data = encode_jpeg(rgb, quality)
            else:
                data = encode_picture(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), cv2.IMWRITE_PNG_COMPRESSION, 1)
            self.write_encoded(data, encoding, stamp_ns, topic=topic, frame_id=frame_id)
            return
        if encoding in ENCODERS:
            self._write_video(rgb, stamp_ns, topic, frame_id, encoding, quality)
            return
        if encoding not in ENCODINGS:
            raise BagError(f"images cannot be written as '{encoding}'; expected {', '.join(IMAGE_CODINGS)}")
        try:
            rows = encode_pixels(rgb, encoding)
        except ImageError as error:
            raise BagError(str(error)) from error
        self._write_rows(rows, rgb.shape[1], encoding, stamp_ns, topic, frame_id)

    def write_encoded(
        self,
        data: bytes,
        encoding: str,
        stamp_ns: int,
        *,
        topic: str = IMAGE_TOPIC,
        frame_id: str = FRAME_ID,
        pixel_format: str = "bgr8",
    ) -> None:
        """Write an image that is already a JPEG or PNG file's bytes, to `topic` + ``/compressed``."""
        header = message_types.header(stamp_ns, frame_id)
        message = image_messages.compressed_image(header, data, encoding, pixel_format=pixel_format)
        self.write_message(topic_of(topic, COMPRESSED), message_types.COMPRESSED_IMAGE, message, stamp_ns)

    def write_raw(
        self, pixels: ByteArray, encoding: str, stamp_ns: int, *, topic: str, frame_id: str = FRAME_ID
    ) -> None:
        """Write uint8 (H, W) or (H, W, C) pixels as they are, as sensor_msgs/Image of `encoding`."""
        rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
        self._write_rows(rows, pixels.shape[1], encoding, stamp_ns, topic, frame_id)

    def write_labels(
        self,
        labels: ByteArray,
        stamp_ns: int,
        *,
        topic: str = LABEL_TOPIC,
        frame_id: str = FRAME_ID,
        compressed: bool = True,
    ) -> None:
        """Write ground truth, uint8 (H, W) class ids, as PNG (`topic` + ``/compressed``) or as mono8."""
        if compressed:
            data = encode_picture(".png", labels, cv2.IMWRITE_PNG_COMPRESSION, 4)
            self.write_encoded(data, "png", stamp_ns, topic=topic, frame_id=frame_id, pixel_format="mono8")
        else:
            self.write_raw(labels, "mono8", stamp_ns, topic=topic, frame_id=frame_id)

    def write_tag_truth(
        self, truth: TagTruth, stamp_ns: int, *, topic: str = LABEL_TOPIC, frame_id: str = FRAME_ID
    ) -> None:
        """Write which instruments an image truly shows, beside its labels on `topic`."""
        instances, told = tag_topics(topic)
        data = encode_picture(".png", truth.instances, cv2.IMWRITE_PNG_COMPRESSION, 4)
        header = message_types.header(stamp_ns, frame_id)
        depth = "mono8" if truth.instances.dtype == np.uint8 else "mono16"
        message = image_messages.compressed_image(header, data, "png", pixel_format=depth)
        self.write_message(instances, message_types.COMPRESSED_IMAGE, message, stamp_ns)
        plain = json.dumps({"stamp_ns": stamp_ns, "instruments": plain_instruments(truth.instruments)})
        text = message_types.BAG_TYPES.make(message_types.STRING, data=plain)
        self.write_message(told, message_types.STRING, text, stamp_ns)

    def write_label_space(self, space: LabelSpace, stamp_ns: int, *, topic: str = LABEL_TOPIC) -> None:
        """Write what the ids of labels on `topic` mean, to `topic` + ``/classes``; once, at the start, is enough."""
        message = class_list(space, stamp_ns)
        profile = qos(transient_local=True, depth=1)
        self.write_message(f"{topic}/classes", message_types.CLASS_LIST, message, stamp_ns, profile)

    def write_camera_info(self, camera: CameraModel, stamp_ns: int, *, topic: str, frame_id: str = FRAME_ID) -> None:
        """Write the camera's model for the image of this stamp."""
        self.write_message(topic, CAMERA_INFO, camera.message(stamp_ns, frame_id), stamp_ns)

    def write_message(self, topic: str, msgtype: str, message: Any, time_ns: int, profile: Qos | None = None) -> None:
        """Write any message of `message_types.typestore()`; `time_ns` is its time in the bag."""
        data = message_types.typestore().serialize_cdr(message, msgtype)
        self.write_serialized(topic, msgtype, data, time_ns, profile)

    def write_serialized(
        self, topic: str, msgtype: str, data: bytes | memoryview, time_ns: int, profile: Qos | None = None
    ) -> None:
        """Write a message that is CDR already, as a raw subscription delivers it. Raises `BagError` on a full disk."""
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(
                topic, msgtype, typestore=message_types.typestore(), offered_qos_profiles=[profile or qos()]
            )
            self._connections[topic] = connection
        try:
            self._writer.write(connection, time_ns, data)
        except OSError as error:
            raise BagError(f"cannot write to bag {self.path}: {error.strerror}") from error

    def write_packet(
        self, packet: EncodedPacket, codec: str, stamp_ns: int, *, size: tuple[int, int], topic: str, frame_id: str
    ) -> None:
        """Write a packet of the picture with this stamp, of `size` (width, height), to `topic` + ``/ffmpeg``."""
        message = message_types.BAG_TYPES.make(
            message_types.FFMPEG_PACKET,
            header=message_types.header(stamp_ns, frame_id),
            width=size[0],
            height=size[1],
            encoding=codec,
            pts=packet.pts,
            flags=KEY_FLAG if packet.key else 0,
            is_bigendian=False,
            data=np.frombuffer(packet.data, np.uint8),
        )
        self.write_message(topic_of(topic, FFMPEG), message_types.FFMPEG_PACKET, message, stamp_ns)

    def _write_video(self, rgb: ByteArray, stamp_ns: int, topic: str, frame_id: str, codec: str, quality: int) -> None:
        size = rgb.shape[1], rgb.shape[0]
        encoder = self._encoders.get(topic)
        try:
            if encoder is None or (encoder.codec, encoder.size) != (codec, size):
                encoder = self._encoders[topic] = PacketEncoder(codec, *size, quality=quality)
            packets = encoder.encode(rgb)
        except ImageError as error:
            raise BagError(str(error)) from error
        for packet in packets:  # one: without B-frames none waits
            self.write_packet(packet, codec, stamp_ns, size=size, topic=topic, frame_id=frame_id)

    def _write_rows(self, rows: ByteArray, width: int, encoding: str, stamp_ns: int, topic: str, frame_id: str) -> None:
        """Write uint8 (H, step) rows of bytes as sensor_msgs/Image."""
        header = message_types.header(stamp_ns, frame_id)
        message = image_messages.image_of_rows(header, rows, width, encoding)
        self.write_message(topic, message_types.IMAGE, message, stamp_ns)


def clear_for_bag(path: Path, *, overwrite: bool) -> None:
    """Make room for a bag at `path`; raises `BagError` where something is there that must stay."""
    if path.exists():
        if not overwrite:
            raise BagError(f"{path} exists already; name another folder or remove it first")
        if not (path / "metadata.yaml").is_file() and not list(path.glob("*.mcap")):
            raise BagError(f"{path} exists and is not a bag; it is not overwritten")
        shutil.rmtree(path)
