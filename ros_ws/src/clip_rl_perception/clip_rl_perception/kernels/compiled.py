# mypy: disable-error-code="no-untyped-call, no-any-return, attr-defined"
"""Compiling loops with numba, and keeping their machine code on disk for the next start.

Numba notices a change of a loop's own file, not of what it calls in another one. So the code lies in a folder that is
named by a hash of all files that may hold loops: after any change of theirs nothing older is found.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numba

FINITE = {"reassoc", "nnan", "nsz", "contract"}
"""What may be assumed of arithmetic where every number is finite, so that loops become vectors."""

_PACKAGE = Path(__file__).parents[1]
_NAME = "clip_rl-loops-"
_LEAST_FREE = 100_000_000
"""Bytes that must be free where code is kept: a disk that fills up half-way through would end the first call."""


_KEPT_S = 7 * 24 * 3600.0
"""How long code of other sources stays, s."""


def source_hash(files: Iterable[Path]) -> str:
    """Hash of the contents of Python files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def choose_folder(bases: Iterable[Path], name: str) -> tuple[Path | None, str]:
    """The folder `name` below the first base that can be written to, made; else None and what is wrong with each."""
    reasons = []
    for base in bases:
        folder = base / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            free = shutil.disk_usage(folder).free
        except OSError as error:
            reasons.append(f"{base}: {error.strerror or error}")
            continue
        if free >= _LEAST_FREE:
            return folder, ""
        reasons.append(f"{base}: {free // 1_000_000} MB free, {_LEAST_FREE // 1_000_000} needed")
    return None, "; ".join(reasons)


def _folder() -> tuple[Path | None, str]:
    """Where machine code of these sources is kept, and why nowhere."""
    name = _NAME + source_hash(Path(__file__).parent.glob("*.py"))
    if numba.config.CACHE_DIR:
        return choose_folder([Path(numba.config.CACHE_DIR)], name)
    beside = _PACKAGE / "__pycache__"
    folder, reason = choose_folder([beside, *_user_caches()], name)
    if folder is not None and folder.parent == beside:
        _clear(beside, folder)
    return folder, reason


def _clear(beside: Path, folder: Path) -> None:
    """Remove what earlier sources left; what is new may belong to a process that still runs them."""
    for older in beside.glob(f"{_NAME}*"):
        with contextlib.suppress(OSError):  # another process may be doing the same
            if older != folder and time.time() - older.stat().st_mtime > _KEPT_S:
                shutil.rmtree(older)


def _user_caches() -> list[Path]:
    """The user's folder for caches, if there is a user with a home."""
    try:
        return [Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")]
    except RuntimeError:
        return []


CACHE, WHY_NO_CACHE = _folder()
"""Folder of the machine code; None where none can be kept, so that each process compiles anew, and the reason."""


def is_warm(module: str = "") -> bool:
    """Whether an earlier process kept machine code of these sources, or of one of their modules."""
    return CACHE is not None and next(CACHE.rglob(f"{module}*.nbi"), None) is not None


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, without the GIL; keep the machine code in `CACHE`."""
    return _compiled(function, False)


def compiled_for_finite(function: Callable[..., Any]) -> Callable[..., Any]:
    """`compiled`, for loops that meet finite numbers alone: sums may be reordered, products and sums joined."""
    return _compiled(function, FINITE)


def helper(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a part of the `compiled` functions that call it, which takes less time; Python cannot call it."""
    options: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(nogil=True, error_model="numpy", **options)(function)


def _compiled(function: Callable[..., Any], fastmath: Any) -> Callable[..., Any]:
    if CACHE is None:
        return numba.njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
    given, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(CACHE)  # read while decorating, alone
    try:
        return numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, cache=True)(function)
    finally:
        numba.config.CACHE_DIR = given
