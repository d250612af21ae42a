"""Files written whole or not at all: beside their place and renamed, so that no reader ever sees half of one."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from clip_rl_perception.errors import ClipRlError


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`; missing folders are made, and what was there before stays until all is written.

    Raises:
        ClipRlError: it cannot be written; says why.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise ClipRlError(f"cannot write {path}: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, as `write_bytes` does.

    Raises:
        ClipRlError: it cannot be written; says why.
    """
    write_bytes(path, text.encode("utf-8", errors="surrogateescape"))


def write_json(path: Path, data: Any) -> None:
    """Write `data` to `path` as JSON, as `write_text` does.

    Raises:
        ClipRlError: it cannot be written; says why.
        ValueError: a number is not finite; JSON has none such, and `path` is as it was.
    """
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def make_folder(path: Path) -> None:
    """Make a folder to write to, and those that it lies in, where they are not there.

    Raises:
        ClipRlError: it cannot be made, or is a file; says why.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ClipRlError(f"cannot write to {path}: it is a file; expected a folder") from error
    except OSError as error:
        raise ClipRlError(f"cannot write to {path}: {error.strerror}") from error
