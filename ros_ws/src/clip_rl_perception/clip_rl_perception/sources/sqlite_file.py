"""Reads a .db3 file of rosbag2, the default of ROS 2 until humble."""

from __future__ import annotations

import collections
import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.storage_file import Message, StoredTopic


class SqliteFile:
    """A .db3 file, opened; see `StorageFile`."""

    def __init__(self, path: Path) -> None:
        """Read the topics of `path`; raises `sqlite3.Error` where that is not possible."""
        self.problems: list[str] = []
        # Immutable works on read-only media, but does not see what a killed recorder left in the file beside.
        beside = path.with_name(f"{path.name}-wal")
        mode = "mode=ro" if beside.is_file() and beside.stat().st_size else "immutable=1"
        # A generator of messages may be closed by another thread than began it.
        self._database = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, check_same_thread=False)
        self._database.text_factory = lambda data: data.decode(errors="replace")
        self._damaged = False
        self.first_ns = 0
        try:
            # Else sqlite refuses a file that lost its end as a whole; nothing is written.
            self._database.execute("PRAGMA writable_schema=ON")
            self.topics = self._read_topics(self._count())
        except BaseException:
            self._database.close()
            raise

    def messages(self, wanted: set[int]) -> Iterator[Message]:
        """As of `StorageFile`."""
        query, values = "SELECT timestamp, topic_id, data FROM messages", sorted(wanted)
        if self._damaged:
            # All topics: a search for the next message of some would meet the damage before the last was given out.
            rows = self._database.execute(f"{query} ORDER BY id")
        else:
            chosen = f"topic_id IN ({','.join('?' * len(values))})"
            rows = self._database.execute(f"{query} WHERE {chosen} ORDER BY timestamp, id", values)
        last = self.first_ns
        for time, topic, data in rows:
            if topic in wanted:
                if not isinstance(time, int) or not isinstance(data, bytes):
                    raise SourceError(f"a message after {last / 1e9:.3f} s is damaged")
                yield time, topic, data
                last = time

    def close(self) -> None:
        """As of `StorageFile`."""
        self._database.close()

    def _count(self) -> dict[int, int]:
        """Messages by topic id; of a damaged file those before the damage, which are then read as they were written."""
        select = self._database.execute
        try:
            counts = dict(select("SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id"))
            (first,) = select("SELECT MIN(timestamp) FROM messages").fetchone()
            self.first_ns = int(first or 0)
        except (sqlite3.DatabaseError, ValueError) as error:
            self._damaged = True
            counts = collections.Counter[int]()
            with contextlib.suppress(sqlite3.DatabaseError):
                for (topic,) in select("SELECT topic_id FROM messages ORDER BY id"):
                    counts[topic] += 1
            self.problems.append(f"damaged: {error}; {counts.total()} messages come before the damage")
        return counts

    def _read_topics(self, counts: dict[int, int]) -> list[StoredTopic]:
        """Topics of any version of the format: type hashes and definitions came with iron."""
        select = self._database.execute
        hashed = any(column[1] == "type_description_hash" for column in select("PRAGMA table_info(topics)"))
        definitions: dict[str, tuple[str, str]] = {}
        if select("PRAGMA table_info(message_definitions)").fetchall():
            query = "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            definitions = {name: (language, text) for name, language, text in map(_texts, select(query))}
        digest = "type_description_hash" if hashed else "''"
        query = f"SELECT name, type, serialization_format, {digest}, id FROM topics ORDER BY id"
        topics = []
        for *texts, number in select(query):
            name, kind, encoding, digest = _texts(texts)
            language, text = definitions.get(kind, ("", ""))
            topics.append(StoredTopic(number, name, kind, encoding, language, text, digest, counts.pop(number, 0)))
        if counts:
            self.problems.append(f"{sum(counts.values())} messages are of topics that it does not describe; left out")
        return topics


def _texts(row: Iterable[Any]) -> tuple[str, ...]:
    """Columns of text, which a damaged database may have lost."""
    return tuple(str(value or "") for value in row)
