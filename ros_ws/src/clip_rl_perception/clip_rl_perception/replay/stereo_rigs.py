"""Stereo rigs among the image topics of a bag, and their calibrations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.messages.transports import base_topic
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.camera_model import CAMERA_INFO
from clip_rl_perception.sources.frames import SourceError


@dataclasses.dataclass(frozen=True)
class StereoRig:
    """The image topics of two eyes."""

    name: str
    """What both have in common, for example /endoscope."""
    left: str
    right: str


def rigs_among(topics: Sequence[str]) -> list[StereoRig]:
    """Pairs of topics that differ in ``left`` and ``right`` as one part of their names alone."""
    by_base = {base_topic(topic): topic for topic in topics}
    found = []
    for base, topic in by_base.items():
        parts = base.split("/")
        if parts.count("left") == 1:
            place = parts.index("left")
            other = by_base.get("/".join([*parts[:place], "right", *parts[place + 1 :]]))
            if other is not None:
                found.append(StereoRig("/".join(parts[:place]) or "/", topic, other))
    return found


def camera_info_beside(path: Path, image_topic: str) -> Any:
    """The first sensor_msgs/CameraInfo on ``camera_info`` beside an image topic of a bag.

    Raises:
        SourceError: there is none, or it cannot be read.
    """
    name = f"{base_topic(image_topic).rpartition('/')[0]}/camera_info"
    with BagReader(path) as reader:
        topic = reader.topics.get(name)
        if topic is None or topic.msgtype != CAMERA_INFO or topic.left_out:
            raise SourceError(f"{path}: no calibration on {name}; expected sensor_msgs/CameraInfo there")
        for connection, _, data in reader.messages(topic.connections):
            return reader.deserialize(data, connection.msgtype)
    raise SourceError(f"{path}: {name} has no message; expected the calibration of {image_topic}")
