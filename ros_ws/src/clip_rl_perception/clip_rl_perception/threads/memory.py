"""Freed memory: kept where the next frame will want it again, given back when loading is over."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

KEPT_BYTES = 512 << 20
"""Freed memory at the end of a heap that stays with the process, up to this."""

AHEAD_BYTES = 64 << 20
"""What a heap grows by, beside what is asked for. Address space: only what is written to becomes memory."""

FROM_HEAP_BYTES = 32 << 20
"""Blocks up to this come from heaps: the most that glibc allows, more than a 4K image."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""Of glibc's malloc.h."""


def keep_freed_memory() -> bool:
    """For a process that takes and sends images: its allocator gives memory back to the kernel seldom.

    glibc returns every block of an image's size when it is freed, and the kernel clears each of its pages when the
    next image is written: a quarter of the processor time of a node at 1280x1024 (docs/results/stereo.md).

    Returns:
        False where nothing was changed: another C library, or one whose settings the environment gives
        (``MALLOC_...``, ``GLIBC_TUNABLES``).
    """
    given = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    )
    mallopt = None if given else _of_glibc("mallopt")
    if mallopt is None:
        return False
    wanted = {_M_MMAP_THRESHOLD: FROM_HEAP_BYTES, _M_TRIM_THRESHOLD: KEPT_BYTES, _M_TOP_PAD: AHEAD_BYTES}
    return all([mallopt(option, value) == 1 for option, value in wanted.items()])


def give_back_freed_memory() -> None:
    """What loading has freed goes back to the kernel: hundreds of megabytes that frames do not want again."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(ctypes.c_size_t(0))


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
