"""ROS 1 bags, and what else people hand over for a recording."""

from __future__ import annotations

import bz2
import io
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_info import describe, inspect_bag
from clip_rl_perception.bags.bag_inputs import open_path
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.media_source import open_source
from clip_rl_perception.sources.streams import InputOptions, open_inputs
from rosbags.rosbag1 import Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS1_NOETIC)
START, PERIOD = 1_700_000_000_000_000_000, 40_000_000
RAW, COMPRESSED, INFO, NOTE = "/left/image_raw", "/right/image_raw/compressed", "/left/camera_info", "/note"


def made(name: str, **fields: Any) -> tuple[str, Any]:
    return name, STORE.types[name](**fields)


def header(index: int) -> Any:
    sec, nanosec = divmod(START + index * PERIOD, 10**9)
    stamp = STORE.types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return made("std_msgs/msg/Header", seq=index + 7, stamp=stamp, frame_id=f"eye{index}")[1]


def picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)


def messages(index: int) -> dict[str, tuple[str, Any]]:
    roi = made("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)[1]
    png = cv2.imencode(".png", picture(index)[..., ::-1])[1]
    return {
        RAW: made(
            "sensor_msgs/msg/Image",
            header=header(index),
            height=48,
            width=64,
            encoding="bgr8",
            is_bigendian=0,
            step=192,
            data=np.ascontiguousarray(picture(index)[..., ::-1]).reshape(-1),
        ),
        COMPRESSED: made(
            "sensor_msgs/msg/CompressedImage", header=header(index), format="bgr8; png compressed bgr8", data=png
        ),
        INFO: made(
            "sensor_msgs/msg/CameraInfo",
            header=header(index),
            height=48,
            width=64,
            distortion_model="plumb_bob",
            D=np.array([0.1, 0.2, 0.0, 0.0, 0.0]),
            K=np.arange(9.0),
            R=np.eye(3).reshape(-1),
            P=np.arange(12.0),
            binning_x=0,
            binning_y=0,
            roi=roi,
        ),
        NOTE: made("std_msgs/msg/String", data="begin"),
    }


def write(path: Path, indices: range = range(6), compression: Writer.CompressionFormat | None = None) -> Path:
    writer = Writer(path)
    if compression is not None:
        writer.set_compression(compression)
    with writer as bag:
        connections = {
            topic: bag.add_connection(topic, name, typestore=STORE) for topic, (name, _) in messages(0).items()
        }
        for index in indices:
            for topic, (name, message) in messages(index).items():
                bag.write(connections[topic], START + index * PERIOD + 5, STORE.serialize_ros1(message, name))
    return path


@pytest.mark.parametrize("compression", [None, *Writer.CompressionFormat])
@pytest.mark.parametrize("topic", [RAW, COMPRESSED])
def test_its_images_are_read(tmp_path: Path, topic: str, compression: Writer.CompressionFormat | None) -> None:
    source = BagSource(write(tmp_path / "one.bag", compression=compression), topic=topic)
    frames = list(source)
    assert source.info.frames == len(frames) == 6 and source.info.rate_hz == pytest.approx(25.0)
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.rgb, picture(index))
        assert (frame.stamp_ns, frame.frame_id) == (START + index * PERIOD, f"eye{index}")
        assert frame.recorded_ns == START + index * PERIOD + 5
    assert source.problems == [
        f"{tmp_path / 'one.bag'}: topics left out: {NOTE} (ROS 1 messages; `rosbags-convert` makes a ROS 2 bag of a "
        "ROS 1 bag)"
    ]


def test_what_is_in_it(tmp_path: Path) -> None:
    info = inspect_bag(write(tmp_path / "one.bag"))
    lines = describe(info).splitlines()
    assert lines[0].startswith(f"{tmp_path / 'one.bag'}: ROS 1, ") and "24 messages" in lines[0]
    assert any(RAW in line and " 25.00 Hz" in line and "bgr8" in line and "64x48" in line for line in lines)
    assert info.problems == () and not any("metadata" in line for line in info.notes)
    with BagReader(tmp_path / "one.bag") as reader:
        (_, _, data) = next(reader.messages(reader.topics[INFO].connections))
        assert reader.deserialize(data, "sensor_msgs/msg/CameraInfo").k.tolist() == list(range(9))


def test_every_reader_takes_it_and_a_folder_of_splits(tmp_path: Path) -> None:
    folder = tmp_path / "splits"
    folder.mkdir()
    write(folder / "b_0.bag", range(4))
    write(folder / "b_1.bag", range(4, 6))
    (folder / "._b_0.bag").write_bytes(b"\x00\x05\x16\x07")
    (stream, other) = open_inputs(InputOptions((folder,)), load_label_space("binary")).streams
    assert {stream.topic, other.topic} == {RAW, COMPRESSED}
    for source in (open_source(folder, topic=RAW), open_path(folder, topic=RAW).frames):
        assert [frame.stamp_ns for frame in source] == [START + index * PERIOD for index in range(6)]
    assert inspect_bag(folder).notes[0].startswith("no labels topic")


def test_another_definition_is_left_out(tmp_path: Path) -> None:
    with Writer(tmp_path / "odd.bag") as bag:
        own = bag.add_connection("/image", "sensor_msgs/msg/Image", msgdef="uint8 pixel", md5sum="0" * 32)
        bag.write(own, START, b"\x07")
    with pytest.raises(SourceError, match=r"no image topic .*/image \(sensor_msgs/msg/Image: ROS 1 messages"):
        open_source(tmp_path / "odd.bag")


def test_damage_is_told(tmp_path: Path) -> None:
    content = write(tmp_path / "one.bag", range(40)).read_bytes()
    cut, flipped = tmp_path / "cut.bag", tmp_path / "flipped.bag"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match=r"cut\.bag: .*ROS 1 bag that cannot be read: .*`rosbag reindex cut.bag`"):
        inspect_bag(cut)
    # As a recorder leaves it that was killed: the index is not there yet.
    killed, at = tmp_path / "killed.bag.active", content.index(b"index_pos=") + 10
    killed.write_bytes(content[:at] + bytes(8) + content[at + 8 :])
    with pytest.raises(SourceError, match=r"not indexed.*`rosbag reindex killed.bag.active`"):
        open_source(killed)
    half = len(content) // 2
    flipped.write_bytes(content[:half] + b"\xff" * 30000 + content[half + 30000 :])
    source = BagSource(flipped, topic=RAW)
    assert len(list(source)) < 40
    assert any("reading ended early" in line for line in source.problems)


def zipped(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


HDF5, DICOM = b"\x89HDF\r\n\x1a\n" + bytes(600), bytes(128) + b"DICM" + bytes(600)
OTHERS = {
    "HDF5": (HDF5, "it is HDF5; save its frames as pictures"),
    "DICOM": (DICOM, "it is DICOM; save its frames as pictures"),
    "zip": (zipped("a.npy", b"1"), r"it is a zip archive \(.zip, .npz\); unpack it"),
    "gzip": (b"\x1f\x8b" + bytes(40), "it is packed with gzip; unpack it"),
    "RAR": (b"Rar!\x1a\x07" + bytes(40), "it is a RAR archive; unpack it"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("suffix", [".bag", ".mcap", ".db3", ".dat"])
def test_other_worlds_files_are_named(tmp_path: Path, name: str, suffix: str) -> None:
    content, words = OTHERS[name]
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    for read in (open_source, open_path) if suffix == ".dat" else (open_source, open_path, inspect_bag):
        with pytest.raises(SourceError, match=words) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"topics: /image\n", "it begins neither as an MCAP nor as sqlite3, nor as a ROS 1 bag"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(40), "it is an MP4 video"),
        (b"#ROSBAG V1.2\n" + bytes(40), r"Bag version 102 is not supported"),
        (bz2.compress(b"x"), "it begins neither"),
    ],
)
def test_what_is_no_bag_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.bag").write_bytes(content)
    for read in (open_source, inspect_bag, open_path):
        with pytest.raises(SourceError, match=words):
            read(tmp_path / "x.bag")


@pytest.mark.parametrize("compression", [None, *Writer.CompressionFormat])
def test_messages_that_its_index_has_lost_are_told(
    tmp_path: Path, compression: Writer.CompressionFormat | None
) -> None:
    path = write(tmp_path / "one.bag", compression=compression)
    data = bytearray(path.read_bytes())
    place = data.rindex(b"count=") + len(b"count=")  # of the connections in the last chunk, with their messages behind
    assert data[place] == 4
    data[place] = 2  # of the four, the chunk's first two are left
    path.write_bytes(data)
    problems = inspect_bag(path).problems
    assert any(
        "12 messages are missing in its index; `rosbag reindex one.bag` may find them" in line for line in problems
    )


def test_its_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    write(tmp_path / "REC.BAG")
    assert len(list(open_source(tmp_path / "REC.BAG", topic=RAW))) == len(list(open_source(tmp_path, topic=RAW))) > 0
