"""What a run says: report.json, whose parts may come from several runs on one machine, and the page made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.report.pages import templates
from clip_rl_perception.runs.host import host, versions

LISTS = ("node", "engines", "encoders", "peers", "postprocess", "networks", "replay", "observers")
"""Keys of the report that hold lists; `MAPPINGS` hold mappings, or None. Older reports have fewer of them."""
MAPPINGS = ("roofline", "classes", "agreement", "footprint")


class ReportError(ClipRlError):
    """A report cannot be read, or belongs to other circumstances; the message says what to do."""


def empty_report(input_sha256: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """A report with nothing measured yet."""
    return {
        **{key: [] for key in LISTS},
        **dict.fromkeys(MAPPINGS),
        "host": host(),
        "versions": versions(),
        "input_sha256": input_sha256,
        "input": dict(source),
        "commands": {},
    }


def read_report(path: Path) -> dict[str, Any] | None:
    """The report that `merge` would add to; None where there is none. Raises `ReportError`."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} is damaged ({error}); remove it and measure again") from error
    # A replay's own, which says its format, has these too.
    if not isinstance(found, dict) or "format" in found or not {"host", "versions", "input_sha256"} <= set(found):
        raise ReportError(f"{path} exists and is not of a benchmark; choose another --out or remove it")
    return found


def merge(path: Path, fresh: Mapping[str, Any], parts: Sequence[str], command: str) -> dict[str, Any]:
    """The report at `path` with the measured `parts` replaced by those of `fresh`; written back.

    Args:
        path: report.json; may be missing.
        fresh: an `empty_report` with some parts filled.
        parts: keys that were measured now. Entries of ``node`` replace those of the same cameras and transport.
        command: that measured them, for the record.

    Raises:
        ReportError: the report at `path` is damaged, or of another kind.
    """
    report = dict(fresh)
    old = read_report(path)
    # Parts of another input, machine or version would stand beside these as if they belonged together.
    if old is not None and all(old.get(key) == report[key] for key in ("host", "versions", "input_sha256")):
        kept = {key: value for key, value in old.items() if key not in parts}
        if "node" in parts:
            now = {(point["cameras"], point["transport"]) for point in fresh["node"]}
            others = [p for p in old["node"] if (p["cameras"], p["transport"]) not in now]
            report["node"] = [*others, *fresh["node"]]
            report["node"].sort(key=lambda p: (p["cameras"], p["transport"] != "raw", p.get("peak", False)))
        report |= kept
    report["commands"] = {**report["commands"], **dict.fromkeys(parts, command)}
    write_json(path, report)
    return report


def page(report: Mapping[str, Any], plots: Sequence[str] = (), prose: str = "") -> str:
    """The report as Markdown; `plots` are file names beside it, `prose` goes before the tables."""
    # Chained: of a report that lacks a part or a stage, everything below it is missing too.
    folder = Path(__file__).with_name("templates")
    environment = templates(folder, escape=False).overlay(undefined=jinja2.ChainableUndefined, finalize=cell)
    text = environment.get_template("performance.md.j2").render(report, plots=plots, prose=prose.strip())
    return text.rstrip() + "\n"


def cell(value: Any) -> Any:
    """A value as tables show it: None and what is missing as a dash, numbers with as many digits as they are worth."""
    if value is None or isinstance(value, jinja2.Undefined):
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if 0.99 <= value < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return value
