"""Requirements on a run: ``miou>=0.7,p99_ms<=80``. What decides whether a model, an engine or a parameter may go on.

A metric that the run does not have (no ground truth, no frames) fails its requirement: unknown is not good enough.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from operator import ge, gt, le, lt
from typing import Any

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.metrics.space_evaluator import band_name
from clip_rl_perception.report.metric_text import METRIC_TEXT


class RequirementError(ClipRlError, ValueError):
    """A requirement is not one; the message says what is known."""


_OPERATORS = {">=": ge, "<=": le, ">": gt, "<": lt}


@dataclasses.dataclass(frozen=True)
class Requirement:
    """One comparison."""

    name: str
    operator: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.bound:g}"

    def holds(self, value: float | None) -> bool:
        """Whether `value` is good enough; None is not."""
        return value is not None and bool(_OPERATORS[self.operator](value, self.bound))


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a requirement holds."""

    requirement: Requirement
    value: float | None
    """None where the run does not have the metric."""
    holds: bool

    def __str__(self) -> str:
        found = "unknown: the run has no such value" if self.value is None else f"{self.value:.6g}"
        return f"{'ok    ' if self.holds else 'FAILED'}  {self.requirement}: {found}"


def values_of(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Every number that can be required of a report, by name.

    Accuracy as in the report (miou, dice, nsd, hd95, ece, ...), ``<class>.iou`` and ``.dice``, ``.nsd``, ``.hd95``,
    ``.miss_rate``; p50_ms, p95_ms, p99_ms, max_ms of latency; ``<stage>_p50_ms`` and so on; ``age_p99_ms``; fps;
    masks_share, dropped_share, invalid_share; ``<validity>_share``; temporal_consistency; looks (a frame),
    memory_share, disagreement; those of `tag_values` and `space_values`; ``gain_miou`` and so on over one plain look;
    tracks; short_tracks; problems.
    """
    metrics = report["metrics"] or {}
    found: dict[str, float | None] = {name: metrics.get(name) for name in METRIC_TEXT}
    found |= tag_values(report.get("tags"))
    found |= space_values(report.get("space"))
    found["temporal_consistency"] = report["temporal"]["consistency"]
    classes, measured = metrics.get("classes", {}), ("iou", "dice", "nsd", "hd95", "miss_rate")
    for name in report["evaluated"]:
        found |= {f"{name}.{metric}": classes.get(name, {}).get(metric) for metric in measured}
    for prefix, times in {"": report["latency_ms"], "age_": report["age_ms"]}.items():
        found |= {f"{prefix}{quantile}_ms": value for quantile, value in times.items()}
    for stage, times in report["stage_ms"].items():
        found |= {f"{stage}_{quantile}_ms": value for quantile, value in times.items()}
    sent = report["frames_sent"]
    found["fps"] = report["fps"]
    found["masks_share"] = report["masks_received"] / sent if sent else None
    found["dropped_share"] = report["dropped"] / sent if sent else None
    found["invalid_share"] = report["drops"]["invalid"] / sent if sent else None
    for validity in ("ok", "degraded", "stale", "out_of_body", "out_of_distribution"):
        found[f"{validity}_share"] = report["validity"].get(validity, 0) / sent if sent else None
    rests, gained = report["looks"] or {}, report["gain"] or {}
    found["looks"] = rests.get("a_frame")
    found |= {name: rests.get(name) for name in ("memory_share", "disagreement")}
    found |= {f"gain_{name}": gained.get(name) for name in ("miou", "miou_no_background", "dice", "nsd")}
    found["tracks"] = float(report["tracks"]["count"])
    found["short_tracks"] = float(report["tracks"]["short"])
    found["problems"] = float(len(report["problems"]))
    return found


def tag_values(tags: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Numbers of tags by name, None without a truth of them.

    tag_recall, tag_precision, tag_ap50, tag_pq, tag_hota, tag_idf1, tag_switches_per_500, tag_identities_per_instrument
    by boxes; mask_ap50, mask_pq by pixels; tip_missed, tip_median_percent, tip_p90_percent, tip_near, and so on of
    entry and wrist; type_right of tags, track_type_right of tracks, long_track_type_right of those seen for 2 s.
    """
    told = tags or {"boxes": {}, "masks": {}, "keypoints": {}, "types": {}}
    boxes, tracking, masks = told["boxes"], told["boxes"].get("tracking", {}), told["masks"] or {}
    found = {f"tag_{name}": boxes.get(name) for name in ("recall", "precision", "ap50", "pq")}
    names = ("hota", "idf1", "switches_per_500", "identities_per_instrument")
    found |= {f"tag_{name}": tracking.get(name) for name in names}
    found |= {f"mask_{name}": masks.get(name) for name in ("ap50", "pq")}
    for kind in ("tip", "wrist", "entry"):
        scores = told["keypoints"].get(kind, {})
        measured = ("missed", "median_percent", "p90_percent", "near")
        found |= {f"{kind}_{name}": scores.get(name) for name in measured}
    for name, key in (("type_right", "tags"), ("track_type_right", "tracks"), ("long_track_type_right", "long_tracks")):
        found[name] = told["types"].get(key, {}).get("right")
    return found


def space_values(space: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Numbers of instruments in space by name, None without a stereo bag or a truth of them.

    space_paired, space_pair_precision; space_tip_median_mm, space_tip_p90_mm, space_tip_inside_90 (share of errors
    inside the told 90 % region), and so on of wrist and entry; space_tip_100mm_median_mm of tips in the band of 100 mm;
    space_hidden_tips (told although a picture does not show them); space_axis_median_degrees.
    """
    truth = (space or {}).get("truth") or {}
    pairing, points = truth.get("pairing", {}), truth.get("points", {})
    found = {"space_paired": pairing.get("right"), "space_pair_precision": pairing.get("precision")}
    for kind in ("tip", "wrist", "entry"):
        measured = ("median_mm", "p90_mm", "inside_90")
        found |= {f"space_{kind}_{name}": points.get(kind, {}).get(name) for name in measured}
    found["space_tip_100mm_median_mm"] = truth.get("tips_by_depth", {}).get(band_name(100.0), {}).get("median_mm")
    found["space_hidden_tips"] = truth["hidden"].get("tip", 0) if truth else None
    found["space_axis_median_degrees"] = truth.get("axes", {}).get("median_degrees")
    return found


def parse(text: str) -> tuple[Requirement, ...]:
    """Read ``name>=value,name<=value``; raises `RequirementError` for another form. Names are checked by `check`.

    Classes may be called anything, so a name goes to the last operator, and a comma that follows no number is its own.
    """
    found = []
    for part in filter(None, (part.strip(" ,") for part in re.split(r"(?<=[\d.])\s*,", text))):
        match = re.fullmatch(r"((?:(?![<>]=).)+?)\s*(>=|<=|>|<)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)", part)
        if match is None:
            raise RequirementError(f"requirement '{part}' is not of the form NAME>=VALUE, for example miou>=0.7")
        try:
            found.append(Requirement(match[1], match[2], float(match[3])))
        except ValueError as error:
            raise RequirementError(f"requirement '{part}': {match[3]} is not a number") from error
    if not found:
        raise RequirementError("no requirement given; expected for example miou>=0.7,p99_ms<=80")
    return tuple(found)


def check_names(requirements: Sequence[Requirement], known: Sequence[str]) -> None:
    """Raise `RequirementError` for a name that is not known, with what is."""
    for requirement in requirements:
        if requirement.name not in known:
            close = difflib.get_close_matches(requirement.name, known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else "."
            raise RequirementError(f"no metric '{requirement.name}'{hint} Known: {', '.join(known)}")


def check(requirements: Sequence[Requirement], report: Mapping[str, Any]) -> tuple[Verdict, ...]:
    """Hold requirements against a report; raises `RequirementError` for unknown names."""
    values = values_of(report)
    check_names(requirements, list(values))
    return tuple(Verdict(each, values[each.name], each.holds(values[each.name])) for each in requirements)
