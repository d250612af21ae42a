"""Tells files from others by what is in them, however they are called and wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from clip_rl_perception.errors import ClipRlError


def files_digest(paths: Iterable[Path]) -> str:
    """Of the files in this order, 16 hex digits. Raises `ClipRlError` that names one that cannot be read."""
    found = hashlib.sha256()
    for path in paths:
        try:
            found.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise ClipRlError(f"cannot read {path}: {error.strerror}") from error
    return found.hexdigest()[:16]
