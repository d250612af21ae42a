"""Our nodes as processes of this Python: started, and waited for while the perception nodes live."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from clip_rl_perception.replay.node_run import NodeRunError
from clip_rl_perception.replay.processes import Child, Children

START_TIMEOUT_S = 180.0
"""How long a process may take to report an event, s."""


def start(children: Children, name: str, module: str, *arguments: object) -> Child:
    """Start a node, for example ``harness.player_node``."""
    return children.start(name, [sys.executable, "-m", f"clip_rl_perception.{module}", *map(str, arguments)])


def start_node(children: Children, namespace: str, **parameters: str) -> Child:
    """Start a perception node that activates itself; texts among its parameters are quoted where they could be more."""
    values = {"autostart": "true", **parameters}
    values |= {name: f"'{values[name]}'" for name in ("model", "engine")}
    given = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
    return start(
        children, f"node{namespace.replace('/', '_')}", "nodes.perception_node",
        "--ros-args", "-r", f"__ns:={namespace}", *given,
    )  # fmt: skip


def start_camera(
    children: Children,
    frames: Path,
    namespaces: Sequence[str],
    *,
    transport: str,
    rate_hz: float,
    seconds: float,
    stamps: Path,
) -> Child:
    """Start a camera that waits for the nodes, sends the frames of a file over and over and writes their stamps."""
    return start(
        children,
        "camera",
        "harness.bench_camera_node",
        frames,
        "--namespaces",
        *namespaces,
        "--transport",
        transport,
        "--rate",
        f"{rate_hz:g}",
        "--seconds",
        f"{seconds:g}",
        "--stamps",
        stamps,
        "--wait-seconds",
        f"{START_TIMEOUT_S:g}",
    )


def wait_for(child: Child, event: str, nodes: Sequence[Child], *, longer_s: float = 0.0) -> None:
    """Until `child` reports `event`, for `START_TIMEOUT_S` and `longer_s`.

    Raises:
        NodeRunError: it cannot come, or one of the `nodes` is not active.
    """
    deadline = time.monotonic() + START_TIMEOUT_S + longer_s
    while child.last(event) is None:
        for node in nodes:
            refused = node.log_lines("configure failed")
            if refused or not node.running():
                raise NodeRunError(f"a perception node is not active: {(refused or node.log_lines() or ['?'])[-1]}")
        if not child.running() and child.last(event) is None:
            raise NodeRunError(f"the {child.name} ended before it should (log: {child.log})")
        if time.monotonic() > deadline:
            raise NodeRunError(f"the {child.name} did not report '{event}' in time (log: {child.log})")
        time.sleep(0.05)
