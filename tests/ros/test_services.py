"""set_classes and reset while frames come in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clip_rl_interfaces.msg import ClassList, InstrumentTagArray, SceneStatus
from clip_rl_interfaces.srv import SetClasses
from harness import LATCHED, NodeProcess, Tester, image, picture
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

NAMES = ["tissue", "needle holder", "scissors"]


@pytest.fixture
def classes(tester: Tester, node: NodeProcess) -> Iterator[object]:
    inbox = tester.subscribe(ClassList, "/classes", LATCHED)
    yield inbox
    tester.unsubscribe(inbox)


def ask(tester: Tester, **fields: object) -> SetClasses.Response:
    return tester.call(SetClasses, "/set_classes", SetClasses.Request(**fields))


def frame(tester: Tester) -> tuple[Image, SceneStatus]:
    """One frame through the node: its mask and its status."""
    status, mask = tester.subscribe(SceneStatus, "/status"), tester.subscribe(Image, "/mask")
    camera = tester.camera()
    message = image(picture(), tester.now())
    tester.wait(lambda: tester.node.count_publishers("/status") == 1, "the node's publishers")
    camera.publish(message)
    answer = status.wait(lambda s: s.header == message.header), mask.wait(lambda m: m.header == message.header)
    tester.unsubscribe(status)
    tester.unsubscribe(mask)
    tester.node.destroy_publisher(camera)
    return answer[1], answer[0]


def test_new_classes_are_in_force_and_announced(tester: Tester, classes) -> None:
    answer = ask(tester, names=NAMES, prompts=["tissue", "a needle holder", "scissors"], instrument=[False, True, True])
    assert answer.success and "3 classes" in answer.message
    now = classes.wait(lambda message: list(message.names) == NAMES, "the new class list")
    assert now.label_space == "custom" and list(now.ids) == [0, 1, 2]
    assert list(now.prompts) == ["tissue", "a needle holder", "scissors"]
    assert list(now.instrument) == [False, True, True]
    mask, status = frame(tester)
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
    tester: Tester, classes, fields: dict[str, object], phrase: str
) -> None:
    assert ask(tester, names=NAMES).success
    classes.wait(lambda message: list(message.names) == NAMES, "the class list")
    count = len(classes.all())
    answer = ask(tester, **fields)
    assert not answer.success and phrase in answer.message, answer.message
    mask, _ = frame(tester)
    assert set(mask.data) <= {0, 1, 2, 255}
    assert len(classes.all()) == count, "a refused list was announced"


def test_254_classes_are_possible(tester: Tester, classes) -> None:
    names = [f"class-{k}" for k in range(254)]
    assert ask(tester, names=names).success
    mask, status = frame(tester)
    assert status.validity != SceneStatus.INVALID_INPUT, status.reason
    assert max(value for value in set(mask.data)) <= 255
    assert ask(tester, names=NAMES).success


def test_classes_change_mid_stream_without_losing_the_stream(tester: Tester, node: NodeProcess) -> None:
    """Every status stays valid while lists of different lengths take turns under a running camera."""
    status = tester.subscribe(SceneStatus, "/status")
    camera = tester.camera()
    timer = tester.node.create_timer(0.03, lambda: camera.publish(image(picture(), tester.now())))
    status.wait()
    for count in (2, 9, 3):
        assert ask(tester, names=[f"thing-{k}" for k in range(count)]).success
        seen = len(status.all())
        tester.wait(lambda seen=seen: len(status.all()) > seen + 3, "more frames")
    tester.node.destroy_timer(timer)
    tester.node.destroy_publisher(camera)
    assert all(s.validity != SceneStatus.INVALID_INPUT for s in status.all())
    tester.unsubscribe(status)


def test_reset_begins_tracks_anew(tester: Tester, node: NodeProcess) -> None:
    assert ask(tester, names=["thing-0", "thing-1"], instrument=[True, True]).success
    tags = tester.subscribe(InstrumentTagArray, "/instruments")
    camera = tester.camera()

    def send() -> InstrumentTagArray:
        message = image(picture(), tester.now())
        camera.publish(message)
        return tags.wait(lambda t: t.header == message.header, "tags")

    for _ in range(3):
        old = send()
    assert old.instruments, "the random network sees no instrument here: this test needs another picture"
    assert max(tag.age for tag in old.instruments) >= 2
    assert tester.call(Trigger, "/reset", Trigger.Request()).success
    new = send()
    assert min(tag.track_id for tag in new.instruments) == 1
    assert {tag.age for tag in new.instruments} == {0}
    tester.node.destroy_publisher(camera)
    tester.unsubscribe(tags)


def test_services_refuse_while_there_is_nothing_to_serve(tester: Tester, node: NodeProcess) -> None:
    tester.transition("deactivate")
    answer = tester.call(Trigger, "/reset", Trigger.Request())
    assert not answer.success and "not active" in answer.message
    tester.transition("cleanup")
    answer = ask(tester, names=NAMES)
    assert not answer.success and "not configured" in answer.message
    tester.transition("configure")
    tester.transition("activate")
