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

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

from clip_rl_perception.atomic_write import write_text
from clip_rl_perception.bench.bench_report import empty_report, merge, page, read_report
from clip_rl_perception.bench.bench_run import BenchOptions, BenchRun
from clip_rl_perception.options import Option

PARTS = ("roofline", "engines", "encoders", "postprocess")
"""Measured where no part is named."""
MORE_PARTS = ("networks", "agreement", "replay", "observers", "footprint")
_PARTS = Option(nargs="+", choices=PARTS + MORE_PARTS, help=f"default: {' '.join(PARTS)}")
QUICK: dict[str, Any] = {"rounds": 3, "seconds": 2.0, "rates": (10.0,), "peak_probes": 0}
"""What --quick measures: enough to see that everything works, too little to say anything."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure, and where the result goes."""

    parts: Annotated[tuple[str, ...], _PARTS] = ()
    """Parts to measure."""
    node: bool = False
    """Measure the node over DDS (and, without --parts, only it)."""
    prepare: bool = False
    """Build engines and render frames; measure nothing."""
    what: BenchOptions
    page: Path | None = None
    """Also write the report as Markdown with plots beside it."""
    prose: Annotated[Path | None, Option(help="Markdown that the page begins with, after the machine")] = None
    """Markdown that the page begins with, after the machine."""


def run(options: Options) -> int:
    """Measure; returns the exit status."""
    what = dataclasses.replace(options.what, **(QUICK if options.what.quick else {}))
    parts = [*(options.parts or ([] if options.node else PARTS)), *(["node"] if options.node else [])]
    report_file = what.out / "report.json"
    if not options.prepare:
        read_report(report_file)  # refused before anything is measured
    bench = BenchRun(what)
    fresh, measured = empty_report(bench.frames.sha256, bench.frames.describe()), list[str]()
    # Imported here: torch takes seconds, and what is wrong with the input is said before.
    from clip_rl_perception.bench.suite import MEASURES, PREPARES

    if options.prepare:
        for prepare in (PREPARES[part] for part in parts if part in PREPARES):
            for _ in prepare(bench):
                pass
        bench.log("prepared; nothing was measured")
        return 0
    report = fresh
    for part in parts:
        found = MEASURES[part](bench)
        fresh |= found
        measured += found
        # At once: what is measured outlives a part that fails.
        report = merge(report_file, fresh, measured, f"clip-rl {shlex.join(sys.argv[1:])}")
    print(report_file)
    if options.page is not None:
        from clip_rl_perception.bench.bench_plots import draw

        prose = options.prose.read_text(encoding="utf-8") if options.prose else ""
        options.page.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.page, page(report, draw(report, options.page.parent), prose))
        print(options.page)
    return 0
