"""Opens a rosbag2 (sqlite3 or mcap, humble to the newest) without ROS, damaged ones included."""

from __future__ import annotations

import struct
from collections.abc import Generator
from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection

from clip_rl_perception.errors import one_line
from clip_rl_perception.messages import message_types
from clip_rl_perception.sources.frames import BAG_SUFFIXES, SourceError
from clip_rl_perception.sources.truncated_mcap import MendedMcap, is_truncated

DESERIALIZE_ERRORS = (AnyReaderError, ValueError, AssertionError, IndexError, struct.error, UnicodeDecodeError)
"""What rosbags raises for a message whose bytes are not of its type."""


class BagReader(AnyReader):
    """AnyReader whose errors name the bag, and that reads what can be read of a damaged one.

    It does without metadata.yaml where there is one storage file, and mends .mcap files whose end is missing.
    `mended` says in a line each what is lost.
    """

    def __init__(self, path: Path) -> None:
        """Find the bag at `path`; raises `SourceError`."""
        self.mended: list[str] = []
        # A folder that lost its metadata.yaml is still readable through its only storage file.
        stored = sorted(file for suffix in BAG_SUFFIXES for file in path.glob(f"*{suffix}")) if path.is_dir() else []
        if path.is_dir() and not (path / "metadata.yaml").is_file():
            if len(stored) != 1:
                raise SourceError(
                    f"{path}: no metadata.yaml and {len(stored)} storage files; expected a rosbag2 folder"
                )
            path = stored[0]
        paths: list[Any] = [path]
        try:
            files = stored or [path]
            if any(file.suffix == ".mcap" and is_truncated(file) for file in files):
                paths = [self._mend(file) if file.suffix == ".mcap" and is_truncated(file) else file for file in files]
            super().__init__(paths, default_typestore=message_types.typestore())
        except (AnyReaderError, OSError, ValueError) as error:
            raise SourceError(f"{path}: not a readable rosbag2: {one_line(error)}") from error

    def open(self) -> None:
        """Open; raises `SourceError`."""
        try:
            super().open()
        except Exception as error:  # damaged files raise whatever their storage, compression and parser raise
            raise SourceError(f"{self.paths[0]}: not a readable rosbag2: {one_line(error)}") from error

    def messages(self, *args: Any, **options: Any) -> Generator[tuple[Connection, int, bytes], None, None]:
        """As of AnyReader; raises `SourceError` where the file is damaged, after what comes before."""
        try:
            yield from super().messages(*args, **options)
        except Exception as error:
            raise SourceError(f"{self.paths[0]}: {one_line(error)}") from error

    def _mend(self, file: Path) -> MendedMcap:
        mended, size = MendedMcap(file), file.stat().st_size
        self.mended.append(
            f"{file}: truncated: its end is missing; the last {mended.lost} of {size} bytes cannot be read"
        )
        return mended
