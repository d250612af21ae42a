from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.class_messages import class_list
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import Frame, SourceError
from clip_rl_perception.sources.input_paths import short_names
from clip_rl_perception.sources.media_source import FolderSource, VideoSource, open_source
from clip_rl_perception.sources.streams import InputOptions, open_inputs, read
from rosbags.rosbag2 import StoragePlugin, Writer

START = 1_700_000_000_000_000_000
PERIOD = 40_000_000
SIZE = (48, 64)


def flat(value: int) -> np.ndarray:
    return np.full((*SIZE, 3), (value, 255 - value, 10), np.uint8)


def labels(value: int) -> np.ndarray:
    return np.full(SIZE, value % 8, np.uint8)


def write_video(path: Path, frames: int = 10, fps: float = 20.0) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, SIZE[::-1])
    assert writer.isOpened()
    for index in range(frames):
        writer.write(flat(20 * index)[..., ::-1].copy())
    writer.release()


def test_video(tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi")
    source = open_source(tmp_path / "v.avi")
    assert (source.info.kind, source.info.frames, source.info.rate_hz, source.info.size) == ("video", 10, 20.0, SIZE)
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [index * 50_000_000 for index in range(10)]
    for index, frame in enumerate(frames):
        assert np.abs(frame.rgb.astype(int) - flat(20 * index)).max() < 12  # RGB order, not BGR
        assert frame.labels is None
    assert source.problems == []
    assert source.sha256() == hashlib.sha256((tmp_path / "v.avi").read_bytes()).hexdigest()
    assert [frame.name for frame in source] == [frame.name for frame in frames]  # a second pass yields the same


def test_video_rate_can_be_overridden(tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi")
    assert [frame.stamp_ns for frame in VideoSource(tmp_path / "v.avi", rate_hz=10)][:2] == [0, 100_000_000]


def test_truncated_video_yields_what_is_there(tmp_path: Path) -> None:
    write_video(tmp_path / "v.avi", 40)
    content = (tmp_path / "v.avi").read_bytes()
    (tmp_path / "v.avi").write_bytes(content[: len(content) // 2])
    source = VideoSource(tmp_path / "v.avi")
    assert 0 < len(list(source)) < 40


def test_folder(tmp_path: Path) -> None:
    for index in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"frame{index}.png"), flat(index)[..., ::-1])
    (tmp_path / "frame3.jpg").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("not an image")
    source = open_source(tmp_path, rate_hz=10)
    frames = list(source)
    assert [frame.name for frame in frames] == ["frame1.png", "frame2.png", "frame10.png"]
    assert [frame.stamp_ns for frame in frames] == [0, 100_000_000, 300_000_000]  # the damaged one keeps its place
    assert np.array_equal(frames[2].rgb, flat(10))
    assert frames[2].encoded == (tmp_path / "frame10.png").read_bytes()
    assert source.problems == [
        f"{tmp_path / 'frame3.jpg'} of 8 bytes does not decode: it is damaged, cut off, or no picture; left out"
    ]
    before = source.sha256()
    (tmp_path / "frame10.png").rename(tmp_path / "frame11.png")
    assert open_source(tmp_path).sha256() != before


def test_folder_with_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "background.png"), flat(1))
    for index in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), flat(index))
    assert [frame.name for frame in FolderSource(tmp_path)] == ["0.png", "1.png", "2.png"]


def test_images_that_are_called_alike_are_named(tmp_path: Path) -> None:
    for name in ("1.png", "1.jpg", "2.png", "2.jpg", "3.png"):
        cv2.imwrite(str(tmp_path / name), flat(1))
    source = FolderSource(tmp_path)
    line = f"{tmp_path}: 1.jpg and 1.png (and 1 more such) are called alike; each is taken for a frame of its own"
    assert source.problems == [line]
    assert len(list(source)) == 5 and source.problems == [line]


def test_of_masks_that_are_called_alike_the_one_without_loss_is_truth(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    mask = np.zeros((64, 64), np.uint8)
    mask[:32] = 1
    cv2.imwrite(str(tmp_path / "images/1.png"), np.zeros((64, 64, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "masks/1.png"), mask)
    cv2.imwrite(str(tmp_path / "masks/1.webp"), 255 * mask)
    inputs = open_inputs(InputOptions((tmp_path,), labels=tmp_path / "masks"), load_label_space("binary"))
    assert inputs.problems == (
        f"{tmp_path / 'masks'}: 1.png and 1.webp are called alike; of such masks the one without loss is taken",
    )
    (item,) = read(inputs)
    assert isinstance(item.content, Frame) and np.array_equal(item.content.labels, mask)


def test_a_tree_without_images_of_its_own_names_its_folders(tmp_path: Path) -> None:
    for name in ("p1/left", "p2"):
        (tmp_path / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name / "1.png"), flat(1))
    with pytest.raises(SourceError, match="there are images in folders below it, name one: p1/left, p2"):
        open_source(tmp_path)
    streams = open_inputs(InputOptions((tmp_path,)), load_label_space("binary")).streams
    assert [(stream.sequence, stream.path) for stream in streams] == [
        ("p1/left", tmp_path / "p1/left"), ("p2", tmp_path / "p2"),
    ]  # fmt: skip


def test_masks_of_videos_beside_their_images(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        for video in ("a", "b"):
            (tmp_path / kind / video).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / kind / video / "1.png"), np.full((64, 64), video == "b", np.uint8))
    inputs = open_inputs(InputOptions((tmp_path,)), load_label_space("binary"))
    found = [(item.stream.sequence, item.content.labels.max()) for item in read(inputs)]  # type: ignore[union-attr]
    assert found == [("images/a", 0), ("images/b", 1)] and inputs.problems == ()


def test_names_tell_paths_apart() -> None:
    paths = [Path("/x/p1/images"), Path("/x/p2/images"), Path("/y/p2/images"), Path("/x/other")]
    assert short_names(paths) == ["p1/images", "x/p2/images", "y/p2/images", "other"]
    assert short_names([Path("/x/a"), Path("/a")]) == ["x/a", "a"]


def write_bag(path: Path, count: int = 6, *, labelled: bool = True, encoding: str = "png") -> None:
    with BagWriter(path) as bag:
        if labelled:
            bag.write_label_space(load_label_space("endovis2018-type"), START)
        for index in range(count):
            stamp = START + index * PERIOD
            bag.write_image(flat(index), stamp, encoding=encoding)
            if labelled:
                bag.write_labels(labels(index), stamp)


@pytest.mark.parametrize("odd", ["a clock set late", "a pause"])
def test_the_rate_of_a_bag_is_that_of_most_of_its_images(tmp_path: Path, odd: str) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for index in range(12):
            early = -START + 5 if odd == "a clock set late" and index == 0 else 0
            late = 3600 * 10**9 if odd == "a pause" and index > 5 else 0
            bag.write_image(flat(index), START + index * PERIOD + early + late, encoding="rgb8")
    assert open_source(tmp_path / "bag").info.rate_hz == pytest.approx(25.0)


@pytest.mark.parametrize(("most", "told"), [(4095, True), (4096, False), (65535, False), (0, False)])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_twelve_bits_in_sixteen_are_told(tmp_path: Path, suffix: str, most: int, told: bool) -> None:
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), np.full((8, 12, 3), most, np.uint16))
    source = open_source(tmp_path)
    assert int(next(iter(source)).rgb.max()) == pytest.approx(most >> 8, abs=1), "pixels stay as they are"
    assert [f"a.{suffix} has no value above 4095 of 65535" in line for line in source.problems] == [True] * told


@pytest.mark.parametrize("encoding", ["png", "bgr8", "rgb8"])
@pytest.mark.parametrize("as_file", [False, True])
def test_bag(tmp_path: Path, encoding: str, as_file: bool) -> None:
    write_bag(tmp_path / "bag", encoding=encoding)
    source = open_source(tmp_path / "bag" / "bag.mcap" if as_file else tmp_path / "bag")
    info = source.info
    assert (info.kind, info.frames, info.size) == ("bag", 6, SIZE)
    assert info.rate_hz == pytest.approx(25.0)
    assert info.label_space == load_label_space("endovis2018-type")
    frames = list(source)
    assert [frame.stamp_ns for frame in frames] == [START + index * PERIOD for index in range(6)]
    for index, frame in enumerate(frames):
        assert np.array_equal(frame.rgb, flat(index))
        assert np.array_equal(frame.labels, labels(index))
        assert (frame.encoded is not None) == (encoding == "png")
    assert source.problems == []


def test_bag_without_metadata_and_without_labels(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", labelled=False)
    (tmp_path / "bag" / "metadata.yaml").unlink()
    source = open_source(tmp_path / "bag")
    assert source.info.label_space is None
    assert [frame.labels for frame in source] == [None] * 6


def test_bag_hash_is_of_its_storage(tmp_path: Path) -> None:
    write_bag(tmp_path / "a")
    before = open_source(tmp_path / "a").sha256()
    with (tmp_path / "a" / "metadata.yaml").open("a") as file:
        file.write("\n")
    assert open_source(tmp_path / "a").sha256() == before
    write_bag(tmp_path / "b" / "a", 5)
    assert open_source(tmp_path / "b" / "a").sha256() != before


def test_labels_may_come_late_or_never(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_label_space(load_label_space("endovis2018-type"), START)
        for index in range(60):
            bag.write_image(flat(index), START + index * PERIOD)
            if index >= 5 and index % 2:  # of frames 0, 2, 4..: 5 frames late
                bag.write_message(
                    "/endoscope/labels",
                    message_types.IMAGE,
                    label_message(index - 5),
                    START + index * PERIOD + 1,
                )
    frames = list(open_source(tmp_path / "bag"))
    assert [frame.stamp_ns for frame in frames] == [START + index * PERIOD for index in range(60)]
    assert [frame.labels is not None for frame in frames] == [i % 2 == 0 and i + 5 < 60 for i in range(60)]
    assert np.array_equal(frames[6].labels, labels(6))


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_labels_and_frames_that_stay_alone_are_counted(tmp_path: Path, storage: StoragePlugin) -> None:
    def bag(name: str, stamps: dict[int, int]) -> Path:
        """A bag of 40 frames and as many labels, those of some indices stamped elsewhere."""
        store, path = message_types.typestore(), tmp_path / name
        with Writer(path, version=9, storage_plugin=storage) as writer:
            topics = {
                topic: writer.add_connection(f"/cam/{topic}", kind, typestore=store)
                for topic, kind in (
                    ("image", message_types.IMAGE),
                    ("labels", message_types.IMAGE),
                    ("labels/classes", message_types.CLASS_LIST),
                )
            }

            def write(topic: str, message: object, time: int) -> None:
                writer.write(topics[topic], time, store.serialize_cdr(message, topics[topic].msgtype))

            write("labels/classes", class_list(load_label_space("endovis2018-type"), START), START)
            for index in range(40):
                message = label_message(index)
                write("image", message, START + index * PERIOD)
                if index in stamps:
                    message = dataclasses.replace(message, header=message_types.header(stamps[index], "cam"))
                write("labels", message, START + index * PERIOD + 1)
        return path

    whole = open_source(bag("whole", {}))
    assert all(frame.labels is not None for frame in whole) and whole.problems == []
    moved = open_source(bag("moved", {3: START + 3 * PERIOD + 7, 30: START}))
    missing = [index for index, frame in enumerate(moved) if frame.labels is None]
    assert missing == [3, 30]
    assert moved.problems == [
        f"{tmp_path / 'moved'}: /cam/labels: 2 of 40 labels have the stamp of no frame, "
        "2 of 40 frames have no label and so no truth"
    ]
    # Whoever reads it is told: reports and the terminal show these lines.
    items = list(read(open_inputs(InputOptions((tmp_path / "moved",)), load_label_space("endovis2018-type"))))
    assert [line for item in items for line in item.problems] == moved.problems
    alone = open_source(bag("alone", {index: 1 + index for index in range(40)}))
    assert all(frame.labels is None for frame in alone)
    assert "40 of 40 labels have the stamp of no frame, 40 of 40 frames have no label" in alone.problems[0]


def label_message(index: int) -> Any:
    return message_types.typestore().types[message_types.IMAGE](
        header=message_types.header(START + index * PERIOD, "cam"),
        height=SIZE[0],
        width=SIZE[1],
        encoding="mono8",
        is_bigendian=0,
        step=SIZE[1],
        data=labels(index).reshape(-1),
    )


def test_sqlite_bag_with_custom_topic_and_zero_stamps(tmp_path: Path) -> None:
    store = message_types.typestore()
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.SQLITE3) as bag:
        few = bag.add_connection("/left/image", message_types.IMAGE, typestore=store)
        many = bag.add_connection("/right/image", message_types.IMAGE, typestore=store)
        for index in range(4):
            message = label_message(index)
            message.header.stamp.sec = message.header.stamp.nanosec = 0
            data = store.serialize_cdr(message, message_types.IMAGE)
            bag.write(many, START + index * PERIOD, data)
            if index < 2:
                bag.write(few, START + index * PERIOD, data)
    source = open_source(tmp_path / "bag")
    assert source.info.topic == "/right/image"
    assert [frame.stamp_ns for frame in source] == [START + index * PERIOD for index in range(4)]
    assert BagSource(tmp_path / "bag", topic="/left/image").info.frames == 2
    with pytest.raises(SourceError, match=r"no images on topic /middle; topics found: /left/image \(sensor_msgs"):
        BagSource(tmp_path / "bag", topic="/middle")


def test_damaged_images_in_a_bag_are_left_out_and_listed(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_encoded(b"\xff\xd8 not a jpeg", "jpeg", START)
        bag.write_image(flat(1), START + PERIOD)
    source = open_source(tmp_path / "bag")
    assert source.info.size == SIZE
    assert [frame.stamp_ns for frame in source] == [START + PERIOD]
    assert len(source.problems) == 1
    assert "/endoscope/image_raw/compressed at 1700000000.000 s" in source.problems[0]


def test_labels_without_class_list_are_not_used(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_image(flat(1), START)
        bag.write_labels(labels(1), START)
    source = open_source(tmp_path / "bag")
    assert source.info.label_space is None
    assert "no class list" in source.problems[0]
    assert [frame.labels for frame in source] == [None]


def test_what_is_no_source_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("x")
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 2000)
    (tmp_path / "broken.mcap").write_bytes(b"\x89MCAP0\r\n" + b"\0" * 50)
    (tmp_path / "broken.db3").write_bytes(b"not sqlite")
    (tmp_path / "notbag").mkdir()
    (tmp_path / "notbag" / "metadata.yaml").write_text("- not: a bag")
    with BagWriter(tmp_path / "imageless") as bag:
        bag.write_label_space(load_label_space("binary"), START)
    with BagWriter(tmp_path / "undecodable") as bag:
        bag.write_encoded(b"nothing", "jpeg", START)
    with BagWriter(tmp_path / "bare"):
        pass
    expected = {
        "missing": "no such file or folder",
        "empty": "no images in it; .* found nothing",
        "text": r"found .txt",
        "text/a.txt": "not a video",
        "broken.mp4": "not a video",
        "broken.mcap": "not a readable rosbag2",
        "broken.db3": "not a readable rosbag2",
        "notbag": "not a readable rosbag2",
        "imageless": r"no image topic in this bag; topics found: /endoscope/labels/classes \(clip_rl_interfaces",
        "undecodable": "none of the 1 images on /endoscope/image_raw/compressed can be decoded",
        "bare": "topics found: none at all",
    }
    for name, reason in expected.items():
        with pytest.raises(SourceError, match=reason) as caught:
            open_source(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("CLIP_RL_DATA"), reason="CLIP_RL_DATA is not set")
def test_real_video_and_folder() -> None:
    data = Path(os.environ["CLIP_RL_DATA"])
    video = open_source(data / "video" / "laparoscopy_720p25.mp4").info
    assert (video.frames, video.rate_hz, video.size) == (250, 25.0, (720, 1280))
    folder = open_source(data / "davinci_grayscale" / "scene_e")
    assert folder.info.frames == 51
    assert [frame.name for frame in folder][:2] == ["frame000.jpg", "frame001.jpg"]
