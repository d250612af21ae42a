"""`clip-rl bench`: time engines, encoders, peers and the node on this machine, against plain PyTorch in one run.

Candidates take turns frame by frame, so ratios hold on a busy machine too. Parts may be measured one by one; each
replaces its own part of report.json as long as machine, versions and input are the same.

    clip-rl bench                        # roofline, engines and peers, encoders, label map
    clip-rl bench --node                 # the node over DDS at 10, 30, 60 Hz and its peak; needs ROS 2
    clip-rl bench --parts engines --backends cuda tensorrt --model CHECKPOINT --size 512x640      # on a GPU
    clip-rl bench --parts networks --encoders vit_b16 --backends cuda tensorrt --size 512x640 --rounds 500
    clip-rl bench --parts agreement      # masks and mIoU of engines against FP32's, on synthetic operations
    clip-rl bench --parts replay         # what is left of the pipeline's rate to a whole `clip-rl replay`
    clip-rl bench --parts observers      # whether a second viewer, evaluator or a slow disk slow the node; needs ROS 2
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

from clip_rl_perception.atomic_write import write_text
from clip_rl_perception.bench.bench_report import empty_report, merge, page
from clip_rl_perception.bench.bench_run import ENCODERS, PEERS, BenchOptions, BenchRun
from clip_rl_perception.cli_types import height_by_width

PARTS = ("roofline", "engines", "encoders", "postprocess")
"""Measured where no part is named."""
MORE_PARTS = ("networks", "agreement", "replay", "observers")


QUICK: dict[str, Any] = {"rounds": 3, "seconds": 2.0, "rates": (10.0,), "peak_probes": 0}
"""What --quick measures: enough to see that everything works, too little to say anything."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `clip-rl bench`."""
    parser.add_argument("--parts", nargs="+", choices=PARTS + MORE_PARTS, help=f"default: {' '.join(PARTS)}")
    parser.add_argument("--node", action="store_true", help="measure the node over DDS (and, without --parts, only it)")
    parser.add_argument("--prepare", action="store_true", help="build engines and render frames; measure nothing")
    parser.add_argument("--quick", action="store_true", help="a few small frames: a test of the benchmark, no result")
    parser.add_argument("--source", type=Path, help="video, folder or bag (default: a synthetic operation, 1280x1024)")
    parser.add_argument("--model", default="demo", help="checkpoint: shipped name or path (default: demo)")
    parser.add_argument("--size", type=height_by_width, help="network input HxW (default: the checkpoint's)")
    parser.add_argument(
        "--backends", nargs="+", metavar="BACKEND[:PRECISION]", default=["openvino", "openvino:fp32", "torch"],
        help="openvino, torch, cuda, tensorrt; peers meet the first (default: openvino openvino:fp32 torch)",
    )  # fmt: skip
    parser.add_argument("--classes", type=int, nargs="*", default=[12, 50], help="further numbers of classes")
    parser.add_argument("--peers", nargs="*", default=PEERS, help="names, none for no peers (default: three)")
    parser.add_argument("--encoders", nargs="*", default=ENCODERS, help="presets with random weights (default: three)")
    parser.add_argument("--rounds", type=int, default=60, help="timed frames of each candidate (default: 60)")
    parser.add_argument("--rates", type=float, nargs="+", default=[10.0, 30.0, 60.0], help="of the node's camera, Hz")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2], help="of the node part (default: 1 2)")
    parser.add_argument("--transports", nargs="+", choices=("raw", "compressed"), default=["raw", "compressed"])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate of the node part (default: 5)")
    parser.add_argument("--peak-probes", type=int, default=3, help="rates tried to find the peak (default: 3)")
    parser.add_argument("--engine", default="auto", help="of the node part (default: the one that is measured)")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="output folder (default: out/bench)")
    parser.add_argument("--page", type=Path, help="also write the report as Markdown with plots beside it")
    parser.add_argument("--prose", type=Path, help="Markdown that the page begins with, after the machine")


def run(arguments: argparse.Namespace) -> int:
    """Measure; returns the exit status."""
    parts = [*(arguments.parts or ([] if arguments.node else PARTS)), *(["node"] if arguments.node else [])]
    bench = BenchRun(_options(arguments))
    fresh, measured = empty_report(bench.frames.sha256, bench.frames.describe()), list[str]()
    # Imported here: torch takes seconds, and what is wrong with the input is said before.
    from clip_rl_perception.bench.suite import MEASURES, PREPARES

    if arguments.prepare:
        for prepare in (PREPARES[part] for part in parts if part in PREPARES):
            for _ in prepare(bench):
                pass
        bench.log("prepared; nothing was measured")
        return 0
    for part in parts:
        found = MEASURES[part](bench)
        fresh |= found
        measured += found
    report_file = arguments.out / "report.json"
    report = merge(report_file, fresh, measured, f"clip-rl {shlex.join(sys.argv[1:])}")
    print(report_file)
    if arguments.page is not None:
        from clip_rl_perception.bench.bench_plots import draw

        prose = arguments.prose.read_text(encoding="utf-8") if arguments.prose else ""
        arguments.page.parent.mkdir(parents=True, exist_ok=True)
        write_text(arguments.page, page(report, draw(report, arguments.page.parent), prose))
        print(arguments.page)
    return 0


def _options(arguments: argparse.Namespace) -> BenchOptions:
    given = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(BenchOptions)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return BenchOptions(**{**given, **(QUICK if arguments.quick else {})})
