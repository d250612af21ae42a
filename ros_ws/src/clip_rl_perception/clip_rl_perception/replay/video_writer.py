"""Writes a video that plays: H.264 through PyAV or OpenCV where one of them can, else MPEG-4 part 2."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.sources import opencv_log

RATES = 0.001, 1000.0
"""Slowest and fastest video that is written, Hz: recordings of any rate have a video that plays."""


class VideoError(ClipRlError):
    """A video cannot be written; the message names it and the reason."""


class VideoWriter:
    """An .mp4 of fixed size and rate, whole when it is closed.

    `codec` says what it was written with: ``h264`` plays in every browser and player, ``mpeg4`` in most players.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], rate_hz: float) -> None:
        """Open `path` for frames of (height, width) `size`; odd sizes lose their last row or column (H.264 needs even).

        Raises:
            VideoError: nothing here can write such a video, or the folder refuses.
        """
        self.path = Path(path)
        self._height, self._width = size[0] // 2 * 2, size[1] // 2 * 2
        self.frames = 0
        rate_hz = min(max(rate_hz, RATES[0]), RATES[1])
        try:
            self.path.open("wb").close()
        except OSError as error:
            raise VideoError(f"cannot write {self.path}: {error.strerror}") from error
        try:
            self._backend: _PyAv | _OpenCv = _PyAv(self.path, self._height, self._width, rate_hz)
        except ImportError:
            self._backend = _OpenCv(self.path, self._height, self._width, rate_hz)
        self.codec = self._backend.codec

    def write(self, rgb: ByteArray) -> None:
        """Append one frame, uint8 RGB; another size than the video's is scaled into it with black bars."""
        if rgb.shape[0] // 2 * 2 != self._height or rgb.shape[1] // 2 * 2 != self._width:
            rgb = letterbox(rgb, (self._height, self._width))
        self._backend.write(np.ascontiguousarray(rgb[: self._height, : self._width]))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        self._backend.close()


class _PyAv:
    codec = "h264"

    def __init__(self, path: Path, height: int, width: int, rate_hz: float) -> None:
        import av

        if "libx264" not in av.codecs_available:
            raise ImportError("this PyAV has no libx264")
        self._av = av
        self._container = av.open(str(path), "w", options={"movflags": "+faststart"})
        rate = Fraction(rate_hz).limit_denominator(1001)
        # superfast: a third of the default preset's time for a file that is a little larger.
        self._stream: Any = self._container.add_stream(
            "libx264", rate=rate, options={"preset": "superfast", "crf": "24"}
        )
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"

    def write(self, rgb: ByteArray) -> None:
        self._container.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(rgb, format="rgb24")))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


class _OpenCv:
    def __init__(self, path: Path, height: int, width: int, rate_hz: float) -> None:
        with opencv_log.quiet():
            for fourcc, codec in (("avc1", "h264"), ("mp4v", "mpeg4")):
                self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), rate_hz, (width, height))
                if self._writer.isOpened():
                    self.codec = codec
                    return
        raise VideoError(f"cannot write {path}: this OpenCV has no encoder for .mp4; pip install av")

    def write(self, rgb: ByteArray) -> None:
        self._writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()


def letterbox(image: ByteArray, size: tuple[int, int]) -> ByteArray:
    """`image` scaled to fit (height, width) `size` with its aspect kept, centred on black; same channels."""
    scale = min(size[0] / image.shape[0], size[1] / image.shape[1])
    height, width = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    result = np.zeros((*size, *image.shape[2:]), np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    result[top : top + height, left : left + width] = resized
    return result
