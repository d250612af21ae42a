"""/diagnostics, built by hand (diagnostic_updater is not everywhere): levels and values as REP-107 describes them.

`judge` decides without ROS what is wrong; `diagnostic_array` puts it into a message.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from clip_rl_perception.nodes.health import HealthSummary, Percentiles
from clip_rl_perception.nodes.newest_frame import FrameCounts
from clip_rl_perception.scene.types import Validity


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
    configure_error: str = ""
    """Why the last configuration failed; empty if it did not."""
    topic: str = ""
    """Resolved name of the input topic."""
    publishers: int = 0
    """Matched publishers on it."""
    lost: int = 0
    """Images that the middleware knows to be lost on their way."""
    model: str = ""
    engine: str = ""
    classes: int = 0
    counts: FrameCounts = dataclasses.field(default_factory=FrameCounts)
    summary: HealthSummary | None = None
    """None before the first activation."""
    stalled_s: float | None = None
    """Running time of a frame beyond the stall timeout."""
    stall_timeout_s: float = 2.0
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
        "lost in transport": str(state.lost),
        "received": str(state.counts.received),
        "dropped": str(state.counts.dropped),
        "invalid": str(state.counts.invalid),
        **{f"event: {key}": text for key, text in sorted(state.events.items())},
    }
    level, message = Level.OK, state.lifecycle
    if state.lifecycle == "active" and state.summary is not None:
        values["input rate (Hz)"] = f"{state.summary.input_hz:.1f}"
        invalid = state.summary.validity.get(Validity.INVALID_INPUT, 0)
        level, message = Level.OK, f"{state.summary.input_hz:.1f} Hz"
        if invalid:
            level, message = Level.WARN, f"{invalid} frames rejected: {state.summary.last_problem}"
        elif state.events:
            level, message = Level.WARN, "; ".join(text for _, text in sorted(state.events.items()))
        elif state.publishers == 0:
            level, message = Level.WARN, f"no publisher on {state.topic}"
        elif state.summary.silent_s > state.stall_timeout_s:
            level, message = Level.WARN, f"no image for {state.summary.silent_s:.1f} s"
    return Report("input", level, message, values)


def _judge_inference(state: NodeState) -> Report:
    values = {
        "state": state.lifecycle,
        "model": state.model,
        "engine": state.engine,
        "classes": str(state.classes),
        "processed": str(state.counts.processed),
    }
    summary = state.summary
    if summary is not None:
        values["output rate (Hz)"] = f"{summary.output_hz:.1f}"
        values |= _spread("total", summary.total_ms) | _spread("age", summary.age_ms)
        values |= {f"frames {kind.name}": str(summary.validity.get(kind, 0)) for kind in Validity}
        values["last problem"] = summary.last_problem
    if state.configure_error:
        return Report("inference", Level.ERROR, state.configure_error, values)
    if state.stalled_s is not None:
        return Report("inference", Level.ERROR, f"a frame has been in work for {state.stalled_s:.1f} s", values)
    if state.lifecycle != "active" or summary is None:
        return Report("inference", Level.OK, state.lifecycle, values)
    doubtful = sum(count for kind, count in summary.validity.items() if kind is not Validity.OK)
    if doubtful:
        message = f"{doubtful} of {sum(summary.validity.values())} frames not OK: {summary.last_problem}"
        return Report("inference", Level.WARN, message, values)
    return Report("inference", Level.OK, f"{summary.output_hz:.1f} Hz, {summary.total_ms.p95:.1f} ms (p95)", values)


def _spread(name: str, spread: Percentiles) -> dict[str, str]:
    return {f"{name} {key} (ms)": f"{value:.1f}" for key, value in dataclasses.asdict(spread).items()}


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
