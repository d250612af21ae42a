"""set_classes and reset while frames come in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clip_rl_interfaces.msg import ClassList, InstrumentTagArray, SceneStatus
from clip_rl_interfaces.srv import SetClasses, SetTypes
from harness import LATCHED, Inbox, NodeProcess, Rig, Tester, image, later, picture
from random_checkpoint import save_random_checkpoint
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

NAMES = ["tissue", "needle holder", "scissors"]


@pytest.fixture
def classes(tester: Tester, node: NodeProcess) -> Iterator[Inbox]:
    inbox = tester.subscribe(ClassList, "/classes", LATCHED)
    yield inbox
    tester.unsubscribe(inbox)


def ask(tester: Tester, **fields: object) -> SetClasses.Response:
    return tester.call(SetClasses, "/set_classes", SetClasses.Request(**fields))


def frame(rig: Rig) -> tuple[Image, SceneStatus]:
    """One frame through the node: its mask and its status."""
    message = image(picture(), rig.tester.now())
    status = rig.send(message)
    return rig.of(rig.mask, message), status


def test_new_classes_are_in_force_and_announced(rig: Rig, tester: Tester, classes: Inbox) -> None:
    answer = ask(tester, names=NAMES, prompts=["tissue", "a needle holder", "scissors"], instrument=[False, True, True])
    assert answer.success and "3 classes" in answer.message
    now = classes.wait(lambda message: list(message.names) == NAMES, "the new class list")
    assert now.label_space == "custom" and list(now.ids) == [0, 1, 2]
    assert list(now.prompts) == ["tissue", "a needle holder", "scissors"]
    assert list(now.instrument) == [False, True, True]
    mask, status = frame(rig)
    assert status.validity != SceneStatus.INVALID_INPUT, status.reason
    assert set(mask.data) <= {0, 1, 2, 255}


@pytest.mark.parametrize(
    ("fields", "phrase"),
    [
        ({"names": []}, "0 classes"),
        ({"names": ["a", "b", "a"]}, "'a' appears twice"),
        ({"names": [f"class-{k}" for k in range(255)]}, "255 classes"),
        ({"names": ["a", " "]}, "empty name"),
        ({"names": ["a", "b"], "prompts": ["only one"]}, "1 prompts for 2 names"),
        ({"names": ["a", "b"], "prompts": ["", "b"]}, "empty prompt"),
        ({"names": ["a", "b"], "instrument": [True]}, "1 instrument for 2 names"),
    ],
)
def test_impossible_classes_are_refused_and_the_old_ones_kept(
    rig: Rig, tester: Tester, classes: Inbox, fields: dict[str, object], phrase: str
) -> None:
    assert ask(tester, names=NAMES).success
    classes.wait(lambda message: list(message.names) == NAMES, "the class list")
    answer = ask(tester, **fields)
    assert not answer.success and phrase in answer.message, answer.message
    mask, _ = frame(rig)
    assert set(mask.data) <= {0, 1, 2, 255}
    assert list(classes.all()[-1].names) == NAMES, "a refused list was announced"


def test_254_classes_are_possible(rig: Rig, tester: Tester, classes: Inbox) -> None:
    names = [f"class-{k}" for k in range(254)]
    assert ask(tester, names=names).success
    mask, status = frame(rig)
    assert status.validity != SceneStatus.INVALID_INPUT, status.reason
    assert max(value for value in set(mask.data)) <= 255
    assert ask(tester, names=NAMES).success


def test_classes_change_mid_stream_without_losing_the_stream(rig: Rig, tester: Tester) -> None:
    """Every status stays valid while lists of different lengths take turns under a running camera."""
    timer = tester.node.create_timer(0.03, lambda: rig.camera.publish(image(picture(), tester.now())))
    rig.status.wait()
    for count in (2, 9, 3):
        assert ask(tester, names=[f"thing-{k}" for k in range(count)]).success
        seen = len(rig.status.all())
        tester.wait(lambda seen=seen: len(rig.status.all()) > seen + 3, "more frames")
    tester.node.destroy_timer(timer)
    assert all(status.validity != SceneStatus.INVALID_INPUT for status in rig.status.all())
    assert {max(mask.data) for mask in rig.mask.all()} <= {*range(9), 255}


def test_reset_begins_tracks_anew(rig: Rig, tester: Tester) -> None:
    assert ask(tester, names=["thing-0", "thing-1"], instrument=[True, True]).success

    begun = tester.now()

    def send(index: int) -> InstrumentTagArray:
        # On a slow machine the time between two frames is longer than a track lives.
        message = image(picture(), later(begun, 0.001 * index))
        rig.send(message)
        return rig.of(rig.tags, message)

    tester.set_parameter("min_instrument_area", 0.0)
    for index in range(3):
        old = send(index)
    assert old.instruments, "the random network sees no instrument here: this test needs another picture"
    assert max(tag.age for tag in old.instruments) >= 2
    assert tester.call(Trigger, "/reset", Trigger.Request()).success
    new = send(3)
    assert min(tag.track_id for tag in new.instruments) == 1
    assert {tag.age for tag in new.instruments} == {0}


def test_services_refuse_while_there_is_nothing_to_serve(session_rig: Rig, tester: Tester) -> None:
    tester.transition("deactivate")
    answer = tester.call(Trigger, "/reset", Trigger.Request())
    assert not answer.success and "not active" in answer.message
    tester.transition("cleanup")
    answer = ask(tester, names=NAMES)
    assert not answer.success and "not configured" in answer.message
    tester.transition("configure")
    tester.transition("activate")
    session_rig.prime()


def ask_types(tester: Tester, types: list[str]) -> SetTypes.Response:
    return tester.call(SetTypes, "/set_types", SetTypes.Request(types=types))


@pytest.mark.parametrize(
    ("types", "phrase"),
    [
        (["hook", " "], "text 1 is empty"),
        (["hook", "Hook"], "'Hook' is there twice"),
        (["x" * 201], "at most 200 can be"),
        ([f"type {k}" for k in range(255)], "255 classes"),
        (["hook"], "no branch for close-ups"),
    ],
)
def test_impossible_types_are_refused_in_one_line(rig: Rig, tester: Tester, types: list[str], phrase: str) -> None:
    """The checkpoint of these tests has no branch for close-ups, so that no list can be in force."""
    answer = ask_types(tester, types)
    assert not answer.success and phrase in answer.message and "\n" not in answer.message, answer.message
    _, status = frame(rig)
    assert status.validity != SceneStatus.INVALID_INPUT, status.reason


def test_no_types_are_always_possible(rig: Rig, tester: Tester) -> None:
    answer = ask_types(tester, [])
    assert answer.success and answer.message == "types are no longer named"
    frame(rig)


def test_types_are_called_at_run_time_in_any_language_one_and_a_hundred(tester: Tester, tmp_path: Path) -> None:
    """A node of its own, whose network has a branch for close-ups: random, but of one type there is no doubt."""
    checkpoint = save_random_checkpoint(tmp_path / "model", close_up=True)
    parameters = {"model": str(checkpoint), "engine": "torch", "autostart": True, "max_age_ms": 0.0}
    parameters |= {"min_instrument_area": 0.0, "qos_overrides./types/image.subscription.reliability": "reliable"}
    with NodeProcess(tmp_path / "node.log", parameters=parameters, namespace="types"):
        rig = Rig(tester, "types")
        rig.prime()
        things = SetClasses.Request(names=["thing-0", "thing-1"], instrument=[True, True])
        assert tester.call(SetClasses, "/types/set_classes", things).success
        begun, sent = tester.now(), 0

        def told(types: list[str]) -> set[tuple[str, float]]:
            """Names and probabilities in the first frame that has any, or in the last of 20, after asking for these."""
            nonlocal sent
            answer = tester.call(SetTypes, "/types/set_types", SetTypes.Request(types=types))
            assert answer.success, answer.message
            seen: set[tuple[str, float]] = set()
            for _ in range(20):
                sent += 1
                message = image(picture(240, 320), later(begun, 0.04 * sent))
                assert rig.send(message).validity != SceneStatus.INVALID_INPUT
                seen = {(tag.type_name, tag.type_probability) for tag in rig.of(rig.tags, message).instruments}
                if any(name for name, _ in seen):
                    break
            return {(name, round(probability, 6)) for name, probability in seen if name}

        assert told(["鑷子"]) == {("鑷子", 1.0)}
        hundred = [f"щипцы {number}" for number in range(100)]
        found = told(hundred)
        assert found and {name for name, _ in found} <= {"unknown", *hundred}
        assert told([]) == set()
        rig.close()
