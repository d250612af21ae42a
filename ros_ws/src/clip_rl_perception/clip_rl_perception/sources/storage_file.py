"""What the storage files of a bag have in common, whatever their format: topics, and messages in order of time."""

from __future__ import annotations

import dataclasses
import heapq
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

Message = tuple[int, Any, bytes]
"""(time recorded in ns, whose it is, bytes)."""

_LATER: Any = object()
"""Whose the place keepers are that `in_order_of_time` puts before parts that are not opened yet."""


@dataclasses.dataclass(frozen=True)
class StoredTopic:
    """A topic as its file describes it."""

    id: int
    """In its file."""
    name: str
    type: str
    """As package/msg/Type; empty where the file names none."""
    encoding: str
    """Of its messages; ``cdr`` is what ROS 2 writes."""
    language: str = ""
    """Of `definition`: ``ros2msg``, ``ros2idl`` or what else writers have; empty without one."""
    definition: str = ""
    type_hash: str = ""
    """RIHS01 hash of the type; empty where the file has none."""
    count: int = 0
    """Messages."""


class StorageFile(Protocol):
    """One file of a bag, opened."""

    problems: list[str]
    """What of it cannot be read or contradicts itself, one line each."""
    topics: list[StoredTopic]
    first_ns: int
    """Time of its first message."""

    def messages(self, wanted: set[int]) -> Iterator[Message]:
        """Messages of the topics with these ids, by topic id, in order of time; raises whatever damage causes."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def in_order_of_time(parts: Iterable[tuple[int, Callable[[], Iterable[Message]]]]) -> Iterator[Message]:
    """Merge parts, each in order of time; (first time, opener): a part is opened when its first time has come."""

    def opened_late(first: int, opened: Callable[[], Iterable[Message]]) -> Iterator[Message]:
        yield first, _LATER, b""
        yield from opened()

    for message in heapq.merge(*(opened_late(*part) for part in parts), key=operator.itemgetter(0)):
        if message[1] is not _LATER:
            yield message
