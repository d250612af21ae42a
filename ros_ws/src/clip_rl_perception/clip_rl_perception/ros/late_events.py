"""Events of subscriptions and publishers, kept from ending an executor's `spin` and from making it run in circles.

rclpy issues 1206 and 1355: where one is destroyed while an executor, anybody's, is about to look at it, `spin` ends
with InvalidHandle, and with it the process that it serves. And a message that came wakes whoever waits for events of
its subscription, by the middleware's condition that both share, until it is taken: an executor of several threads hands
the taking to one of them, waits for all the rest meanwhile, and wakes at once, again and again.
"""

from __future__ import annotations

from typing import Any, TypeVar

from rclpy.exceptions import InvalidHandle

Entity = TypeVar("Entity")


def ending_well(entity: Entity) -> Entity:
    """The subscription or publisher, which may now be destroyed at any moment: its events come to nothing then.

    While its message is about to be taken, nothing waits for them.
    """
    for handler in getattr(entity, "event_handlers", ()):
        _end_well(handler, entity)
    return entity


def _end_well(handler: Any, entity: Any) -> None:
    """Put this before three methods of a Waitable that an executor calls from its loop and from its workers."""
    add, is_ready, take = handler.add_to_wait_set, handler.is_ready, handler.take_data
    waited_for = False

    def add_to_wait_set(wait_set: Any) -> None:
        nonlocal waited_for
        waited_for = False
        if getattr(entity, "_executor_event", False):  # handed over; the executor is woken when it is taken
            return
        try:
            add(wait_set)
        except InvalidHandle:
            return
        waited_for = True

    def take_data() -> Any:
        try:
            return take()
        except InvalidHandle:
            return None

    handler.add_to_wait_set, handler.take_data = add_to_wait_set, take_data
    handler.is_ready = lambda wait_set: waited_for and is_ready(wait_set)
