"""What a node costs before its first mask: time and memory of its libraries, each alone, and of the real node."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.bench.bench_engines import compiled_engine
from clip_rl_perception.bench.bench_processes import start, start_camera, start_node, wait_for
from clip_rl_perception.bench.bench_run import BenchRun
from clip_rl_perception.bench.node_rates import FRAMES_FILE, cpu_seconds
from clip_rl_perception.replay.node_run import NodeRunError
from clip_rl_perception.replay.processes import Children
from clip_rl_perception.replay.ros_environment import child_environment, require_ros

LIBRARIES = ("cv2", "pydantic", "rosbags.typesys", "rclpy", "numba", "openvino", "scipy.optimize", "torch")
"""Imported after numpy, which all of them import. The node does without the last two."""
TIMES = 3
"""Fresh interpreters of each library, and nodes; medians are reported."""
NAMESPACE = "/bench/footprint"
RATE_HZ = 30.0

_IMPORT = """
import importlib, resource, sys, time, numpy
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
before, wall, cpu = resident(), time.perf_counter(), time.process_time()
importlib.import_module(sys.argv[1])
print(time.perf_counter() - wall, time.process_time() - cpu, resident() - before)
"""


def memory_mb(process: int) -> dict[str, float]:
    """Resident memory of a process, MB: ``rss`` in all, ``anon`` its own, ``file`` of files and libraries, which the
    system takes back when it needs room, and ``shm``, shared memory in which frames and masks travel.

    Raises:
        OSError: there is no such process, or the system does not tell (only Linux does).
    """
    text = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    kilobytes = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    fields = {"rss": "VmRSS", "anon": "RssAnon", "file": "RssFile", "shm": "RssShmem"}
    return {f"{name}_mb": round(int(kilobytes[field]) * 1.024e-3) for name, field in fields.items()}


def measure_footprint(run: BenchRun) -> dict[str, Any]:
    """`footprint`: ``libraries`` by name and ``node``, medians of so many ``times``."""
    libraries = {}
    for name in LIBRARIES:
        libraries[name] = dict(zip(("seconds", "cpu_s", "mb"), import_costs(name), strict=True))
        run.log("{}: {seconds:.2f} s, {cpu_s:.2f} s of a core, {mb:.0f} MB".format(name, **libraries[name]))
    nodes = [measure_start(run, number) for number in range(TIMES)]
    node = {name: statistics.median(found[name] for found in nodes) for name in nodes[0]}
    run.log(
        "node: listening after {cpu_s:.2f} s of a core, first mask after {first_mask_s:.2f} s; {rss_mb:.0f} MB: "
        "own {anon_mb:.0f}, files {file_mb:.0f}, shared memory {shm_mb:.0f}".format(**node)
    )
    return {"footprint": {"times": TIMES, "libraries": libraries, "node": node}}


def import_costs(library: str) -> tuple[float, float, float]:
    """Seconds, seconds of a core, and MB of resident memory that importing a library takes."""
    found = []
    for _ in range(TIMES):
        said = subprocess.run([sys.executable, "-c", _IMPORT, library], capture_output=True, text=True, check=False)
        if said.returncode != 0:
            raise NodeRunError(f"{library} cannot be imported: {said.stderr.strip().splitlines()[-1:]}")
        found.append([float(value) for value in said.stdout.split()])
    seconds, cpu, mb = (statistics.median(values) for values in zip(*found, strict=True))
    return seconds, cpu, mb


def measure_start(run: BenchRun, number: int) -> dict[str, float]:
    """One start of the real node, and `BenchOptions.seconds` of frames of a camera that waits for it.

    The camera begins half a second after the node listens: `first_mask_s` contains that; `cpu_s` ends before it.

    Raises:
        RosMissingError: no ROS here.
        NodeRunError: a process ended or did not answer, or no mask came.
    """
    require_ros()
    folder = run.out / "footprint" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / FRAMES_FILE, np.ascontiguousarray(np.stack(run.frames.frames)[..., ::-1]))
    engine, arrivals_file = compiled_engine(run), folder / "arrivals.json"
    arrivals_file.unlink(missing_ok=True)
    with Children(child_environment(), folder / "logs") as children:
        arrivals = start(
            children, "arrivals", "harness.latency_recorder_node", arrivals_file, "--namespaces", NAMESPACE
        )
        camera = start_camera(
            children,
            folder / FRAMES_FILE,
            [NAMESPACE],
            transport="raw",
            rate_hz=RATE_HZ,
            seconds=run.options.seconds,
            stamps=folder / "stamps.json",
        )
        started = time.time_ns()
        node = start_node(children, NAMESPACE, model=run.options.model, engine=engine)
        wait_for(arrivals, "ready", [node])
        wait_for(camera, "started", [node])
        cpu = cpu_seconds(node)
        wait_for(camera, "done", [node])
        memory = memory_mb(node.process.pid)
        children.stop(camera)
        children.stop(arrivals)
    if not arrivals_file.is_file():
        raise NodeRunError(f"what arrived was not written (log: {arrivals.log})")
    masks = json.loads(arrivals_file.read_text(encoding="utf-8"))[NAMESPACE]["masks"]
    if not masks:
        raise NodeRunError(f"no mask came (log: {node.log})")
    return {"first_mask_s": round((masks[0][1] - started) / 1e9, 2), "cpu_s": round(cpu, 2), **memory}
