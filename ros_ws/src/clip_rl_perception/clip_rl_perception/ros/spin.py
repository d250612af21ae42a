"""Runs a node until SIGINT or SIGTERM, and ends for certain.

The executor spins on a thread of its own, so that the main thread takes signals at once. Ending is orderly (finish the
callback in hand, then the node's own `close`), but a callback that never returns cannot keep the process alive.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

import rclpy
from rclpy.exceptions import InvalidHandle
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from clip_rl_perception.errors import one_line
from clip_rl_perception.ros.service_manager import of_this_process, speak_for_this_process
from clip_rl_perception.ros.shutdown import ShutdownSignals
from clip_rl_perception.threads.memory import keep_freed_memory

AnyNode = TypeVar("AnyNode", bound=Node)

NO_LOG_FILE = "--disable-external-lib-logs"
SHARED_BYTES = 68 << 20
"""What one participant of config/fastdds_shm.xml takes of /dev/shm; Docker gives 64 MB to a whole container."""
MORE_SHARED_MEMORY = "start the container with --shm-size=1g or --ipc=host"
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


def init(arguments: list[str] | None) -> None:
    """rclpy.init without its signal handlers, and where no log file can be written without one, which rcl dies of.

    Whoever runs in a container under a number without a name has no home; one line says which variable to set.
    """
    given = list(sys.argv if arguments is None else arguments)
    if (why := _no_log_folder()) and NO_LOG_FILE not in given:
        sys.stderr.write(f"no log file is written: {why}; set ROS_LOG_DIR to a folder that can be written to\n")
        given += ["--ros-args", NO_LOG_FILE]
    if small := _small_shared_memory():
        sys.stderr.write(f"{small}; {MORE_SHARED_MEMORY}\n")
        _too_small.append(f"{small}; {MORE_SHARED_MEMORY}")
    rclpy.init(args=given, signal_handler_options=SignalHandlerOptions.NO)


_too_small: list[str] = []


def shared_memory_fault() -> str:
    """Why this process has no shared memory for images, as it was when it began, and what to do; empty where it has."""
    return _too_small[-1] if _too_small else ""


def _small_shared_memory() -> str:
    """Why large images will not travel through shared memory though a profile asks for it; empty where they will."""
    profile = os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE") or os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE")
    try:
        if not profile or "SHM" not in Path(profile).read_text(encoding="utf-8"):
            return ""
        free = shutil.disk_usage("/dev/shm").free
    except (OSError, ValueError):  # no such profile, no such folder: what then happens is the middleware's affair
        return ""
    if free > SHARED_BYTES:
        return ""
    return (
        f"/dev/shm has {free >> 20} MB free, this process's images need {SHARED_BYTES >> 20}: large ones will get lost"
    )


def _no_log_folder() -> str:
    """Why there can be no folder where rcl looks for it (rcl_logging_get_logging_directory); empty where there is."""
    home = os.environ.get("HOME", "")
    named = os.environ.get("ROS_LOG_DIR") or f"{os.environ.get('ROS_HOME') or '~/.ros'}/log"
    if named.startswith("~") and not home:
        return "this user has no HOME"
    folder = Path(home + named[1:] if named.startswith("~") else named)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder}: {error.strerror or error}"


@contextlib.contextmanager
def living(make: Callable[[], AnyNode], arguments: list[str] | None) -> Iterator[AnyNode]:
    """A node, and rclpy around it, for as long as the block runs; signals are the caller's.

    `arguments` are the command line with ROS's own part; None: the process's.
    """
    init(arguments)
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
        2 where the node could not be made, or ROS's part of the command line not be read.
    """
    speak_for_this_process()
    keep_freed_memory()
    try:
        init(arguments)
    except RuntimeError as error:  # rclpy's own errors: what follows --ros-args cannot be read
        sys.stderr.write(f"{name}: {one_line(error)}\n")
        return 2
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
    of_this_process().ending()
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
