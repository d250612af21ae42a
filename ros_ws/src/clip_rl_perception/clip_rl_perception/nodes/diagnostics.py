"""/diagnostics, built by hand (diagnostic_updater is not everywhere): levels and values as REP-107 describes them.

`judge` decides without ROS what is wrong; `diagnostic_array` puts it into a message.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from typing import Any

from clip_rl_perception.nodes.health import HealthSummary, Percentiles
from clip_rl_perception.nodes.newest_frame import FrameCounts
from clip_rl_perception.scene.types import Validity

TOO_SLOW = "the network is slower than the camera; lower network_size, latency_budget_ms or the camera's rate"
"""What to do where the node cannot follow."""
BUILD = "build an engine (clip-rl build-engine): torch on a CPU is slow"
"""What to do before that where none is built."""
WAITING = {
    "unconfigured": "unconfigured: configure and activate the node, or start it with autostart:=true",
    "inactive": "inactive: activate the node",
}
"""What to do in states in which a node does nothing."""
FROZEN_S, FROZEN_PICTURES = 3.0, 10
"""Images that stay the same for longer, s, and so many, come from a frozen source: noise changes every real one."""


class Level(enum.IntEnum):
    """Values of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclasses.dataclass(frozen=True)
class NodeState:
    """Everything that diagnostics speak about, at one moment."""

    lifecycle: str
    """Label of the lifecycle state."""
    fault: str = ""
    """Why configuring, or a transition since then, failed; empty if none did."""
    topic: str = ""
    """Resolved name of the input topic."""
    publishers: int = 0
    """Matched publishers on it."""
    matched_s: float = math.inf
    """Time since the newest of them was matched: nothing can have come before."""
    absence: str = ""
    """Why there is none; empty where it is not known."""
    calibration: str = ""
    """What is known of the camera's calibration; empty where nobody asks."""
    advice: str = ""
    """What to do where images are lost on their way."""
    model: str = ""
    engine: str = ""
    classes: int = 0
    counts: FrameCounts = dataclasses.field(default_factory=FrameCounts)
    summary: HealthSummary | None = None
    """None before the first activation."""
    stalled_s: float | None = None
    """Running time of a frame beyond the stall timeout."""
    stall_timeout_s: float = 2.0
    working: bool = True
    """False when a thread that works on frames has ended by itself."""
    status_deadline_s: float = 2.0
    """Longest time between two of `status` that is promised; 0: none."""
    bond: str = ""
    """How the bond with a lifecycle manager is; empty where there is none."""
    loss_warning: float = 0.1
    """Share of the window's images that may be lost, or replaced by newer ones."""
    events: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Lasting facts, for example incompatible QoS by topic."""


@dataclasses.dataclass(frozen=True)
class Report:
    """One diagnostic_msgs/DiagnosticStatus."""

    component: str
    level: Level
    message: str
    values: dict[str, str]


def check(state: NodeState) -> list[Report]:
    """Judge the node's input and its inference, in this order."""
    return [_judge_input(state), _judge_inference(state)]


def _judge_input(state: NodeState) -> Report:
    values = {
        "topic": state.topic,
        "matched publishers": str(state.publishers),
        "lost in transport": str(state.counts.lost),
        "received": str(state.counts.received),
        "dropped": str(state.counts.dropped),
        "invalid": str(state.counts.invalid),
        "calibration": state.calibration or "not asked for",
        **{f"event: {key}": text for key, text in sorted(state.events.items())},
    }
    if state.lifecycle != "active" or state.summary is None:
        return Report("input", Level.OK, WAITING.get(state.lifecycle, state.lifecycle), values)
    summary = state.summary
    sent = summary.received + summary.lost
    values["input rate (Hz)"] = f"{summary.input_hz:.1f}"
    values["lost share (%)"] = _percent(summary.lost, sent)
    silent_s = min(summary.silent_s, state.matched_s)
    level, message = Level.WARN, ""
    if invalid := summary.validity.get(Validity.INVALID_INPUT, 0):
        message = f"{invalid} frames rejected: {summary.last_problem}"
    elif state.events:
        message = "; ".join(text for _, text in sorted(state.events.items()))
    elif state.publishers > 1:
        message = f"{state.publishers} publishers on {state.topic}: their images take turns; leave one, or remap it"
    elif summary.lost > state.loss_warning * sent:
        behind = summary.replaced > state.loss_warning * summary.received
        first = "this machine cannot follow, see inference; if losses stay then, " if behind else ""
        message = f"{summary.lost} of {sent} images were lost on their way: {first}{state.advice}"
    elif state.publishers == 0:
        message = state.absence or f"no publisher on {state.topic}"
    elif silent_s > state.stall_timeout_s:
        message = f"no image for {silent_s:.1f} s; if the camera sends, {state.advice}"
    elif summary.unchanged_s > FROZEN_S and summary.unchanged >= FROZEN_PICTURES:
        message = f"images come, but the picture is the same for {summary.unchanged_s:.1f} s: the source is frozen"
    else:
        level = Level.OK
        message = f"{summary.input_hz:.1f} Hz" if summary.received else "waiting for the first image"
    return Report("input", level, message, values)


def _judge_inference(state: NodeState) -> Report:
    values = {
        "state": state.lifecycle,
        "model": state.model,
        "engine": state.engine,
        "classes": str(state.classes),
        "processed": str(state.counts.processed),
        "bond": state.bond or "none",
    }
    summary = state.summary
    if summary is not None:
        values["output rate (Hz)"] = f"{summary.output_hz:.1f}"
        values["dropped share (%)"] = _percent(summary.replaced, summary.received)
        values |= _spread("total", summary.total_ms) | _spread("age", summary.age_ms)
        values |= {f"frames {kind.name}": str(summary.validity.get(kind, 0)) for kind in Validity}
        values["deadlines missed"] = str(summary.late_ever)
        values["last problem"] = summary.last_problem
    if state.fault:
        return Report("inference", Level.ERROR, state.fault, values)
    if not state.working:
        return Report("inference", Level.ERROR, "the inference thread has ended; start the node again", values)
    if state.stalled_s is not None:
        return Report("inference", Level.ERROR, f"a frame has been in work for {state.stalled_s:.1f} s", values)
    if state.lifecycle != "active" or summary is None:
        return Report("inference", Level.OK, WAITING.get(state.lifecycle, state.lifecycle), values)
    if summary.silent_s > state.stall_timeout_s:  # before the rest: that is of a time gone by
        return Report("inference", Level.STALE, f"no image to work on for {summary.silent_s:.1f} s", values)
    if summary.late:
        cause = f"; no image for {summary.silent_s:.1f} s" if summary.silent_s > state.status_deadline_s else ""
        message = f"status missed its deadline of {state.status_deadline_s:g} s, {summary.late} times of late{cause}"
        return Report("inference", Level.WARN, message, values)
    doubtful = sum(count for kind, count in summary.validity.items() if kind is not Validity.OK)
    if doubtful:
        message = f"{doubtful} of {sum(summary.validity.values())} frames not OK: {summary.last_problem}"
        return Report("inference", Level.WARN, message, values)
    if summary.replaced > state.loss_warning * summary.received:
        message = f"{summary.replaced} of {summary.received} images gave way to newer ones: {TOO_SLOW}"
        if state.engine.startswith("torch"):
            message = f"{message}; first of all, {BUILD}"
        return Report("inference", Level.WARN, message, values)
    if not summary.validity:
        return Report("inference", Level.OK, "waiting for the first image", values)
    return Report("inference", Level.OK, f"{summary.output_hz:.1f} Hz, {summary.total_ms.p95:.1f} ms (p95)", values)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "0.0"


def _spread(name: str, spread: Percentiles) -> dict[str, str]:
    return {
        f"{name} {key} (ms)": f"{value:.1f}" if math.isfinite(value) else "none"
        for key, value in dataclasses.asdict(spread).items()
    }


def diagnostic_array(node_name: str, hardware_id: str, stamp: Any, reports: list[Report]) -> Any:
    """A diagnostic_msgs/DiagnosticArray; names are "NODE: COMPONENT".

    Args:
        node_name: name of the node without namespace slashes at its start.
        hardware_id: what the reports are about, for example the engine.
        stamp: builtin_interfaces/Time, node clock.
        reports: what `judge` found.
    """
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

    message = DiagnosticArray()
    message.header.stamp = stamp
    for report in reports:
        message.status.append(
            DiagnosticStatus(
                level=bytes([report.level]),
                name=f"{node_name}: {report.component}",
                message=report.message,
                hardware_id=hardware_id,
                values=[KeyValue(key=key, value=value) for key, value in report.values.items()],
            )
        )
    return message
