"""What the stereo node tells on /diagnostics, judged without ROS."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from clip_rl_perception.nodes.diagnostics import Level, Report
from clip_rl_perception.stereo.space_types import SpaceScene, SpaceValidity

WINDOW_S = 10.0


@dataclasses.dataclass(frozen=True)
class _Entry:
    time_s: float
    validity: SpaceValidity
    reason: str
    skew_ms: float
    pairs: int
    points: int
    total_ms: float
    age_ms: float


class RigHealth:
    """The last `WINDOW_S` seconds of steady time; call from one thread.

    Args:
        sides: the eyes that are listened to; of the left one alone ONE_EYE is as it should be.
    """

    def __init__(self, sides: Sequence[str] = ("left", "right")) -> None:
        self._expected = SpaceValidity.OK if "right" in sides else SpaceValidity.ONE_EYE
        self._scenes: collections.deque[_Entry] = collections.deque()
        self._frames: dict[str, collections.deque[float]] = {side: collections.deque() for side in sides}
        self._changes: collections.deque[float] = collections.deque()
        self.calibration = "none yet"
        """The geometry in force in words, or why there is none."""

    def frame(self, side: str, now_s: float) -> None:
        """A frame of an eye was processed by its perception node."""
        self._frames[side].append(now_s)

    def changed(self, now_s: float) -> None:
        """The calibration changed."""
        self._changes.append(now_s)

    def scene(self, scene: SpaceScene, now_s: float, total_ms: float, age_ms: float) -> None:
        """What was published."""
        pairs = sum(1 for tool in scene.instruments if tool.left_track_id and tool.right_track_id)
        points = sum(point.valid for tool in scene.instruments for point in tool.keypoints)
        self._scenes.append(_Entry(now_s, scene.validity, scene.reason, scene.skew_ms, pairs, points, total_ms, age_ms))

    def report(self, topics: Mapping[str, str], now_s: float, ended: Sequence[str] = ()) -> Report:
        """The status `rig`: WARN while none comes, one is not as expected, or the calibration changes.

        Args:
            topics: of the images, by eye.
            now_s: steady time, s.
            ended: eyes whose pictures are decoded no more, as a thread has ended by itself: ERROR.
        """
        since = now_s - WINDOW_S
        for times in (*self._frames.values(), self._changes):
            while times and times[0] < since:
                times.popleft()
        while self._scenes and self._scenes[0].time_s < since:
            self._scenes.popleft()
        rates = {side: len(times) / WINDOW_S for side, times in self._frames.items()}
        entries = list(self._scenes)
        values = {
            **{f"{side} images": topics.get(side, "") for side in self._frames},
            **{f"{side} rate (Hz)": f"{rate:.1f}" for side, rate in rates.items()},
            "calibration": self.calibration,
            "calibration changes": str(len(self._changes)),
            "skew median, max (ms)": _spread([abs(entry.skew_ms) for entry in entries], (50, 100)),
            "pairs a moment": f"{np.mean([entry.pairs for entry in entries]):.2f}" if entries else "none",
            "points a moment": f"{np.mean([entry.points for entry in entries]):.2f}" if entries else "none",
            "total p50, p95 (ms)": _spread([entry.total_ms for entry in entries], (50, 95)),
            "age p50, p95 (ms)": _spread([entry.age_ms for entry in entries], (50, 95)),
        }
        counts = collections.Counter(entry.validity for entry in entries)
        values |= {f"moments {kind.name}": str(counts[kind]) for kind in SpaceValidity}
        reasons = [entry.reason for entry in entries if entry.validity is not self._expected]
        values["last problem"] = reasons[-1] if reasons else ""
        if ended:
            text = f"the thread that decodes the {' and the '.join(ended)} eye has ended; start the node again"
            return Report("rig", Level.ERROR, text, values)
        return Report("rig", *self._judged(entries, rates, reasons), values)

    def _judged(self, entries: list[_Entry], rates: Mapping[str, float], reasons: list[str]) -> tuple[Level, str]:
        if not entries:
            silent = [side for side, rate in rates.items() if not rate]
            return Level.WARN, f"no frame of the {' and the '.join(silent)} eye" if silent else "no moment yet"
        if len(self._changes) > 1:
            count = len(self._changes)
            return Level.WARN, f"camera_info changed {count} times in {WINDOW_S:.0f} s; expected one calibration"
        doubtful = sum(entry.validity is not self._expected for entry in entries)
        if doubtful:
            return (
                Level.WARN,
                f"{doubtful} of {len(entries)} moments not {self._expected.name}: {reasons[-1] if reasons else ''}",
            )
        return Level.OK, f"{len(entries) / WINDOW_S:.1f} Hz, {self.calibration}"


def _spread(values: list[float], percents: tuple[int, ...]) -> str:
    known = [value for value in values if value == value]
    return ", ".join(f"{value:.1f}" for value in np.percentile(known, percents)) if known else "none"
