"""Which messages of an eye are of one frame, by stamp, and when it cannot be known. No ROS but its messages here."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

from clip_rl_perception.ros.joining import STATUS, StampJoiner
from clip_rl_perception.scene.types import Validity

WAITING = 32
"""Frames of an eye that may wait for their status: half a second of 60 Hz. Where it comes later they are STALE."""
IMAGE, TAGS, INSTANCES = "image", "tags", "instances"
PARTS = frozenset((STATUS, IMAGE, TAGS, INSTANCES))
UNSTAMPED = "header stamp is zero; stamp images when they are acquired"
DOUBLED = "two images have this stamp; stamp each when it is acquired"


@dataclasses.dataclass(frozen=True)
class JoinedFrame:
    """What came of one stamp."""

    stamp_ns: int
    status: Any
    """SceneStatus."""
    parts: Mapping[str, Any]
    """Of `IMAGE`, `TAGS`, `INSTANCES` those that are there."""
    fault: str
    """Why it is not known which of them belong together, one line; empty where it is."""


class EyeJoiner:
    """Takes messages of an eye part by part and gives its frames, as `StampJoiner` does."""

    def __init__(self) -> None:
        self._joiner = StampJoiner(_wanted, depth=WAITING)
        self._newest_image = 0
        self._doubled: collections.deque[int] = collections.deque(maxlen=WAITING)
        """Stamps of which two images came."""

    def put(self, part: str, stamp_ns: int, value: Any) -> list[JoinedFrame]:
        """Take `STATUS` or one of the other parts; the frames that are ready now."""
        if stamp_ns == 0:  # it may be of any frame
            return [JoinedFrame(0, value, {}, UNSTAMPED)] if part == STATUS else []
        if part == IMAGE:
            if stamp_ns == self._newest_image:
                self._doubled.append(stamp_ns)
            self._newest_image = stamp_ns
        return [
            JoinedFrame(stamp, parts.pop(STATUS), parts, DOUBLED if stamp in self._doubled else "")
            for stamp, parts in self._joiner.put(part, stamp_ns, value)
        ]


def _wanted(parts: Mapping[str, Any]) -> frozenset[str]:
    if parts[STATUS].validity == int(Validity.INVALID_INPUT):
        return frozenset((STATUS,))  # there will be nothing else
    return PARTS
