"""The real node over DDS, with processes for cameras and for the arrivals, at fixed rates and at its peak."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.bench.bench_frames import BenchFrames
from clip_rl_perception.metrics import latency
from clip_rl_perception.replay.node_run import SessionError
from clip_rl_perception.replay.processes import Child, Children
from clip_rl_perception.replay.ros_environment import child_environment, require_ros

PEAK_DROPS = 0.05
"""The peak rate is the highest at which fewer frames than this share are dropped."""
STAGES = ("decode", "preprocess", "network", "refine", "postprocess", "tags", "publish", "total")
"""Of SceneStatus."""
START_TIMEOUT_S = 180.0


@dataclasses.dataclass(frozen=True)
class NodeSetting:
    """Which node to measure."""

    cameras: int
    """One perception node for each."""
    transport: str
    """``raw`` or ``compressed``."""
    model: str = "demo"
    engine: str = "auto"
    threads: int = 0
    """Of each node's engine; 0 shares the cores of the machine among the nodes."""

    def engine_threads(self) -> int:
        """What the node's parameter `threads` gets: a lone node decides itself."""
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        return self.threads or (0 if self.cameras == 1 else max(1, cores // self.cameras))


class RunningNodes:
    """Perception nodes that stay up while rates are tried."""

    def __init__(self, children: Children, setting: NodeSetting, frames: Path, folder: Path) -> None:
        self._children = children
        self._setting = setting
        self._frames = frames
        self._folder = folder
        self.namespaces = [f"/bench/camera{index}" for index in range(setting.cameras)]
        self._nodes = [self._start_node(name) for name in self.namespaces]
        self._count = 0

    def point(self, rate_hz: float, seconds: float) -> dict[str, Any]:
        """Send frames at a rate; returns one entry of the report's `node` list.

        Raises:
            SessionError: a process ended or did not answer.
        """
        self._count += 1
        arrivals_file = self._folder / f"arrivals{self._count}.json"
        stamps_file = self._folder / f"stamps{self._count}.json"
        arrivals = self._children.start(
            "arrivals", command("arrivals_node", str(arrivals_file), "--namespaces", *self.namespaces)
        )
        self._wait(arrivals, "ready", arrivals)
        camera = self._children.start(
            "camera",
            command(
                "bench_camera_node", str(self._frames), "--namespaces", *self.namespaces,
                "--transport", self._setting.transport, "--rate", f"{rate_hz:g}", "--seconds", f"{seconds:g}",
                "--stamps", str(stamps_file), "--wait-seconds", f"{START_TIMEOUT_S:g}",
            ),
        )  # fmt: skip
        self._wait(camera, "started", arrivals)
        before = self._cpu_seconds()
        self._wait(camera, "done", arrivals)
        used = self._cpu_seconds() - before
        time.sleep(0.3)
        self._children.stop(camera)
        self._children.stop(arrivals)
        if not arrivals_file.is_file():
            raise SessionError(f"what arrived was not written (log: {arrivals.log})")
        sent = json.loads(stamps_file.read_text(encoding="utf-8"))
        arrived = json.loads(arrivals_file.read_text(encoding="utf-8"))
        return summarise(self._setting, rate_hz, sent, arrived, used)

    def _start_node(self, namespace: str) -> Child:
        setting = self._setting
        values = {
            "autostart": "true",
            "model": f"'{setting.model}'",
            "engine": f"'{setting.engine}'",
            "image_transport": setting.transport,
            "threads": str(setting.engine_threads()),
        }
        given = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
        ros = ["--ros-args", "-r", f"__ns:={namespace}", *given]
        return self._children.start(f"node{namespace.replace('/', '_')}", command("perception_node", *ros))

    def _wait(self, child: Child, event: str, arrivals: Child) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while child.last(event) is None:
            for node in self._nodes:
                refused = node.log_lines("configure failed")
                if refused or not node.running():
                    raise SessionError(f"a perception node is not active: {(refused or node.log_lines() or ['?'])[-1]}")
            if not child.running() and child.last(event) is None:
                raise SessionError(f"the {child.name} ended before it should (log: {child.log})")
            if time.monotonic() > deadline:
                raise SessionError(f"the {child.name} did not report '{event}' in time (log: {child.log})")
            time.sleep(0.05)

    def _cpu_seconds(self) -> float:
        return sum(cpu_seconds(node.process.pid) for node in self._nodes)


def measure_node(
    setting: NodeSetting,
    frames: BenchFrames,
    folder: Path,
    *,
    rates: tuple[float, ...],
    seconds: float,
    peak_probes: int,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """One entry for every rate, and one with ``"peak": true`` when `peak_probes` is above 0.

    Raises:
        RosMissingError: no ROS here.
        SessionError: a process ended or did not answer.
    """
    with running(setting, frames, folder) as nodes:
        points = []
        nodes.point(10.0, 1.0)  # discovery, first frames
        for rate in rates:
            points.append(nodes.point(rate, seconds))
            progress(describe(points[-1]))
        if peak_probes:

            def probe(rate: float) -> dict[str, Any]:
                found = nodes.point(rate, seconds)
                progress(f"  peak? {describe(found)}")
                return found

            best = find_peak(probe, points, peak_probes)
            if best is not None:
                points.append({**best, "peak": True})
        return points


def find_peak(
    probe: Callable[[float], dict[str, Any]], known: list[dict[str, Any]], probes: int
) -> dict[str, Any] | None:
    """The point with the highest rate at which drops stay below `PEAK_DROPS`, by bisection.

    Args:
        probe: measures a rate.
        known: points measured already.
        probes: most further points.
    """
    good = max((p for p in known if keeps_up(p)), key=lambda p: p["rate_hz"], default=None)
    low = good["rate_hz"] if good else 0.0
    high = min((p["rate_hz"] for p in known if not keeps_up(p) and p["rate_hz"] > low), default=None)
    for _ in range(probes):
        rate = round(low * 1.6 if high is None else (low + high) / 2, 1)
        found = probe(rate)
        if keeps_up(found):
            good, low = found, rate
        else:
            high = rate
    return good


def keeps_up(point: dict[str, Any]) -> bool:
    """True when fewer than `PEAK_DROPS` of the frames were dropped."""
    return bool(point["dropped"] < PEAK_DROPS * point["sent"])


def summarise(
    setting: NodeSetting, rate_hz: float, sent: dict[str, Any], arrived: dict[str, Any], cpu: float
) -> dict[str, Any]:
    """One point from what was sent and what arrived, over all cameras.

    Args:
        setting: the nodes.
        rate_hz: of each camera.
        sent: ``stamps_ns`` of each camera's frames, and how many were sent ``late``.
        arrived: by namespace, see `nodes.arrivals_node`.
        cpu: processor time of all nodes, s.

    Returns:
        Plain data: rate_hz, cameras, transport, fps (masks a second of one camera), sent, dropped, latency_ms, and
        beside these stage_ms, engine_share, cpu_ms (of one node for a frame), late, threads, engine, validity.
    """
    stamps = set(sent["stamps_ns"])
    delays, statuses, rates, masks = [], [], [], 0
    for found in arrived.values():
        own = [(stamp, received) for stamp, received in found["masks"] if stamp in stamps]
        masks += len(own)
        delays += [(received - stamp) / 1e6 for stamp, received in own]
        statuses += found["status"]
        rates.append(latency.rate_hz([received for _, received in own]) or 0.0)
    total = len(stamps) * setting.cameras
    stages = {stage: latency.percentiles([entry[f"{stage}_ms"] for entry in statuses]) for stage in STAGES}
    shares = [(entry["network_ms"] + entry["refine_ms"]) / entry["total_ms"] for entry in statuses if entry["total_ms"]]
    return {
        "rate_hz": rate_hz,
        "cameras": setting.cameras,
        "transport": setting.transport,
        "fps": round(float(np.mean(rates)), 2),
        "sent": total,
        "dropped": total - masks,
        "latency_ms": latency.percentiles(delays),
        "stage_ms": stages,
        "engine_share": round(float(np.median(shares)), 4) if shares else None,
        "cpu_ms": round(cpu * 1e3 / masks, 2) if masks else None,
        "refine_steps": round(float(np.mean([entry["refine_steps"] for entry in statuses])), 2) if statuses else None,
        "late": sent["late"],
        "threads": setting.engine_threads(),
        "engine": statuses[-1]["engine"] if statuses else None,
    }


def describe(point: dict[str, Any]) -> str:
    """One line for the terminal."""
    times = point["latency_ms"]
    text = f"{point['rate_hz']:g} Hz, {point['cameras']} x {point['transport']}: {point['fps']:.1f} masks/s, "
    text += f"{point['dropped']} of {point['sent']} dropped"
    return text if times["p50"] is None else f"{text}, {times['p50']:.1f} / {times['p99']:.1f} ms (p50 / p99)"


def command(module: str, *arguments: str) -> list[str]:
    """A node as a process of this Python."""
    return [sys.executable, "-m", f"clip_rl_perception.nodes.{module}", *arguments]


@contextlib.contextmanager
def running(setting: NodeSetting, frames: BenchFrames, folder: Path) -> Iterator[RunningNodes]:
    """Nodes for a setting, ended when the block is left; frames as a file that cameras read."""
    require_ros()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "frames.npy"
    np.save(file, np.ascontiguousarray(np.stack(frames.frames)[..., ::-1]))
    with Children(child_environment(), folder / "logs") as children:
        yield RunningNodes(children, setting, file, folder)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, s; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0
