# mypy: disable-error-code="no-untyped-call, no-any-return"
"""Compiling loops with numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

FINITE = {"reassoc", "nnan", "nsz", "contract"}
"""What may be assumed of arithmetic where every number is finite, so that loops become vectors."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, without the GIL; keep the machine code on disk where a place for it can be found.

    It does not notice a change of a function that it calls in another file: what belongs together stands together.
    """
    return _compiled(function, False)


def compiled_for_finite(function: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled`, for loops that meet finite numbers alone: sums may be reordered, products and sums joined."""
    return _compiled(function, FINITE)


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a part of the `compiled` functions that call it, which takes less time; Python cannot call it."""
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(nogil=True, error_model="numpy", **options)(function)


def _compiled(function: Callable[..., Any], fastmath: Any) -> Callable[..., Any]:
    try:
        return numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, cache=True)(function)
    except RuntimeError:  # no writable cache folder: compiled anew in each process
        return numba.njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
