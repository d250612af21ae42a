from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Iterator

import pytest

# A shell's background jobs start with Ctrl-C ignored, and their children inherit it; tests of Ctrl-C need it back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SS_DISABLE = 2
"""sigaltstack(2): run signal handlers on the ordinary stack."""


class _SignalStack(ctypes.Structure):
    _fields_ = (("ss_sp", ctypes.c_void_p), ("ss_flags", ctypes.c_int), ("ss_size", ctypes.c_size_t))


@pytest.fixture(autouse=True)
def ordinary_signal_stack() -> Iterator[None]:
    """Take back the signal stack that libraries set: it is too small for the wide registers of some CPUs.

    Python runs its handlers there, so the first SIGCHLD of a data loader's worker would end the whole test run.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).sigaltstack(ctypes.byref(_SignalStack(None, SS_DISABLE, 0)), None)
    yield
