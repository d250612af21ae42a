"""Bags as they come back from robots: cut off, scrambled, without metadata. What can be read is read, and named."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_info import inspect_bag
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.labels import label_space_from_names, load_label_space
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.class_messages import class_list
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.mask_coding import ColorCoding
from hand_made_bags import recording, write_sqlite
from rosbags.rosbag2 import StoragePlugin, Writer

START = 1_700_000_000_000_000_000
PERIOD = 40_000_000
SPACE = load_label_space("endovis2018-type")


def picture(index: int, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Noise, so that chunks hold a few frames each."""
    return np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)


def write(path: Path, count: int = 30, *, compress: bool = False) -> Path:
    with BagWriter(path, compress=compress) as bag:
        bag.write_label_space(SPACE, START)
        for index in range(count):
            bag.write_image(picture(index), START + index * PERIOD, encoding="rgb8")
            bag.write_labels(np.full((240, 320), index % 8, np.uint8), START + index * PERIOD)
    return path


def cut(bag: Path, share: float) -> Path:
    """Cut the storage file off, as a power failure does."""
    (file,) = bag.glob("*.mcap")
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    return file


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("metadata", [True, False])
def test_a_truncated_mcap_is_read_up_to_its_last_whole_chunk(tmp_path: Path, compress: bool, metadata: bool) -> None:
    bag = write(tmp_path / "bag", compress=compress)
    whole = list(BagSource(bag))
    file = cut(bag, 0.6)
    if not metadata:
        (bag / "metadata.yaml").unlink()
    source = BagSource(bag)
    frames = list(source)
    assert 12 <= len(frames) <= 18
    for frame, original in zip(frames, whole, strict=False):
        assert frame.stamp_ns == original.stamp_ns and np.array_equal(frame.rgb, original.rgb)
        # The label of the last image may lie in the part that is lost.
        assert np.array_equal(frame.labels, original.labels) or frame is frames[-1]
    truncated, *bare = source.problems
    assert truncated.startswith(f"{file}: truncated: its end is missing; the last ")
    count = sum(frame.labels is None for frame in frames)
    assert bare == [
        f"{bag}: /endoscope/labels/compressed: {count} of {len(frames)} frames have no label and so no truth"
    ] * (count > 0)  # fmt: skip
    assert [item.stamp_ns for item in source] == [item.stamp_ns for item in frames]  # and again


@pytest.mark.parametrize("share", [0.05, 0.31, 0.5, 0.77, 0.999])
def test_wherever_it_is_cut_it_is_read_or_refused_in_one_line(tmp_path: Path, share: float) -> None:
    bag = write(tmp_path / "bag", 12)
    file = cut(bag, share)
    try:
        source = BagSource(bag)
    except SourceError as error:
        assert str(file.parent) in str(error) and "\n" not in str(error)
        assert share < 0.4  # less than the first chunk
    else:
        assert abs(len(list(source)) - 12 * share) <= 5
        assert source.problems


def test_reading_does_not_touch_the_file(tmp_path: Path) -> None:
    file = cut(write(tmp_path / "bag"), 0.5)
    before = file.read_bytes()
    assert list(BagSource(file))
    assert file.read_bytes() == before
    whole = BagSource(write(tmp_path / "whole", 3))
    assert len(list(whole)) == 3 and whole.problems == []


def test_bytes_overwritten_in_the_middle_end_reading_there(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", compress=True)
    (file,) = bag.glob("*.mcap")
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300_000] = bytes(300_000)
    file.write_bytes(bytes(data))
    source = BagSource(bag)
    frames = list(source)
    assert 5 <= len(frames) < 30
    assert any("reading ended early, after" in line and "/endoscope/image_raw" in line for line in source.problems)


def test_a_damaged_sqlite_bag(tmp_path: Path) -> None:
    store = message_types.typestore()
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/cam", message_types.IMAGE, typestore=store)
        for index in range(20):
            message = store.types[message_types.IMAGE](
                header=message_types.header(START + index * PERIOD, "cam"),
                height=240,
                width=320,
                encoding="rgb8",
                is_bigendian=0,
                step=960,
                data=picture(index).reshape(-1),
            )
            data = store.serialize_cdr(message, message_types.IMAGE)
            writer.write(connection, START + index * PERIOD, data)
    (file,) = (tmp_path / "bag").glob("*.db3")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    try:
        source = BagSource(tmp_path / "bag")
    except SourceError as error:
        assert "not a readable rosbag2" in str(error) or "none of the" in str(error)
        return
    frames = list(source)
    assert len(frames) < 20 and any("reading ended early" in line for line in source.problems)


def test_an_empty_file_and_no_bag_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty.mcap").write_bytes(b"")
    with pytest.raises(SourceError, match=r"empty\.mcap: not a readable rosbag2"):
        BagSource(tmp_path / "empty.mcap")
    (tmp_path / "text.mcap").write_text("this is not a bag, but longer than a header of one would be")
    with pytest.raises(SourceError, match=r"text\.mcap: not a readable rosbag2"):
        BagSource(tmp_path / "text.mcap")


def write_coloured(path: Path, labels: np.ndarray, *, classes: bool) -> Path:
    with BagWriter(path) as bag:
        if classes:
            bag.write_label_space(SPACE, START)
        bag.write_image(picture(0), START)
        bag.write_image(SPACE.palette[labels], START, topic="/endoscope/labels", encoding="png")
    return path


def test_colour_coded_labels_by_the_class_list_and_by_a_label_map(tmp_path: Path) -> None:
    labels = (np.arange(240 * 320) % len(SPACE)).astype(np.uint8).reshape(240, 320)
    (frame,) = BagSource(write_coloured(tmp_path / "listed", labels, classes=True))
    assert np.array_equal(frame.labels, labels)
    coding = ColorCoding({entry.color: entry.id > 0 for entry in SPACE.classes}, {0: "background", 1: "tool"})
    (frame,) = BagSource(write_coloured(tmp_path / "mapped", labels, classes=False), label_coding=coding)
    assert np.array_equal(frame.labels, labels > 0)


def test_labels_of_unknown_ids_another_size_or_a_lossy_format_are_named_and_not_used(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_label_space(SPACE, START)
        for index, labels in enumerate(
            (np.full((240, 320), 99, np.uint8), np.zeros((120, 160), np.uint8), np.zeros((240, 320), np.uint8))
        ):
            bag.write_image(picture(index), START + index)
            if index < 2:
                bag.write_labels(labels, START + index)
            else:
                data = cv2.imencode(".jpg", labels)[1].tobytes()
                bag.write_encoded(data, "jpeg", START + index, topic="/endoscope/labels", pixel_format="mono8")
    source = BagSource(tmp_path / "bag")
    assert [frame.labels for frame in source] == [None] * 3
    assert len(source.problems) == 3
    for line, text in zip(
        source.problems, ("value 99; expected 0 background", "(120, 160)", "expected PNG"), strict=True
    ):
        assert text in line and "/endoscope/image_raw/compressed at 17000" in line.replace(".", "") and "bag" in line


def test_the_left_truth_does_not_judge_the_right_eye(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_label_space(SPACE, START, topic="/left/labels")
        for side in ("left", "right"):
            bag.write_image(picture(1), START, topic=f"/{side}/image_raw")
        bag.write_labels(np.zeros((240, 320), np.uint8), START, topic="/left/labels")
    (left,) = BagSource(tmp_path / "bag", topic="/left/image_raw")
    right = BagSource(tmp_path / "bag", topic="/right/image_raw")
    assert left.labels is not None and [frame.labels for frame in right] == [None]
    assert "no labels topic beside /right/image_raw/compressed" in right.problems[0]


def test_frames_know_their_header_and_place(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_image(picture(0), START, frame_id="left_optical", encoding="bgr8")
        bag.write_encoded(b"\xff\xd8 broken", "jpeg", START + 1)
        bag.write_raw(np.zeros((2, 2), np.uint8), "no-such-encoding", START + 2, topic="/endoscope/image_raw")
        bag.write_image(picture(3)[:100], START + 3, encoding="rgb8")
    source = BagSource(tmp_path / "bag", topic="/endoscope/image_raw")
    first, last = source
    assert (first.index, first.frame_id, first.encoding, first.recorded_ns) == (0, "left_optical", "bgr8", START)
    assert (last.index, last.encoding, last.stamp_ns, last.stamped) == (2, "rgb8", START + 3, True)
    assert [(item.index, item.stamp_ns) for item in source.left_out] == [(1, START + 2)]
    assert "no-such-encoding" in source.left_out[0].reason


def test_two_classes_of_one_colour_need_a_label_map(tmp_path: Path) -> None:
    space = label_space_from_names(["background", "a"])
    with BagWriter(tmp_path / "bag") as bag:
        message = class_list(space, START)
        message.colors[1] = message.colors[0]
        bag.write_message("/endoscope/labels/classes", message_types.CLASS_LIST, message, START)
        bag.write_image(picture(0), START)
        bag.write_image(picture(0), START, topic="/endoscope/labels", encoding="png")
    source = BagSource(tmp_path / "bag")
    assert [frame.labels for frame in source] == [None]
    assert "need a label map" in source.problems[0]


@pytest.mark.parametrize("column", ["name", "type", "serialization_format"])
def test_names_that_damage_made_pages_long_are_told_in_one_line(tmp_path: Path, column: str) -> None:
    path = write_sqlite(tmp_path / "bag.db3", recording())
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE topics SET {column} = ?", ["version: 8\n" + "nonsense\0 " * 900])
    with pytest.raises(SourceError, match=r"topics found: .*version: 8") as found:
        BagSource(path)
    assert "\n" not in str(found.value) and len(str(found.value)) < 2000
    info = inspect_bag(path)
    assert info.problems and not any("\n" in line or len(line) > 2000 for line in info.problems)
