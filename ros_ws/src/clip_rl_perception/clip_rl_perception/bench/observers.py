"""Does who watches the node change its latency? A second viewer, a second evaluator, a slow disk, measured.

One perception node runs throughout. In every round the recording is played once under each condition, in another order:

    baseline          one viewer (of the overlay) and one evaluator (of mask, tags, status)
    second viewer     one more subscriber of overlay and mask, at the low priority that viewers are launched with
    second evaluator  one more evaluator
    slow disk         the evaluator's disk takes 10 MB/s, less than what comes at 12 Hz

What counts is the node's own word, from its status messages: the time it spent on a frame, and the frame's age when the
results were published. A difference is beyond noise when the 95 % interval of its bootstrap (over seconds of playing,
which are more independent than frames) does not hold 0 and it is larger than the baseline differs from itself between
rounds. Times are kept after every round; the same command again adds rounds to them.
"""

from __future__ import annotations

import collections
import json
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.bench.bench_engines import compiled_engine
from clip_rl_perception.bench.bench_processes import start, start_node, wait_for
from clip_rl_perception.bench.bench_run import BenchRun
from clip_rl_perception.metrics.latency import PERCENTILES
from clip_rl_perception.progress import Stage
from clip_rl_perception.replay.processes import Child, Children
from clip_rl_perception.replay.recording import Recording
from clip_rl_perception.replay.ros_environment import child_environment, require_ros

CONDITIONS = ("baseline", "second viewer", "second evaluator", "slow disk")
DISK_BYTES_S = 10_000_000
RESAMPLES = 2000
BLOCK_NS = 1_000_000_000
WARM_UP_S = 2.0

# A subscriber as viewers are: takes every picture, does nothing with it; its priority is what launch gives viewers.
VIEWER = """
import os, sys, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
os.nice(10)
rclpy.init()
node = rclpy.create_node("viewer_" + sys.argv[1])
quality = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
subscriptions = [node.create_subscription(Image, name, lambda data: None, quality, raw=True) for name in sys.argv[2:]]
print('{"event": "ready"}', flush=True)
try:
    rclpy.spin(node)
except BaseException:
    pass
"""

# The evaluator's recorder, on a disk that takes so many bytes a second.
SLOW_RECORDER = """
import sys, time
from clip_rl_perception.bags.bag_writer import BagWriter
write, speed = BagWriter.write_serialized, float(sys.argv.pop(1))
def slow(self, topic, msgtype, data, *rest):
    time.sleep(len(data) / speed)
    write(self, topic, msgtype, data, *rest)
BagWriter.write_serialized = slow
from clip_rl_perception.harness.recorder_node import main
main(sys.argv)
"""

Times = dict[str, list[tuple[int, float, float]]]
"""Of one round, by condition: stamp in ns, time spent and age in ms of every frame, as the node said."""
FIELDS = {"total_ms": 1, "age_ms": 2}
"""What is compared -> its place among a frame's times."""


def measure_observers(run: BenchRun) -> dict[str, Any]:
    """`observers`: percentiles of both times under each condition, and how they differ from the baseline's.

    Raises:
        RosMissingError: no ROS here.
        NodeRunError: a process ended or did not answer.
    """
    require_ros()
    options, recording, kept = run.options, run.recording(), run.out / "observers.json"
    settings: dict[str, Any] = {
        "source": str(recording.absolute()), "model": options.model, "engine": compiled_engine(run),
        "rate_hz": options.rates[0], "seconds": options.seconds,
    }  # fmt: skip
    rounds = read_rounds(kept, settings)
    order, total = random.Random(len(rounds)), run.long_rounds * len(CONDITIONS)
    with tempfile.TemporaryDirectory() as scratch, Children(child_environment(), Path(scratch) / "logs") as children:
        node = start_node(children, "/", model=settings["model"], engine=settings["engine"])
        # The first pass warms everything up and does not count.
        play(children, node, {**settings, "seconds": WARM_UP_S}, "baseline", Path(scratch) / "warm")
        for number in range(run.long_rounds):
            found: Times = {}
            for place, condition in enumerate(order.sample(CONDITIONS, len(CONDITIONS)), number * len(CONDITIONS) + 1):
                with Stage(place, total, condition) as stage:
                    found[condition] = play(children, node, settings, condition, Path(scratch) / str(place))
                    stage.result(f"{len(found[condition])} frames")
            rounds.append(found)
            write_json(kept, {"settings": settings, "rounds": rounds})
    return {"observers": compare(rounds)}


def read_rounds(path: Path, settings: Mapping[str, Any]) -> list[Times]:
    """Rounds that were measured before with the same settings."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return kept["rounds"] if kept.get("settings") == settings else []


def play(children: Children, node: Child, settings: Mapping[str, Any], condition: str, folder: Path) -> list[Any]:
    """Play the recording once under `condition`; returns every frame's times, see `Times`."""
    viewer, recorder = (sys.executable, "-c", VIEWER), "harness.recorder_node"
    watching = [children.start("viewer", [*viewer, "first", "overlay"])]
    if condition == "slow disk":
        slow = [sys.executable, "-c", SLOW_RECORDER, str(DISK_BYTES_S), str(folder / "first")]
        watching.append(children.start("evaluator", slow))
    else:
        watching.append(start(children, "evaluator", recorder, folder / "first"))
    if condition == "second viewer":
        watching.append(children.start("viewer2", [*viewer, "second", "overlay", "mask"]))
    if condition == "second evaluator":
        watching.append(start(children, "evaluator2", recorder, folder / "second"))
    for child in watching:
        wait_for(child, "ready", [node])
    player = start(
        children, "player", "harness.player_node", settings["source"], "--rate", settings["rate_hz"],
        "--seconds", settings["seconds"], "--fill-seconds", "1",
    )  # fmt: skip
    wait_for(player, "done", [node], longer_s=settings["seconds"])
    for child in watching:
        children.stop(child, patience_s=60.0)
    children.stop(player)
    statuses = Recording(folder / "first").statuses
    return [(item.stamp_ns, item.stage_ms["total"], item.age_ms or 0.0) for item in statuses]


def compare(rounds: Sequence[Times]) -> list[dict[str, Any]]:
    """A row for each time and condition: frames, ms; of the baseline its spread, of others what differs from it, ms."""
    rng, rows = np.random.default_rng(0), []
    for field, place in FIELDS.items():
        parts = {name: [block for times in rounds for block in blocks(times[name], place)] for name in CONDITIONS}
        spread = np.ptp([percentiles(blocks(times["baseline"], place)) for times in rounds], axis=0)
        for name in CONDITIONS:
            frames = sum(len(times[name]) for times in rounds)
            row = {"field": field, "condition": name, "frames": frames, "ms": _rounded(percentiles(parts[name]))}
            if name == "baseline":
                row["spread_ms"] = _rounded(spread)
            else:
                moved, (low, high) = difference(parts["baseline"], parts[name], rng)
                beyond = ((low > 0) | (high < 0)) & (np.abs(moved) > spread)
                row |= {"difference_ms": _rounded(moved), "low_ms": _rounded(low), "high_ms": _rounded(high)}
                row["beyond_noise"] = [f"p{level}" for level, far in zip(PERCENTILES, beyond, strict=True) if far]
            rows.append(row)
    return rows


def blocks(times: Sequence[tuple[float, ...]], place: int) -> list[DoubleArray]:
    """One of the frames' times, by second of playing."""
    found: dict[float, list[float]] = collections.defaultdict(list)
    for frame in times:
        found[frame[0] // BLOCK_NS].append(frame[place])
    return [np.array(values) for values in found.values()]


def percentiles(parts: list[DoubleArray]) -> DoubleArray:
    """`PERCENTILES` of everything in `parts`."""
    return np.asarray(np.percentile(np.concatenate(parts), PERCENTILES))


def difference(
    one: list[DoubleArray], other: list[DoubleArray], rng: np.random.Generator
) -> tuple[DoubleArray, DoubleArray]:
    """Percentiles of `other` minus those of `one`, and their 95 % interval, (2, P)."""
    drawn = []
    for _ in range(RESAMPLES):
        sides = [[parts[index] for index in rng.integers(len(parts), size=len(parts))] for parts in (one, other)]
        drawn.append(percentiles(sides[1]) - percentiles(sides[0]))
    return percentiles(other) - percentiles(one), np.percentile(drawn, (2.5, 97.5), axis=0)


def _rounded(values: DoubleArray) -> dict[str, float]:
    return {f"p{level}": round(float(value), 2) for level, value in zip(PERCENTILES, values, strict=True)}
