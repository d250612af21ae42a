"""One training at a time in a run's folder: a lock of the operating system's, gone with the process that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import TextIO

from clip_rl_training.loop.run_state import TrainError


def lock_run(folder: Path) -> TextIO:
    """Lock `folder`, which is made if missing, as long as the returned file is open.

    By ``lockf``: unlike ``flock``, loading processes do not inherit it, so none that outlives a killed training by a
    moment keeps the folder locked.

    Raises:
        TrainError: another process trains there; says which.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise TrainError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return stream  # a file system without locks
        stream.seek(0)
        owner = stream.read().strip() or "unknown"
        stream.close()
        raise TrainError(
            f"{folder} is in use: process {owner} trains there; wait for it, or choose another --set name="
        ) from error
    stream.truncate(0)
    stream.write(f"{os.getpid()}\n")
    stream.flush()
    return stream
