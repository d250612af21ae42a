"""Does who watches the node change its latency? A second viewer, a second evaluator, a slow disk, measured.

    clip-rl bag make --synthetic --seconds 10 --out /tmp/operation
    python benchmarks/observers.py /tmp/operation --rate 12 --seconds 7 --rounds 2 --samples /tmp/samples.json

`--samples` keeps the frames' times after every round; run again with the same file, it adds rounds to those in it.

One perception node runs throughout. In every round the recording is played once under each condition, in another order:

    baseline          one viewer (of the overlay) and one evaluator (of mask, tags, status)
    second viewer     one more subscriber of overlay and mask, at the low priority that viewers are launched with
    second evaluator  one more evaluator
    slow disk         the evaluator's disk takes 10 MB/s, less than what comes at 12 Hz

What counts is the node's own word, from its status messages: the time it spent on a frame, and the frame's age when the
results were published. A difference is beyond noise when the 95 % interval of its bootstrap (over seconds of playing,
which are more independent than frames) does not hold 0 and it is larger than the baseline differs from itself between
rounds.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.metrics.latency import PERCENTILES
from clip_rl_perception.replay.processes import Child, Children
from clip_rl_perception.replay.recording import Recording
from clip_rl_perception.replay.ros_environment import child_environment

CONDITIONS = ("baseline", "second viewer", "second evaluator", "slow disk")
DISK_BYTES_S = 10_000_000
RESAMPLES = 2000
BLOCK_NS = 1_000_000_000

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


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the node said of one frame."""

    stamp_ns: int
    total_ms: float
    age_ms: float


def play(children: Children, arguments: argparse.Namespace, condition: str, folder: Path) -> list[Sample]:
    """Play the recording once under `condition`; returns every frame's times."""
    recorder = [sys.executable, "-m", "clip_rl_perception.harness.recorder_node"]
    slow = [sys.executable, "-c", SLOW_RECORDER, str(DISK_BYTES_S)]
    watching = [
        children.start("viewer", [sys.executable, "-c", VIEWER, "first", "overlay"]),
        children.start("evaluator", [*(slow if condition == "slow disk" else recorder), str(folder / "first")]),
    ]
    if condition == "second viewer":
        watching.append(children.start("viewer2", [sys.executable, "-c", VIEWER, "second", "overlay", "mask"]))
    if condition == "second evaluator":
        watching.append(children.start("evaluator2", [*recorder, str(folder / "second")]))
    for child in watching:
        wait_for(child, "ready")
    player = [sys.executable, "-m", "clip_rl_perception.harness.player_node", str(arguments.bag)]
    player += ["--rate", str(arguments.rate), "--seconds", str(arguments.seconds), "--fill-seconds", "1"]
    done = children.start("player", player)
    wait_for(done, "done")
    for child in watching:
        children.stop(child, patience_s=60.0)
    children.stop(done)
    statuses = Recording(folder / "first").statuses
    return [Sample(item.stamp_ns, item.stage_ms["total"], item.age_ms or 0.0) for item in statuses]


def wait_for(child: Child, event: str) -> None:
    """Until `child` reports `event`."""
    while child.last(event) is None:
        if not child.running() and child.last(event) is None:
            raise SystemExit(f"{child.name} ended: {child.log_lines()[-3:]}")
        time.sleep(0.05)


def blocks(samples: list[Sample], field: str) -> list[DoubleArray]:
    """Values by second of playing."""
    found: dict[int, list[float]] = collections.defaultdict(list)
    for sample in samples:
        found[sample.stamp_ns // BLOCK_NS].append(getattr(sample, field))
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


def check(rounds: list[dict[str, list[Sample]]]) -> dict[str, Any]:
    """Percentiles and differences, as plain data."""
    rng = np.random.default_rng(0)
    result: dict[str, Any] = {"rounds": len(rounds), "frames": {}, "fields": {}}
    for field in ("total_ms", "age_ms"):
        parts = {name: [block for item in rounds for block in blocks(item[name], field)] for name in CONDITIONS}
        each = np.array([percentiles(blocks(item["baseline"], field)) for item in rounds])
        spread = each.max(axis=0) - each.min(axis=0)
        entry: dict[str, Any] = {"baseline_spread_ms": dict(zip(PERCENTILES, spread.round(2).tolist(), strict=True))}
        for name in CONDITIONS:
            entry[name] = {"ms": dict(zip(PERCENTILES, percentiles(parts[name]).round(2).tolist(), strict=True))}
            if name != "baseline":
                moved, interval = difference(parts["baseline"], parts[name], rng)
                beyond = ((interval[0] > 0) | (interval[1] < 0)) & (np.abs(moved) > spread)
                entry[name]["difference_ms"] = dict(zip(PERCENTILES, moved.round(2).tolist(), strict=True))
                entry[name]["interval_ms"] = dict(zip(PERCENTILES, interval.T.round(2).tolist(), strict=True))
                entry[name]["beyond_noise"] = dict(zip(PERCENTILES, beyond.tolist(), strict=True))
        result["fields"][field] = entry
    result["frames"] = {name: sum(len(item[name]) for item in rounds) for name in CONDITIONS}
    return result


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    lines = []
    for field, entry in result["fields"].items():
        lines += [
            f"| {field} | frames | p50 | p95 | p99 | difference at p50, p95, p99 [95 % interval] | beyond noise |",
            "|---|---|---|---|---|---|---|",
        ]
        for name in CONDITIONS:
            values = entry[name]
            told = ["", ""]
            if name != "baseline":
                moved, around = values["difference_ms"], values["interval_ms"]
                told[0] = ", ".join(f"{moved[p]:+.1f} [{around[p][0]:+.1f}, {around[p][1]:+.1f}]" for p in PERCENTILES)
                told[1] = ", ".join(f"p{p}" for p in PERCENTILES if values["beyond_noise"][p]) or "no"
            else:
                told[0] = "between rounds: " + ", ".join(f"{entry['baseline_spread_ms'][p]:.1f}" for p in PERCENTILES)
            numbers = " | ".join(f"{values['ms'][p]:.1f}" for p in PERCENTILES)
            lines.append(f"| {name} | {result['frames'][name]} | {numbers} | {told[0]} | {told[1]} |")
        lines.append("")
    return "\n".join(lines)


def read_samples(path: Path | None) -> list[dict[str, list[Sample]]]:
    """Rounds that were measured before."""
    if path is None or not path.exists():
        return []
    rounds = json.loads(path.read_text(encoding="utf-8"))
    return [{name: [Sample(*values) for values in item[name]] for name in item} for item in rounds]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path, help="recording, video or folder of images to play")
    parser.add_argument("--rate", type=float, default=10.0, help="frames per second; one that the node keeps up with")
    parser.add_argument("--seconds", type=float, default=8.0, help="of playing, for each condition and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--samples", type=Path, help="file of the frames' times, read and added to")
    arguments = parser.parse_args()
    rounds = read_samples(arguments.samples)
    order = random.Random(len(rounds))
    with tempfile.TemporaryDirectory() as scratch, Children(child_environment(), Path(scratch) / "logs") as children:
        node = [sys.executable, "-m", "clip_rl_perception.nodes.perception_node", "--ros-args", "-p", "autostart:=true"]
        node += ["-p", f"model:={arguments.model}", "-p", f"engine:={arguments.engine}"]
        children.start("perception_node", node)
        # The first pass warms everything up and does not count.
        play(children, argparse.Namespace(**{**vars(arguments), "seconds": 2.0}), "baseline", Path(scratch) / "warm")
        for number in range(arguments.rounds):
            found: dict[str, list[Sample]] = {}
            for condition in order.sample(CONDITIONS, len(CONDITIONS)):
                found[condition] = play(children, arguments, condition, Path(scratch) / f"{number}-{condition}")
                print(f"round {number + 1}, {condition}: {len(found[condition])} frames", file=sys.stderr, flush=True)
            rounds.append(found)
            if arguments.samples is not None:
                plain = [{name: list(map(dataclasses.astuple, item[name])) for name in item} for item in rounds]
                arguments.samples.write_text(json.dumps(plain) + "\n", encoding="utf-8")
    print(table(check(rounds)))


if __name__ == "__main__":
    main()
