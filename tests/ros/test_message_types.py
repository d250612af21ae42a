"""Bags written without ROS carry the type hashes that ROS itself computed when it compiled the messages."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from clip_rl_perception.messages import message_types

NAMES = (
    "ClassList", "InstrumentTag", "InstrumentTagArray", "SceneStatus",
    "Instrument3D", "Instrument3DArray", "Keypoint3D",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_hashes_agree_with_the_compiled_messages(name: str) -> None:
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    (file, *_) = [
        file
        for prefix in prefixes
        if (file := prefix / "share" / "clip_rl_interfaces" / "msg" / f"{name}.json").is_file()
    ]
    hashes = {entry["type_name"]: entry["hash_string"] for entry in json.loads(file.read_text())["type_hashes"]}
    full = f"clip_rl_interfaces/msg/{name}"
    assert message_types.typestore().hash_rihs01(full) == hashes[full]


def test_a_message_is_the_same_bytes_either_way() -> None:
    from clip_rl_interfaces.msg import SceneStatus
    from rclpy.serialization import deserialize_message, serialize_message

    ours = SceneStatus(
        validity=3, reason="no tissue", novelty=1.5, processed=7, model_id="0123456789ab", engine="torch"
    )
    ours.header.stamp.sec, ours.header.stamp.nanosec, ours.header.frame_id = 5, 17, "cam"
    data = serialize_message(ours)
    read = message_types.typestore().deserialize_cdr(data, message_types.STATUS)
    assert (read.reason, read.processed, message_types.stamp_of(read)) == ("no tissue", 7, 5_000_000_017)
    assert message_types.stamp_in(data) == 5_000_000_017
    written = message_types.typestore().serialize_cdr(read, message_types.STATUS)
    assert deserialize_message(bytes(written), SceneStatus) == ours
