"""Bags as folders: splits, compression, and a metadata.yaml that is wrong, from another time or not there at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from clip_rl_perception.bags.bag_info import inspect_bag
from clip_rl_perception.bags.bag_inputs import open_path
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.media_source import open_source
from hand_made_bags import IMAGES, Stored, frames_of, recording, write_mcap, write_metadata, write_sqlite

STORAGES = {"mcap": (".mcap", write_mcap), "sqlite3": (".db3", write_sqlite)}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Frames of `recording`."""
    return frames_of(BagSource(write_mcap(tmp_path_factory.mktemp("clean") / "clean.mcap", recording())))


def split(folder: Path, storage: str = "mcap") -> tuple[str, str]:
    """A recording in two files."""
    suffix, write = STORAGES[storage]
    messages: Sequence[Stored] = recording()
    names = (f"rec_0{suffix}", f"rec_1{suffix}")
    folder.mkdir(exist_ok=True)
    for name, part in zip(names, (messages[:13], messages[13:]), strict=True):
        write(folder / name, part)
    return names


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    "changes",
    [
        {"storage_identifier": '""'},
        {"storage_identifier": "my_storage"},
        {"version": "42"},
        {"message_count": "7"},
        {"message_count": "0"},
        {"offered_qos_profiles": '""'},
        {"offered_qos_profiles": "[{history: nonsense}]"},
        {"compression_mode": "FILE", "compression_format": "zstd"},
        {"compression_mode": "MESSAGE", "compression_format": "zstd"},
    ],
)
def test_metadata_is_not_asked_what_the_files_say(
    tmp_path: Path, clean: list[Any], storage: str, changes: dict[str, str]
) -> None:
    names = split(tmp_path, storage)
    write_metadata(tmp_path, names, **changes)
    source = BagSource(tmp_path)
    assert frames_of(source) == clean and source.problems == [] and source.info.frames == 12
    assert inspect_bag(tmp_path).problems == ()


@pytest.mark.parametrize("text", ["", "rosbag2_bagfile_information: {", "- a list", "rosbag2_bagfile_information: 3"])
def test_metadata_that_is_none(tmp_path: Path, clean: list[Any], text: str) -> None:
    split(tmp_path)
    (tmp_path / "metadata.yaml").write_text(text)
    source = BagSource(tmp_path)
    assert frames_of(source) == clean
    (line,) = source.problems
    assert line.startswith(f"{tmp_path / 'metadata.yaml'}: cannot be read") and "ros2 bag reindex" in line


@pytest.mark.parametrize("storage", STORAGES)
def test_splits_without_metadata(tmp_path: Path, clean: list[Any], storage: str) -> None:
    split(tmp_path, storage)
    source = BagSource(tmp_path)
    assert frames_of(source) == clean and source.problems == []
    assert any("ros2 bag reindex" in note for note in inspect_bag(tmp_path).notes)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_split_that_is_not_listed_is_read_and_named(tmp_path: Path, clean: list[Any], storage: str) -> None:
    first, second = split(tmp_path, storage)
    write_metadata(tmp_path, [first])
    source = BagSource(tmp_path)
    assert frames_of(source) == clean
    (line,) = source.problems
    assert line.startswith(f"{tmp_path / second}: not listed in metadata.yaml") and "ros2 bag reindex" in line
    assert inspect_bag(tmp_path).problems == (line,)
    assert len(frames_of(open_path(tmp_path).frames)) == 12  # type: ignore[arg-type]


def test_a_listed_split_that_is_missing_is_named(tmp_path: Path, clean: list[Any]) -> None:
    first, second = split(tmp_path)
    write_metadata(tmp_path, [f"bag/{first}", f"bag/{second}"])  # as foxy wrote it
    (tmp_path / second).unlink()
    source = BagSource(tmp_path)
    assert frames_of(source) == clean[:6]
    (line,) = source.problems
    assert line.startswith(f"{tmp_path / second}: listed in metadata.yaml and missing")


def test_a_split_that_cannot_be_read_is_left_out_and_named(tmp_path: Path, clean: list[Any]) -> None:
    _, second = split(tmp_path)
    (tmp_path / second).write_bytes(b"")
    source = BagSource(tmp_path)
    assert frames_of(source) == clean[:6]
    assert source.problems == [f"{tmp_path}: {second}: it is empty; left out"]
    (tmp_path / "rec_0.mcap").write_bytes(b"nothing that is known")
    with pytest.raises(SourceError, match=r"not a readable rosbag2: rec_0.mcap: it begins neither as an MCAP nor as"):
        BagSource(tmp_path)


def test_splits_that_overlap_are_merged_in_order_of_time(tmp_path: Path, clean: list[Any]) -> None:
    messages = recording()
    write_mcap(tmp_path / "b.mcap", messages[::2])
    write_sqlite(tmp_path / "a.db3", messages[1::2])
    assert frames_of(BagSource(tmp_path)) == clean
    with BagReader(tmp_path) as reader:
        times = [time for _, time, _ in reader.messages()]
        assert times == sorted(times) and reader.topics[IMAGES].msgcount == 12


def test_hidden_files_are_no_splits(tmp_path: Path, clean: list[Any]) -> None:
    first, _ = split(tmp_path)
    (tmp_path / f"._{first}").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    source = BagSource(tmp_path)
    assert frames_of(source) == clean and source.problems == []


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("suffix", [".zstd", ".zst"])
@pytest.mark.parametrize("storage", STORAGES)
def test_files_compressed_as_a_whole(
    tmp_path: Path, clean: list[Any], storage: str, suffix: str, metadata: bool
) -> None:
    names = split(tmp_path, storage)
    for name in names:
        (tmp_path / f"{name}{suffix}").write_bytes(zstandard.compress((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    if metadata:
        packed = [f"{name}{suffix}" for name in names]
        write_metadata(tmp_path, packed, compression_mode="FILE", compression_format="zstd")
    source = open_source(tmp_path)
    assert frames_of(source) == clean and source.problems == []  # type: ignore[arg-type]
    assert inspect_bag(tmp_path).storage == storage
    one = tmp_path / f"{names[0]}{suffix}"
    assert len(frames_of(open_source(one))) == 6  # type: ignore[arg-type]
    one.write_bytes(one.read_bytes()[:-2000])
    damaged = BagSource(tmp_path)
    assert len(frames_of(damaged)) < 12 and damaged.problems


def test_a_file_unpacked_beside_the_packed_one_is_read_once(tmp_path: Path, clean: list[Any]) -> None:
    for name in split(tmp_path):
        (tmp_path / f"{name}.zstd").write_bytes(zstandard.compress((tmp_path / name).read_bytes()))
    write_metadata(tmp_path, ["rec_0.mcap.zstd", "rec_1.mcap.zstd"], compression_mode="FILE")
    source = BagSource(tmp_path)
    assert frames_of(source) == clean and source.problems == []


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("storage", STORAGES)
def test_messages_compressed_one_by_one(tmp_path: Path, clean: list[Any], storage: str, metadata: bool) -> None:
    suffix, write = STORAGES[storage]
    packed = [dataclasses.replace(message, data=zstandard.compress(message.data)) for message in recording()]
    write(tmp_path / f"rec_0{suffix}", packed)
    if metadata:
        write_metadata(tmp_path, [f"rec_0{suffix}"], compression_mode="MESSAGE", compression_format="zstd")
    source = BagSource(tmp_path)
    assert frames_of(source) == clean and source.problems == []


@pytest.mark.parametrize("place", ["{}", "bag/{}", "bag\\\\{}", "C:\\\\data\\\\bag\\\\{}"])
def test_paths_in_metadata_are_of_any_system(tmp_path: Path, clean: list[Any], place: str) -> None:
    names = split(tmp_path)
    write_metadata(tmp_path, [f'"{place.format(name)}"' for name in names])
    source = BagSource(tmp_path)
    assert frames_of(source) == clean and source.problems == []


@pytest.mark.parametrize("storage", STORAGES)
def test_suffixes_in_capitals(tmp_path: Path, clean: list[Any], storage: str) -> None:
    for name in split(tmp_path, storage):
        (tmp_path / name).rename(tmp_path / name.upper())
    assert frames_of(open_source(tmp_path)) == clean  # type: ignore[arg-type]
    info = inspect_bag(tmp_path)
    assert info.problems == () and info.storage == storage


def test_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    names = split(tmp_path)
    (tmp_path / names[1]).unlink()
    (tmp_path / names[1]).symlink_to(tmp_path / "gone")
    (tmp_path / "folder.mcap").mkdir()
    source = BagSource(tmp_path)
    assert len(frames_of(source)) == 6 and len(source.sha256()) == 64
    for problems in (source.problems, inspect_bag(tmp_path).problems):
        assert [names[1] in line and "No such file" in line for line in problems] == [True]
