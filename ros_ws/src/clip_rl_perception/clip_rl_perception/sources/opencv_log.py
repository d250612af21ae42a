"""Keeps OpenCV and its FFmpeg from printing what the caller reports itself, in one line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import cv2


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within the block OpenCV logs nothing; for opening files and encoders that may not be there."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging: Any = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
