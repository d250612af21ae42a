"""Reads an .mcap from record to record (https://mcap.dev/spec), so that neither summary nor indexes need be right.

What recorders leave when they are killed (no end), written fast (no chunks, no indexes, any order) or converted is read
like any other. An index is used where it and the file's statistics agree: it spares opening chunks to count messages.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Schema, Statistics
from mcap.stream_reader import get_chunk_data_stream

from clip_rl_perception.errors import one_line
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.storage_file import Message, StoredTopic, in_order_of_time

MAGIC = b"\x89MCAP0\r\n"
STRETCH_BYTES = 1 << 20
"""Messages outside of chunks are read so much at a time."""
LARGEST_CHUNK = 4 << 30
"""Bytes; a larger one is damage."""
NO_RECORD = 0
"""The opcode that no record has: unwritten parts of a file are zeros."""

_HEAD, _MESSAGE, _INDEX = struct.Struct("<BQ"), struct.Struct("<HIQQ"), struct.Struct("<HI")


@dataclasses.dataclass
class _Stretch:
    """A chunk, or neighbouring records outside of chunks."""

    start: int
    """Of the chunk's record without its head, or of the first record with it; in the file, bytes."""
    end: int
    chunk: bool
    counts: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    """Messages by channel; of a chunk nobody has opened: as its index says."""
    first_ns: int = 1 << 64
    """Time of its first message."""

    def add(self, channel: int, time: int, count: int = 1) -> None:
        """Note messages, the first of them at `time`."""
        self.counts[channel] += count
        self.first_ns = min(self.first_ns, time)


class McapFile:
    """An .mcap file, opened; see `StorageFile`."""

    def __init__(self, path: Path) -> None:
        """Walk over the records of `path`; raises `SourceError` where it does not begin as an MCAP."""
        self.problems: list[str] = []
        self._schemas: dict[int, Any] = {}
        self._channels: dict[int, Any] = {}
        self._stretches: list[_Stretch] = []
        self._statistics: Statistics | None = None
        self._summary: list[tuple[int, bytes]] | None = None
        """Schemas and channels after the end of the data; None until that."""
        self._cut_off = False
        self._damage = ""
        self._file = path.open("rb")
        try:
            self._walk(path.stat().st_size)
            self._count()
            if self._damage and not self._stretches:
                raise SourceError(self._damage)
        except BaseException:
            self._file.close()
            raise
        self.first_ns = min((stretch.first_ns for stretch in self._stretches), default=0)
        self.topics = self._topics()

    def messages(self, wanted: set[int]) -> Iterator[Message]:
        """As of `StorageFile`."""
        yield from in_order_of_time(
            (stretch.first_ns, functools.partial(self._read, stretch, wanted))
            for stretch in self._stretches
            if wanted & stretch.counts.keys()
        )
        if self._damage:
            raise SourceError(self._damage)

    def close(self) -> None:
        """As of `StorageFile`."""
        self._file.close()

    def _walk(self, size: int) -> None:
        """Find what there is without opening chunks."""
        if self._file.read(len(MAGIC)) != MAGIC or self._file.read(1) != bytes([Opcode.HEADER]):
            raise SourceError("it does not begin as an MCAP")
        place, opcode = len(MAGIC), NO_RECORD
        while place + _HEAD.size <= size:
            self._file.seek(place)
            opcode, length = _HEAD.unpack(self._file.read(_HEAD.size))
            end = place + _HEAD.size + length
            if opcode == NO_RECORD or end > size or (opcode == Opcode.CHUNK and length > LARGEST_CHUNK):
                break
            if opcode == Opcode.FOOTER:
                place = end + len(MAGIC)
                break
            self._note(opcode, place, end)
            place = end
        self._file.seek(max(0, size - len(MAGIC)))
        if self._file.read() != MAGIC:
            self._cut_off = True
            lost = f"the last {max(0, size - place)} of {size} bytes cannot be read"
            self.problems.append(f"truncated: its end is missing; {lost}")
        elif place != size:
            self._damage = f"damaged at byte {place} of {size}: no record begins there; what follows cannot be read"

    def _note(self, opcode: int, place: int, end: int) -> None:
        """Take in the record in the file from `place` to `end`."""
        body = place + _HEAD.size
        if opcode == Opcode.CHUNK:
            self._stretches.append(_Stretch(body, end, chunk=True))
        elif opcode == Opcode.MESSAGE:
            last = self._stretches[-1] if self._stretches else None
            if last is None or last.chunk or last.end != place or end - last.start > STRETCH_BYTES:
                last = _Stretch(place, end, chunk=False)
                self._stretches.append(last)
            channel, _, time, _ = _MESSAGE.unpack(self._file.read(_MESSAGE.size))
            last.add(channel, time)
            last.end = end
        elif opcode == Opcode.MESSAGE_INDEX:
            with contextlib.suppress(struct.error, ValueError, IndexError):
                self._take_index(self._file.read(end - body))
        elif opcode == Opcode.DATA_END:
            self._summary = []
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.STATISTICS):
            if self._summary is None or opcode == Opcode.STATISTICS:
                self._describe(opcode, self._file.read(end - body))
            else:
                self._summary.append((opcode, self._file.read(end - body)))

    def _take_index(self, body: bytes) -> None:
        channel, length = _INDEX.unpack_from(body)
        times = np.frombuffer(body, "<u8", length // 8, _INDEX.size)[::2]
        if len(times) and self._stretches[-1].chunk:
            self._stretches[-1].add(channel, int(times.min()), len(times))

    def _describe(self, opcode: int, body: bytes) -> None:
        """Take in a record that describes others; one that cannot be parsed may be there again, intact."""
        stream = ReadDataStream(io.BytesIO(body))
        with contextlib.suppress(Exception):
            if opcode == Opcode.STATISTICS:
                self._statistics = Statistics.read(stream)
                return
            kind, known = (Schema, self._schemas) if opcode == Opcode.SCHEMA else (Channel, self._channels)
            record = kind.read(stream)
            if not _agree(known.setdefault(record.id, record), record):
                line = f"{kind.__name__.lower()} {record.id} is described in two ways; the first counts"
                self.problems += [line] if line not in self.problems else []

    def _count(self) -> None:
        """Open the chunks that have no index, those whose index is in doubt, and those with channels yet unknown."""
        in_doubt = {id(stretch) for stretch in self._doubted()}
        for stretch in self._stretches:
            known = stretch.counts and stretch.counts.keys() <= self._channels.keys()
            if stretch.chunk and (id(stretch) in in_doubt or not known):
                try:
                    self._open_chunk(stretch)
                except Exception as error:
                    if not stretch.counts:  # else reading ends here when its time has come
                        self.problems.append(f"{one_line(error)}; left out")
        for opcode, body in self._summary or ():
            self._describe(opcode, body)
        found = sum(stretch.counts.total() for stretch in self._stretches)
        if self._statistics is not None and found < self._statistics.message_count:
            self.problems.append(f"its statistics count {self._statistics.message_count} messages; {found} were found")

    def _doubted(self) -> list[_Stretch]:
        """Stretches whose index no other count confirms."""
        if self._statistics is not None:
            indexed = sum(stretch.counts.total() for stretch in self._stretches)
            return [] if indexed == self._statistics.message_count else self._stretches
        # Of a file that was cut off, only the last chunk may have lost a part of its index.
        return self._stretches[-1:] if self._cut_off else self._stretches

    def _open_chunk(self, stretch: _Stretch) -> None:
        counted = _Stretch(stretch.start, stretch.end, chunk=True)
        data = self._content(stretch)
        for opcode, begin, end in _records(data):
            if opcode == Opcode.MESSAGE:
                channel, _, time, _ = _MESSAGE.unpack_from(data, begin)
                counted.add(channel, time)
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                self._describe(opcode, data[begin:end])
        stretch.counts, stretch.first_ns = counted.counts, counted.first_ns

    def _topics(self) -> list[StoredTopic]:
        counts: collections.Counter[int] = collections.Counter()
        for stretch in self._stretches:
            counts.update(stretch.counts)
        strange = sum(count for channel, count in counts.items() if channel not in self._channels)
        if strange:
            self.problems.append(f"{strange} messages are of channels that it does not describe; left out")
        return [self._topic(channel, counts[channel.id]) for channel in self._channels.values()]

    def _topic(self, channel: Channel, count: int) -> StoredTopic:
        schema = self._schemas.get(channel.schema_id) or Schema(0, b"", "", "")
        name = schema.name if schema.name.count("/") != 1 else schema.name.replace("/", "/msg/")
        encoding = channel.message_encoding or "cdr"
        definition = schema.data.decode(errors="replace")
        type_hash = channel.metadata.get("topic_type_hash", "")
        return StoredTopic(channel.id, channel.topic, name, encoding, schema.encoding, definition, type_hash, count)

    def _read(self, stretch: _Stretch, wanted: set[int]) -> Iterator[Message]:
        data = self._content(stretch)
        found: list[tuple[int, int, int, int]] = []
        damage = None
        try:
            for opcode, begin, end in _records(data):
                if opcode == Opcode.MESSAGE:
                    channel, _, time, _ = _MESSAGE.unpack_from(data, begin)
                    if channel in wanted:
                        found.append((time, begin + _MESSAGE.size, end, channel))
        except SourceError as error:
            damage = error
        for time, begin, end, channel in sorted(found):
            yield time, channel, data[begin:end]
        if damage is not None:
            raise damage

    def _content(self, stretch: _Stretch) -> bytes:
        """The records of a stretch, unpacked; raises whatever its damage causes."""
        self._file.seek(stretch.start)
        if not stretch.chunk:
            return self._file.read(stretch.end - stretch.start)
        try:
            chunk = Chunk.read(ReadDataStream(cast(BinaryIO, _Rest(self._file, stretch.end - stretch.start))))
            if chunk.compression not in ("", "lz4", "zstd"):
                raise SourceError(f"compression '{chunk.compression}' is not known")
            stream, size = get_chunk_data_stream(chunk, validate_crc=True)
            if size != chunk.uncompressed_size:
                raise SourceError(f"{size} bytes where {chunk.uncompressed_size} should be")
            return stream.read(size)
        except Exception as error:
            raise SourceError(f"damaged chunk at byte {stretch.start}: {one_line(error)}") from error


def _records(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(opcode, begin and end of its body) of each record; raises `SourceError` where one does not end within `data`."""
    place, size = 0, len(data)
    while place < size:
        begin = end = place + _HEAD.size
        if begin <= size:
            opcode, length = _HEAD.unpack_from(data, place)
            end += length
        if end > size or (opcode == Opcode.MESSAGE and length < _MESSAGE.size):
            raise SourceError("a record ends beyond its chunk")
        yield opcode, begin, end
        place = end


def _agree(one: Any, other: Any) -> bool:
    """True where two records say the same of a schema or channel; quality of service and the like aside."""
    return all(value == vars(other)[name] for name, value in vars(one).items() if name != "metadata")


@dataclasses.dataclass
class _Rest:
    """A file as far as a record of it goes: no length that is damaged leads beyond."""

    file: BinaryIO
    left: int
    """Bytes."""

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""
        data = self.file.read(min(size, self.left))
        self.left -= len(data)
        return data
