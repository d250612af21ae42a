"""MCAP files as recorders and converters write them: no index, summary or order has to be there or be right."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.storage_file import in_order_of_time
from hand_made_bags import IMAGES, LABELS, PERIOD, START, Stored, definition, frames_of, recording, write_mcap
from mcap.data_stream import RecordBuilder
from mcap.records import Channel, Chunk, DataEnd, Footer, Header, Message, MessageIndex, Schema, Statistics
from mcap.writer import CompressionType, IndexType

NO_SUMMARY: dict[str, Any] = {
    "index_types": IndexType.NONE,
    "repeat_channels": False,
    "repeat_schemas": False,
    "use_statistics": False,
    "use_summary_offsets": False,
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, bytes, bytes | None]]:
    """Frames of `recording`."""
    frames = frames_of(BagSource(write_mcap(tmp_path_factory.mktemp("clean") / "clean.mcap", recording())))
    assert len(frames) == 12 and all(labels is not None for _, _, labels in frames)
    return frames


def read(path: Path) -> tuple[BagSource, list[tuple[int, bytes, bytes | None]]]:
    source = BagSource(path)
    return source, frames_of(source)


def pictures(frames: list[tuple[int, bytes, bytes | None]]) -> list[tuple[int, bytes]]:
    """Without labels: that of the last image may lie where the damage is."""
    return [frame[:2] for frame in frames]


@pytest.mark.parametrize(
    "options",
    [
        {"index_types": IndexType.ALL & ~IndexType.MESSAGE},
        {"index_types": IndexType.NONE},
        {"use_statistics": False},
        {"use_statistics": False, "index_types": IndexType.ALL & ~IndexType.MESSAGE},
        {"repeat_channels": False, "repeat_schemas": False},
        {"compression": CompressionType.ZSTD, "index_types": IndexType.ALL & ~IndexType.MESSAGE},
        {"compression": CompressionType.LZ4},
        {"enable_crcs": False, **NO_SUMMARY},
        {"use_chunking": False},
        {"use_chunking": False, **NO_SUMMARY},
        {"chunk_size": 10_000_000, **NO_SUMMARY},
    ],
)
def test_what_a_writer_may_leave_out(tmp_path: Path, clean: list[Any], options: dict[str, Any]) -> None:
    source, frames = read(write_mcap(tmp_path / "a.mcap", recording(), **options))
    assert frames == clean and source.problems == []
    assert source.info.frames == 12


@pytest.mark.parametrize("options", [{}, {"use_chunking": False}, {"chunk_size": 2000, **NO_SUMMARY}])
def test_messages_out_of_order(tmp_path: Path, clean: list[Any], options: dict[str, Any]) -> None:
    messages = recording()
    random.Random(3).shuffle(messages)
    path = write_mcap(tmp_path / "a.mcap", messages, **options)
    source, frames = read(path)
    assert frames == clean and source.problems == []
    with BagReader(path) as reader:
        times = [time for _, time, _ in reader.messages()]
    assert len(times) == 25 and times == sorted(times)


def test_a_log_time_near_the_end_of_its_range(tmp_path: Path, clean: list[Any]) -> None:
    messages = recording()
    at = next(index for index, message in enumerate(messages) if message.time == START + 5 * PERIOD)
    messages[at] = dataclasses.replace(messages[at], time=2**64 - 40_000_000)
    _, frames = read(write_mcap(tmp_path / "a.mcap", messages))
    assert sorted(frames) == clean and [stamp for stamp, *_ in frames[-1:]] == [START + 5 * PERIOD]


def test_another_profile_and_short_type_names(tmp_path: Path, clean: list[Any]) -> None:
    short = "sensor_msgs/CompressedImage"
    schemas: dict[str, Any] = {
        "sensor_msgs/msg/CompressedImage": (short, "ros2msg", definition("sensor_msgs/msg/CompressedImage"))
    }
    path = write_mcap(tmp_path / "a.mcap", recording(), schemas=schemas)
    path.write_bytes(path.read_bytes().replace(b"\4\0\0\0ros2\6\0\0\0a test", b"\0\0\0\0\12\0\0\0some other"))
    assert frames_of(BagSource(path)) == clean


class Forged:
    """An uncompressed MCAP whose index, statistics and summary say what a test wants."""

    def __init__(self, messages: list[Stored], per_chunk: int = 5) -> None:
        topics = list(dict.fromkeys((message.topic, message.type) for message in messages))
        types = list(dict.fromkeys(kind for _, kind in topics))
        self.schemas = [Schema(n + 1, definition(kind).encode(), "ros2msg", kind) for n, kind in enumerate(types)]
        self.channels = [Channel(n, name, "cdr", {}, types.index(kind) + 1) for n, (name, kind) in enumerate(topics)]
        names = [name for name, _ in topics]
        self.chunks = [
            [Message(names.index(m.topic), m.time, m.data, m.time, 0) for m in messages[begin : begin + per_chunk]]
            for begin in range(0, len(messages), per_chunk)
        ]

    def write(
        self,
        path: Path,
        *,
        indexed: Callable[[int, int], bool] = lambda chunk, channel: True,
        statistics: int | None = None,
        summary: list[Schema | Channel] | None = None,
        header_times: tuple[int, int] | None = None,
    ) -> Path:
        """`indexed`: which chunk has an index of which channel; `summary`: schemas and channels there."""
        out = RecordBuilder()
        Header("ros2", "").write(out)
        for number, messages in enumerate(self.chunks):
            body = RecordBuilder()
            for record in [*self.schemas, *self.channels] if number == 0 else []:
                record.write(body)
            entries: dict[int, list[tuple[int, int]]] = {}
            for message in messages:
                entries.setdefault(message.channel_id, []).append((message.log_time, body.count))
                message.write(body)
            data, times = body.end(), [message.log_time for message in messages]
            first, last = header_times or (min(times), max(times))
            Chunk("", data, last, first, 0, len(data)).write(out)
            for channel, records in entries.items():
                if indexed(number, channel):
                    MessageIndex(channel, records).write(out)
        DataEnd(0).write(out)
        for record in summary if summary is not None else [*self.schemas, *self.channels]:
            record.write(out)
        if statistics is not None:
            Statistics(0, len(self.channels), {}, len(self.chunks), statistics, 0, 0, 0, len(self.schemas)).write(out)
        Footer(0, 0, 0).write(out)
        magic = b"\x89MCAP0\r\n"
        path.write_bytes(magic + out.end() + magic)
        return path


@pytest.mark.parametrize("statistics", [25, 7, None])
@pytest.mark.parametrize(
    "indexed",
    [
        lambda chunk, channel: False,
        lambda chunk, channel: chunk not in (1, 3),
        lambda chunk, channel: channel != 1,
        lambda chunk, channel: chunk != 2 or channel != 1,
    ],
)
def test_indexes_of_some_chunks_or_channels_only(
    tmp_path: Path, clean: list[Any], indexed: Callable[[int, int], bool], statistics: int | None
) -> None:
    source, frames = read(Forged(recording()).write(tmp_path / "a.mcap", indexed=indexed, statistics=statistics))
    assert frames == clean and source.problems == []
    assert source.info.frames == 12


def test_wrong_times_of_chunks_and_a_wrong_summary(tmp_path: Path, clean: list[Any]) -> None:
    forged = Forged(recording())
    assert read(forged.write(tmp_path / "a.mcap", header_times=(0, 0)))[1] == clean
    assert read(forged.write(tmp_path / "b.mcap", header_times=(2**63, 5)))[1] == clean
    damaged = Schema(1, b"damaged", "ros2msg", "clip_rl_interfaces/msg/ClassLisp")
    source, frames = read(forged.write(tmp_path / "c.mcap", summary=[damaged, *forged.channels], statistics=25))
    assert frames == clean
    assert source.problems == [f"{tmp_path / 'c.mcap'}: schema 1 is described in two ways; the first counts"]


def test_quality_of_service_may_differ_in_the_summary(tmp_path: Path) -> None:
    forged = Forged(recording())
    renewed = [dataclasses.replace(channel, metadata={"offered_qos_profiles": "[]"}) for channel in forged.channels]
    source, _ = read(forged.write(tmp_path / "a.mcap", summary=[*forged.schemas, *renewed], statistics=25))
    assert source.problems == []


def test_messages_that_the_statistics_count_and_nobody_finds(tmp_path: Path) -> None:
    source, frames = read(Forged(recording()).write(tmp_path / "a.mcap", statistics=30))
    assert len(frames) == 12
    assert source.problems == [f"{tmp_path / 'a.mcap'}: its statistics count 30 messages; 25 were found"]


def test_an_index_that_promises_more_than_its_chunk_holds(tmp_path: Path) -> None:
    forged = Forged(recording())
    path = forged.write(tmp_path / "a.mcap", statistics=25)
    lost = next(message for message in forged.chunks[2] if message.channel_id == 1)
    head = (
        b"\5" + (22 + len(lost.data)).to_bytes(8, "little") + b"\1\0" + bytes(4) + lost.log_time.to_bytes(8, "little")
    )
    data = path.read_bytes()
    assert data.count(head) == 1
    path.write_bytes(data.replace(head, b"\x77" + head[1:]))  # a record that nobody knows
    source, frames = read(path)
    assert len(frames) == 11
    ended, alone = source.problems
    assert f"1 messages on {IMAGES} are not where they should be" in ended
    assert alone.endswith("/labels: 1 of 12 labels have the stamp of no frame")


def test_a_damaged_chunk_ends_reading_with_what_comes_before(tmp_path: Path, clean: list[Any]) -> None:
    path = write_mcap(tmp_path / "a.mcap", recording(), compression=CompressionType.ZSTD)
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    data[at : at + 8] = bytes(8)
    path.write_bytes(bytes(data))
    source, frames = read(path)
    assert 0 < len(frames) < 12 and pictures(frames) == pictures(clean)[: len(frames)]
    (line,) = [line for line in source.problems if "reading ended early" in line]
    assert "damaged chunk at byte" in line and IMAGES in line and "\n" not in line


def test_an_unknown_compression_is_named(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", recording(), compression=CompressionType.ZSTD)
    path.write_bytes(path.read_bytes().replace(b"\4\0\0\0zstd", b"\4\0\0\0lzma"))
    with pytest.raises(SourceError, match="compression 'lzma' is not known"):
        BagSource(path)


def test_zeros_where_the_file_system_lost_the_end(tmp_path: Path, clean: list[Any]) -> None:
    path = write_mcap(tmp_path / "a.mcap", recording(), **NO_SUMMARY)
    data = path.read_bytes()
    end = len(data) * 2 // 3
    path.write_bytes(data[:end] + bytes(len(data) - end))
    source, frames = read(path)
    assert 0 < len(frames) < 12 and pictures(frames) == pictures(clean)[: len(frames)]
    assert any("truncated: its end is missing" in line for line in source.problems)


def test_damage_between_records_ends_reading_there(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "a.mcap", recording(), use_chunking=False)
    data = path.read_bytes()
    head = b"\5" + (22 + len(recording()[13].data)).to_bytes(8, "little")
    at = data.index(head, len(data) // 3)
    path.write_bytes(data[:at] + bytes(9) + data[at + 9 :])
    source, frames = read(path)
    assert 0 < len(frames) < 12
    assert any("reading ended early" in line and f"damaged at byte {at} of" in line for line in source.problems)


def test_parts_are_opened_when_their_time_has_come() -> None:
    opened: list[str] = []

    def part(name: str, times: list[int]) -> tuple[int, Callable[[], Any]]:
        def messages() -> Any:
            opened.append(name)
            yield from ((time, name, b"") for time in times)

        return times[0], messages

    merged = in_order_of_time([part("b", [3, 4, 9]), part("a", [1, 2, 3]), part("c", [8])])
    seen = [(*next(merged)[:2], list(opened)) for _ in range(2)]
    assert seen == [(1, "a", ["a"]), (2, "a", ["a"])]
    assert [message[:2] for message in merged] == [(3, "b"), (3, "a"), (4, "b"), (8, "c"), (9, "b")]


def test_topics_and_counts(tmp_path: Path) -> None:
    with BagReader(write_mcap(tmp_path / "a.mcap", recording())) as reader:
        assert {name: (topic.msgtype, topic.msgcount) for name, topic in reader.topics.items()} == {
            IMAGES: ("sensor_msgs/msg/CompressedImage", 12),
            LABELS: ("sensor_msgs/msg/Image", 12),
            f"{LABELS}/classes": ("clip_rl_interfaces/msg/ClassList", 1),
        }
        chosen = list(reader.messages(reader.topics[LABELS].connections))
        assert len(chosen) == 12 and {connection.topic for connection, _, _ in chosen} == {LABELS}
        assert list(reader.messages([])) == [] and len(list(reader.messages())) == 25
        with pytest.raises(SourceError):
            reader.deserialize(chosen[0][2][:40], "sensor_msgs/msg/Image")
