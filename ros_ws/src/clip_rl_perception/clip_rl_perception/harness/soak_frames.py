"""What the camera of `clip-rl soak` films: pictures in a seeded order, clock jumps, sizes that change, damaged frames.

Every good frame shows another picture than the one before, so that a late mask cannot be taken for the right one.
"""

from __future__ import annotations

import copy
import dataclasses
import random
import re
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.messages.image_messages import compressed_image, image
from clip_rl_perception.messages.message_types import header
from clip_rl_perception.ros.ros_types import ROS_TYPES

JUMPS_S = (0.05, 0.5, 2.0, 60.0, 3600.0)
"""How far the camera's clock jumps to and fro, times a number between a half and one, s."""
SIZE_RUN = (20, 120)
"""Frames of another size come in runs of this length."""
RATES = {"jump": 1 / 450, "size": 1 / 400, "repeat": 1 / 300, "unstamped": 1 / 500, "bad": 1 / 30}
"""How likely each event is at a frame."""


@dataclasses.dataclass(frozen=True)
class Shot:
    """One frame to be published."""

    picture: int
    """Which of the pictures it shows."""
    size: int
    """Which of the sizes it has."""
    shift_ns: int = 0
    """Of the camera's clock against the machine's, ns."""
    stamp: str = "now"
    """``now``; ``repeated``: that of the frame before; ``zero``."""
    bad: float | None = None
    """Chooses among the ways in which a frame of its transport can be damaged, 0 to 1; None: it is good."""


def film(seed: int, life: int, pictures: int) -> Iterator[Shot]:
    """Shots without end: the same for the same seed, camera's life and number of pictures."""
    draw = random.Random(f"soak camera {seed} {life}")
    picture, shift_ns, small = 0, 0, 0
    while True:
        picture = (picture + draw.randrange(1, pictures)) % pictures
        happens = {name: draw.random() < rate for name, rate in RATES.items()}
        if happens["jump"]:
            far = draw.choice(JUMPS_S) * draw.uniform(0.5, 1.0) * draw.choice((-1, 1))
            shift_ns = 0 if shift_ns and draw.random() < 0.5 else round(far * 1e9)
        small = draw.randint(*SIZE_RUN) if happens["size"] else max(0, small - 1)
        stamp = "zero" if happens["unstamped"] else "repeated" if happens["repeat"] else "now"
        yield Shot(picture, int(small > 0), shift_ns, stamp, draw.random() if happens["bad"] else None)


class Pictures:
    """Messages of the pictures in a folder, ``SIZE_NUMBER.jpg``, made once; by size, then picture."""

    def __init__(self, folder: Path) -> None:
        """Read the folder, as `stress.soak_pictures` writes it."""
        self.raw: list[list[Any]] = [[], []]
        self.compressed: list[list[Any]] = [[], []]
        head = header(0, "", ROS_TYPES)
        for path in sorted(folder.glob("*.jpg")):
            size = int(re.match(r"\d", path.name)[0])  # type: ignore[index]
            content = path.read_bytes()
            decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            self.raw[size].append(image(head, np.asarray(decoded, np.uint8), "bgr8", ROS_TYPES))
            self.compressed[size].append(compressed_image(head, content, "jpeg", ROS_TYPES))

    def __len__(self) -> int:
        return len(self.raw[0])

    def message(self, shot: Shot, *, compressed: bool) -> tuple[Any, str]:
        """The message of a shot, its header still to be set, and what is wrong with it; empty where nothing is."""
        whole = (self.compressed if compressed else self.raw)[shot.size][shot.picture]
        if shot.bad is None:
            return whole, ""
        kinds = BAD_FILES if compressed else BAD_IMAGES
        name = list(kinds)[int(shot.bad * len(kinds))]
        message = copy.copy(whole)
        kinds[name](message)
        return message, name


def _changed(**fields: Any) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return change


def _data(change: Callable[[bytes], bytes]) -> Callable[[Any], None]:
    def changed(message: Any) -> None:
        message.data = array("B", change(bytes(message.data)))

    return changed


def _short_step(message: Any) -> None:
    message.step = message.width * 3 - 1


def _long_step(message: Any) -> None:
    message.step += 1


def _huge_header(data: bytes) -> bytes:
    """A frame header that says 9000x9000."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + (9000).to_bytes(2, "big") * 2 + data[at + 4 :]


BAD_IMAGES: dict[str, Callable[[Any], None]] = {
    "unknown encoding": _changed(encoding="rgb9"),
    "no encoding": _changed(encoding=""),
    "encoding of depth": _changed(encoding="32FC1"),
    "step too small": _short_step,
    "step that does not fit": _long_step,
    "half of the data": _data(lambda data: data[: len(data) // 2]),
    "no data": _changed(data=array("B")),
    "no size": _changed(width=0, height=0, step=0, data=array("B")),
    "huge size": _changed(width=9000),
}
"""Ways in which an Image can be wrong."""
BAD_FILES: dict[str, Callable[[Any], None]] = {
    "no data": _changed(data=array("B")),
    "no picture": _data(lambda data: b"not a picture at all"),
    "JPEG without its end": _data(lambda data: data[: len(data) // 2]),
    "JPEG that ends in its header": _data(lambda data: data[:100]),
    "JPEG of zeros": _data(lambda data: bytes(len(data))),
    "huge size": _data(_huge_header),
}
"""Ways in which a CompressedImage can be wrong."""
