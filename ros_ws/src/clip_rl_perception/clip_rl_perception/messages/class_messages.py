"""A label space as messages, and back: what the ids in a mask mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clip_rl_perception.labels import LabelClass, LabelError, LabelSpace, load_label_space
from clip_rl_perception.messages.message_types import BAG_TYPES, CLASS_LIST, MessageTypes, header


def class_list(space: LabelSpace, stamp_ns: int, types: MessageTypes = BAG_TYPES) -> Any:
    """`space`, in force since `stamp_ns`, as a ClassList message."""
    colors = [[value / 255 for value in entry.color] for entry in space.classes]
    return types.make(
        CLASS_LIST,
        header=header(stamp_ns, types=types),
        label_space=space.name,
        ids=types.array(np.array([entry.id for entry in space.classes], np.uint8)),
        names=list(space.names),
        prompts=["; ".join(entry.texts()) for entry in space.classes],
        colors=[types.make("std_msgs/msg/ColorRGBA", r=r, g=g, b=b, a=1.0) for r, g, b in colors],
        instrument=types.array(np.array([entry.instrument for entry in space.classes], np.bool_)),
    )


def label_info(space: LabelSpace, stamp_ns: int, types: MessageTypes) -> Any:
    """`space` as vision_msgs/LabelInfo, of types that know it and have defaults: rclpy's."""
    classes = [
        types.make("vision_msgs/msg/VisionClass", class_id=entry.id, class_name=entry.name) for entry in space.classes
    ]
    return types.make("vision_msgs/msg/LabelInfo", header=header(stamp_ns, types=types), class_map=classes)


def label_space_of(message: Any) -> LabelSpace:
    """The label space that a ClassList message, rosbags' or rclpy's, speaks of.

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
