"""report.json: a run summed up as plain data. report.html (see `report_html`) shows the same with pictures.

One summary for offline replay, online replay and the demo: everything is a function of the `RunRecord`.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clip_rl_perception.metrics import latency
from clip_rl_perception.metrics.confusion import to_json
from clip_rl_perception.metrics.temporal import TemporalConsistency
from clip_rl_perception.report.accuracy import accuracy_report, tag_report
from clip_rl_perception.report.bootstrap import accuracy_intervals
from clip_rl_perception.runs.run_record import FORMAT, STAGES, FrameRecord, RunRecord
from clip_rl_perception.scene.types import Basis


def summary(run: RunRecord) -> dict[str, Any]:
    """Everything that report.json holds but the frames, which `report_files` adds.

    Returns:
        Plain data without NaN: frames_sent, masks_received, dropped (sent without a mask), fps (masks a second),
        latency_ms, stage_ms (by stage, over frames with a mask), metrics (`accuracy_report` with ``intervals``, or
        None), tags (`TagEvaluator.report`, or None), space (as of `RunRecord`), temporal, tracks, jitter_ms, age_ms,
        validity, reasons, `looks`, `gain`, drops by reason, model_id, engine, input, input_sha256, output_sha256,
        parameters, host, versions, problems, and what else `RunRecord` names.
    """
    masks = [frame for frame in run.frames if frame.kind == "mask"]
    invalid = sum(frame.kind == "invalid" for frame in run.frames)
    dropped = len(run.frames) - len(masks)
    replaced = min(dropped - invalid, run.replaced)
    return {
        "format": FORMAT,
        "title": run.title,
        "mode": run.mode,
        "complete": run.complete,
        "started": run.started,
        "command": run.command,
        "wall_s": None if run.wall_s is None else round(run.wall_s, 3),
        "frames_sent": len(run.frames),
        "masks_received": len(masks),
        "dropped": dropped,
        "fps": latency.rate_hz([frame.received_ns for frame in masks if frame.received_ns is not None]),
        "latency_ms": latency.percentiles(frame.latency_ms for frame in masks),
        "age_ms": latency.percentiles(frame.age_ms for frame in masks),
        "jitter_ms": jitter(run),
        "stage_ms": {stage: latency.percentiles(frame.stage_ms.get(stage) for frame in masks) for stage in STAGES},
        "metrics": metrics(run),
        "tags": tag_report(run.frames),
        "space": run.space,
        "temporal": temporal(run),
        "tracks": tracks(run.frames),
        "model_id": run.model_id,
        "input_sha256": run.input_sha256,
        "output_sha256": run.output_sha256,
        "versions": dict(run.versions),
        "engine": run.engine,
        "engine_manifest": run.engine_manifest,
        "parameters": dict(run.parameters),
        "drops": {"replaced_by_newer": replaced, "invalid": invalid, "lost": dropped - invalid - replaced},
        "wrong_stamps": run.wrong_stamps,
        "validity": dict(collections.Counter(frame.validity for frame in run.frames if frame.validity is not None)),
        "reasons": dict(collections.Counter(frame.reason for frame in run.frames if frame.reason)),
        "looks": looks([frame.basis for frame in masks if frame.basis is not None]),
        "gain": gain(run),
        "transport": run.transport,
        "input": dict(run.source),
        "host": dict(run.host),
        "problems": list(run.problems),
        "label_space": run.label_space.to_dict() if run.label_space is not None else None,
        "evaluated": list(run.evaluated),
        "evaluated_note": run.evaluated_note,
        "unanswered": list(run.unanswered),
        "nsd_tau": run.nsd_tau,
    }


def metrics(run: RunRecord) -> dict[str, Any] | None:
    """Accuracy per class, per sequence and overall with intervals; None without ground truth."""
    report = accuracy_report(run.frames, run.evaluated, run.nsd_tau)
    if report is None:
        return None
    report["intervals"] = accuracy_intervals(run.frames, run.evaluated)
    if run.evaluated_note:
        report["note"] = run.evaluated_note
    return report


def looks(told: Sequence[Basis]) -> dict[str, Any] | None:
    """What masks rest on, of those of which it was told; None without any.

    Keys: a_frame (looks, mean), kinds (how many of each), memory_share (mean), memory_age_ms (percentiles),
    disagreement (mean, bits; None where every look stood alone).
    """
    if not told:
        return None
    kinds = collections.Counter(name for basis in told for name in basis.looks)
    known = [basis.disagreement for basis in told if basis.disagreement is not None]
    return {
        "a_frame": sum(kinds.values()) / len(told),
        "kinds": dict(kinds),
        "memory_share": sum(basis.memory_share for basis in told) / len(told),
        "memory_age_ms": latency.percentiles(basis.memory_age_ms for basis in told),
        "disagreement": sum(known) / len(known) if known else None,
    }


def gain(run: RunRecord) -> dict[str, Any] | None:
    """What the masks have over those of one plain look, on the frames where both were measured; None without.

    Keys: frames; miou, miou_no_background, dice, nsd, each the run's less that of the plain looks; plain (theirs).
    """
    both = [frame for frame in run.frames if frame.measures is not None and frame.plain is not None]
    ours = accuracy_report(both, run.evaluated, run.nsd_tau)
    theirs = accuracy_report(
        [dataclasses.replace(frame, measures=frame.plain) for frame in both], run.evaluated, run.nsd_tau
    )
    if ours is None or theirs is None:
        return None
    plain = {name: theirs.get(name) for name in ("miou", "miou_no_background", "dice", "nsd")}
    gained = {
        name: ours[name] - value if value is not None and ours.get(name) is not None else None
        for name, value in plain.items()
    }
    return {"frames": len(both), **gained, "plain": plain}


def temporal(run: RunRecord) -> dict[str, Any]:
    """Temporal consistency, with or without truth: consistency, truth (its own, the ceiling), pairs of frames."""
    pooled = TemporalConsistency(run.evaluated or ("background",))
    for frame in run.frames:
        if frame.measures is not None and frame.measures.temporal is not None:
            pooled.add(frame.measures.temporal, frame.measures.temporal_truth)
    return {
        "consistency": to_json(pooled.consistency()),
        "truth": to_json(pooled.truth_consistency()),
        "pairs": pooled.pairs,
    }


def jitter(run: RunRecord) -> dict[str, dict[str, float | None]]:
    """How unsteady times are, percentiles in ms.

    input: deviation of steps between stamps from their median, per topic; latency: change of latency from mask to mask.
    """
    steps: list[float] = []
    changes: list[float] = []
    for frames in by_stream(run.frames).values():
        gaps = np.diff([frame.stamp_ns for frame in frames]) / 1e6
        steps += np.abs(gaps - np.median(gaps)).tolist() if len(gaps) else []
        delays = [frame.latency_ms for frame in frames if frame.latency_ms is not None]
        changes += np.abs(np.diff(delays)).tolist()
    return {"input": latency.percentiles(steps), "latency": latency.percentiles(changes)}


def tracks(frames: Sequence[FrameRecord]) -> dict[str, Any]:
    """Identities over the run: how many, how long they live, and each one's life.

    Keys: count, median_frames, short (lives of fewer than 5 frames: likely false), list of {stream, id, class_id (the
    most frequent), first, last (places in the stream's frames), frames}.
    """
    seen: dict[tuple[str, int], list[tuple[int, int]]] = collections.defaultdict(list)  # frames, classes
    for stream, members in by_stream(frames).items():
        for frame in members:
            for tag in frame.instruments:
                if tag.track_id:
                    seen[stream, tag.track_id].append((frame.index, tag.class_id))
    lives = [
        {
            "stream": stream,
            "id": track,
            "class_id": collections.Counter(class_id for _, class_id in places).most_common(1)[0][0],
            "first": places[0][0],
            "last": places[-1][0],
            "frames": len(places),
        }
        for (stream, track), places in seen.items()
    ]
    lengths = [len(places) for places in seen.values()]
    return {
        "count": len(lives),
        "median_frames": float(np.median(lengths)) if lengths else None,
        "short": sum(length < 5 for length in lengths),
        "list": lives,
    }


def by_stream(frames: Sequence[FrameRecord]) -> dict[str, list[FrameRecord]]:
    """Frames of each sequence, in order, by its name; topics of one bag are sequences of their own."""
    streams: dict[str, list[FrameRecord]] = collections.defaultdict(list)
    for frame in frames:
        streams[frame.sequence].append(frame)
    return streams


def verdict(report: Mapping[str, Any]) -> str:
    """One or two sentences that say how it went."""
    sent, masks = report["frames_sent"], report["masks_received"]
    interrupted = "" if report.get("complete", True) else "Interrupted: what follows is what was done until then. "
    offline = report.get("mode") == "offline"
    if not masks:
        return f"{interrupted}No mask came {'of' if offline else 'back for'} {sent} frames."
    times = report["latency_ms"]
    text = f"{masks} of {sent} frames {'gave' if offline else 'came back with'} a mask"
    if times["p50"] is not None:
        median = f"in {times['p50']:.0f} ms" if offline else f"{times['p50']:.0f} ms after they were published"
        text += f", {median} at the median and {times['p99']:.0f} ms at the 99th percentile"
    if report["fps"] is not None:
        text += f", at {report['fps']:.1f} masks a second"
    found = report["metrics"]
    if found and found.get("miou") is not None:
        score = f"{found['miou']:.3f}{_plus_minus(found)}"
        text += f"; mean IoU {score} against ground truth, as video, at the frames' full size"
    return interrupted + text + "."


def _plus_minus(found: Mapping[str, Any]) -> str:
    limits = (found.get("intervals") or {}).get("miou")
    if not limits or math.isclose(limits[0], limits[1]):
        return ""
    return f" (95 % between {limits[0]:.3f} and {limits[1]:.3f})"
