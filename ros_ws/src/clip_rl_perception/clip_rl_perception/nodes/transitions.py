"""Lifecycle transitions that fail are told; those not possible in the node's state are refused, whatever rclpy does.

Up to rclpy issue 1209's mending (PR 1319) an impossible request raises out of the service's callback, which ends the
executor and with it the node. Later ones refuse by themselves; then this only adds the line that says what is possible.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from clip_rl_perception.errors import one_line


class GuardedNode(LifecycleNode):
    """A lifecycle node that knows why its last transition failed."""

    fault = ""
    """One line; empty where none failed since the node was last configured."""


AnyNode = TypeVar("AnyNode", bound=GuardedNode)
Callback = Callable[[AnyNode, LifecycleState], TransitionCallbackReturn]


def guarded(transition: Callback[AnyNode]) -> Callback[AnyNode]:
    """A transition that tells what it raises, in the log and as the node's `fault`; rclpy would swallow it."""

    @functools.wraps(transition)
    def call(node: AnyNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            node.fault = f"{transition.__name__.removeprefix('on_')} failed: {type(error).__name__}: {one_line(error)}"
            node.get_logger().error(node.fault)
            return TransitionCallbackReturn.ERROR

    return call


def refuse_impossible_transitions(node: LifecycleNode) -> None:
    """Let `~/change_state` answer an impossible request with success false and a warning; the others go to rclpy."""
    service, machine = getattr(node, "_service_change_state", None), getattr(node, "_state_machine", None)
    if service is None or machine is None:  # an rclpy that keeps them elsewhere is left to itself
        return
    change = service.callback

    def answer(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
        possible = _labels(machine.available_transitions)
        wanted = request.transition
        if wanted.label in possible.values() if wanted.label else wanted.id in possible:
            return change(request, response)
        node.get_logger().warning(
            f"transition {_name(wanted, _labels(machine.transition_graph))} refused: it is not possible while "
            f"{machine.current_state[1]}; possible now: {', '.join(possible.values()) or 'none'}"
        )
        response.success = False
        return response

    service.callback = answer


def _labels(transitions: list[tuple[Any, ...]]) -> dict[int, str]:
    """Transitions as the state machine lists them: id -> label."""
    return {number: label for number, label, *_ in transitions}


def _name(wanted: Transition, known: dict[int, str]) -> str:
    """A request's transition for people; a label, where there is one, is what counts."""
    return f"'{wanted.label or known.get(wanted.id, wanted.id)}'"
