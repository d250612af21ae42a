"""Lets work that can wait give way to inference on a busy machine."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

LOW = 10
"""Niceness of such work; on Linux a thread has its own."""

SWITCH_INTERVAL_S = 1e-4
"""How soon a thread of Python gives way to another that waits, s."""


def hand_over_quickly() -> None:
    """For a process that infers on one of several threads: let them take turns every 0.1 ms instead of every 5 ms.

    Inference leaves and re-enters Python many times a frame, and each re-entry may wait a whole turn of the thread that
    takes, reads or writes another frame. On two cores at 30 Hz that waiting was longer than the work.
    """
    if sys.getswitchinterval() > SWITCH_INTERVAL_S:  # each setting rounds it down
        sys.setswitchinterval(SWITCH_INTERVAL_S)


def lower_this_thread() -> None:
    """Give the calling thread a low priority; elsewhere than on Linux, where it would be the whole process, nothing."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW)
