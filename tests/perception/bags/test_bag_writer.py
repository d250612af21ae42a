from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_writer import BagError, BagWriter
from clip_rl_perception.labels import LabelClass, LabelError, LabelSpace, load_label_space
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.class_messages import class_list, label_space_of
from rosbags.highlevel import AnyReader

STAMP = 1_700_000_000_123_456_789


def frame(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    # Smooth, so that JPEG stays close to it.
    ramp = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    return np.ascontiguousarray(np.roll(ramp, seed * 5, axis=1) * np.array([1, 0, 1], np.uint8))


def read(path: Path) -> list[tuple[str, int, object]]:
    with AnyReader([path]) as reader:
        return [(item.topic, time, reader.deserialize(data, item.msgtype)) for item, time, data in reader.messages()]


def test_images_of_every_encoding_come_back(tmp_path: Path) -> None:
    image = frame()
    with BagWriter(tmp_path / "bag") as bag:
        for encoding in ("jpeg", "png", "rgb8", "bgr8"):
            bag.write_image(image, STAMP, topic=f"/{encoding}", encoding=encoding, frame_id="cam")
    found = {topic: message for topic, _, message in read(tmp_path / "bag")}
    assert set(found) == {"/jpeg/compressed", "/png/compressed", "/rgb8", "/bgr8"}
    for topic, message in found.items():
        assert message.header.frame_id == "cam"
        assert message_types.stamp_of(message) == STAMP
        if topic.endswith("compressed"):
            decoded = cv2.cvtColor(cv2.imdecode(message.data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            assert np.abs(decoded.astype(int) - image).max() <= (0 if "png" in topic else 24)
            assert message.format == f"bgr8; {topic.split('/')[1]} compressed bgr8"
        else:
            assert (message.height, message.width, message.step) == (48, 64, 192)
            pixels = message.data.reshape(48, 64, 3)
            assert np.array_equal(pixels if topic == "/rgb8" else pixels[..., ::-1], image)


@pytest.mark.parametrize("compressed", [True, False])
def test_labels_come_back_to_the_bit(tmp_path: Path, compressed: bool) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_labels(labels, STAMP, compressed=compressed)
    ((topic, time, message),) = read(tmp_path / "bag")
    assert time == STAMP
    assert topic == "/endoscope/labels" + ("/compressed" if compressed else "")
    data = cv2.imdecode(message.data, cv2.IMREAD_UNCHANGED) if compressed else message.data.reshape(40, 50)
    assert np.array_equal(data, labels)


def test_chunk_compression_reads_the_same_and_is_smaller(tmp_path: Path) -> None:
    labels = np.zeros((200, 200), np.uint8)
    for compress in (False, True):
        with BagWriter(tmp_path / str(compress), compress=compress) as bag:
            bag.write_labels(labels, STAMP, compressed=False)
        assert not read(tmp_path / str(compress))[0][2].data.any()
    sizes = [next((tmp_path / str(compress)).glob("*.mcap")).stat().st_size for compress in (False, True)]
    assert sizes[1] < sizes[0] / 5


def test_own_messages_come_back(tmp_path: Path) -> None:
    types = message_types.typestore().types
    tag = types["clip_rl_interfaces/msg/InstrumentTag"](
        track_id=7,
        class_id=2,
        class_name="prograsp-forceps",
        confidence=0.5,
        box=types["sensor_msgs/msg/RegionOfInterest"](x_offset=1, y_offset=2, height=3, width=4, do_rectify=False),
        tip=types["geometry_msgs/msg/Point32"](x=1.5, y=2.5, z=0.0),
        axis=types["geometry_msgs/msg/Vector3"](x=0.6, y=0.8, z=0.0),
        area=12.0,
        visibility=1.0,
        touches_border=True,
        age=3,
        velocity=types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0),
        type_name="forceps",
        type_probability=0.25,
        keypoints=[],
        confirmed=True,
        unseen_s=0.0,
    )
    message = types[message_types.INSTRUMENTS](
        header=message_types.header(STAMP, "cam"), model_id="0123456789ab", instruments=[tag]
    )
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_message("/instruments", message_types.INSTRUMENTS, message, STAMP)
    ((_, _, back),) = read(tmp_path / "bag")
    assert back.instruments[0].class_name == "prograsp-forceps"
    assert back.instruments[0].box.height == 3
    assert message_types.stamp_of(back) == STAMP


def test_type_hashes_and_latched_profile_are_stored(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_label_space(load_label_space("binary"), STAMP)
    text = (tmp_path / "bag" / "metadata.yaml").read_text()
    assert message_types.typestore().hash_rihs01(message_types.CLASS_LIST) in text
    assert "durability: 1" in text  # transient local


@pytest.mark.parametrize("name", ["endovis2018", "endovis2018-type", "binary"])
def test_shipped_label_spaces_come_back_whole(name: str) -> None:
    space = load_label_space(name)
    assert label_space_of(class_list(space, STAMP)) == space


def test_custom_label_space_comes_back() -> None:
    space = LabelSpace(
        "mine",
        (
            LabelClass(0, "tissue"),
            LabelClass(1, "gripper", ("a gripper", "metal jaws"), (10, 200, 255), instrument=True),
        ),
    )
    back = label_space_of(class_list(space, STAMP))
    assert back.names == space.names
    assert back.classes[1].prompts == ("a gripper", "metal jaws")
    assert back.classes[1].color == (10, 200, 255)
    assert back.instrument_ids == (1,)


def test_class_list_of_unequal_lists_is_refused() -> None:
    message = class_list(LabelSpace("mine", (LabelClass(0, "a"), LabelClass(1, "b"))), STAMP)
    message.prompts.pop()
    with pytest.raises(LabelError, match="different lengths"):
        label_space_of(message)


def test_bag_stays_readable_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / "bag") as bag:
        bag.write_image(frame(), STAMP)
        raise KeyboardInterrupt
    assert len(read(tmp_path / "bag")) == 1


def test_existing_folders_are_safe(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_image(frame(), STAMP)
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path / "bag")
    with BagWriter(tmp_path / "bag", overwrite=True):
        pass
    assert read(tmp_path / "bag") == []
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("all of it")
    with pytest.raises(BagError, match="not a bag"):
        BagWriter(tmp_path / "precious", overwrite=True)
    assert (tmp_path / "precious" / "thesis.txt").exists()


def test_unknown_encoding_is_named(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag, pytest.raises(BagError, match="'webp'; expected jpeg, png, rgb8, bgr8"):
        bag.write_image(frame(), STAMP, encoding="webp")
