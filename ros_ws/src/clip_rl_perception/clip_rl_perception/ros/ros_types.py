"""rclpy's message classes, for the functions of `messages` that make messages."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_rl_perception.messages.message_types import MessageTypes


@functools.cache
def ros_type(name: str) -> Any:
    """The class of a full name, such as ``sensor_msgs/msg/Image``; its package is imported when it is asked for."""
    package, group, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.{group}"), kind)


def ros_array(values: npt.NDArray[Any]) -> memoryview | list[Any]:
    """Bytes as a view, which `RosTypes.make` copies; others as a list, as rclpy takes them: element by element."""
    return np.ascontiguousarray(values).data.cast("B") if values.dtype == np.uint8 else list(values.tolist())


class RosTypes(MessageTypes):
    """Makes messages of classes as rosidl generates them, whose fields of bytes are array('B')."""

    def make(self, kind: str, /, **fields: Any) -> Any:
        """As `MessageTypes.make`.

        Bytes are copied into the array that the new message has: its constructor and its setter would each copy them
        once more, which takes as long as all else that publishing an image takes.
        """
        made = self.named(kind)(**{name: value for name, value in fields.items() if not isinstance(value, memoryview)})
        for name, value in fields.items():
            if isinstance(value, memoryview):
                getattr(made, name).frombytes(value)
        return made


ROS_TYPES = RosTypes(ros_type, ros_array)
