"""`clip-rl report`: compare two runs, or hold one against requirements.

    clip-rl report compare A/report.json B/report.json --out compare.html
    clip-rl report check report.json --require "miou>=0.7,p99_ms<=80"

Exit status: 0; 1 when a requirement fails; 2 when a report cannot be read or compared.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clip_rl_perception.atomic_write import write_json, write_text
from clip_rl_perception.report import requirements
from clip_rl_perception.report import run_summary as reports
from clip_rl_perception.report.comparison_html import render, to_json
from clip_rl_perception.report.run_comparison import Comparison, compare
from clip_rl_perception.runs.record_json import read_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `clip-rl report`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="compare|check")
    both = actions.add_parser("compare", help="two runs over the same input: which differences are larger than noise")
    both.add_argument("a", type=Path, help="report.json to compare with")
    both.add_argument("b", type=Path, help="report.json that is judged")
    both.add_argument("--out", type=Path, metavar="HTML", help="write a page; data of the same name beside it")
    both.add_argument("--anyway", action="store_true", help="compare although the inputs differ")
    one = actions.add_parser("check", help="hold a run against requirements")
    one.add_argument("report", type=Path, help="report.json")
    one.add_argument("--require", required=True, metavar="LIST", help='for example "miou>=0.7,p99_ms<=80"')


def run(arguments: argparse.Namespace) -> int:
    """Compare or check; returns the exit status."""
    if arguments.action == "check":
        return _check(arguments)
    names = _names(arguments.a, arguments.b)
    comparison = compare(read_run(arguments.a), read_run(arguments.b), names=names, anyway=arguments.anyway)
    print(text(comparison))
    if arguments.out is not None:
        page: Path = arguments.out
        write_text(page, render(comparison, names))
        write_json(page.with_suffix(".json"), to_json(comparison))
        print(f"\n  {page}")
    return 0


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


def _check(arguments: argparse.Namespace) -> int:
    required = requirements.parse(arguments.require)
    verdicts = requirements.check(required, reports.summary(read_run(arguments.report)))
    for verdict in verdicts:
        print(verdict)
    failed = [verdict for verdict in verdicts if not verdict.holds]
    if failed:
        print(f"{arguments.report}: {len(failed)} of {len(verdicts)} requirements fail", file=sys.stderr)
    return int(bool(failed))


def _names(a: Path, b: Path) -> tuple[str, str]:
    """What tells the two paths apart: their folders where both files are called alike."""
    if a.name != b.name:
        return a.name, b.name
    if a.parent.name != b.parent.name:
        return a.parent.name, b.parent.name
    return str(a), str(b)
