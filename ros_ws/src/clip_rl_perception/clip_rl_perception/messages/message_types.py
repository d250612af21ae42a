"""ROS 2 message types without ROS: those of jazzy and our own, for reading and writing bags anywhere.

Our types are registered from the .msg files that ROS itself compiles (``interfaces/`` links to clip_rl_interfaces), so
bags written here carry the same type hashes as bags recorded by `ros2 bag record`.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from clip_rl_perception.labels import LabelClass, LabelError, LabelSpace, load_label_space

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CLASS_LIST = "clip_rl_interfaces/msg/ClassList"
INSTRUMENTS = "clip_rl_interfaces/msg/InstrumentTagArray"
STATUS = "clip_rl_interfaces/msg/SceneStatus"


@functools.cache
def typestore() -> Any:
    """The rosbags type store of ROS 2 jazzy with the messages of clip_rl_interfaces; shared, do not change it."""
    store = get_typestore(Stores.ROS2_JAZZY)
    ours: dict[str, Any] = {}
    for entry in (resources.files("clip_rl_perception") / "interfaces").iterdir():
        if entry.name.endswith(".msg"):
            name = f"clip_rl_interfaces/msg/{entry.name.removesuffix('.msg')}"
            ours.update(get_types_from_msg(entry.read_text(encoding="utf-8"), name))
    store.register(ours)
    return store


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header; `stamp_ns` nanoseconds since the epoch, not negative."""
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def stamp_of(message: Any) -> int:
    """Header stamp of a message in nanoseconds; works on rosbags' and rclpy's messages alike."""
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def stamp_in(data: bytes) -> int:
    """Header stamp, ns, of a CDR message that starts with a std_msgs/Header; the rest is not deserialised."""
    if len(data) < 12:
        return 0
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def class_list(space: LabelSpace, stamp_ns: int) -> Any:
    """`space` as a ClassList message."""
    types = typestore().types
    color = types["std_msgs/msg/ColorRGBA"]
    return types[CLASS_LIST](
        header=header(stamp_ns, ""),
        label_space=space.name,
        ids=np.array([entry.id for entry in space.classes], np.uint8),
        names=list(space.names),
        prompts=["; ".join(entry.texts()) for entry in space.classes],
        colors=[color(r=r / 255, g=g / 255, b=b / 255, a=1.0) for r, g, b in (entry.color for entry in space.classes)],
        instrument=np.array([entry.instrument for entry in space.classes], np.bool_),
    )


def label_space_of(message: Any) -> LabelSpace:
    """The label space that a ClassList message speaks of.

    The shipped space of that name where its class names agree (it also knows parts); else one built from the message.

    Raises:
        LabelError: ids with gaps, duplicate or empty names, lists of different lengths.
    """
    names: Sequence[str] = list(message.names)
    try:
        shipped = load_label_space(message.label_space)
        if list(shipped.names) == names:
            return shipped
    except LabelError:
        pass
    lists = (message.ids, message.prompts, message.colors, message.instrument)
    if any(len(values) != len(names) for values in lists):
        raise LabelError(f"class list '{message.label_space}' has lists of different lengths; all must be {len(names)}")
    return LabelSpace(
        name=str(message.label_space),
        classes=tuple(
            LabelClass(
                id=int(index),
                name=name,
                prompts=tuple(prompt.split("; ")),
                color=(round(color.r * 255), round(color.g * 255), round(color.b * 255)),
                instrument=bool(instrument),
            )
            for index, name, prompt, color, instrument in zip(
                message.ids, names, message.prompts, message.colors, message.instrument, strict=True
            )
        ),
    )
