"""Bags written record by record and row by row, as recorders other than ours leave them on robots."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.class_messages import class_list
from clip_rl_perception.messages.image_messages import compressed_image, image
from clip_rl_perception.sources.bag_source import BagSource
from mcap.writer import CompressionType, Writer

START = 1_700_000_000_000_000_000
PERIOD = 40_000_000
IMAGES, LABELS = "/scope/image_raw/compressed", "/scope/labels"
SPACE = load_label_space("binary")


@dataclasses.dataclass(frozen=True)
class Stored:
    topic: str
    type: str
    time: int
    data: bytes


def recording(frames: int = 12) -> list[Stored]:
    """Images with truth, in order of time: each image, its label 1 ms later, and the class list first."""
    store = message_types.typestore()
    messages = [(f"{LABELS}/classes", message_types.CLASS_LIST, START - 1, class_list(SPACE, START))]
    for index in range(frames):
        stamp = START + index * PERIOD
        pixels = np.random.default_rng(index).integers(0, 256, (24, 32, 3), np.uint8)
        header = message_types.header(stamp, "scope")
        picture = compressed_image(header, cv2.imencode(".png", pixels)[1], "png")
        labels = image(header, np.full((24, 32), index % 2, np.uint8))
        messages.append((IMAGES, message_types.COMPRESSED_IMAGE, stamp, picture))
        messages.append((LABELS, message_types.IMAGE, stamp + 1_000_000, labels))
    return [
        Stored(topic, kind, time, bytes(store.serialize_cdr(message, kind))) for topic, kind, time, message in messages
    ]


def definition(msgtype: str) -> str:
    return str(message_types.typestore().generate_msgdef(msgtype, ros_version=2)[0])


def write_mcap(
    path: Path,
    messages: Iterable[Stored],
    *,
    schemas: dict[str, tuple[str, str, str] | None] | None = None,
    encodings: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    **options: Any,
) -> Path:
    """`schemas` by type: (name, encoding, data) instead of the right one, None: no schema; `encodings` by topic."""
    options = {"chunk_size": 8000, "compression": CompressionType.NONE, **options}
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start("ros2", "a test")
        channels: dict[str, int] = {}
        for message in messages:
            if message.topic not in channels:
                schema = (schemas or {}).get(message.type, (message.type, "ros2msg", None))
                number = 0
                if schema is not None:
                    name, language, text = schema
                    number = writer.register_schema(
                        name, language, (definition(name) if text is None else text).encode()
                    )
                encoding = (encodings or {}).get(message.topic, "cdr")
                channels[message.topic] = writer.register_channel(message.topic, encoding, number, metadata or {})
            writer.add_message(channels[message.topic], message.time, message.data, message.time)
        writer.finish()
    return path


def write_sqlite(
    path: Path, messages: Sequence[Stored], *, version: int = 4, encodings: dict[str, str] | None = None
) -> Path:
    """As rosbag2 wrote it: 1 until foxy, 2 with quality of service, 3 until humble, 4 with definitions since iron."""
    types = {message.topic: message.type for message in messages}
    columns = ["id INTEGER PRIMARY KEY", "name TEXT", "type TEXT", "serialization_format TEXT"]
    columns += ["offered_qos_profiles TEXT"] * (version >= 2) + ["type_description_hash TEXT"] * (version >= 4)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(f"CREATE TABLE topics({', '.join(columns)})")
        database.execute(
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"
        )
        database.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
        if version >= 3:
            database.execute("CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT)")
            database.execute("INSERT INTO schema VALUES (?, 'some')", [version])
        if version >= 4:
            database.execute(
                "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT, encoding TEXT,"
                " encoded_message_definition TEXT, type_description_hash TEXT)"
            )
            rows = [(kind, "ros2msg", definition(kind), "") for kind in sorted(set(types.values()))]
            database.executemany("INSERT INTO message_definitions VALUES (NULL, ?, ?, ?, ?)", rows)
        for number, (topic, kind) in enumerate(types.items()):
            row = [number, topic, kind, (encodings or {}).get(topic, "cdr"), *[""] * (len(columns) - 4)]
            database.execute(f"INSERT INTO topics VALUES ({','.join('?' * len(row))})", row)
        numbers = list(types)
        database.executemany(
            "INSERT INTO messages VALUES (NULL, ?, ?, ?)",
            [(numbers.index(message.topic), message.time, message.data) for message in messages],
        )
    return path


def write_metadata(folder: Path, files: Sequence[str], **changes: str) -> None:
    """metadata.yaml of a bag; `changes` replace what it says."""
    values = {
        "version": "5", "storage_identifier": "mcap", "message_count": "25", "compression_format": '""',
        "compression_mode": '""', "offered_qos_profiles": '"- history: 3"', "type_description_hash": '""', **changes,
    }  # fmt: skip
    listed = "\n".join(f"    - {name}" for name in files) or "    []"
    (folder / "metadata.yaml").write_text(f"""rosbag2_bagfile_information:
  version: {values["version"]}
  storage_identifier: {values["storage_identifier"]}
  relative_file_paths:
{listed}
  duration: {{nanoseconds: 1}}
  starting_time: {{nanoseconds_since_epoch: {START}}}
  message_count: {values["message_count"]}
  topics_with_message_count:
    - topic_metadata:
        name: {IMAGES}
        type: {message_types.COMPRESSED_IMAGE}
        serialization_format: cdr
        offered_qos_profiles: {values["offered_qos_profiles"]}
        type_description_hash: {values["type_description_hash"]}
      message_count: {values["message_count"]}
  compression_format: {values["compression_format"]}
  compression_mode: {values["compression_mode"]}
""")


def frames_of(source: BagSource) -> list[tuple[int, bytes, bytes | None]]:
    """(stamp, pixels, labels) of every frame."""
    return [
        (frame.stamp_ns, frame.rgb.tobytes(), None if frame.labels is None else frame.labels.tobytes())
        for frame in source
    ]
