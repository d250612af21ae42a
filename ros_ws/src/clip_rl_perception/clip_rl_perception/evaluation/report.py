"""The result of playing frames through the node, as data: what came back, when, and how good it was.

report.json holds `summary`; report.html (see `report_html`) shows the same with pictures.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.evaluation import latency
from clip_rl_perception.evaluation.host import host, versions
from clip_rl_perception.evaluation.recording import Recording, Status
from clip_rl_perception.evaluation.replay.run_record import STAGES
from clip_rl_perception.scene.types import Validity


@dataclasses.dataclass(frozen=True)
class FrameOutcome:
    """What became of one published frame."""

    index: int
    """In the source."""
    stamp_ns: int
    """Header stamp: when it was published."""
    latency_ms: float | None
    """From the stamp to the arrival of its mask, same clock, ms; None where no mask came."""
    status: Status | None
    """What the node said of it; None where it said nothing: replaced by a newer frame or lost on the way."""

    @property
    def kind(self) -> str:
        """``mask``, ``invalid`` (rejected by the node) or ``dropped``."""
        if self.latency_ms is not None:
            return "mask"
        if self.status is not None and self.status.validity == Validity.INVALID_INPUT:
            return "invalid"
        return "dropped"


def outcomes(stamps: Mapping[int, int], recording: Recording) -> list[FrameOutcome]:
    """One `FrameOutcome` per published frame, in order; `stamps` maps header stamps in ns to indices in the source."""
    statuses = {status.stamp_ns: status for status in recording.statuses}
    result = []
    for stamp, index in sorted(stamps.items()):
        received = recording.mask_received_ns.get(stamp)
        delay = (received - stamp) / 1e6 if received is not None else None
        result.append(FrameOutcome(index, stamp, delay, statuses.get(stamp)))
    return result


def wrong_stamps(stamps: Mapping[int, int], recording: Recording) -> int:
    """Masks that carry a stamp no published frame had, or one that an earlier mask had."""
    return sum(stamp not in stamps for stamp in recording.mask_received_ns) + recording.repeated_masks


def summary(
    stamps: Mapping[int, int],
    recording: Recording,
    *,
    input_sha256: str,
    source: Mapping[str, Any],
    transport: str,
    metrics: Mapping[str, Any] | None,
    problems: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything that report.json holds.

    Args:
        stamps: header stamp of every published frame, ns -> its index in the source.
        recording: what the node published.
        input_sha256: of the source.
        source: plain data that describes the source.
        transport: ``raw`` or ``compressed``.
        metrics: accuracy, where there is ground truth.
        problems: one line for everything that was left out or went wrong on the way.

    Returns:
        Plain data: frames_sent, masks_received (of frames that were sent), dropped (sent without a mask), fps (masks a
        second), latency_ms (header stamp to mask received), stage_ms (by stage, over frames that were processed),
        metrics, model_id, input_sha256, versions, and beside these drops by reason, validity, engine, input, host.
    """
    results = outcomes(stamps, recording)
    delays = [item.latency_ms for item in results if item.latency_ms is not None]
    received = [recording.mask_received_ns[item.stamp_ns] for item in results if item.latency_ms is not None]
    processed = [item.status for item in results if item.kind == "mask" and item.status is not None]
    dropped = len(results) - len(delays)
    invalid = sum(item.kind == "invalid" for item in results)
    replaced = min(dropped - invalid, max((status.dropped for status in recording.statuses), default=0))
    last = recording.statuses[-1] if recording.statuses else None
    wrong = wrong_stamps(stamps, recording)
    lines = list(problems)
    if wrong:
        lines.append(f"{wrong} masks carry a stamp that no frame had, or had before")
    return {
        "frames_sent": len(results),
        "masks_received": len(delays),
        "dropped": dropped,
        "fps": latency.rate_hz(received),
        "latency_ms": latency.percentiles(delays),
        "stage_ms": {stage: latency.percentiles([status.stage_ms[stage] for status in processed]) for stage in STAGES},
        "metrics": dict(metrics) if metrics is not None else None,
        "model_id": last.model_id if last is not None else None,
        "input_sha256": input_sha256,
        "versions": versions(),
        "engine": last.engine if last is not None else None,
        "drops": {"replaced_by_newer": replaced, "invalid": invalid, "lost": dropped - invalid - replaced},
        "wrong_stamps": wrong,
        "validity": dict(
            collections.Counter(item.status.validity.name.lower() for item in results if item.status is not None)
        ),
        "reasons": dict(
            collections.Counter(
                item.status.reason for item in results if item.status is not None and item.status.reason
            )
        ),
        "refine_steps": sum(status.refine_steps for status in processed) / len(processed) if processed else None,
        "transport": transport,
        "input": dict(source),
        "host": host(),
        "problems": lines,
    }


def write_json(report: Mapping[str, Any], path: str | Path) -> None:
    """Write `report` to `path`; written aside and renamed, so that no reader sees half of it."""
    write_text(Path(path), json.dumps(report, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def verdict(report: Mapping[str, Any]) -> str:
    """One sentence that says how it went."""
    sent, masks = report["frames_sent"], report["masks_received"]
    if not masks:
        return f"No mask came back for {sent} frames."
    times = report["latency_ms"]
    text = (
        f"{masks} of {sent} frames came back with a mask, {times['p50']:.0f} ms after their stamp at the median and "
        f"{times['p99']:.0f} ms at the 99th percentile"
    )
    if report["fps"] is not None:
        text += f", at {report['fps']:.1f} masks a second"
    metrics = report["metrics"]
    if metrics and metrics.get("miou") is not None:
        text += f"; mean IoU {metrics['miou']:.3f} against ground truth"
    return text + "."
