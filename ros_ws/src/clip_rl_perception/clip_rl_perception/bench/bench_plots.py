"""Pictures of a report, with matplotlib where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_rl_perception.bench.bench_report import STAGES


def draw(report: Mapping[str, Any], folder: Path) -> list[str]:
    """Draw what was measured as SVG files into `folder`; their names, none where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    # The same report gives the same file.
    matplotlib.rcParams["svg.hashsalt"] = "clip-rl"
    names = []
    for name, make in (("performance-node.svg", _node), ("performance-stages.svg", _stages)):
        figure = make(report)
        if figure is not None:
            figure.savefig(folder / name, bbox_inches="tight", metadata={"Date": None})
            names.append(name)
    return names


def _node(report: Mapping[str, Any]) -> Any:
    """Latency over the rate, a line for each number of cameras and transport."""
    if not report["node"]:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.4))
    axes = figure.subplots()
    groups: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for point in report["node"]:
        if point["latency_ms"]["p50"] is not None:
            groups.setdefault((point["cameras"], point["transport"]), []).append(point)
    for index, ((cameras, transport), points) in enumerate(sorted(groups.items())):
        points = sorted(points, key=lambda point: point["rate_hz"])
        rates, label = [point["rate_hz"] for point in points], f"{cameras} x {transport}"
        axes.plot(rates, [p["latency_ms"]["p50"] for p in points], "o-", color=f"C{index}", label=f"{label}, p50")
        axes.plot(rates, [p["latency_ms"]["p99"] for p in points], "s:", color=f"C{index}", label=f"{label}, p99")
    axes.set_xlabel("frames per second of each camera")
    axes.set_ylabel("stamp to mask, ms")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=2)
    return figure


def _stages(report: Mapping[str, Any]) -> Any:
    """Where the time of a frame goes, a bar for each engine and peer."""
    rows = [(f"{e['backend']} {e['precision']}, {e['classes']} classes", e) for e in report["engines"]]
    rows += [(entry["name"], entry) for entry in report["peers"]]
    if not rows:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 0.9 + 0.32 * len(rows)))
    axes = figure.subplots()
    for place, (_, entry) in enumerate(reversed(rows)):
        left = 0.0
        for index, stage in enumerate(STAGES):
            width = (entry["stage_ms"].get(stage) or {}).get("p50") or 0.0
            axes.barh(place, width, left=left, color=f"C{index}", label=stage if place == 0 else None)
            left += width
        axes.text(left, place, f" {left:.1f}", va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)], fontsize=7)
    axes.set_xlabel("median ms of a frame")
    axes.margins(x=0.1)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles, labels, fontsize=7, loc="lower right")
    return figure
