"""Reads an .mcap whose end is missing (power cut, full disk, killed recorder) as if it had been closed.

The file is not touched and not copied: a view of it ends with the last whole record and goes on with the index and
footer that a recorder would have written there (https://mcap.dev/spec). What the broken last chunk held is lost.
"""

from __future__ import annotations

import dataclasses
import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _CHUNK, _MESSAGE_INDEX, _CHUNK_INDEX, _STATISTICS, _DATA_END = 0x02, 0x06, 0x07, 0x08, 0x0B, 0x0F


def is_truncated(path: Path) -> bool:
    """True for a file that begins as an MCAP and does not end as one."""
    with path.open("rb") as file:
        begins = file.read(len(MAGIC)) == MAGIC
        file.seek(0, 2)
        if not begins or file.tell() < 2 * len(MAGIC):
            return begins
        file.seek(-len(MAGIC), 2)
        return file.read() != MAGIC


@dataclasses.dataclass
class _Chunk:
    """What an index says of a chunk."""

    start: int
    """Of the record in the file, bytes."""
    length: int
    """Of the record, bytes."""
    head: bytes
    """First and last message time, two uint64, ns."""
    compression: bytes
    compressed: int
    uncompressed: int
    offsets: dict[int, int] = dataclasses.field(default_factory=dict)
    """Place of each channel's message index in the file."""
    index_length: int = 0

    def record(self) -> bytes:
        """The chunk index record."""
        offsets = b"".join(struct.pack("<HQ", channel, place) for channel, place in self.offsets.items())
        body = self.head + struct.pack("<QQI", self.start, self.length, len(offsets)) + offsets
        body += struct.pack("<QI", self.index_length, len(self.compression)) + self.compression
        return _record(_CHUNK_INDEX, body + struct.pack("<QQ", self.compressed, self.uncompressed))


class MendedMcap:
    """A path-like view of a truncated .mcap, as rosbags takes instead of a `Path`."""

    def __init__(self, path: Path) -> None:
        """Find the last whole record of `path`."""
        self.path = path
        self.end, chunks = _whole_records(path)
        self.lost = path.stat().st_size - self.end
        """Bytes after the last whole record."""
        self._tail = _ending(self.end, chunks)

    @property
    def suffix(self) -> str:
        """As of a path."""
        return self.path.suffix

    @property
    def name(self) -> str:
        """As of a path."""
        return self.path.name

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        """As of a path."""
        return self.path.exists()

    def is_dir(self) -> bool:
        """As of a path."""
        return False

    def stat(self) -> Any:
        """As of a path; size and times are the file's own."""
        return self.path.stat()

    def open(self, *args: Any, **options: Any) -> BinaryIO:
        """The whole records and the ending, read-only."""
        return io.BufferedReader(_Joined(self.path, self.end, self._tail), 1 << 16)

    def read_text(self, *args: Any, **options: Any) -> str:
        """Not text."""
        raise OSError(f"{self.path} is not a text file")

    def __truediv__(self, other: str) -> Path:
        return self.path / other


class _Joined(io.RawIOBase):
    """The first bytes of a file, then others from memory."""

    def __init__(self, path: Path, end: int, tail: bytes) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._end, self._tail, self._place = end, tail, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._place, self._end + len(self._tail))[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        if self._place < self._end:
            self._file.seek(self._place)
            data = self._file.read(min(len(buffer), self._end - self._place)) or b""
        else:
            begin = self._place - self._end
            data = self._tail[begin : begin + len(buffer)]
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _whole_records(path: Path) -> tuple[int, list[_Chunk]]:
    """Where the last whole record of the data section ends, and its chunks."""
    size = path.stat().st_size
    chunks: list[_Chunk] = []
    end = len(MAGIC)
    with path.open("rb") as file:
        while end + 9 <= size:
            file.seek(end)
            opcode, length = struct.unpack("<BQ", file.read(9))
            if opcode in (_DATA_END, _FOOTER) or end + 9 + length > size:
                break
            if opcode == _CHUNK and length >= 40:
                head = file.read(16)
                uncompressed, _, name = struct.unpack("<QII", file.read(16))
                compression = file.read(name)
                (compressed,) = struct.unpack("<Q", file.read(8))
                chunks.append(_Chunk(end, 9 + length, head, compression, compressed, uncompressed))
            elif opcode == _MESSAGE_INDEX and chunks and length >= 2:
                chunks[-1].offsets[struct.unpack("<H", file.read(2))[0]] = end
                chunks[-1].index_length += 9 + length
            end += 9 + length
    if chunks and not chunks[-1].offsets:
        # Cut between a chunk and its index: without the index its messages would be left out unseen.
        end = chunks.pop().start
    return end, chunks


def _ending(place: int, chunks: list[_Chunk]) -> bytes:
    """Index and footer for data that end at `place`; without chunks readers scan the records themselves."""
    body = b"".join(chunk.record() for chunk in chunks)
    if chunks:
        times = [struct.unpack("<QQ", chunk.head) for chunk in chunks]
        first, last = min(time[0] for time in times), max(time[1] for time in times)
        # Counts are left at zero: without schemas beside them readers count for themselves.
        body += _record(_STATISTICS, struct.pack("<QHIIIIQQI", 0, 0, 0, 0, 0, len(chunks), first, last, 0))
    return body + _record(_FOOTER, struct.pack("<QQI", place if chunks else 0, 0, 0)) + MAGIC


def _record(opcode: int, body: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(body)) + body
