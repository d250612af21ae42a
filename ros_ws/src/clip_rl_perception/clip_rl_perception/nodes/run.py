"""Runs a node until SIGINT or SIGTERM, and ends for certain.

The executor spins on a thread of its own, so that the main thread takes signals at once. Ending is orderly (finish the
callback in hand, then the node's own `close`), but a callback that never returns cannot keep the process alive.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from typing import Protocol

import rclpy
from rclpy.exceptions import InvalidHandle
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node

END_LIMIT_S = 15.0
"""After this long an ending that hangs is cut off."""


class Closable(Protocol):
    """A node that can be put to rest from outside the executor."""

    def close(self) -> None:
        """Stop threads, free the device."""
        ...


class ClosableNode(Node, Closable):
    """For annotations: an rclpy node with `close`."""


def run(node: ClosableNode, *, threads: int) -> int:
    """Spin `node` until a signal comes; returns the exit status: 0 after a signal, 1 after a crash of the executor."""
    stop = threading.Event()
    crashed = threading.Event()
    executor = MultiThreadedExecutor(num_threads=threads)
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
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    spinning.start()
    stop.wait()
    for number, handler in previous.items():
        signal.signal(number, handler)
    limit = threading.Timer(END_LIMIT_S, _cut_off)  # runs on while the interpreter joins the executor's pool
    limit.daemon = True
    limit.start()
    executor.shutdown(timeout_sec=END_LIMIT_S / 3)
    spinning.join(END_LIMIT_S / 3)
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()
    return 1 if crashed.is_set() else 0


def _cut_off() -> None:
    sys.stderr.write(f"perception_node: not ended within {END_LIMIT_S:.0f} s, leaving now\n")
    sys.stderr.flush()
    os._exit(1)
