"""Two runs over the same input side by side: differences per frame, and which of them are larger than noise.

Frames are paired by sequence, topic and stamp. A difference counts as larger than noise when its 95 % interval leaves
out zero; both runs are resampled together (`bootstrap`), so what makes a frame hard for both cancels. Metrics that have
a value per frame must also pass a Wilcoxon signed-rank test on the means of the resampled units (Wilcoxon 1945),
corrected for their number by Holm's method (1979).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.metrics.confusion import to_json
from clip_rl_perception.metrics.instance_scores import instance_scores
from clip_rl_perception.report.accuracy import tag_report
from clip_rl_perception.report.bootstrap import AccuracySums, Units, interval, units_of, weights
from clip_rl_perception.report.metric_text import METRIC_TEXT, TAG_TEXT
from clip_rl_perception.report.requirements import tag_values
from clip_rl_perception.runs.record_json import ReportError
from clip_rl_perception.runs.run_record import FrameRecord, RunRecord

Pair = tuple[FrameRecord, FrameRecord]
"""A frame in both runs."""

ALPHA = 0.05
LESS_IS_BETTER = frozenset({"hd95", "ece", "latency", "stage", "looks", "memory age", "disagreement", "novelty"})
"""Of the compared quantities, by the part before a colon."""
NEITHER = frozenset({"memory share"})
"""Those of which neither more nor less is better."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One quantity in both runs."""

    name: str
    a: float | None
    b: float | None
    interval: tuple[float, float] | None = None
    """Of b - a, 95 %; None where it is not known."""
    p: float | None = None
    """Of the Wilcoxon test, corrected; None for quantities without a value per frame."""

    @property
    def label(self) -> str:
        """Its name for people."""
        if self.name in TAG_TEXT:
            return TAG_TEXT[self.name]
        return METRIC_TEXT.get(self.name, (self.name.replace("_", " ").removesuffix(": ms"),))[0]

    @property
    def digits(self) -> int:
        """Decimals that are worth showing."""
        return 2 if self.name == "hd95" or (":" in self.name and self.name.endswith("ms")) else 4

    @property
    def delta(self) -> float | None:
        """B - a."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def real(self) -> bool:
        """True where the difference is larger than noise."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return False
        return self.p is None or self.p < ALPHA

    @property
    def better(self) -> bool | None:
        """Whether b is better; None where the difference may be noise, or says nothing of it."""
        if not self.real or self.delta is None or self.name in NEITHER:
            return None
        return (self.delta < 0) == (self.name.split(":")[0] in LESS_IS_BETTER)


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Everything about two runs."""

    a: RunRecord
    b: RunRecord
    pairs: tuple[Pair, ...]
    """Frames with a mask in both."""
    units: Units
    differences: tuple[Difference, ...]
    equal_masks: int
    """Pairs whose masks are the same to the byte."""
    notes: tuple[str, ...]
    """What to keep in mind: other host, other truth, other classes."""

    def verdict(self) -> str:
        """One or two sentences."""
        if not self.pairs:
            return f"The two runs have no frame in common: {_why_none(self.a, self.b)}."
        if self.equal_masks == len(self.pairs):
            return f"All {len(self.pairs)} masks are the same to the byte."
        # Stages are parts of latency: the table has them, a sentence need not.
        told = [item for item in self.differences if not item.name.startswith("stage:")]
        better = [item.label for item in told if item.better is True]
        worse = [item.label for item in told if item.better is False]
        parts = [
            f"B is better in {', '.join(better)}" if better else "",
            f"worse in {', '.join(worse)}" if worse else "",
        ]
        text = "; ".join(part for part in parts if part)
        if not text:
            text = "No difference is larger than noise" if self.units.enough else "Too few frames to tell noise"
        return f"{text}, over {len(self.pairs)} frames that both runs have."


def compare(a: RunRecord, b: RunRecord, *, names: tuple[str, str] = ("A", "B"), anyway: bool = False) -> Comparison:
    """Compare two runs.

    Args:
        a: the one to compare with.
        b: the one that is judged.
        names: how messages call them.
        anyway: compare although the inputs differ; frames are paired by stamp all the same.

    Raises:
        ReportError: inputs or evaluated classes differ.
    """
    if a.input_sha256 != b.input_sha256 and not anyway:
        raise ReportError(
            f"{names[0]} and {names[1]} ran on different inputs (SHA-256 {a.input_sha256[:12]} and "
            f"{b.input_sha256[:12]}); differences would tell of the inputs. --anyway compares all the same"
        )
    notes = _notes(a, b)
    pairs = _pairs(a, b)
    units = units_of([pair[0] for pair in pairs])
    differences: list[Difference] = []
    if pairs and a.evaluated == b.evaluated:
        differences += _accuracy(pairs, a.evaluated)
    differences += _tags(pairs)
    if pairs:
        differences += _per_frame(pairs, units, weights(len(units.members)) if units.enough else None)
    equal = sum(first.mask_sha256 is not None and first.mask_sha256 == second.mask_sha256 for first, second in pairs)
    return Comparison(a, b, tuple(pairs), units, tuple(_corrected(differences)), equal, notes)


def _pairs(a: RunRecord, b: RunRecord) -> list[Pair]:
    """Frames with a mask in both runs, of sequences called alike.

    What only one run calls so is the other's remaining sequence in the same place: a folder and its ``images/`` are
    one input under two names, as are offline and online runs.
    """
    first, second = _streams(a), _streams(b)
    alone = [[key for key in one if key not in other] for one, other in ((first, second), (second, first))]
    other_name = dict(zip(*alone, strict=True)) if len(alone[0]) == len(alone[1]) else {}
    pairs = []
    for key, frames in first.items():
        partners = second.get(other_name.get(key, key), {})
        pairs += [(frame, partners[place]) for place, frame in frames.items() if place in partners]
    return pairs


def _streams(run: RunRecord) -> dict[tuple[str, str], dict[tuple[int, int], FrameRecord]]:
    """Frames with a mask by stamp and index, by sequence and topic."""
    found: dict[tuple[str, str], dict[tuple[int, int], FrameRecord]] = {}
    for frame in run.frames:
        if frame.kind == "mask":
            found.setdefault((frame.sequence, frame.topic), {}).setdefault((frame.stamp_ns, frame.index), frame)
    return found


def _why_none(a: RunRecord, b: RunRecord) -> str:
    """Why no frame of one run is a frame of the other."""
    first, second = _streams(a), _streams(b)
    for name, streams in (("A", first), ("B", second)):
        if not streams:
            return f"{name} has no frame with a mask"
    names = [", ".join(" ".join(filter(None, key)) for key in streams) for streams in (first, second)]
    if len(first) != len(second) and not first.keys() & second.keys():
        return f"A's sequences are {names[0]}; B's are {names[1]}"
    spans = []
    for streams in (first, second):
        stamps = [stamp for frames in streams.values() for stamp, _ in frames]
        spans.append(f"{min(stamps) / 1e9:.3f} to {max(stamps) / 1e9:.3f} s")
    return f"frames are paired by stamp and number; A's ({names[0]}) are of {spans[0]}, B's ({names[1]}) of {spans[1]}"


def _accuracy(pairs: Sequence[Pair], names: Sequence[str]) -> list[Difference]:
    """Pooled and averaged metrics over the frames with truth in both, and every class's IoU."""
    scored = [
        pair
        for pair in pairs
        if all(frame.measures is not None and frame.measures.confusion is not None for frame in pair)
    ]
    if not scored:
        return []
    units = units_of([pair[0] for pair in scored])
    sums = [AccuracySums([frame.measures for frame in side], units, len(names)) for side in zip(*scored, strict=True)]
    observed = [_by_name(each.observed(), names) for each in sums]
    drawn = weights(len(units.members)) if units.enough else None
    resampled = [_by_name(each.metrics(drawn), names) for each in sums] if drawn is not None else None
    found = []
    for name in observed[0]:
        first, second = (to_json(each[name][0]) for each in observed)
        if first is not None or second is not None:
            limits = interval(resampled[1][name] - resampled[0][name]) if resampled is not None else None
            found.append(Difference(name, first, second, limits))
    return found


def _tags(pairs: Sequence[Pair]) -> list[Difference]:
    """Tags over the frames with a truth of them in both; how far chance goes is told of F1 per frame alone."""
    judged = [pair for pair in pairs if all(frame.tags is not None for frame in pair)]
    first, second = (tag_values(tag_report(side)) for side in zip(*judged, strict=True)) if judged else ({}, {})
    return [
        Difference(name, first[name], second[name])
        for name in TAG_TEXT
        if name in first and not first[name] is second[name] is None
    ]


def _tag_f1(frame: FrameRecord) -> float | None:
    if frame.tags is None:
        return None
    scores: float | None = instance_scores([(frame.tags.boxes, frame.tags.confidences)])["rq"]
    return scores


def _by_name(metrics: Mapping[str, DoubleArray], names: Sequence[str]) -> dict[str, DoubleArray]:
    """The metrics that are told of, (B,) each: those with a text, then every class's IoU."""
    told = {name: metrics[name] for name in METRIC_TEXT if name in metrics}
    return told | {f"IoU of {name}": metrics["class_iou"][:, place] for place, name in enumerate(names)}


def _per_frame(pairs: Sequence[Pair], units: Units, drawn: DoubleArray | None) -> list[Difference]:
    """Quantities with a value per frame: their means, paired."""
    stages = [stage for stage in pairs[0][0].stage_ms if stage in pairs[0][1].stage_ms and stage != "total"]
    quantities: dict[str, Callable[[FrameRecord], float | None]] = {
        "IoU per frame": lambda frame: getattr(frame.measures, "iou", None),
        "NSD per frame": lambda frame: getattr(frame.measures, "mean_nsd", None),
        "consistency per frame": lambda frame: getattr(frame.measures, "consistency", None),
        "tags' F1 per frame": _tag_f1,
        "latency: ms": lambda frame: frame.latency_ms,
        **{f"stage: {stage}, ms": lambda frame, stage=stage: frame.stage_ms.get(stage) for stage in stages},  # type: ignore[misc]
        "novelty": lambda frame: frame.novelty,
        "looks": lambda frame: None if frame.basis is None else float(len(frame.basis.looks)),
        "memory share": lambda frame: None if frame.basis is None else frame.basis.memory_share,
        "memory age: ms": lambda frame: None if frame.basis is None else frame.basis.memory_age_ms,
        "disagreement": lambda frame: None if frame.basis is None else frame.basis.disagreement,
    }
    found = []
    for name, value in quantities.items():
        both = np.array([[value(first), value(second)] for first, second in pairs], np.float64)  # None becomes NaN
        difference = both[:, 1] - both[:, 0]
        known = ~np.isnan(difference)
        if not known.any():
            continue
        means = both[known].mean(axis=0)
        counts = np.array([known[list(unit)].sum() for unit in units.members])
        limits, p = None, None
        if drawn is not None and counts.all():
            totals = np.array([np.nansum(difference[list(unit)]) for unit in units.members])
            limits = interval((drawn @ totals) / (drawn @ counts))
            unit_means = totals / counts
            # Stages are parts of latency: testing each of them too would cost the others their power.
            if not name.startswith("stage:"):
                p = float(stats.wilcoxon(unit_means).pvalue) if unit_means.any() else 1.0
        found.append(Difference(name, float(means[0]), float(means[1]), limits, p))
    return found


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Holm's correction over the tests that were made."""
    tested = sorted((item.p, place) for place, item in enumerate(differences) if item.p is not None)
    result, highest = list(differences), 0.0
    for rank, (p, place) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - rank)))
        result[place] = dataclasses.replace(result[place], p=highest)
    return result


def _notes(a: RunRecord, b: RunRecord) -> tuple[str, ...]:
    found = []
    if a.input_sha256 != b.input_sha256:
        found.append("The inputs differ; frames are paired by stamp.")
    if a.source.get("labels_sha256") != b.source.get("labels_sha256"):
        found.append("The ground truth differs.")
    if a.evaluated != b.evaluated:
        found.append(
            f"The evaluated classes differ ({', '.join(a.evaluated)} and {', '.join(b.evaluated)}); "
            "accuracy is not compared."
        )
    if a.host != b.host:
        found.append("The hosts differ: times tell of them too.")
    if a.mode != b.mode:
        found.append(f"One run is {a.mode}, the other {b.mode}: latency means different things.")
    for name, run in (("A", a), ("B", b)):
        if not run.complete:
            found.append(f"Run {name} was interrupted.")
    return tuple(found)
