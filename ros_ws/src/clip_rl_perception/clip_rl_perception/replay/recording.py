"""What the perception node said, read back from a recorded bag: masks, status and tags by the stamp of their frame."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.class_messages import label_space_of
from clip_rl_perception.messages.image_messages import plane_of
from clip_rl_perception.messages.scene_messages import Status, instruments_of, status_of
from clip_rl_perception.scene.types import Instrument
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.frames import SourceError


@dataclasses.dataclass(frozen=True)
class Published:
    """One frame as it was sent to the node."""

    index: int | None
    """Place among the images of its topic, folder or video, those that cannot be read counted; None: by its stamp."""
    stamp_ns: int
    """Header stamp that it was sent with, ns."""
    published_ns: int | None
    """When it was published, or arrived beside the node, on the wall clock, ns; None if unknown."""


class Recording:
    """A bag written by the recorder (or by `ros2 bag record` of the same topics).

    Status, tags and times are held in memory; masks are read from the bag when they are asked for.
    """

    def __init__(self, path: str | Path) -> None:
        """Read everything but the masks' pixels. Raises `SourceError` when there is no such bag."""
        self.path = Path(path)
        self.mask_received_ns: dict[int, int] = {}
        """When each mask was received, by header stamp; ns."""
        self.confidence_stamps: set[int] = set()
        """Header stamps of the confidence maps that were recorded, ns."""
        self.repeated_masks = 0
        """Masks whose stamp had been seen before."""
        self.statuses: list[Status] = []
        self.instruments: dict[int, tuple[Instrument, ...]] = {}
        """By header stamp."""
        self.label_space: LabelSpace | None = None
        """Of the last class list."""
        with BagReader(self.path) as reader:
            for connection, time, data in reader.messages():
                self._take(connection, time, data, reader)

    def masks(self) -> Iterator[tuple[int, ByteArray]]:
        """(header stamp, uint8 (H, W) class ids) in the order received."""
        return self._images("mask")

    def confidences(self) -> Iterator[tuple[int, ByteArray]]:
        """(header stamp, uint8 (H, W) probability x 255) in the order received; none where they were not recorded."""
        return self._images("confidence")

    def _images(self, name: str) -> Iterator[tuple[int, ByteArray]]:
        with BagReader(self.path) as reader:
            for connection in [item for item in reader.connections if _is_image(item, name)]:
                for _, _, data in reader.messages([connection]):
                    message: Any = reader.deserialize(data, connection.msgtype)
                    yield message_types.stamp_of(message), plane_of(message)

    def _take(self, connection: Any, time: int, data: bytes, reader: BagReader) -> None:
        if _is_image(connection, "mask"):
            stamp = message_types.stamp_in(data)
            self.repeated_masks += stamp in self.mask_received_ns
            self.mask_received_ns[stamp] = time
            return
        if _is_image(connection, "confidence"):
            self.confidence_stamps.add(message_types.stamp_in(data))
        if not connection.msgtype.startswith("clip_rl_interfaces/"):
            return
        message: Any = reader.deserialize(data, connection.msgtype)
        if connection.msgtype == message_types.STATUS:
            self.statuses.append(status_of(message))
        elif connection.msgtype == message_types.INSTRUMENTS:
            self.instruments[message_types.stamp_of(message)] = instruments_of(message)
        elif connection.msgtype == message_types.CLASS_LIST:
            self.label_space = label_space_of(message)


def _is_image(connection: Any, name: str) -> bool:
    return bool(connection.msgtype == message_types.IMAGE and connection.topic.rsplit("/", 1)[-1] == name)


def read_published(path: str | Path) -> list[Published]:
    """The player's table of published frames, `--stamps`. Raises `SourceError`."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return [
            Published(int(entry["source_index"]), int(entry["stamp_ns"]), int(entry["published_ns"]))
            for entry in map(json.loads, lines)
        ]
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"{path}: not a table of published frames: {error}") from error
