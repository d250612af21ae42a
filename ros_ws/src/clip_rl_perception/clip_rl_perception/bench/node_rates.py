"""The real node over DDS, with processes for cameras and for the arrivals, at fixed rates and at its peak."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.bench.bench_engines import compiled_engine
from clip_rl_perception.bench.bench_processes import start, start_camera, start_node, wait_for
from clip_rl_perception.bench.bench_run import BenchRun
from clip_rl_perception.metrics import latency
from clip_rl_perception.replay.node_run import NodeRunError
from clip_rl_perception.replay.processes import Child, Children
from clip_rl_perception.replay.ros_environment import child_environment, require_ros
from clip_rl_perception.runs.host import host
from clip_rl_perception.runs.run_record import STAGES

PEAK_DROPS = 0.05
"""The peak rate is the highest at which fewer frames than this share are dropped."""
FRAMES_FILE = "frames.npy"


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

    @property
    def namespaces(self) -> list[str]:
        """Of the nodes."""
        return [f"/bench/camera{index}" for index in range(self.cameras)]

    def engine_threads(self) -> int:
        """What the node's parameter `threads` gets: a lone node decides itself."""
        return self.threads or (0 if self.cameras == 1 else max(1, int(host()["cores"]) // self.cameras))


def measure_point(
    children: Children, nodes: Sequence[Child], setting: NodeSetting, folder: Path, rate_hz: float, seconds: float
) -> dict[str, Any]:
    """Send the frames in `folder` to running nodes at a rate; returns one entry of the report's `node` list.

    Raises:
        NodeRunError: a process ended or did not answer.
    """
    stem = f"{rate_hz:g}hz-{seconds:g}s"
    arrivals_file, stamps_file = folder / f"arrivals-{stem}.json", folder / f"stamps-{stem}.json"
    arrivals_file.unlink(missing_ok=True)
    arrivals = start(
        children, "arrivals", "harness.latency_recorder_node", arrivals_file, "--namespaces", *setting.namespaces
    )
    wait_for(arrivals, "ready", nodes)
    camera = start_camera(
        children,
        folder / FRAMES_FILE,
        setting.namespaces,
        transport=setting.transport,
        rate_hz=rate_hz,
        seconds=seconds,
        stamps=stamps_file,
    )
    wait_for(camera, "started", nodes)
    before = sum(map(cpu_seconds, nodes))
    wait_for(camera, "done", nodes)
    used = sum(map(cpu_seconds, nodes)) - before
    time.sleep(0.3)
    children.stop(camera)
    children.stop(arrivals)
    if not arrivals_file.is_file():
        raise NodeRunError(f"what arrived was not written (log: {arrivals.log})")
    sent, arrived = (json.loads(file.read_text(encoding="utf-8")) for file in (stamps_file, arrivals_file))
    return summarise(setting, rate_hz, sent, arrived, used)


def measure_nodes(run: BenchRun) -> dict[str, Any]:
    """`node`: every number of cameras and transport that the run names; see `measure_node`."""
    engine, points = compiled_engine(run), []
    for cameras, transport in itertools.product(run.options.cameras, run.options.transports):
        points += measure_node(run, NodeSetting(cameras, transport, run.options.model, engine))
    return {"node": points}


def measure_node(run: BenchRun, setting: NodeSetting) -> list[dict[str, Any]]:
    """One entry for every rate of the run, and one with ``"peak": true`` where it probes for the peak and finds one.

    Raises:
        RosMissingError: no ROS here.
        NodeRunError: a process ended or did not answer.
    """
    require_ros()
    options, folder = run.options, run.out / "node" / f"{setting.cameras}-{setting.transport}"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / FRAMES_FILE, np.ascontiguousarray(np.stack(run.frames.frames)[..., ::-1]))
    with Children(child_environment(), folder / "logs") as children:
        parameters = {"image_transport": setting.transport, "threads": str(setting.engine_threads())}
        nodes = [
            start_node(children, name, model=setting.model, engine=setting.engine, **parameters)
            for name in setting.namespaces
        ]

        def told(rate: float, before: str = "") -> dict[str, Any]:
            found = measure_point(children, nodes, setting, folder, rate, options.seconds)
            run.log(before + describe(found))
            return found

        measure_point(children, nodes, setting, folder, 10.0, 1.0)  # discovery, first frames
        points = [told(rate) for rate in options.rates]
        if not options.peak_probes:
            return points
        best = find_peak(lambda rate: told(rate, "  peak? "), points, options.peak_probes)
        return points if best is None else [*points, {**best, "peak": True}]


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
        arrived: by namespace, see `harness.latency_recorder_node`.
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
    times = [entry["stage_ms"] for entry in statuses]
    stages = {stage: latency.percentiles([each[stage] for each in times]) for stage in STAGES}
    shares = [(each["network"] + each["refine"]) / each["total"] for each in times if each["total"]]
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


def cpu_seconds(child: Child) -> float:
    """Processor time of a process so far, s; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{child.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0
