"""Reads a ROS 1 .bag as a rosbag2 is read: its pictures are given out in the form that ROS 2 stores them in."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from rosbags.rosbag1 import Reader

from clip_rl_perception.errors import one_line
from clip_rl_perception.messages import message_types
from clip_rl_perception.sources.camera_model import CAMERA_INFO
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.storage_file import Message, StoredTopic

SAME_IN_ROS2 = {
    message_types.IMAGE: "060021388200f6f0f447d0fcd9c64743",
    message_types.COMPRESSED_IMAGE: "8f7a12909da2c9d3332d540a0977563f",
    CAMERA_INFO: "c9a58c1b0b154e0e6da7578cb991d214",
}
"""MD5 sums that ROS 1 gives the types that are converted: all of their fields but the header's `seq` are in both."""

_SIZE = struct.Struct("<I")
_INDEX, _COUNT = b"\x04\0\0\0op=\x04", b"\x0a\0\0\0count="
"""Fields of the records behind each chunk that say where its messages are, and how many."""


class Ros1File:
    """A ROS 1 bag, opened; see `StorageFile`. Topics of other types than `SAME_IN_ROS2` stay ROS 1's."""

    def __init__(self, path: Path) -> None:
        """Open `path`; raises `SourceError` where its index is missing or damaged."""
        self.problems: list[str] = []
        self._reader = Reader(path)
        try:
            self._reader.open()
        except Exception as error:  # damaged bags raise whatever their parser raises
            raise SourceError(
                f"it is a ROS 1 bag that cannot be read: {one_line(error)}; `rosbag reindex {path.name}` may mend it"
            ) from error
        if (lost := _indexed(path) - self._reader.message_count) > 0:
            self.problems.append(
                f"{lost} messages are missing in its index; `rosbag reindex {path.name}` may find them"
            )
        self.first_ns = self._reader.start_time
        self._connections = {connection.id: connection for connection in self._reader.connections}
        self._same = {
            number for number, found in self._connections.items() if SAME_IN_ROS2.get(found.msgtype) == found.digest
        }
        self.topics = [
            StoredTopic(
                number,
                found.topic if found.topic.startswith("/") else f"/{found.topic}",
                found.msgtype,
                "cdr" if number in self._same else "ros1",
                count=found.msgcount,
            )
            for number, found in self._connections.items()
        ]

    def messages(self, wanted: set[int]) -> Iterator[Message]:
        """As of `StorageFile`."""
        store = message_types.typestore()
        for connection, time, data in self._reader.messages([self._connections[number] for number in sorted(wanted)]):
            if connection.id in self._same:
                data = bytes(store.ros1_to_cdr(data, connection.msgtype))
            yield time, connection.id, data

    def close(self) -> None:
        """As of `StorageFile`."""
        self._reader.close()


def _indexed(path: Path) -> int:
    """Messages by the indexes of the chunks; the index of the whole bag may know fewer after damage."""
    found = 0
    with path.open("rb") as file, contextlib.suppress(struct.error):
        file.readline()
        while True:
            header = file.read(_SIZE.unpack(file.read(_SIZE.size))[0])
            if _INDEX in header and _COUNT in header:
                found += _SIZE.unpack_from(header, header.index(_COUNT) + len(_COUNT))[0]
            file.seek(_SIZE.unpack(file.read(_SIZE.size))[0], os.SEEK_CUR)
    return found
