"""Instruments in space -> messages -> bytes -> back: every field of the interface files, without ROS."""

from __future__ import annotations

import dataclasses
import math
import types
from typing import Any

import pytest
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.message_types import BAG_TYPES, MessageTypes, header
from clip_rl_perception.messages.space_messages import INSTRUMENTS_3D, space_message, space_scene_of
from clip_rl_perception.stereo.space_types import (
    NO_VECTOR,
    Covariance,
    Instrument3D,
    Keypoint3D,
    Source,
    SpaceScene,
    SpaceValidity,
)
from every_field import MESSAGES, message_fields

FOUND = Keypoint3D("tip_1", "", Source.STEREO, (0.01, -0.02, 0.1), (1.0, 2, 3, 4, 5, 6, 7, 8, 9), 50.25, 0.25, 0.75)
LOST = Keypoint3D("wrist", "covered in the left eye")
TOOL = Instrument3D(
    3, 4, "instrument", "needle driver", "", (FOUND, LOST), (0.0, 0.6, 0.8), (0.5, *(0.25,) * 8), 0.125, 0.09, 0.02
)
SCENE = SpaceScene(SpaceValidity.DOUBTFUL, "late", (TOOL, Instrument3D(reason="no pair")), 0.005, 1.5, 0.5, 1.25)
PLAIN = MessageTypes(lambda name: types.SimpleNamespace, list)


def through_bytes(message: Any) -> Any:
    store = message_types.typestore()
    return store.deserialize_cdr(store.serialize_cdr(message, INSTRUMENTS_3D), INSTRUMENTS_3D)


def same(one: Any, other: Any) -> bool:
    """Equal, NaN as NaN."""
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and same(list(vars(one).values()), list(vars(other).values()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == other or (one != one and other != other)


@pytest.mark.parametrize(("kinds", "sent"), [(BAG_TYPES, through_bytes), (PLAIN, lambda made: made)])
def test_a_scene_in_space_survives(kinds: MessageTypes, sent: Any) -> None:
    made = sent(space_message(header(17, "left", kinds), header(18, "right", kinds), SCENE, kinds, age_ms=2.0))
    assert (made.header.stamp.nanosec, made.right_header.stamp.nanosec, made.header.frame_id) == (17, 18, "left")
    assert (made.age_ms, made.instruments[0].valid, made.instruments[1].valid) == (2.0, True, False)
    assert [point.valid for point in made.instruments[0].keypoints] == [True, False]
    assert same(space_scene_of(made), SCENE)
    assert math.isnan(made.instruments[1].axis.x) and math.isnan(made.instruments[0].keypoints[1].covariance[8])


def test_what_a_later_version_says_is_not_used() -> None:
    made = space_message(header(17, "left", PLAIN), header(18, "right", PLAIN), SCENE, PLAIN, age_ms=2.0)
    made.validity, made.instruments[0].keypoints[0].source = 77, 9
    found = space_scene_of(made)
    assert found.validity is SpaceValidity.INVALID_INPUT
    assert found.reason == "validity 77 is unknown here; is it of another version?; late"
    assert found.instruments[0].keypoints[0].source is Source.NONE and not found.instruments[0].keypoints[0].valid


def test_every_field_of_the_files_is_filled() -> None:
    made = space_message(header(1), None, SCENE)
    for name, message in (
        ("Instrument3DArray", made),
        ("Instrument3D", made.instruments[0]),
        ("Keypoint3D", made.instruments[0].keypoints[0]),
    ):
        assert {field for field in vars(message) if not field.startswith("_")} >= set(message_fields(name))
    assert made.right_header.stamp.sec == 0 and made.right_header.frame_id == ""


@pytest.mark.parametrize(("name", "kind"), [("Keypoint3D", Source), ("Instrument3DArray", SpaceValidity)])
def test_constants_are_those_of_the_files(name: str, kind: Any) -> None:
    lines = (line.partition("#")[0].split() for line in (MESSAGES / f"{name}.msg").read_text().splitlines())
    constants = dict(words[1].split("=") for words in lines if len(words) == 2 and "=" in words[1])
    assert {entry: int(value) for entry, value in constants.items()} == {entry.name: entry.value for entry in kind}


def test_nothing_is_known_unless_it_is_said() -> None:
    nothing: Covariance = Keypoint3D("tip_1").covariance
    assert not Keypoint3D("tip_1").valid and all(map(math.isnan, (*NO_VECTOR, *nothing)))
    assert not Instrument3D().valid
