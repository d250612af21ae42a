"""What a run says: report.json, whose parts may come from several runs on one machine, and the page made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.atomic_write import write_json, write_text
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.runs.host import host, versions

LISTS = ("node", "engines", "kinds", "encoders", "peers", "postprocess")
"""Keys of the report that hold lists; `roofline` and `classes` hold mappings."""
STAGES = ("preprocess", "network", "refine", "postprocess", "tags")
"""Of the pipeline, in the order that a frame meets them."""


class ReportError(ClipRlError):
    """A report cannot be read, or belongs to other circumstances; the message says what to do."""


def empty_report(input_sha256: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """A report with nothing measured yet."""
    report: dict[str, Any] = {key: [] for key in LISTS}
    report |= {
        "roofline": None,
        "classes": None,
        "host": host(),
        "versions": versions(),
        "input_sha256": input_sha256,
        "input": dict(source),
        "commands": {},
    }
    return report


def merge(path: Path, fresh: Mapping[str, Any], parts: Sequence[str], command: str) -> dict[str, Any]:
    """The report at `path` with the measured `parts` replaced by those of `fresh`; written back.

    Args:
        path: report.json; may be missing.
        fresh: an `empty_report` with some parts filled.
        parts: keys that were measured now. Entries of ``node`` replace those of the same cameras and transport.
        command: that measured them, for the record.

    Raises:
        ReportError: the report at `path` is damaged.
    """
    report = dict(fresh)
    if path.is_file():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ReportError(f"{path} is damaged ({error}); remove it and measure again") from error
        # Parts of another input, machine or version would stand beside these as if they belonged together.
        if all(old.get(key) == report[key] for key in ("host", "versions", "input_sha256")):
            kept = {key: value for key, value in old.items() if key not in parts}
            if "node" in parts:
                now = {(point["cameras"], point["transport"]) for point in fresh["node"]}
                others = [p for p in old["node"] if (p["cameras"], p["transport"]) not in now]
                report["node"] = [*others, *fresh["node"]]
                report["node"].sort(key=lambda p: (p["cameras"], p["transport"] != "raw", p.get("peak", False)))
            report |= kept
            report["commands"] = dict(old.get("commands", {}))
    report["commands"] = {**report["commands"], **dict.fromkeys(parts, command)}
    write_json(path, report)
    return report


def write_page(report: Mapping[str, Any], path: Path, plots: Sequence[str], prose: str = "") -> None:
    """Write the Markdown page; `plots` are file names beside it, `prose` goes before the tables."""
    write_text(path, page(report, plots, prose))


def page(report: Mapping[str, Any], plots: Sequence[str] = (), prose: str = "") -> str:
    """The report as Markdown."""
    machine, source = report["host"], report["input"]
    lines = [
        "# Performance",
        "",
        "Made by `make bench`. Times are those of one machine; ratios come from turns within one run.",
        "",
        f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}",
        f"- Versions: {', '.join(f'{name} {value}' for name, value in report['versions'].items())}",
        f"- Input: {source['frames']} frames, {source['width']}x{source['height']}, SHA-256 "
        f"{report['input_sha256'][:16]}",
        "",
    ]
    if prose:
        lines += [prose.strip(), ""]
    lines += [f"![{name.rpartition('.')[0].replace('-', ' ')}]({name})\n" for name in plots]
    for make in (_node, _engines, _refinement, _encoders, _peers, _roofline, _postprocess):
        lines += make(report)
    return "\n".join(lines).rstrip() + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A Markdown table; None becomes a dash."""
    text = [[_cell(value) for value in row] for row in rows]
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in text),
        "",
    ]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if 0.99 <= value < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def _node(report: Mapping[str, Any]) -> list[str]:
    if not report["node"]:
        return []
    rows = []
    for point in report["node"]:
        times, stages = point["latency_ms"], point["stage_ms"]
        rate = f"{point['rate_hz']:g}" + (" (peak)" if point.get("peak") else "")
        share = point["engine_share"]
        rows.append(
            [
                point["cameras"], point["transport"], rate, point["fps"], f"{point['dropped']} / {point['sent']}",
                times["p50"], times["p95"], times["p99"], times["max"], stages["total"]["p50"],
                None if share is None else f"{100 * share:.0f} %", point["cpu_ms"],
            ]
        )  # fmt: skip
    head = ["cameras", "transport", "Hz", "masks/s", "dropped", "p50", "p95", "p99", "max", "node", "engine", "CPU"]
    return [
        "## The node over DDS",
        "",
        "Camera and witness are processes of their own; images travel through shared memory. Milliseconds from the",
        "header stamp (when the camera published) to the arrival of the mask; *node*: median from taking a frame up to",
        "its status; *engine*: share of that in encoder, decoder and refiner; *CPU*: processor time of a node a frame.",
        "Peak: the highest rate found at which less than 5 % of the frames are dropped. masks/s is that of one camera.",
        "",
        *table(head, rows),
    ]


def _engines(report: Mapping[str, Any]) -> list[str]:
    if not report["engines"]:
        return []
    rows = []
    for entry in report["engines"]:
        stages = entry["stage_ms"]
        rows.append(
            [
                f"{entry['backend']} {entry['precision']}", entry["classes"],
                *(stages.get(stage, {}).get("p50") for stage in STAGES),
                stages["total"]["p50"], stages["total"]["p95"], stages["total"]["p99"], stages["total"]["max"],
                entry["fps"], entry["ratio_to_torch"], entry.get("label_agreement"), entry.get("build_s"),
                entry.get("load_s"), entry.get("memory_mb"),
            ]
        )  # fmt: skip
    first = report["engines"][0]
    head = [
        "engine", "classes", *STAGES, "total", "p95", "p99", "max", "fps", "x plain", "agreement", "build s", "load s",
        "MB",
    ]  # fmt: skip
    return [
        f"## Engines: {first['encoder']}, {first['size'][0]}x{first['size'][1]}",
        "",
        "The whole pipeline in one process, median ms of its stages; candidates take turns frame by frame. *x plain*:",
        "times the frame rate of plain torch (resize, eager FP32 network and refiner, F.interpolate, argmax; no tags).",
        "*agreement*: pixels with the label of FP32 PyTorch, on the shipped golden frames. Load includes the golden",
        "frames; MB is the growth of resident memory while loading.",
        "",
        *table(head, rows),
    ]


def _refinement(report: Mapping[str, Any]) -> list[str]:
    lines = []
    measured = [entry for entry in report["engines"] if "refinement" in entry]
    if measured:
        rows = []
        for entry in measured:
            data, network = entry["refinement"], entry["stage_ms"]["network"]["p50"]
            counts = ", ".join(f"{steps}: {count}" for steps, count in data["frames"].items())
            full = data["full_ms"]
            rows.append(
                [f"{entry['backend']} {entry['precision']}", entry["classes"], counts, data["mean_steps"],
                 full, None if full is None else f"{100 * full / network:.0f} %"]
            )  # fmt: skip
        lines += [
            "### Refinement",
            "",
            "Frames by the number of steps after which every pixel keeps; the price of all steps, and that over",
            "encoder and decoder.",
            "",
            *table(["engine", "classes", "frames by steps", "mean", "all steps ms", "share"], rows),
        ]
    if report.get("kinds"):
        first = report["engines"][0] if report["engines"] else {"backend": "the first engine", "precision": ""}
        lines += [
            f"Kinds of frames on {first['backend']} {first['precision']}".rstrip()
            + ", refinement alone. Out of focus: the",
            "film blurred; stills: the shipped golden frames; one colour: the film's mean.",
            "",
            *table(
                ["frames", *(f"{steps} steps" for steps in report["kinds"][0]["frames"]), "mean", "median ms"],
                [
                    [row["kind"], *row["frames"].values(), row["mean_steps"], row["refine_ms"]]
                    for row in report["kinds"]
                ],
            ),
        ]
    if report["classes"]:
        data = report["classes"]
        lines += [f"{data['most']} classes take {data['ratio']:.2f} times as long as {data['fewest']}.", ""]
    return lines


def _encoders(report: Mapping[str, Any]) -> list[str]:
    if not report["encoders"]:
        return []
    rows = [
        [
            f"{entry['encoder']} {entry['size'][0]}x{entry['size'][1]}", entry["precision"],
            entry["bare_ms"]["encoder"], entry["bare_ms"]["decoder"], entry["stage_ms"]["network"]["p50"],
            entry["ratio_to_bare"], entry["stage_ms"]["total"]["p50"], entry["stage_ms"]["total"]["p99"], entry["fps"],
            entry["ratio_to_torch"], entry["build_s"], entry["load_s"], entry["memory_mb"],
        ]
        for entry in report["encoders"]
    ]  # fmt: skip
    head = [
        "encoder", "precision", "bare encoder", "decoder", "engine", "ratio", "total", "p99", "fps", "x plain",
        "build s", "load s", "MB",
    ]  # fmt: skip
    return [
        "## Other encoders, on OpenVINO",
        "",
        "Random weights. *ratio*: the engine's encoder and decoder, with everything that the refiner needs, over the",
        "bare encoder and the decoder as graphs of their own. Median ms.",
        "",
        *table(head, rows),
    ]


def _peers(report: Mapping[str, Any]) -> list[str]:
    if not report["peers"]:
        return []
    rows = [
        [
            entry["name"], entry["precision"], f"{entry['parameters'] / 1e6:.1f} M",
            *(entry["stage_ms"][stage]["p50"] for stage in ("preprocess", "network", "postprocess", "total")),
            entry["fps"], entry["network_ratio_to_ours"],
        ]
        for entry in report["peers"]
    ]  # fmt: skip
    size = report["peers"][0]["size"]
    return [
        f"## Peers on the same engine, {size[0]}x{size[1]}",
        "",
        "Random weights, the same conversion and label map. *ratio*: the peer's network over our encoder, decoder and",
        "refiner, in the same turns; above 1 we are faster.",
        "",
        *table(
            ["name", "precision", "weights", "preprocess", "network", "postprocess", "total", "fps", "ratio"],
            rows,
        ),
    ]


def _roofline(report: Mapping[str, Any]) -> list[str]:
    data = report["roofline"]
    if not data:
        return []
    shares = [
        f"{entry['backend']} {entry['precision']}: "
        f"{100 * data['bound_ms'][entry['precision']]['bound'] / entry['stage_ms']['network']['p50']:.0f} %"
        for entry in report["engines"]
        if entry["precision"] in data["bound_ms"]
        and entry["classes"] == report["engines"][0]["classes"]
        and entry["backend"] != "plain torch"
    ]
    rows = [
        [name, data["gflops"][name], data["network_mb"][name], *(data["bound_ms"][name].values())]
        for name in ("fp32", "bf16")
    ]
    return [
        "## Roofline",
        "",
        f"Encoder and decoder: {data['network_gflop']:.2f} GFLOP, {data['parameters'] / 1e6:.2f} M weights. Memory: "
        f"{data['bandwidth_gb_s']:.1f} GB/s",
        "(STREAM triad). The bound is the larger of the times that arithmetic and memory need at these ceilings.",
        "",
        *table(["precision", "GFLOP/s (1024^3 product)", "MB", "arithmetic ms", "memory ms", "bound ms"], rows),
        *([f"Share of the bound that encoder and decoder reach: {'; '.join(shares)}.", ""] if shares else []),
    ]


def _postprocess(report: Mapping[str, Any]) -> list[str]:
    if not report["postprocess"]:
        return []
    head = list(report["postprocess"][0])
    rows = [[entry[key] for key in head] for entry in report["postprocess"]]
    return [
        "## Label map at the frame's size",
        "",
        "Exact bilinear upsampling and argmax, compiled, against F.interpolate + argmax; agreement with the definition",
        "in double precision.",
        "",
        *table([key.replace("_", " ") for key in head], rows),
    ]
