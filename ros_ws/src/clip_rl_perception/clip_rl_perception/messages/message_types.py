"""ROS 2 message types by their full names, with or without ROS, and what nearly every message begins with: a header.

Functions that make messages take the classes to make them of: `BAG_TYPES`, those of rosbags, serve bags anywhere; nodes
give rclpy's (`ros/ros_types.py`). Our own types are registered from the .msg files that ROS itself compiles
(``interfaces/`` links to those of clip_rl_interfaces; released alone, the installed ones are read), so bags written
here carry the same type hashes as bags recorded by `ros2 bag record`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import os
import struct
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Kind = TypeVar("Kind", bound=enum.IntEnum)

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
FFMPEG_PACKET = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
COMPRESSED_VIDEO = "foxglove_msgs/msg/CompressedVideo"
STRING = "std_msgs/msg/String"
CLASS_LIST = "clip_rl_interfaces/msg/ClassList"
INSTRUMENTS = "clip_rl_interfaces/msg/InstrumentTagArray"
STATUS = "clip_rl_interfaces/msg/SceneStatus"
PACKETS = (FFMPEG_PACKET, COMPRESSED_VIDEO)
"""Packets of video, `pictures.packet_decoder`; foxglove_msgs is read by the definition in its file."""
_FFMPEG_PACKET_FIELDS = """
std_msgs/Header header
int32 width
int32 height
string encoding
uint64 pts
uint8 flags
bool is_bigendian
uint8[] data
"""
LATER_FIELDS = {
    STATUS: {"lost", "looks", "memory_share", "memory_age_ms", "disagreement"},
    "clip_rl_interfaces/msg/InstrumentTag": {"type_name", "type_probability", "keypoints", "confirmed", "unseen_s"},
}
"""Fields that recordings made before them lack: what reads such a message takes their defaults."""


@dataclasses.dataclass(frozen=True)
class MessageTypes:
    """The classes that messages are made of."""

    named: Callable[[str], Any]
    """Full name, such as ``sensor_msgs/msg/Image``, to the class; it takes every field by name."""
    array: Callable[[npt.NDArray[Any]], Any]
    """A one-dimensional array to what these classes hold in an array field."""

    def make(self, kind: str, /, **fields: Any) -> Any:
        """A message of the type with this full name; without ROS every field has to be given."""
        return self.named(kind)(**fields)


@functools.cache
def typestore() -> Any:
    """The rosbags type store of ROS 2 jazzy with clip_rl_interfaces and FFMPEGPacket; shared, do not change it."""
    store = get_typestore(Stores.ROS2_JAZZY)
    ours: dict[str, Any] = {}
    for entry in _definitions().iterdir():
        if entry.name.endswith(".msg"):
            name = f"clip_rl_interfaces/msg/{entry.name.removesuffix('.msg')}"
            ours.update(get_types_from_msg(entry.read_text(encoding="utf-8"), name))
    ours.update(get_types_from_msg(_FFMPEG_PACKET_FIELDS, FFMPEG_PACKET))
    store.register(ours)
    return store


def _definitions() -> Traversable:
    """Where the .msg files of clip_rl_interfaces are; raises `FileNotFoundError`."""
    shipped = resources.files("clip_rl_perception") / "interfaces"
    if shipped.is_dir():
        return shipped
    # Released alone, the package has no neighbour to link to: ROS has installed it, as package.xml demands.
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        installed = Path(prefix) / "share" / "clip_rl_interfaces" / "msg"
        if installed.is_dir():
            return installed
    raise FileNotFoundError(
        f"no definitions of messages: {shipped} leads nowhere, and no prefix of AMENT_PREFIX_PATH has "
        "clip_rl_interfaces; build or install it, and source its setup file"
    )


BAG_TYPES = MessageTypes(lambda name: typestore().types[name], np.ascontiguousarray)
"""Those of rosbags."""


def header(stamp_ns: int, frame_id: str = "", types: MessageTypes = BAG_TYPES) -> Any:
    """A std_msgs/Header; `stamp_ns` nanoseconds since the epoch, not negative."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = types.make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return types.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def known_validity(kind: type[Kind], value: int, reason: str, of: str = "") -> tuple[Kind, str]:
    """A message's validity, and its reason.

    One that `kind` does not have, as of a later version, is its INVALID_INPUT: what it is of is not to be used.
    """
    if value in tuple(kind):
        return kind(value), reason
    told = f"validity {value}{of} is unknown here; is it of another version?"
    return kind["INVALID_INPUT"], "; ".join(filter(None, (told, reason)))


def stamp_of(message: Any) -> int:
    """Header stamp of a message in nanoseconds; works on rosbags' and rclpy's messages alike."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def stamp_in(data: bytes) -> int:
    """Header stamp, ns, of a CDR message that starts with a std_msgs/Header; the rest is not deserialised."""
    if len(data) < 12:
        return 0
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
