"""Pictures of a report, with matplotlib where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.bench.bench_run import STAGES


def draw(report: Mapping[str, Any], folder: Path) -> list[str]:
    """Draw what was measured as SVG files into `folder`; their names, none where matplotlib is missing."""
    try:
        from matplotlib import rcParams
        from matplotlib.figure import Figure
    except ImportError:
        return []
    rcParams["svg.hashsalt"] = "clip-rl"  # the same report gives the same file
    rows = [(f"{e['backend']} {e['precision']}, {e['classes']} classes", e["stage_ms"]) for e in report["engines"]]
    rows += [(entry["name"], entry["stage_ms"]) for entry in report["peers"]]
    names = []
    plots: tuple[tuple[str, Callable[..., None], Sequence[Any], float], ...] = (
        ("performance-node.svg", _node, report["node"], 3.4),
        ("performance-stages.svg", _stages, rows, 0.9 + 0.32 * len(rows)),
    )
    for name, make, shown, height in plots:
        if shown:
            figure = Figure(figsize=(7.5, height))
            make(figure.subplots(), shown)
            figure.savefig(folder / name, bbox_inches="tight", metadata={"Date": None})
            names.append(name)
    return names


def _node(axes: Any, measured: Sequence[Mapping[str, Any]]) -> None:
    """Latency over the rate, a line for each number of cameras and transport."""
    groups: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for point in sorted(measured, key=lambda point: (point["cameras"], point["transport"], point["rate_hz"])):
        if point["latency_ms"]["p50"] is not None:
            groups.setdefault((point["cameras"], point["transport"]), []).append(point)
    for index, ((cameras, transport), points) in enumerate(groups.items()):
        for level, style in (("p50", "o-"), ("p99", "s:")):
            axes.plot(
                [point["rate_hz"] for point in points], [point["latency_ms"][level] for point in points], style,
                color=f"C{index}", label=f"{cameras} x {transport}, {level}",
            )  # fmt: skip
    axes.set_xlabel("frames per second of each camera")
    axes.set_ylabel("stamp to mask, ms")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=2)


def _stages(axes: Any, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Where the time of a frame goes, a bar for each engine and peer."""
    for place, (_, stage_ms) in enumerate(reversed(rows)):
        left = 0.0
        for index, stage in enumerate(STAGES):
            width = (stage_ms.get(stage) or {}).get("p50") or 0.0
            axes.barh(place, width, left=left, color=f"C{index}", label=stage if place == 0 else None)
            left += width
        axes.text(left, place, f" {left:.1f}", va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)], fontsize=7)
    axes.set_xlabel("median ms of a frame")
    axes.margins(x=0.1)
    axes.legend(fontsize=7, loc="lower right")
