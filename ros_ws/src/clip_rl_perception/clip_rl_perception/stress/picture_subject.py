"""A JPEG or PNG as a camera sends it, decoded as the node decodes it."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import os
import random
import re
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.picture_encoding import encode_picture
from clip_rl_perception.pictures.image_codec import decode_message
from clip_rl_perception.resources import share_path
from clip_rl_perception.stress.byte_damage import damage_file
from clip_rl_perception.stress.fuzz_subject import Done, Reading, keep_only

_LOSS = re.compile("Corrupt JPEG data(?!: [1-3] extraneous bytes before marker 0xd9)|Premature end|Inconsistent prog")
"""What libjpeg says of data that are lost or wrong; a few stray bytes before the end some encoders leave."""
SIZE = (160, 128)
"""(width, height), px: small, so that headers are a good part of the file."""


class _PictureSubject:
    """Variants of one picture, each in a folder of its own."""

    name: str
    variants: dict[str, tuple[str, list[int], bool]]
    """By name: suffix, parameters of OpenCV, whether it is grey."""

    def write(self, folder: Path) -> None:
        """As of `Subject`."""
        for variant, (suffix, parameters, gray) in self.variants.items():
            (folder / variant).mkdir(parents=True)
            (folder / variant / f"picture{suffix}").write_bytes(_encoded(suffix, parameters, gray))

    def damage(self, folder: Path, draw: random.Random) -> tuple[str, Done]:
        """As of `Subject`."""
        variant = draw.choice(sorted(self.variants))
        (file,) = keep_only(folder, variant).iterdir()
        text = damage_file(file, draw)
        return variant, Done(f"{file.name}: {text}", knowable=self._is_knowable(file.read_bytes()))

    def readers(self, folder: Path, variant: str) -> dict[str, Callable[[], Reading]]:
        """As of `Subject`."""
        return {"node": lambda: self._read(folder, variant)}

    def _read(self, folder: Path, variant: str) -> Reading:
        (file,) = (folder / variant).iterdir()
        data = np.frombuffer(file.read_bytes(), np.uint8)
        rgb = decode_message(types.SimpleNamespace(format="", data=data))
        item = (variant, rgb.shape, hashlib.sha256(np.ascontiguousarray(rgb).tobytes()).hexdigest()[:16])
        return Reading(collections.Counter([item]))

    def command(self, folder: Path, variant: str) -> list[str]:
        """As of `Subject`: an image folder is made a bag."""
        return ["bag", "make", str(folder / variant), "--out", str(folder / "bag")]

    def _is_knowable(self, content: bytes) -> bool:
        raise NotImplementedError


class JpegSubject(_PictureSubject):
    """JPEGs. They have no checksums: damage is knowable where libjpeg itself warns that data are lost or wrong."""

    name = "jpeg"
    variants = {  # noqa: RUF012
        "plain": (".jpg", [], False),
        "gray": (".jpg", [], True),
        "progressive": (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], False),
        "restarts": (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 4], False),
    }

    def _is_knowable(self, content: bytes) -> bool:
        with _native_errors() as lines:
            data = np.frombuffer(content, np.uint8)
            decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if content else None
        return decoded is None or any(map(_LOSS.match, lines))


class PngSubject(_PictureSubject):
    """PNGs, of which every part has a checksum."""

    name = "png"
    variants = {  # noqa: RUF012
        "plain": (".png", [], False),
        "gray": (".png", [], True),
        "stored": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 0], False),
    }

    def _is_knowable(self, content: bytes) -> bool:
        return True


def sample_picture() -> ByteArray:
    """uint8 BGR of `SIZE`: an operation."""
    shipped = cv2.imread(str(share_path("models", "golden", "synthetic_0.jpg")))
    return np.asarray(cv2.resize(shipped, SIZE, interpolation=cv2.INTER_AREA), np.uint8)  # type: ignore[arg-type]


def _encoded(suffix: str, parameters: list[int], gray: bool) -> bytes:
    bgr: Any = sample_picture()
    return encode_picture(suffix, bgr[..., 1] if gray else bgr, *parameters)


@contextlib.contextmanager
def _native_errors() -> Iterator[list[str]]:
    """What libraries write to the process's standard error meanwhile; filled at the end."""
    lines: list[str] = []
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()
