"""Bags of video packets: made, looked into, and read as any other; their losses in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clip_rl_perception.bags.bag_info import describe, inspect_bag
from clip_rl_perception.bags.bag_writer import BagError, BagWriter
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.image_messages import image
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_source import BagSource
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from video_streams import SIZE, moving_pictures, packets_of, stored_packet

TOPIC = "/endoscope/image_raw"
STEP_NS = 40_000_000
START_NS = 1_700_000_000_000_000_000


def stamp(index: int) -> int:
    return START_NS + index * STEP_NS


def write(path: Path, codec: str, *, lost: tuple[int, ...]) -> None:
    with BagWriter(path) as bag:
        for packet in packets_of(codec, moving_pictures(20)):
            if packet.pts not in lost:
                bag.write_packet(packet, codec, stamp(packet.pts), size=SIZE, topic=TOPIC, frame_id="eye")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_pictures_written_come_back(tmp_path: Path, codec: str, storage: str) -> None:
    pictures = moving_pictures(12)
    with BagWriter(tmp_path / "bag", storage=storage) as bag:
        for index, picture in enumerate(pictures):
            bag.write_image(picture, stamp(index), topic=TOPIC, frame_id="eye", encoding=codec)
    source = BagSource(tmp_path / "bag")
    assert source.info.topic == f"{TOPIC}/ffmpeg" and source.info.size == (SIZE[1], SIZE[0])
    assert source.info.rate_hz == pytest.approx(25.0)
    frames = list(source)
    assert [(frame.index, frame.stamp_ns, frame.frame_id) for frame in frames] == [
        (index, stamp(index), "eye") for index in range(12)
    ]
    for frame in frames:
        errors = [np.abs(frame.rgb.astype(int) - picture).mean() for picture in pictures]
        assert int(np.argmin(errors)) == frame.index
    assert source.problems == [] and frames[0].encoding == codec
    with BagReader(tmp_path / "bag") as reader:
        assert reader.topics[f"{TOPIC}/ffmpeg"].msgtype == message_types.FFMPEG_PACKET


def test_a_loss_is_one_line_and_every_frame_left_out_is_known(tmp_path: Path) -> None:
    write(tmp_path / "bag", "h264", lost=(0, 1, 11))
    source = BagSource(tmp_path / "bag", topic=TOPIC)
    stamps = [frame.stamp_ns for frame in source]
    assert stamps == [stamp(index) for index in (8, 9, 10, 16, 17, 18, 19)]
    assert [item.stamp_ns for item in source.left_out] == [stamp(index) for index in (*range(2, 8), 12, 13, 14, 15)]
    first, second = source.problems
    assert f"{stamp(2) / 1e9:.3f} s: no key frame has come yet" in first and first.endswith("the 5 packets after it")
    assert f"{stamp(12) / 1e9:.3f} s: 1 packet lost" in second and second.endswith("the 3 packets after it")


def test_pictures_of_b_frames_carry_their_own_stamps(tmp_path: Path) -> None:
    pictures = moving_pictures(12)
    with BagWriter(tmp_path / "bag") as bag:
        for place, packet in enumerate(packets_of("h264", pictures, b_frames=2)):
            message = stored_packet(packet, stamp(packet.pts))
            bag.write_message(f"{TOPIC}/ffmpeg", message_types.FFMPEG_PACKET, message, stamp(place) + STEP_NS)
    frames = list(BagSource(tmp_path / "bag"))
    assert [frame.stamp_ns for frame in frames] == [stamp(index) for index in range(12)]
    for frame, own in zip(frames, pictures, strict=True):
        errors = [np.abs(frame.rgb.astype(int) - picture).mean() for picture in pictures]
        assert pictures[int(np.argmin(errors))] is own


def test_info_tells_size_coding_and_what_has_no_picture(tmp_path: Path) -> None:
    write(tmp_path / "bag", "hevc", lost=(3,))
    info = inspect_bag(tmp_path / "bag")
    text = describe(info)
    assert "hevc" in text and f"{SIZE[0]}x{SIZE[1]}" in text
    (topic,) = info.topics
    assert (topic["count"], topic["sizes"], topic["unusable"]) == (19, {f"{SIZE[0]}x{SIZE[1]}": 15}, 4)
    named = [line for line in info.problems if "no picture until the next key frame; left out" in line]
    assert len(named) == 3 and any(line.endswith("1 more messages like these") for line in info.problems)
    assert f"{stamp(4) / 1e9:.3f} s" in named[0]


@pytest.mark.parametrize("topic", ["/perception/overlay", "/endoscope/labels"])
def test_info_takes_video_of_outputs_and_labels(tmp_path: Path, topic: str) -> None:
    pictures = moving_pictures(4)
    with BagWriter(tmp_path / "bag") as bag:
        for index, picture in enumerate(pictures):
            bag.write_image(picture, stamp(index), topic=TOPIC, encoding="jpeg")
            bag.write_image(picture, stamp(index), topic=topic, encoding="h264")
    info = inspect_bag(tmp_path / "bag")
    (about,) = [found for found in info.topics if found["name"] == f"{topic}/ffmpeg"]
    if topic.endswith("labels"):
        assert any("encoding is h264; expected mono8" in line for line in info.problems), info.problems
    else:
        assert about["encodings"] == {"h264": 4}
        assert about["sizes"] == {f"{SIZE[0]}x{SIZE[1]}": 4} and not info.problems


def test_packets_that_lie_about_their_size_are_told(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for packet in packets_of("h264", moving_pictures(6)):
            size = (320, 96) if packet.pts in (2, 3) else SIZE
            message = stored_packet(packet, stamp(packet.pts), size)
            bag.write_message(f"{TOPIC}/ffmpeg", message_types.FFMPEG_PACKET, message, stamp(packet.pts))
    told = "the packet says 320x96, its picture is 160x96"
    assert [frame.doubt for frame in BagSource(tmp_path / "bag")] == ["", "", told, told, "", ""]
    (problem,) = inspect_bag(tmp_path / "bag").problems
    assert problem == f"{TOPIC}/ffmpeg at {stamp(2) / 1e9:.3f} s: 2 doubtful pictures, of the first: {told}"


def test_a_label_waits_for_a_picture_that_the_decoder_holds_back(tmp_path: Path) -> None:
    """At 1 Hz a picture that needs two later packets comes after its label would have been forgotten."""
    packets = packets_of("h264", moving_pictures(9), b_frames=2)
    space, second = load_label_space("binary"), 1_000_000_000
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_label_space(space, START_NS, topic="/endoscope/labels")
        for place, packet in enumerate(packets):
            own = START_NS + packet.pts * second
            message = stored_packet(packet, own)
            bag.write_message(f"{TOPIC}/ffmpeg", message_types.FFMPEG_PACKET, message, START_NS + place * second)
            labels = np.full((SIZE[1], SIZE[0]), packet.pts % 2, np.uint8)
            header = message_types.header(own, "eye")
            bag.write_message(
                "/endoscope/labels", message_types.IMAGE, image(header, labels), START_NS + place * second + 1
            )
    source = BagSource(tmp_path / "bag")
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [START_NS + index * second for index in range(9)]
    for index, frame in enumerate(frames):
        assert frame.labels is not None, f"frame {index} has lost its label"
        assert (frame.labels == index % 2).all()
    assert source.problems == []


def test_a_codec_may_change_within_a_topic(tmp_path: Path) -> None:
    pictures, codecs = moving_pictures(6), ["h264"] * 3 + ["hevc"] * 3
    with BagWriter(tmp_path / "bag") as bag:
        for index, (picture, codec) in enumerate(zip(pictures, codecs, strict=True)):
            bag.write_image(picture, stamp(index), topic=TOPIC, encoding=codec)
    source = BagSource(tmp_path / "bag")
    assert [frame.encoding for frame in source] == codecs and source.left_out == []


def test_odd_sizes_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="even width and height"), BagWriter(tmp_path / "bag") as bag:
        bag.write_image(np.zeros((95, 160, 3), np.uint8), START_NS, encoding="h264")


def test_foxglove_video_is_read_by_the_definition_in_its_file(tmp_path: Path) -> None:
    name = message_types.COMPRESSED_VIDEO
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(
        get_types_from_msg("builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format", name)
    )
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as bag:
        connection = bag.add_connection("/scope/video", name, typestore=store)
        for packet in packets_of("hevc", moving_pictures(20)):
            if packet.pts != 10:
                time = store.types["builtin_interfaces/msg/Time"](*divmod(stamp(packet.pts), 1_000_000_000))
                message = store.types[name](time, "eye", np.frombuffer(packet.data, np.uint8), "h265")
                bag.write(connection, stamp(packet.pts), store.serialize_cdr(message, name))
    source = BagSource(tmp_path / "bag")
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [stamp(index) for index in (*range(10), *range(16, 20))]
    assert frames[0].frame_id == "eye" and frames[0].encoding == "h265" and len(source.problems) == 1
