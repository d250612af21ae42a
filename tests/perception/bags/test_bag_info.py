"""`clip-rl bag info`: what is in a bag, and every kind of thing that can be wrong with it, in a line each."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_rl_perception import options
from clip_rl_perception.bags.bag_info import inspect_bag
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.commands import bag
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.messages import message_types
from clip_rl_perception.sources.camera_model import CAMERA_INFO, pinhole
from clip_rl_perception.sources.frames import SourceError
from rosbags.rosbag2 import StoragePlugin, Writer

START = 1_700_000_000_000_000_000
STEP = 40_000_000
IMAGE, LABELS = "/endoscope/image_raw", "/endoscope/labels"


def clip_rl(*arguments: object) -> int:
    return bag.run(options.parse(bag, [str(argument) for argument in arguments]))


def picture(size: tuple[int, int] = (24, 32)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def write(path: Path, stamps: list[int], **options: Any) -> Path:
    with BagWriter(path) as bag:
        for stamp in stamps:
            bag.write_image(picture(), stamp, **options)
    return path


def recorded(path: Path, stamps: list[int], step: int = STEP) -> Path:
    """Images of these header stamps, recorded every `step` ns."""
    types = message_types.typestore().types
    with BagWriter(path) as bag:
        for index, stamp in enumerate(stamps):
            message = types[message_types.COMPRESSED_IMAGE](
                header=message_types.header(stamp, ""), format="jpeg", data=np.frombuffer(JPEG, np.uint8)
            )
            bag.write_message(f"{IMAGE}/compressed", message_types.COMPRESSED_IMAGE, message, START + index * step)
    return path


def good(path: Path, frames: int = 20) -> Path:
    with BagWriter(path) as bag:
        bag.write_label_space(load_label_space("binary"), START)
        for stamp in range(START, START + frames * STEP, STEP):
            bag.write_camera_info(pinhole(32, 24), stamp, topic="/endoscope/camera_info")
            bag.write_image(picture(), stamp, encoding="bgr8")
            bag.write_labels(np.ones((24, 32), np.uint8), stamp)
    return path


def problems(path: Path, **options: Any) -> list[str]:
    lines = list(inspect_bag(path, **options).problems)
    assert all("\n" not in line for line in lines)
    return lines


def test_a_good_bag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = good(tmp_path / "bag")
    assert clip_rl("info", path, "--json", "--strict", "--rate", "25") == 0
    data = json.loads(capsys.readouterr().out)
    topics = {topic["name"]: topic for topic in data["topics"]}
    assert set(topics) == {IMAGE, f"{LABELS}/compressed", f"{LABELS}/classes", "/endoscope/camera_info"}
    image = topics[IMAGE]
    assert (image["count"], image["rate_hz"], image["kind"]) == (20, 25.0, "image")
    assert (image["encodings"], image["sizes"]) == ({"bgr8": 20}, {"32x24": 20})
    assert topics[f"{LABELS}/compressed"]["classes"] == ["background", "instrument"]
    assert data["storage"] == "mcap" and data["messages"] == 61 and data["problems"] == data["notes"] == []
    assert data["duration_s"] == pytest.approx(19 * 0.04)
    assert data["size_bytes"] == (path / "bag.mcap").stat().st_size
    assert clip_rl("info", path) == 0
    text = capsys.readouterr().out
    assert "25.00 Hz" in text and "bgr8" in text and text.endswith("no problems\n")


def test_strict_sets_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "bag", [START, START + STEP, START + STEP])
    assert clip_rl("info", path) == 0
    assert clip_rl("info", path, "--strict") == 1
    assert "problem: " in capsys.readouterr().out


def test_stamps(tmp_path: Path) -> None:
    stamps = [START + index * STEP for index in range(12)]
    (line,) = problems(write(tmp_path / "repeated", [*stamps, stamps[-1]]))
    assert "1 repeated stamps" in line and f"{stamps[-1] / 1e9:.3f} s" in line
    stamps[5], stamps[6] = stamps[6], stamps[5]
    (line,) = problems(recorded(tmp_path / "older", stamps))
    assert "1 stamps are older than the one before, by up to 0.040 s" in line
    (line,) = problems(recorded(tmp_path / "zero", [0, 0, 0]))
    assert "3 of 3 header stamps are zero" in line


def test_gaps_rates_and_a_topic_that_stops(tmp_path: Path) -> None:
    stamps = [START + index * STEP for index in range(20)]
    (line,) = problems(write(tmp_path / "gap", [*stamps[:5], *stamps[12:]]))
    assert "1 gaps, the longest 0.320 s where 0.040 s is usual" in line
    (line,) = problems(write(tmp_path / "rate", stamps), rate_hz=30.0)
    assert "25.00 Hz by its stamps; 30 Hz is expected" in line
    assert problems(tmp_path / "rate", rate_hz=25.0) == []
    with BagWriter(tmp_path / "stops") as bag:
        for index in range(100):
            for name in ("/a/image", "/b/image"):
                if name == "/a/image" or index < 30:
                    bag.write_image(picture(), START + index * STEP, topic=name)
    (line,) = problems(tmp_path / "stops")
    assert line.startswith("/b/image/compressed") and "stops 2.80 s before the bag ends" in line
    (line,) = problems(recorded(tmp_path / "slow", stamps, step=2 * STEP))
    assert "its stamps span 0.76 s but it was recorded over 1.52 s" in line


def test_mixed_encodings_and_sizes(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_image(picture(), START, encoding="bgr8")
        bag.write_image(picture(), START + STEP, encoding="mono8")
        bag.write_image(picture((48, 64)), START + 2 * STEP, encoding="bgr8")
    lines = problems(tmp_path / "bag")
    assert any("mixed encodings: bgr8 (2), mono8 (1)" in line for line in lines), lines
    assert any("mixed sizes: 32x24 (2), 64x48 (1)" in line for line in lines), lines


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_raw(picture(), "rgb7", START, topic=IMAGE)
        for index in range(1, 6):
            bag.write_raw(picture(), "bgr16", START + index * STEP, topic=IMAGE)
        bag.write_encoded(JPEG[:200], "jpeg", START, topic="/other/image")
    lines = problems(tmp_path / "bag")
    assert any("encoding 'rgb7' is not known" in line and f"{START / 1e9:.3f} s" in line for line in lines), lines
    assert any("3 more messages like these" in line for line in lines), lines
    assert any("/other/image/compressed" in line and "truncated" in line for line in lines), lines


def test_labels(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_label_space(load_label_space("binary"), START)
        for index in range(6):
            bag.write_image(picture(), START + index * STEP)
        bag.write_labels(np.full((24, 32), 3, np.uint8), START)
        bag.write_labels(np.ones((12, 16), np.uint8), START + STEP)
        bag.write_labels(np.ones((24, 32), np.uint8), START + 2 * STEP)
        bag.write_labels(np.ones((24, 32), np.uint8), START + 17)
    lines = problems(tmp_path / "bag")
    assert any("value 3; expected 0 background, 1 instrument" in line for line in lines), lines
    assert any("1 labels are 16x12 but the image is 32x24" in line for line in lines), lines
    assert any("1 labels have no image of the same stamp" in line for line in lines), lines
    with BagWriter(tmp_path / "bare") as bag:
        bag.write_image(picture(), START)
        bag.write_labels(np.ones((24, 32), np.uint8), START)
    (line,) = problems(tmp_path / "bare")
    assert "no class list on /endoscope/labels/classes" in line


def test_cameras_and_pairs(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for index in range(6):
            stamp = START + index * STEP
            bag.write_image(picture(), stamp, topic="/rig/left/image_raw")
            bag.write_image(picture((48, 64)), stamp + (index == 3), topic="/rig/right/image_raw")
            if index:
                bag.write_camera_info(pinhole(40, 30), stamp, topic="/rig/left/camera_info")
    lines = problems(tmp_path / "bag")
    assert any("2 images have no partner of the same stamp" in line for line in lines), lines
    assert any("left and right images differ in size" in line for line in lines), lines
    assert any("1 of 6 images" in line and "/rig/left/camera_info" in line for line in lines), lines
    assert any("is for another size" in line for line in lines), lines


def test_no_images_and_no_messages(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_message("/info", CAMERA_INFO, pinhole(32, 24).message(START, "x"), START)
    (line,) = problems(tmp_path / "bag")
    assert line == f"no image topic; topics found: /info ({CAMERA_INFO})"
    with BagWriter(tmp_path / "empty"):
        pass
    info = inspect_bag(tmp_path / "empty")
    assert info.problems == ("no image topic; topics found: none at all",) and info.start_ns is None
    assert info.to_dict()["duration_s"] is None


def test_a_truncated_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path, file = tmp_path / "bag", tmp_path / "bag/bag.mcap"
    with BagWriter(path) as bag:
        for index in range(400):
            bag.write_image(picture((96, 128)), START + index * STEP, encoding="bgr8")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    info = inspect_bag(path)
    assert any("truncated" in line and "bag.mcap" in line for line in info.problems), info.problems
    count = next(topic["count"] for topic in info.topics if topic["name"] == IMAGE)
    assert 0 < count < 400
    file.write_bytes(b"nothing of a bag")
    with pytest.raises(SourceError, match="not a readable rosbag2"):
        inspect_bag(path)
    with pytest.raises(SourceError, match="nowhere"):
        inspect_bag(tmp_path / "nowhere")


def test_what_perception_published_is_no_input(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for index in (0, 1, 2, 50):
            bag.write_image(picture(), START + index * STEP, topic="/scope/mask", encoding="mono8")
    info = inspect_bag(tmp_path / "bag")
    assert info.problems == ("no image topic; topics found: /scope/mask (sensor_msgs/msg/Image)",)
    assert any(line.startswith("/scope/mask: taken for an output of perception") for line in info.notes)


def test_without_metadata(tmp_path: Path) -> None:
    path = good(tmp_path / "bag")
    (path / "metadata.yaml").unlink()
    info = inspect_bag(path)
    assert info.problems == () and any("no metadata.yaml" in line for line in info.notes)


def test_unknown_types_are_noted(tmp_path: Path) -> None:
    """As bags of humble are: no definitions in the file, standard types are known here."""
    path, store = tmp_path / "bag", message_types.typestore()
    types = store.types
    image = types[message_types.COMPRESSED_IMAGE](
        header=message_types.header(START, ""), format="jpeg", data=np.frombuffer(JPEG, np.uint8)
    )
    with Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3) as bag:
        strange = bag.add_connection(
            "/strange", "our_msgs/msg/Strange", msgdef="int32 x\n", rihs01="RIHS01_" + "0" * 64
        )
        bag.write(strange, START, b"\0\1\0\0\7\0\0\0")
        pictures = bag.add_connection(f"{IMAGE}/compressed", message_types.COMPRESSED_IMAGE, typestore=store)
        bag.write(pictures, START, store.serialize_cdr(image, message_types.COMPRESSED_IMAGE))
    with contextlib.closing(sqlite3.connect(path / "bag.db3")) as database, database:
        database.execute("DELETE FROM message_definitions")
    info = inspect_bag(path)
    assert info.problems == ()
    assert "/strange: type our_msgs/msg/Strange is unknown here; not read" in info.notes


def _jpeg() -> bytes:
    import cv2

    return bytes(cv2.imencode(".jpg", picture())[1])


JPEG = _jpeg()
