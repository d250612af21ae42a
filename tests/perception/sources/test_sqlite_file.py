"""sqlite3 storage of every age, and what a killed recorder leaves of it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from clip_rl_perception.bags.bag_info import inspect_bag
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_source import BagSource
from hand_made_bags import IMAGES, frames_of, recording, write_mcap, write_sqlite


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Frames of `recording`."""
    return frames_of(BagSource(write_mcap(tmp_path_factory.mktemp("clean") / "clean.mcap", recording())))


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_every_version_of_the_format(tmp_path: Path, clean: list[Any], version: int) -> None:
    path = write_sqlite(tmp_path / "a #1?.db3", recording(), version=version)
    source = BagSource(path)
    assert frames_of(source) == clean and source.problems == [] and source.info.frames == 12
    assert inspect_bag(path).problems == ()


def test_messages_stored_out_of_order(tmp_path: Path, clean: list[Any]) -> None:
    path = write_sqlite(tmp_path / "a.db3", recording()[::-1])
    assert frames_of(BagSource(path)) == clean


def test_what_a_killed_recorder_left_in_its_write_ahead_log(tmp_path: Path, clean: list[Any]) -> None:
    messages = recording()
    path = write_sqlite(tmp_path / "a.db3", messages[:13])
    with contextlib.closing(sqlite3.connect(path)) as recorder:
        recorder.execute("PRAGMA journal_mode=WAL")
        topics = dict(recorder.execute("SELECT name, id FROM topics"))
        rows = [(topics[message.topic], message.time, message.data) for message in messages[13:]]
        recorder.executemany("INSERT INTO messages VALUES (NULL, ?, ?, ?)", rows)
        recorder.commit()
        shutil.copytree(tmp_path, tmp_path / "killed")
    left = tmp_path / "killed" / "a.db3"
    assert left.with_name("a.db3-wal").stat().st_size > 0
    assert frames_of(BagSource(left)) == clean
    left.with_name("a.db3-wal").unlink()
    assert frames_of(BagSource(left)) == clean[:6]


def test_a_file_cut_off_is_read_up_to_there(tmp_path: Path, clean: list[Any]) -> None:
    path = write_sqlite(tmp_path / "a.db3", recording())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    source = BagSource(path)
    frames = frames_of(source)
    assert 0 < len(frames) < 12
    assert [frame[:2] for frame in frames] == [frame[:2] for frame in clean[: len(frames)]]
    assert any("damaged: " in line for line in source.problems)
    assert any("reading ended early" in line and IMAGES in line for line in source.problems)
    assert any("reading ended early" in line for line in inspect_bag(path).problems)


def test_messages_that_the_index_has_lost(tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "a.db3", recording())
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA writable_schema=ON")
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'timestamp_idx'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    cells = int.from_bytes(data[(root - 1) * size + 3 : (root - 1) * size + 5], "big")
    assert cells == 25
    data[(root - 1) * size + 3 : (root - 1) * size + 5] = (cells - 4).to_bytes(2, "big")
    path.write_bytes(bytes(data))
    source = BagSource(path)
    assert len(frames_of(source)) == 10
    assert any("are not where they should be" in line for line in source.problems)


def test_values_of_the_wrong_kind(tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "a.db3", recording())
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE messages SET data = 'text' WHERE id = 10")
        database.execute("UPDATE topics SET serialization_format = NULL WHERE name LIKE '%classes'")
        database.execute("INSERT INTO messages VALUES (NULL, 77, 5, x'00')")
    with BagReader(path) as reader:
        assert reader.mended == [f"{path}: 1 messages are of topics that it does not describe; left out"]
        assert [topic.left_out for topic in reader.topics.values() if topic.left_out] == [
            "unnamed messages, which are not ROS 2's"
        ]
    source = BagSource(path)
    assert len(frames_of(source)) == 4
    assert any("reading ended early" in line and "is damaged" in line for line in source.problems)
