"""`clip-rl report`: compare two runs, or hold one against requirements.

    clip-rl report compare A/report.json B/report.json --out compare.html
    clip-rl report check report.json --require "miou>=0.7,p99_ms<=80"

Exit status: 0; 1 when a requirement fails; 2 when a report cannot be read or compared.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

from clip_rl_perception.atomic_write import write_json, write_text
from clip_rl_perception.options import Option, Positional
from clip_rl_perception.report import requirements
from clip_rl_perception.report import run_summary as reports
from clip_rl_perception.report.comparison_html import check_place, data_beside, render, to_json
from clip_rl_perception.report.run_comparison import Comparison, compare
from clip_rl_perception.runs.record_json import read_run


@dataclasses.dataclass(frozen=True)
class Compare:
    """Two runs over the same input: which differences are larger than noise."""

    a: Annotated[Path, Positional()]
    """report.json to compare with, or a replay's folder."""
    b: Annotated[Path, Positional()]
    """report.json that is judged, or a replay's folder."""
    out: Annotated[Path | None, Option(metavar="HTML")] = None
    """Write a page; data of the same name beside it."""
    anyway: bool = False
    """Compare although the inputs differ."""

    def run(self) -> int:
        """Returns the exit status."""
        if self.out is not None:
            check_place(self.out)
        names = _names(self.a, self.b)
        comparison = compare(read_run(self.a), read_run(self.b), names=names, anyway=self.anyway)
        print(text(comparison))
        if self.out is not None:
            write_text(self.out, render(comparison, names))
            write_json(data_beside(self.out), to_json(comparison))
            print(f"\n  {self.out}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """Hold a run against requirements."""

    report: Annotated[Path, Positional()]
    """report.json, or a replay's folder."""
    require: Annotated[str, Option(metavar="LIST")]
    """For example "miou>=0.7,p99_ms<=80"."""

    def run(self) -> int:
        """Returns the exit status."""
        verdicts = requirements.check(requirements.parse(self.require), reports.summary(read_run(self.report)))
        for verdict in verdicts:
            print(verdict)
        failed = [verdict for verdict in verdicts if not verdict.holds]
        if failed:
            print(f"{self.report}: {len(failed)} of {len(verdicts)} requirements fail", file=sys.stderr)
        return int(bool(failed))


def run(options: Compare | Check) -> int:
    """Compare or check; returns the exit status."""
    return options.run()


def text(comparison: Comparison) -> str:
    """The comparison for a terminal."""
    lines = [comparison.verdict(), *(f"note: {note}" for note in comparison.notes), ""]
    lines.append(f"  {'':34} {'A':>9} {'B':>9} {'B - A':>9}   95 % interval")
    for item in comparison.differences:
        if item.a is None or item.b is None or item.delta is None:
            continue
        limits = f"{item.interval[0]:+.4f} to {item.interval[1]:+.4f}" if item.interval else "-"
        mark = {True: "  better", False: "  worse", None: ""}[item.better]
        lines.append(f"  {item.label:34} {item.a:9.4f} {item.b:9.4f} {item.delta:+9.4f}   {limits}{mark}")
    return "\n".join(lines)


def _names(a: Path, b: Path) -> tuple[str, str]:
    """What tells the two paths apart: their folders where both files are called alike."""
    if a.name != b.name:
        return a.name, b.name
    if a.parent.name != b.parent.name:
        return a.parent.name, b.parent.name
    return str(a), str(b)
