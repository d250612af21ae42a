"""Events of subscriptions and publishers while an executor has one of them in hand: destroyed, or with a message."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from clip_rl_perception.nodes.image_subscription import ImageInput
from clip_rl_perception.nodes.publishers import Outputs
from harness import GUARD_S, LATCHED, POLL_S
from rclpy.event_handler import EventHandler
from rclpy.exceptions import InvalidHandle
from rclpy.executors import SingleThreadedExecutor, TimeoutException
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image


def listening(node: LifecycleNode, received: Callable[[Any], None]) -> ImageInput:
    """The node's input, which tells only what it receives."""
    return ImageInput(
        node,
        transport="raw",
        received=received,
        lost=lambda count: None,
        longest_gap_s=2.0,
        incompatible=lambda topic, text: None,
    )


class Spun:
    """A lifecycle node and an executor that goes step by step."""

    def __init__(self, domain: int) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = LifecycleNode("node", namespace="spun", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def event(self) -> Callable[[], None]:
        """The handler of the next event, ready and not yet called; what comes before is handled."""
        for _ in range(round(GUARD_S)):
            handler, entity, _ = self.executor.wait_for_ready_callbacks(timeout_sec=GUARD_S)
            if isinstance(entity, EventHandler):
                return lambda: (handler(), handler.result())  # type: ignore[return-value]
            handler()
        pytest.fail("no event came")

    def until(self, condition: Callable[[], bool]) -> bool:
        """Spin until true; False when the guard is over."""
        for _ in range(round(GUARD_S / POLL_S)):
            if condition():
                return True
            self.executor.spin_once(timeout_sec=POLL_S)
        return False


@pytest.fixture
def spun(domain: int) -> Iterator[Spun]:
    spun = Spun(domain)
    yield spun
    spun.executor.shutdown()
    spun.node.destroy_node()
    rclpy.shutdown(context=spun.context)


def test_images_come_again_after_a_subscription_that_an_event_outlived(spun: Spun) -> None:
    """Deactivated in this moment, the node was deaf for images from then on, whatever it was asked to do."""
    images: list[Any] = []

    def subscribe() -> ImageInput:
        return listening(spun.node, images.append)

    first = subscribe()
    camera = spun.node.create_publisher(Image, "image", 10)
    matched = spun.event()
    first.close()
    with contextlib.suppress(InvalidHandle):  # a later rclpy may catch it itself
        matched()
    second = subscribe()
    spun.node.create_timer(0.02, lambda: camera.publish(Image()))
    assert spun.until(lambda: bool(images)), "the second subscription gets no images"
    second.close()


def test_the_lifecycle_goes_on_after_publishers_that_an_event_outlived(spun: Spun) -> None:
    """Services and timers of the node's default group answered no more."""
    outputs = Outputs(spun.node, lambda topic, text: None)
    spun.node.create_subscription(Image, "mask", lambda _: None, LATCHED)
    refused = spun.event()
    outputs.destroy()
    with contextlib.suppress(InvalidHandle):  # a later rclpy may catch it itself
        refused()
    ticks: list[int] = []
    spun.node.create_timer(0.02, lambda: ticks.append(1))
    assert spun.until(lambda: bool(ticks)), "the default group is locked"


def test_what_is_destroyed_while_the_executor_looks_at_it_comes_to_nothing(spun: Spun) -> None:
    """Between looking at a node's events and waiting for them, another thread may deactivate the node."""
    before = set(spun.node.waitables)
    source = listening(spun.node, lambda _: None)
    outputs = Outputs(spun.node, lambda topic, text: None)
    events = set(spun.node.waitables) - before
    assert len(events) > 3 and all(isinstance(event, EventHandler) for event in events)
    source.close()
    outputs.destroy()
    for event in events:
        event.add_to_wait_set(None)
        assert event.is_ready(None) is False
        event._ready_to_take_data = True
        assert event.take_data() is None


def test_events_do_not_wake_the_executor_while_a_message_is_about_to_be_taken(
    spun: Spun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of an executor take messages; until they do, its loop turned without a pause, 6 times a message."""
    waited_for: list[EventHandler] = []
    add = EventHandler.add_to_wait_set
    monkeypatch.setattr(
        EventHandler, "add_to_wait_set", lambda self, wait_set: waited_for.append(self) or add(self, wait_set)
    )
    images: list[Any] = []
    taken = listening(spun.node, images.append)
    events = set(taken._subscription.event_handlers)
    camera = spun.node.create_publisher(Image, "image", 10)
    assert spun.until(lambda: taken.publishers == 1)
    assert events and events <= set(waited_for)

    taken._subscription._executor_event = True  # as from when it is handed to a thread until that has taken it
    camera.publish(Image(height=7))
    waited_for.clear()
    with contextlib.suppress(TimeoutException):
        _, entity, _ = spun.executor.wait_for_ready_callbacks(timeout_sec=0.2)
        assert entity is not taken._subscription and entity not in events
    assert waited_for and not events & set(waited_for), "the message would wake the executor again and again"

    taken._subscription._executor_event = False
    assert spun.until(lambda: len(images) == 1) and images[0].height == 7
    spun.node.destroy_publisher(camera)
    assert spun.until(lambda: taken.publishers == 0), "events come again afterwards"
