"""A topic that cannot be read costs that topic alone: it is named with its reason, everything else is read."""

from __future__ import annotations

import dataclasses
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from clip_rl_perception.bags.bag_info import inspect_bag
from clip_rl_perception.messages import message_types, scene_messages
from clip_rl_perception.messages.message_types import MessageTypes
from clip_rl_perception.messages.scene_messages import Status
from clip_rl_perception.replay.recording import Recording
from clip_rl_perception.scene.types import Basis, Instrument
from clip_rl_perception.sources.bag_reader import BagReader
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import SourceError
from every_field import LABELS as CLASSES
from every_field import distinct_instrument, distinct_status
from hand_made_bags import (
    IMAGES,
    LABELS,
    START,
    Stored,
    definition,
    frames_of,
    recording,
    write_mcap,
    write_metadata,
    write_sqlite,
)
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

EVENT = """service_msgs/ServiceEventInfo info
std_srvs/SetBool_Request[<=1] request
"""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Frames of `recording`."""
    return frames_of(BagSource(write_mcap(tmp_path_factory.mktemp("clean") / "clean.mcap", recording())))


def odd(msgtype: str, data: bytes = b"\0\1\0\0\7\0\0\0") -> Stored:
    return Stored("/odd", msgtype, START + 5, data)


def test_a_topic_of_two_types_is_named_with_both(tmp_path: Path) -> None:
    images = [one for one in recording() if one.topic == IMAGES]
    write_mcap(tmp_path / "a.mcap", images[:6])
    write_mcap(tmp_path / "b.mcap", [dataclasses.replace(one, type=message_types.IMAGE) for one in images[6:]])
    with pytest.raises(SourceError) as raised:
        frames_of(BagSource(tmp_path))
    both = f"{message_types.COMPRESSED_IMAGE} and {message_types.IMAGE}, which no topic may have at once"
    assert f"{IMAGES} ({both})" in str(raised.value)


@pytest.mark.parametrize(
    ("msgtype", "schema", "encoding", "reason"),
    [
        ("foxglove.Log", ("foxglove.Log", "protobuf", "\x0a\x01"), "protobuf", "protobuf messages, which are not ROS"),
        ("foxglove.Log", ("foxglove.Log", "jsonschema", "{}"), "json", "json messages, which are not ROS 2's"),
        ("x/msg/Odd", None, "json", "json messages, which are not ROS 2's"),
        ("x/msg/Odd", None, "cdr", "the file does not name its type"),
        ("x/msg/Odd", ("x/msg/Odd", "", ""), "cdr", "type x/msg/Odd is unknown here"),
        ("x/msg/Odd", ("x/msg/Odd", "ros2msg", "int32 x((("), "cdr", "its definition of x/msg/Odd cannot be read: "),
        ("x/msg/Odd", ("x/msg/Odd", "ros2msg", "y/Other other"), "cdr", "its definition of x/msg/Odd cannot be read: "),
        ("x/msg/Odd", ("x/msg/Odd", "ros2idl", "module x {"), "cdr", "its definition of x/msg/Odd cannot be read: "),
        ("x/msg/Odd", ("x/msg/Odd", "flatbuffer", "x"), "cdr", "its definition of x/msg/Odd cannot be read: "),
        ("std_srvs/srv/SetBool_Event", ("std_srvs/srv/SetBool_Event", "ros2msg", EVENT), "cdr", "SetBool_Event cannot"),
        ("sensor_msgs/msg/Imu", ("sensor_msgs/Imu", "ros1msg", "int32 x"), "ros1", "ROS 1 messages; `rosbags-convert`"),
    ],
)
def test_an_odd_topic_beside_images(
    tmp_path: Path, clean: list[Any], msgtype: str, schema: Any, encoding: str, reason: str
) -> None:
    messages = [*recording(), odd(msgtype)]
    path = write_mcap(tmp_path / "a.mcap", messages, schemas={msgtype: schema}, encodings={"/odd": encoding})
    source = BagSource(path)
    assert frames_of(source) == clean
    (line,) = source.problems
    assert line.startswith(f"{path}: topics left out: /odd (") and reason in line and "\n" not in line
    info = inspect_bag(path)
    assert info.problems == ()
    assert any(note.startswith("/odd: ") and reason in note and note.endswith("; not read") for note in info.notes)
    counts = {topic["name"]: topic["count"] for topic in info.topics}
    assert counts == {"/odd": 1, IMAGES: 12, LABELS: 12, f"{LABELS}/classes": 1}
    with BagReader(path) as reader:
        assert "/odd" not in {connection.topic for connection in reader.connections}
        assert "/odd" not in {connection.topic for connection, _, _ in reader.messages()}


@pytest.mark.parametrize(
    "schema",
    [
        (message_types.COMPRESSED_IMAGE, "", ""),
        (message_types.COMPRESSED_IMAGE, "ros2msg", "std_msgs/Header header\nstring format(((\n"),
        (message_types.COMPRESSED_IMAGE, "ros2msg", "std_msgs/Header header\nstring format\nuint8[] data\n"),
        (message_types.COMPRESSED_IMAGE, "json", "{}"),
    ],
)
def test_images_without_a_usable_definition_are_read_by_the_one_known_here(
    tmp_path: Path, clean: list[Any], schema: tuple[str, str, str]
) -> None:
    path = write_mcap(tmp_path / "a.mcap", recording(), schemas={message_types.COMPRESSED_IMAGE: schema})
    source = BagSource(path)
    assert frames_of(source) == clean and source.problems == []


def test_a_type_hash_matters_only_without_a_definition(tmp_path: Path, clean: list[Any]) -> None:
    bare: dict[str, Any] = {message_types.IMAGE: (message_types.IMAGE, "", "")}
    known = message_types.typestore().hash_rihs01(message_types.IMAGE)
    other = "RIHS01_" + "0" * 64
    read = BagSource(write_mcap(tmp_path / "a.mcap", recording(), metadata={"topic_type_hash": other}))
    assert frames_of(read) == clean and read.problems == []
    images = [message for message in recording() if message.type == message_types.IMAGE]
    path = write_mcap(tmp_path / "b.mcap", images, schemas=bare, metadata={"topic_type_hash": known})
    with BagReader(path) as reader:
        assert len(reader.connections) == 1
    path = write_mcap(tmp_path / "c.mcap", images, schemas=bare, metadata={"topic_type_hash": other})
    with pytest.raises(
        SourceError, match=r"no images on topic /scope/labels; .*another sensor_msgs/msg/Image than is known"
    ):
        BagSource(path, topic=LABELS)


def test_images_of_another_definition_are_left_out_with_the_field_that_differs(tmp_path: Path) -> None:
    text = definition(message_types.COMPRESSED_IMAGE).replace("string format", "string codec")
    schemas: dict[str, Any] = {message_types.COMPRESSED_IMAGE: (message_types.COMPRESSED_IMAGE, "ros2msg", text)}
    path = write_mcap(tmp_path / "a.mcap", recording(), schemas=schemas)
    with pytest.raises(SourceError, match=f"no image topic .*{IMAGES} .*its field format differs or is missing"):
        BagSource(path)


def before(msgtype: str, field: str) -> Any:
    """A type store with one of our types as it was before a field came."""
    name = msgtype.rsplit("/", 1)[-1]
    text = (resources.files("clip_rl_perception") / "interfaces" / f"{name}.msg").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if line.split()[1:2] != [field]]
    assert len(kept) == len(text.splitlines()) - 1
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("\n".join(kept), msgtype))
    return store


@pytest.mark.parametrize("field", sorted(message_types.LATER_FIELDS[message_types.STATUS]))
def test_a_status_that_was_recorded_before_a_field_came_is_read(tmp_path: Path, field: str) -> None:
    kind, said = message_types.STATUS, distinct_status()
    store = before(kind, field)
    types = MessageTypes(lambda name: partial(made, store.types[name]), lambda values: values)

    def made(kind: Any, **fields: Any) -> Any:
        return kind(**{name: value for name, value in fields.items() if name != field})

    message = scene_messages.status(message_types.header(said.stamp_ns, types=types), said, types)
    old = Stored("/node/status", kind, START, bytes(store.serialize_cdr(message, kind)))
    schema = (kind, "ros2msg", str(store.generate_msgdef(kind, ros_version=2)[0]))
    path = write_mcap(tmp_path / "a.mcap", [old], schemas={kind: schema})
    (read,) = Recording(path).statuses
    expected: Status
    if hasattr(said.basis, field):
        basis = dataclasses.replace(said.basis, **{field: getattr(Basis(), field)})
        expected = dataclasses.replace(said, basis=basis)
    else:
        default = next(entry.default for entry in dataclasses.fields(Status) if entry.name == field)
        expected = dataclasses.replace(said, **{field: default})
    assert read == expected


def test_bytes_and_octets_are_uint8(tmp_path: Path, clean: list[Any]) -> None:
    text = definition(message_types.COMPRESSED_IMAGE).replace("uint8[] data", "byte[] data")
    schemas: dict[str, Any] = {message_types.COMPRESSED_IMAGE: (message_types.COMPRESSED_IMAGE, "ros2msg", text)}
    assert frames_of(BagSource(write_mcap(tmp_path / "a.mcap", recording(), schemas=schemas))) == clean


def test_two_definitions_of_one_type(tmp_path: Path) -> None:
    for name, text in (("a", "int32 x\n"), ("b", "float64 x\n")):
        message = dataclasses.replace(odd("x/msg/Odd"), topic=f"/{name}")
        write_mcap(tmp_path / f"{name}.mcap", [message], schemas={"x/msg/Odd": ("x/msg/Odd", "ros2msg", text)})
    with BagReader(tmp_path) as reader:
        assert [connection.topic for connection in reader.connections] == ["/a"]
        assert reader.topics["/b"].left_out == "another definition of x/msg/Odd than elsewhere in the bag"
        ((connection, _, data),) = reader.messages()
        assert reader.deserialize(data, connection.msgtype).x == 7


def test_a_part_of_a_topic_that_cannot_be_read(tmp_path: Path, clean: list[Any]) -> None:
    messages = recording()
    write_mcap(tmp_path / "a.mcap", messages[:13])
    write_mcap(tmp_path / "b.mcap", messages[13:], encodings={IMAGES: "cbor"})
    source = BagSource(tmp_path)
    assert frames_of(source) == clean[:6]
    assert source.problems == [
        f"{tmp_path}: {IMAGES}: 6 messages left out: cbor messages, which are not ROS 2's",
        f"{tmp_path}: /scope/labels: 6 of 12 labels have the stamp of no frame",
    ]


def test_odd_topics_of_sqlite(tmp_path: Path, clean: list[Any]) -> None:
    messages = [*recording(), dataclasses.replace(odd("std_msgs/msg/Int32"), topic="/json")]
    path = write_sqlite(tmp_path / "a.db3", messages, encodings={"/json": "json"})
    source = BagSource(path)
    assert frames_of(source) == clean
    assert source.problems == [f"{path}: topics left out: /json (json messages, which are not ROS 2's)"]


def test_another_hash_in_metadata_is_no_matter(tmp_path: Path, clean: list[Any]) -> None:
    write_mcap(tmp_path / "a.mcap", recording())
    write_metadata(tmp_path, ["a.mcap"], type_description_hash="RIHS01_" + "1" * 64)
    source = BagSource(tmp_path)
    assert frames_of(source) == clean and source.problems == []


def test_tags_that_were_recorded_before_types_and_keypoints_came_are_read(tmp_path: Path) -> None:
    kind, tag = message_types.INSTRUMENTS, distinct_instrument()
    later = message_types.LATER_FIELDS["clip_rl_interfaces/msg/InstrumentTag"]
    folder = resources.files("clip_rl_perception") / "interfaces"
    text = {
        name: (folder / f"{name}.msg").read_text(encoding="utf-8") for name in ("InstrumentTag", "InstrumentTagArray")
    }
    lines = text["InstrumentTag"].splitlines()
    text["InstrumentTag"] = "\n".join(line for line in lines if not later.intersection(line.split()[1:2]))
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, definition_text in text.items():
        store.register(get_types_from_msg(definition_text, f"clip_rl_interfaces/msg/{name}"))

    def made(kind: Any, **fields: Any) -> Any:
        return kind(**{name: value for name, value in fields.items() if name not in later})

    def named(name: str) -> Any:
        return partial(made, message_types.typestore().types[name] if name.endswith("Keypoint") else store.types[name])

    types = MessageTypes(named, lambda values: values)
    message = scene_messages.tags(message_types.header(7, types=types), [tag], CLASSES, "x", types)
    old = Stored("/node/instruments", kind, START, bytes(store.serialize_cdr(message, kind)))
    schema = (kind, "ros2msg", str(store.generate_msgdef(kind, ros_version=2)[0]))
    path = write_mcap(tmp_path / "a.mcap", [old], schemas={kind: schema})
    ((read,),) = Recording(path).instruments.values()
    defaults = {field.name: field.default for field in dataclasses.fields(Instrument) if field.name in later}
    assert len(defaults) == len(later) and read == dataclasses.replace(tag, **defaults)
