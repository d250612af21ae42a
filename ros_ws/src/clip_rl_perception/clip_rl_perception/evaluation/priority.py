"""Lets work that can wait give way to inference on a busy machine."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

LOW = 10
"""Niceness of such work; on Linux a thread has its own."""


def lower_this_thread() -> None:
    """Give the calling thread a low priority; elsewhere than on Linux, where it would be the whole process, nothing."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW)
