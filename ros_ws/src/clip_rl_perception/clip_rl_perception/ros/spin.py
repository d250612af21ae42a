"""Runs a node until SIGINT or SIGTERM, and ends for certain.

The executor spins on a thread of its own, so that the main thread takes signals at once. Ending is orderly (finish the
callback in hand, then the node's own `close`), but a callback that never returns cannot keep the process alive.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol, TypeVar

import rclpy
from rclpy.exceptions import InvalidHandle
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from clip_rl_perception.ros.shutdown import ShutdownSignals

AnyNode = TypeVar("AnyNode", bound=Node)

END_LIMIT_S = 15.0
"""After this long an ending that hangs is cut off."""


class ClosableNode(Protocol):
    """For annotations: an rclpy node that can be put to rest from outside the executor."""

    def close(self) -> None:
        """Stop threads, free the device."""
        ...

    def destroy_node(self) -> None:
        """Take it off the middleware."""
        ...


@contextlib.contextmanager
def living(make: Callable[[], AnyNode], arguments: list[str] | None) -> Iterator[AnyNode]:
    """A node, and rclpy around it, for as long as the block runs; signals are the caller's.

    `arguments` are the command line with ROS's own part; None: the process's.
    """
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make()
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


def serve(
    make: Callable[[], ClosableNode],
    arguments: list[str] | None,
    *,
    name: str,
    threads: int,
    refused: tuple[type[Exception], ...],
) -> int:
    """The life of a node's process: it ends here after a signal or a crash.

    Args:
        make: makes the node.
        arguments: as of `living`.
        name: stands before what is said when it cannot be made.
        threads: of the executor.
        refused: what `make` raises for what a user gave; one line says it.

    Returns:
        2 where the node could not be made.
    """
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        status = run(make(), threads=threads)
    except refused as error:
        sys.stderr.write(f"{name}: {error}\n")
        rclpy.try_shutdown()
        return 2
    leave(status)


def run(node: ClosableNode, *, threads: int) -> int:
    """Spin `node` until a signal comes; returns the exit status: 0 after a signal, 1 after a crash of the executor."""
    # In force until the process is gone: who ends a process group may signal twice, and the ending must go on.
    stop = ShutdownSignals()
    crashed = threading.Event()
    executor = SingleThreadedExecutor() if threads == 1 else MultiThreadedExecutor(num_threads=threads)
    executor.add_node(node)

    def spin() -> None:
        try:
            while not stop.is_set():
                try:
                    executor.spin()
                    break
                except InvalidHandle:
                    # rclpy issue 1355: an entity was destroyed between becoming ready and being taken; go on
                    continue
        except Exception:
            traceback.print_exc()
            crashed.set()
        finally:
            stop.set()

    spinning = threading.Thread(target=spin, name="clip_rl_executor", daemon=True)
    spinning.start()
    stop.wait()
    # A thread without Python's lock: it fires though one hangs inside the middleware with the lock in its hands.
    faulthandler.dump_traceback_later(END_LIMIT_S, exit=True)
    executor.shutdown(timeout_sec=END_LIMIT_S / 3)
    spinning.join(END_LIMIT_S / 3)
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()
    return 1 if crashed.is_set() else 0


def leave(status: int) -> NoReturn:
    """End the process at once, when everything is closed.

    The interpreter would spend seconds on taking down torch's modules, and launch kills after five. The DDS participant
    must be gone before: one that vanishes without a word leaves its shared memory behind, and for 20 s its peers go on
    talking to it. It ends with the last reference to the node, some of which are cycles.
    """
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
