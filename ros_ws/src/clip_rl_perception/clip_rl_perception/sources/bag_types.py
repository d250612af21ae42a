"""How the messages of a topic are deserialised: by the definition in the file, else by what is known here."""

from __future__ import annotations

import functools
from typing import Any

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from clip_rl_perception.errors import one_line
from clip_rl_perception.messages import message_types
from clip_rl_perception.sources.camera_model import CAMERA_INFO
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.storage_file import StoredTopic

READ_BY_FIELD = (
    CAMERA_INFO,
    message_types.IMAGE,
    message_types.COMPRESSED_IMAGE,
    message_types.FFMPEG_PACKET,
    message_types.CLASS_LIST,
    message_types.INSTRUMENTS,
    message_types.STATUS,
)
"""Types whose fields the code here reads: those must be what it takes them for."""

_RULE = "=" * 80 + "\n"


def typestore_for(topic: StoredTopic) -> Any:
    """The rosbags type store that reads the messages of `topic`; raises `SourceError` with the reason if none does."""
    if topic.encoding.startswith("ros1"):
        raise SourceError("ROS 1 messages; `rosbags-convert` makes a ROS 2 bag of a ROS 1 bag")
    if topic.encoding != "cdr":
        raise SourceError(f"{topic.encoding or 'unnamed'} messages, which are not ROS 2's")
    if not topic.type:
        raise SourceError("the file does not name its type")
    return _typestore(topic.type, topic.language, topic.definition, topic.type_hash)


@functools.lru_cache(maxsize=256)
def _typestore(msgtype: str, language: str, definition: str, type_hash: str) -> Any:
    ours, fault = message_types.typestore(), f"type {msgtype} is unknown here"
    if definition:
        try:
            store = get_typestore(Stores.EMPTY)
            store.register(_types(msgtype, language, definition))
            digest = store.hash_rihs01(msgtype)  # fails where a type that it is made of is missing
        except Exception as error:  # parsers and code generators raise what they like
            fault = f"its definition of {msgtype} cannot be read: {one_line(error, 100)}"
        else:
            if msgtype in ours.types and digest == ours.hash_rihs01(msgtype):
                return ours
            _check_fields(msgtype, store, ours)
            return store
    if msgtype not in ours.types:
        raise SourceError(fault)
    if type_hash and type_hash != ours.hash_rihs01(msgtype):
        raise SourceError(
            f"it is another {msgtype} than is known here, by its hash, and has no definition to read it by"
        )
    return ours


def _types(msgtype: str, language: str, definition: str) -> Any:
    if language == "ros2msg":
        return get_types_from_msg(definition, msgtype)
    if language not in ("ros2idl", "omgidl"):
        raise SourceError(f"it is in {language or 'no language that is named'}")
    types: dict[str, Any] = {}
    for part in definition.split(_RULE):
        if part.strip():
            types.update(get_types_from_idl(part.partition("\n")[2] if part.startswith("IDL: ") else part))
    return types


def _check_fields(msgtype: str, store: Any, ours: Any) -> None:
    """Raise `SourceError` where a field that the code here reads is missing or of another type."""
    if msgtype not in READ_BY_FIELD:
        return
    for name in store.fielddefs.keys() & ours.fielddefs.keys():
        # An IDL's octet is a byte, which is stored as a uint8 is.
        there = {field: repr(kind).replace("'byte'", "'uint8'") for field, kind in store.fielddefs[name][1]}
        for field, kind in ours.fielddefs[name][1]:
            later = field in message_types.LATER_FIELDS.get(name, ()) and field not in there
            if there.get(field) != repr(kind) and not later:
                raise SourceError(f"another {name} than is known here: its field {field} differs or is missing")
