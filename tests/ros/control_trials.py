"""Trials of examples/control_node.py: perception dies, stalls, is cut off, or time jumps. Does it stop in time?

    python tests/ros/control_trials.py --rounds 90 --real 10

Three real processes over DDS: the control node; perception, which is stand_in.py or the real node; and this one, which
films for the real node, gives simulated time, and witnesses the commands. When a command was made is told by DDS (its
source timestamp), so that a witness that is held up judges alike. Exit status 1 if any trial failed.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import dataclasses
import itertools
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clip_rl_interfaces.msg import SceneStatus
from geometry_msgs.msg import TwistStamped
from harness import GUARD_S, Tester
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from tried_perception import NS, Command, RealNode, StandIn

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "control_node.py"
WALL_KINDS, CLOCK_KINDS = ("kill", "stall", "cut"), ("forward", "back", "freeze")
REAL_KINDS = (*WALL_KINDS, "no images")
FUTURE_S = 0.02
"""Of the example."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one trial."""

    kind: str
    perception: str
    stop_s: float
    """From the fault to the last command that rests on what was before it, s; 0 where there was none. Where time stands
    still, from the last new stamp's publishing: it shows with the next frame, which may bring one more."""
    within: bool
    """No later than the limit."""
    wrong: tuple[str, ...]
    """Commands that should not have been, since the trial before."""

    @property
    def passed(self) -> bool:
        return self.within and not self.wrong


class Time:
    """Simulated time on /clock at 100 Hz, which can jump and stand still; what it was when is kept."""

    def __init__(self, tester: Tester) -> None:
        self._publisher = tester.node.create_publisher(Clock, "/clock", QoSProfile(depth=1))
        self._tester, self._over = tester, threading.Event()
        self._lock = threading.Lock()
        self._since = [time.time_ns()]
        self._legs = [(1_000_000 * NS, 1)]
        """Simulated time at that moment, and how fast it went on."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def at(self, wall_ns: int) -> int:
        """Simulated time when the system's clock said this, ns."""
        with self._lock:
            leg = max(0, bisect.bisect_right(self._since, wall_ns) - 1)
            begun, rate = self._legs[leg]
            return begun + (wall_ns - self._since[leg]) * rate

    def go(self, *, by_s: float = 0.0, rate: int = 1) -> None:
        """Jump, and go on as fast as this (0 stands still)."""
        now = time.time_ns()
        leg = (self.at(now) + round(by_s * NS), rate)
        with self._lock:
            self._since.append(now)
            self._legs.append(leg)
        self._publish()

    def span(self, from_ns: int, to_ns: int) -> list[tuple[int, int]]:
        """Between two moments: simulated time from and to, of each piece without a jump."""
        with self._lock:
            cuts = [since for since in self._since if from_ns < since < to_ns]
        ends = [from_ns, *cuts, to_ns]
        return [(self.at(a), max(self.at(a), self.at(b - 1))) for a, b in itertools.pairwise(ends)]

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._tester.node.destroy_publisher(self._publisher)

    def _publish(self) -> None:
        message, now_ns = Clock(), self.at(time.time_ns())
        message.clock.sec, message.clock.nanosec = divmod(now_ns, NS)
        self._publisher.publish(message)

    def _run(self) -> None:
        while not self._over.wait(0.01):
            self._publish()


class Trials:
    """A control node and its perception, to be tried again and again."""

    def __init__(self, tester: Tester, folder: Path, *, limit_s: float, clock: Time | None, real: bool) -> None:
        self._tester, self._limit_ns, self._clock = tester, round(limit_s * NS), clock
        self._namespace = ("real" if real else "trial") + ("_timed" if clock else "")
        self._lock = threading.Lock()
        self._commands: list[Command] = []
        self._judged = 0
        self._subscription = tester.node.create_subscription(
            TwistStamped,
            f"/{self._namespace}/command",
            self._taker(),
            200,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self._seen: dict[int, int] = {}
        """When the first status of a stamp was published, system clock."""
        self._status = tester.node.create_subscription(
            SceneStatus, f"/{self._namespace}/status", self._seer(), 50, callback_group=MutuallyExclusiveCallbackGroup()
        )
        sim = str(clock is not None).lower()
        arguments = ["-r", f"__ns:=/{self._namespace}", "-p", f"limit_s:={limit_s}", "-p", f"use_sim_time:={sim}"]
        self._log = (folder / f"{self._namespace}_control.log").open("w")
        self._control = subprocess.Popen(
            [sys.executable, str(EXAMPLE), "--ros-args", *arguments], stdout=self._log, stderr=self._log
        )
        self.perception = (
            RealNode(tester, self._namespace, folder, sim=(lambda: clock.at(time.time_ns())) if clock else None)
            if real
            else StandIn(tester, self._namespace, folder, sim=clock is not None)
        )

    def trial(self, kind: str, rng: random.Random) -> Outcome:
        """One fault, from acting to acting again."""
        self._until(lambda command: command.moves, time.time_ns(), "a command that moves")
        time.sleep(rng.uniform(0.0, 0.3))
        fault_ns = time.time_ns()
        if kind in CLOCK_KINDS:
            assert self._clock is not None
            size_s = math.exp(rng.uniform(math.log(0.5), math.log(5000.0)))
            by_s = {"forward": size_s, "back": -size_s, "freeze": 0.0}[kind]
            self._clock.go(by_s=by_s, rate=int(kind != "freeze"))
        else:
            self.perception.fault(kind)
        # Long enough for whatever comes too late.
        watched_ns = max(time.time_ns(), fault_ns + 2 * self._limit_ns) + NS // 4
        self._until(lambda command: True, watched_ns, "commands")
        with self._lock:
            after = [c for c in self._commands if fault_ns < c.at_ns <= watched_ns and c.moves]
        old = [c for c in after if kind not in ("forward", "back") or not self._young(c, 0)]
        seen = dict(self._seen) if kind == "freeze" else {}
        stop_s = max((c.at_ns - max(fault_ns, seen.get(c.stamp_ns, 0)) for c in old), default=0) / NS
        if kind == "freeze" and self._clock:
            self._clock.go()
        elif kind not in CLOCK_KINDS:
            self.perception.mend(kind)
        self._until(lambda command: command.moves, max(watched_ns, time.time_ns()), "a command that moves again")
        return Outcome(kind, self.perception.name, stop_s, stop_s * NS <= self._limit_ns, self._wrong())

    def close(self) -> None:
        self.perception.close()
        self._control.kill()
        self._control.wait(GUARD_S)
        self._log.close()
        self._tester.node.destroy_subscription(self._subscription)
        self._tester.node.destroy_subscription(self._status)

    def _wrong(self) -> tuple[str, ...]:
        """What is wrong with commands since the last look."""
        with self._lock:
            fresh, self._judged = self._commands[self._judged :], len(self._commands)
        found = []
        for command in fresh:
            if command.moves:
                young = self._young(command, self._limit_ns)
                reason = self.perception.wrong(command) or ("" if young else "its stamp is not young")
                found += [f"{command}: {reason}"] if reason else []
        return tuple(found)

    def _young(self, command: Command, late_ns: int) -> bool:
        """By the clock of stamps, of which the control node may know as late as this."""
        at, limit = command.at_ns, self._limit_ns
        spans = self._clock.span(at - late_ns, at) if self._clock else [(at, at)]
        return any(low - limit <= command.stamp_ns <= high + FUTURE_S * NS for low, high in spans)

    def _until(self, wanted: Any, from_ns: int, what: str) -> None:
        def found() -> bool:
            assert self._control.poll() is None, f"the control node ended: {Path(self._log.name).read_text()}"
            with self._lock:
                return any(c.at_ns > from_ns and wanted(c) for c in reversed(self._commands[-500:]))

        self._tester.wait(found, f"{self._namespace}: {what}")

    def _seer(self) -> Any:
        def see(message: SceneStatus, info: dict[str, Any]) -> None:
            stamp = message.header.stamp
            self._seen.setdefault(stamp.sec * NS + stamp.nanosec, info["source_timestamp"])

        return see

    def _taker(self) -> Any:
        def take(message: TwistStamped, info: dict[str, Any]) -> None:
            stamp, linear = message.header.stamp, message.twist.linear
            made = Command(
                info["source_timestamp"],
                stamp.sec * NS + stamp.nanosec,
                message.header.frame_id,
                (linear.x, linear.y),
            )
            with self._lock:
                self._commands.append(made)

        return take


@contextlib.contextmanager
def trials(tester: Tester, folder: Path, *, limit_s: float, sim: bool = False, real: bool = False) -> Iterator[Trials]:
    """Trials on simulated time, with the real node, or neither."""
    clock = Time(tester) if sim else None
    try:
        made = Trials(tester, folder, limit_s=limit_s, clock=clock, real=real)
        try:
            yield made
        finally:
            made.close()
    finally:
        if clock is not None:
            clock.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=90, help="trials with the stand-in, all kinds in turn")
    parser.add_argument("--real", type=int, default=10, help="trials with perception_node itself")
    parser.add_argument("--limit", type=float, default=0.3, help="of the control node with the stand-in, s")
    parser.add_argument("--real-limit", type=float, default=1.0, help="with the real node, s")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    kinds = [(WALL_KINDS + CLOCK_KINDS)[index % 6] for index in range(given.rounds)]
    real = [(REAL_KINDS + CLOCK_KINDS)[index % 7] for index in range(given.real)]
    groups = [
        ({"limit_s": given.limit}, [kind for kind in kinds if kind in WALL_KINDS]),
        ({"limit_s": given.limit, "sim": True}, [kind for kind in kinds if kind in CLOCK_KINDS]),
        ({"limit_s": given.real_limit, "real": True}, [kind for kind in real if kind in REAL_KINDS]),
        ({"limit_s": given.real_limit, "real": True, "sim": True}, [kind for kind in real if kind in CLOCK_KINDS]),
    ]
    rng, outcomes = random.Random(given.seed), []
    domain = int(os.environ.get("ROS_DOMAIN_ID", "0"))
    with tempfile.TemporaryDirectory() as folder, Tester(domain) as tester:
        for options, wanted in groups:
            if wanted:
                with trials(tester, Path(folder), **options) as trial:
                    for kind in wanted:
                        outcomes.append(trial.trial(kind, rng))
                        last = outcomes[-1]
                        print(f"{len(outcomes):4} {last.perception:16}{kind:10}{last.stop_s:7.3f} s", end="  ")
                        print("ok" if last.passed else f"FAILED {' '.join(last.wrong)}", flush=True)
    print(f"\n{'perception':16}{'fault':10}{'passed':>10}{'median s':>10}{'longest s':>11}")
    for name, kind in sorted({(o.perception, o.kind) for o in outcomes}):
        some = [o for o in outcomes if (o.perception, o.kind) == (name, kind)]
        stops, passed = [o.stop_s for o in some], sum(o.passed for o in some)
        print(f"{name:16}{kind:10}{passed:>4} of {len(some):<3}{statistics.median(stops):>9.3f}{max(stops):>11.3f}")
    print(f"{sum(o.passed for o in outcomes)} of {len(outcomes)} passed")
    return 0 if all(o.passed for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
