"""Opens a rosbag2 (sqlite3 or mcap, humble to the newest) or a ROS 1 bag without ROS, damaged ones included."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from clip_rl_perception.errors import one_line
from clip_rl_perception.sources import bag_files
from clip_rl_perception.sources.bag_types import typestore_for
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.mcap_file import McapFile
from clip_rl_perception.sources.ros1_file import Ros1File
from clip_rl_perception.sources.sqlite_file import SqliteFile
from clip_rl_perception.sources.storage_file import Message, StorageFile, StoredTopic, in_order_of_time

_KINDS: dict[str, Callable[[Path], StorageFile]] = {"mcap": McapFile, "ros1": Ros1File, "sqlite3": SqliteFile}
LONGEST_NAME = 200
"""Characters of the name of a topic or type that are kept."""


@dataclasses.dataclass(frozen=True)
class Connection:
    """Messages of one type on one topic, in all files of a bag."""

    topic: str
    msgtype: str
    """As package/msg/Type."""
    left_out: str = ""
    """Why they cannot be deserialised; empty where they can."""


@dataclasses.dataclass
class Topic:
    """A topic of a bag."""

    connections: list[Connection]
    """Those that can be deserialised; where there are none, the others."""
    msgcount: int
    """Messages on these connections."""

    @property
    def msgtype(self) -> str | None:
        """As package/msg/Type; None where there are several."""
        return self.types[0] if len(self.types) == 1 else None

    @property
    def types(self) -> list[str]:
        """All of its types, in order."""
        return sorted({connection.msgtype for connection in self.connections})

    @property
    def left_out(self) -> str:
        """Why none of its messages can be deserialised; empty where they can."""
        return self.connections[0].left_out


class BagReader:
    """All messages of a bag in order of time, read from its storage files themselves; use it as a context manager.

    metadata.yaml need not be there nor be right. `mended` says in a line each what is lost or contradicts itself.
    Topics whose messages cannot be deserialised are in `topics`, with the reason, and not in `connections`.
    """

    def __init__(self, path: Path) -> None:
        """`path`: a folder with storage files, or one of those."""
        self.path = path
        self.mended: list[str] = []
        self.topics: dict[str, Topic] = {}
        self.connections: list[Connection] = []
        self._typestores: dict[str, Any] = {}
        self._files: list[tuple[StorageFile, dict[int, Connection]]] = []
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> BagReader:
        """Open; raises `SourceError` where no file can be read."""
        try:
            self._open_files()
        except (OSError, SourceError) as error:
            self._opened.close()
            raise SourceError(f"{self.path}: not a readable rosbag2: {one_line(error)}") from error
        counts: collections.Counter[Connection] = collections.Counter()
        for file, connections in self._files:
            for topic in file.topics:
                connections[topic.id] = self._connection(topic)
                counts[connections[topic.id]] += topic.count
        self.connections = [connection for connection in counts if not connection.left_out]
        for name in sorted({connection.topic for connection in counts}):
            every = [connection for connection in counts if connection.topic == name]
            chosen = [connection for connection in every if not connection.left_out] or every
            self.topics[name] = Topic(chosen, sum(counts[connection] for connection in chosen))
            for connection in every:
                if connection not in chosen:
                    self.mended.append(
                        f"{self.path}: {name}: {counts[connection]} messages left out: {connection.left_out}"
                    )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def messages(self, connections: Collection[Connection] | None = None) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, time recorded in ns, bytes), in order of time.

        Args:
            connections: of which; None: of all that can be deserialised.

        Raises:
            SourceError: a file is damaged; after what comes before the damage.
        """
        wanted = set(self.connections if connections is None else connections)
        parts = [
            (file.first_ns, functools.partial(_messages_of, file, own, wanted))
            for file, own in self._files
            if wanted & set(own.values())
        ]
        try:
            for time, connection, data in in_order_of_time(parts):
                yield connection, time, bag_files.unpack_message(data)
        except Exception as error:  # damaged files raise whatever their storage, compression and parser raise
            raise SourceError(f"{self.path}: {one_line(error)}") from error

    def topics_found(self) -> str:
        """Every topic with its type, and why it or what else is left out, for messages of errors."""
        found = [
            f"{name} ({_told(topic.types)}{f': {topic.left_out}' if topic.left_out else ''}"
            f"{'' if topic.msgcount else ', without messages'})"
            for name, topic in self.topics.items()
        ]
        return "; ".join((", ".join(found) or "none at all", *self.mended))

    def deserialize(self, data: bytes, msgtype: str) -> Any:
        """The message; raises `SourceError` where the bytes are not of that type."""
        try:
            return self._typestores[msgtype].deserialize_cdr(data, msgtype)
        except Exception as error:  # generated code raises whatever bytes make it raise
            raise SourceError(one_line(error)) from error

    def _open_files(self) -> None:
        files = bag_files.storage_files(self.path)
        if self.path.is_dir():
            self.mended += bag_files.contradictions(self.path, files)
        faults = []
        for file in files:
            try:
                storage = self._opened.enter_context(contextlib.closing(self._open_file(file)))
            except Exception as error:  # as of `messages`
                faults.append(one_line(error) if file == self.path else f"{file.name}: {one_line(error)}")
            else:
                self._files.append((storage, {}))
                self.mended += [f"{file}: {line}" for line in storage.problems]
        if not self._files:
            raise SourceError(faults[0] if faults else "there is no .mcap or .db3 file")
        self.mended += [f"{self.path}: {fault}; left out" for fault in faults]

    def _open_file(self, file: Path) -> StorageFile:
        if bag_files.kind_of(file) == "zstd":
            folder = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="clip_rl_bag_"))
            file = bag_files.unpack(file, Path(folder))
        return _KINDS[bag_files.kind_of(file)](file)

    def _connection(self, topic: StoredTopic) -> Connection:
        """The connection of a topic in one of the files."""
        name, kind, encoding = map(_readable, (topic.name, topic.type, topic.encoding))
        topic = dataclasses.replace(topic, name=name, type=kind, encoding=encoding)
        try:
            store = typestore_for(topic)
            known = self._typestores.setdefault(topic.type, store)
            if known is not store and known.hash_rihs01(topic.type) != store.hash_rihs01(topic.type):
                raise SourceError(f"another definition of {topic.type} than elsewhere in the bag")
        except SourceError as error:
            return Connection(topic.name, topic.type, one_line(error))
        return Connection(topic.name, topic.type)


def _readable(name: str) -> str:
    """A name that fits into a line: of a damaged file it may be anything."""
    return "".join(character if character.isprintable() else "?" for character in name[:LONGEST_NAME])


def _messages_of(file: StorageFile, own: dict[int, Connection], wanted: set[Connection]) -> Iterator[Message]:
    """Messages of a file by connection; raises `SourceError` at its end where some of those counted were not found."""
    missing = {topic.id: topic.count for topic in file.topics if own[topic.id] in wanted}
    for time, topic, data in file.messages(set(missing)):
        missing[topic] -= 1
        yield time, own[topic], data
    for topic, count in missing.items():
        if count > 0:
            raise SourceError(f"{count} messages on {own[topic].topic} are not where they should be")


def _told(types: list[str]) -> str:
    several = ", which no topic may have at once" if len(types) > 1 else ""
    return " and ".join(types) + several
