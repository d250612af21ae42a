"""What a soak has come to: report.json and report.md."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
import statistics
import sys
from pathlib import Path
from typing import Any

from clip_rl_perception.atomic_write import write_json, write_text
from clip_rl_perception.runs.host import host, versions
from clip_rl_perception.stress import soak_memory
from clip_rl_perception.stress.soak_checks import untested
from clip_rl_perception.stress.soak_run import Soak


def summary(soak: Soak, *, interrupted: bool) -> dict[str, Any]:
    """Plain data: ``holds`` (all conditions), conditions, counts, memory by life, what was asked for, the machine."""
    options, counts = soak.options, soak.checks.counts
    memory = [_life(list(samples), options.settle_minutes * 60) for _, samples in _by_life(soak)]
    slopes = [life["mb_per_minute"] for life in memory if life["mb_per_minute"] is not None]
    conditions = soak.checks.results()
    if not counts.masks:
        conditions[0] |= {"holds": False, "first": ["no mask came back at all"]}
    conditions.append(
        {
            "name": "memory",
            "condition": "resident memory of the node grows by less than "
            f"{soak_memory.MOST_MB_PER_MINUTE:g} MB per minute after {options.settle_minutes:g} minutes of a life",
            "holds": all(slope < soak_memory.MOST_MB_PER_MINUTE for slope in slopes),
            "findings": sum(slope >= soak_memory.MOST_MB_PER_MINUTE for slope in slopes),
            "first": [] if slopes else ["not judged: no life of the node was long enough"],
        }
    )
    return {
        "command": f"clip-rl {shlex.join(sys.argv[1:])}",
        "holds": all(condition["holds"] for condition in conditions),
        "interrupted": interrupted,
        "minutes": round(soak.seconds / 60, 2),
        "conditions": conditions,
        "lives": soak.lives,
        "counts": {name: dict(value) if isinstance(value, dict) else value for name, value in vars(counts).items()},
        "damage_not_met": untested(counts),
        "memory": memory,
        "options": {name: str(value) for name, value in dataclasses.asdict(options).items()},
        "host": host(),
        "versions": versions(),
    }


def write_report(data: dict[str, Any], out: Path) -> Path:
    """Write report.json and report.md into `out`; returns the latter's path."""
    write_json(out / "report.json", data)
    write_text(out / "report.md", page(data))
    return out / "report.md"


def page(data: dict[str, Any]) -> str:
    """The report as Markdown."""
    counts = data["counts"]
    lines = [
        "# Soak",
        "",
        f"    {data['command']}",
        "",
        f"{data['minutes']:g} minutes{', interrupted' if data['interrupted'] else ''}, "
        f"{data['lives']['node']} lives of the node, {data['lives']['camera']} of the camera: "
        f"**{'everything holds' if data['holds'] else 'something does not hold'}**.",
        "",
        "| condition | holds | findings |",
        "|---|---|---|",
    ]
    lines += [
        f"| {each['condition']} | {'yes' if each['holds'] else 'NO'} | {each['findings']} |"
        for each in data["conditions"]
    ]
    lines += [f"- {each['name']}: {text}" for each in data["conditions"] for text in each["first"]]
    lines += [
        "",
        "| frames | |",
        "|---|---|",
        f"| sent by the cameras | {counts['sent']} |",
        f"| received by the nodes, as their counters say | {counts['received']} |",
        f"| dropped for newer ones before they were taken up | {counts['dropped']} |",
        f"| answered with a status | {counts['answered']} |",
        f"| masks | {counts['masks']} |",
        f"| masks of nodes that recall no frame before | {counts['alone']}, {counts['exact']} of them to the pixel |",
        f"| masks while the camera's clock was off | {counts['shifted']} |",
        f"| lives without images though a camera filmed, as diagnostics said | {counts['deaf']} |",
        f"| answered in part when the node was killed | {counts['cut_off']} |",
        f"| messages lost between node and witness, as the publishers' numbers say | {counts['lost']} |",
        f"| validity | {', '.join(f'{name} {count}' for name, count in sorted(counts['validity'].items()))} |",
        "",
        "| damage | sent | told as INVALID_INPUT |",
        "|---|---|---|",
    ]
    lines += [
        f"| {kind} | {count} | {counts['bad_told'].get(kind, 0)} |"
        for kind, count in sorted(counts["bad_sent"].items())
    ]
    lines += [
        "",
        "| life | minutes | resident MB, first minute | median | last minute | MB per minute |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {life['life']} | {life['minutes']:.1f} | {life['first']:.0f} | {life['median']:.0f} | {life['last']:.0f} | "
        f"{'too short' if life['mb_per_minute'] is None else format(life['mb_per_minute'], '.3f')} |"
        for life in data["memory"]
    ]
    machine = ", ".join(f"{name} {value}" for name, value in {**data["host"], **data["versions"]}.items())
    return "\n".join([*lines, "", machine, ""])


def _by_life(soak: Soak) -> Any:
    return itertools.groupby(soak.samples, key=lambda each: each.life)


def _life(samples: list[soak_memory.Sample], settle_s: float) -> dict[str, Any]:
    end = samples[-1].age_s
    slope = soak_memory.slope(samples, settle_s)
    return {
        "life": samples[0].life,
        "minutes": round(end / 60, 2),
        "first": round(statistics.median(each.rss for each in samples if each.age_s <= max(60, samples[0].age_s)), 1),
        "median": round(statistics.median(each.rss for each in samples), 1),
        "last": round(statistics.median(each.rss for each in samples if each.age_s >= end - 60), 1),
        "own_last": round(samples[-1].own, 1),
        "shared_last": round(samples[-1].shared, 1),
        "mb_per_minute": None if slope is None else round(slope, 4),
    }
