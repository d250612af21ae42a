"""Which frame of the right eye belongs to a left one: by stamps in bags, by file names in folders, else by their place.

Eyes of which one lost a frame would be paired one beside the other from there on, were they only counted.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath

from clip_rl_perception.sources.frames import Frame, FrameSource, SourceError


class RightFrames:
    """Frames of the right eye, asked for by left ones in their order."""

    def __init__(self, left: FrameSource, right: FrameSource, frames: Iterator[Frame]) -> None:
        """`frames` are those of `right`; raises `SourceError` where nothing tells which belong together."""
        self.by_stamp = left.info.kind == right.info.kind == "bag"
        """Eyes have stamps of their own, which may differ by less than half a period."""
        self.note = ""
        """What speaks against the pairs, one line; empty: nothing. Videos tell their number of frames only roughly."""
        self._frames, self._waiting = frames, collections.deque[Frame]()
        self._within = 0.5e9 / max(left.info.rate_hz, right.info.rate_hz)
        self._place: Callable[[int], int | None] = lambda index: index
        if left.info.names and right.info.names:
            places = places_by_name(left.info.names, right.info.names)
            self._place = dict(enumerate(places)).get
        elif not self.by_stamp and left.info.frames != right.info.frames:
            counts = " and ".join(str(info.frames or "an unknown number of") for info in (left.info, right.info))
            self.note = f"left and right have {counts} frames; they were paired by their place"

    def get(self, frame: Frame) -> Frame | None:
        """The right eye's of a left frame; None where there is none."""
        return self._near(frame.stamp_ns) if self.by_stamp else self._at(self._place(frame.index))

    def _at(self, place: int | None) -> Frame | None:
        if place is None:
            return None
        while not self._waiting or self._waiting[0].index < place:
            self._waiting.clear()
            if not self._more():
                return None
        return self._waiting[0] if self._waiting[0].index == place else None

    def _near(self, stamp_ns: int) -> Frame | None:
        while (not self._waiting or self._waiting[-1].stamp_ns < stamp_ns) and self._more():
            pass
        while len(self._waiting) > 1 and self._waiting[1].stamp_ns <= stamp_ns:
            self._waiting.popleft()
        nearest = min(self._waiting, key=lambda other: abs(other.stamp_ns - stamp_ns), default=None)
        if nearest is None or abs(nearest.stamp_ns - stamp_ns) >= self._within:
            return None
        while self._waiting.popleft() is not nearest:
            pass
        return nearest

    def _more(self) -> bool:
        following = next(self._frames, None)
        if following is not None:
            self._waiting.append(following)
        return following is not None


def places_by_name(left: Sequence[str], right: Sequence[str]) -> list[int | None]:
    """For each file of the left eye the place of the right eye's, None where there is none.

    Files belong together that are called alike but for their folder and ending, or else have the same numbers in their
    names (left_012, 012_right); where neither holds for any, those at the same place.

    Raises:
        SourceError: names do not tell, and there are more of one eye.
    """
    for key in (_stem, _numbers):
        ours, theirs = [key(name) for name in left], [key(name) for name in right]
        if len({*ours}) < len(ours) or len({*theirs}) < len(theirs) or not {*ours} & {*theirs}:
            continue
        at = {name: place for place, name in enumerate(theirs)}
        places = [at.get(name) for name in ours]
        known = [place for place in places if place is not None]
        if known == sorted(known):
            return places
    if len(left) != len(right):
        raise SourceError(
            f"the left eye has {len(left)} frames, the right one {len(right)}, and their names do not tell which "
            "belong together; expected as many of both, or files with the same names"
        )
    return list(range(len(left)))


def _stem(name: str) -> str:
    return PurePath(name).stem.casefold()


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", PurePath(name).stem)))
