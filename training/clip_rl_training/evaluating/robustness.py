"""The corruption benchmark: error under 18 corruptions at 5 severities, relative to a peer.

After Hendrycks & Dietterich 2019 (ImageNet-C), with E = 1 - pooled mIoU without background as the error of a model at
corruption c and severity s:

    CE_c  = sum_s E_{s,c} / sum_s E^peer_{s,c}                                 corruption error
    mCE   = mean_c CE_c                                                        below 1: more robust than the peer
    rCE_c = sum_s (E_{s,c} - E_clean) / sum_s (E^peer_{s,c} - E^peer_clean)    what is lost, clean error apart

Both models must have seen the same frames with the same seed; `mean_corruption_error` refuses otherwise.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.metrics.evaluator import Evaluator
from clip_rl_perception.progress import Progress

from clip_rl_training.corruptions import CORRUPTIONS, SEVERITIES, corrupt_and_cover
from clip_rl_training.datasets import Item, SegmentationDataset
from clip_rl_training.evaluating.evaluated_classes import ClassMapping
from clip_rl_training.evaluating.evaluation_loop import Damage, Predictor, evaluate

REPORTED = ("miou", "miou_no_background", "dice")


class RobustnessError(ClipRlError):
    """A baseline cannot be compared with; the message says what differs."""


def run_corruptions(
    dataset: SegmentationDataset,
    predictor: Predictor,
    mapping: ClassMapping,
    *,
    frames: int,
    seed: int = 0,
    names: Sequence[str] = tuple(CORRUPTIONS),
    severities: Sequence[int] = SEVERITIES,
    video: bool = False,
) -> dict[str, Any]:
    """Evaluate under every corruption and severity.

    Args:
        dataset: frames and truth.
        predictor: the model.
        mapping: classes.
        frames: at most this many frames are used, spread evenly over the dataset, of video the first of each sequence;
            0 means all.
        seed: of the random patterns; each frame has its own, of video each sequence, as a dirty lens has.
        names: corruptions.
        severities: of each, out of 1 to 5.
        video: frames of a sequence follow each other; otherwise each stands alone.

    Returns:
        Plain data: frames, video, frame_list (digest), seed, clean {metrics}, results {corruption: {severity:
        metrics}}, mean_error (mean E over corruptions and severities).
    """
    chosen = dataset.stretches(frames) if video else dataset.spread(frames)

    def measured(damage: Damage | None) -> dict[str, Any]:
        evaluator = Evaluator(mapping.names, boundary=False)
        evaluate(chosen, predictor, mapping, evaluator, damage=damage, video=video, title="")
        report = evaluator.report()
        return {name: report[name] for name in REPORTED}

    results: dict[str, dict[str, Any]] = {name: {} for name in names}
    clean = measured(None)
    total = len(names) * len(severities)
    with Progress("corruptions", unit="runs") as progress:
        for done, (name, severity) in enumerate(itertools.product(names, severities)):
            progress.update(done, total, f"{name} {severity}")
            results[name][str(severity)] = measured(_damage(name, severity, seed, video))
        progress.update(total, total)
    errors = [_error(metrics) for by_severity in results.values() for metrics in by_severity.values()]
    return {
        "frames": len(chosen),
        "video": video,
        "frame_list": frame_digest(chosen),
        "seed": seed,
        "clean": clean,
        "results": results,
        "mean_error": float(np.mean(errors)),
    }


def mean_corruption_error(corruptions: dict[str, Any], peer: dict[str, Any], peer_name: str) -> dict[str, Any]:
    """Compare two results of `run_corruptions`.

    Returns:
        Plain data: baseline, mce, relative_mce, ce {corruption: value}. None where a peer without error divides.

    Raises:
        RobustnessError: other frames, seed, corruptions or severities.
    """
    if corruptions.get("video", False) != peer.get("video", False):
        raise RobustnessError(f"baseline {peer_name} was measured with other --video: memory and damage differ")
    for key, what in (("frame_list", "frames"), ("seed", "seed")):
        if corruptions.get(key) != peer.get(key):
            raise RobustnessError(
                f"baseline {peer_name} was measured on other {what} ({peer.get('frames')} frames, seed "
                f"{peer.get('seed')}); run it with the same --dataset, --root, --split, --corruption-frames and --seed"
            )
    if set(corruptions["results"]) != set(peer["results"]):
        raise RobustnessError(
            f"baseline {peer_name} has other corruptions: {', '.join(sorted(set(peer['results'])))}; run it again"
        )
    for name, by_severity in corruptions["results"].items():
        own_levels, levels = sorted(by_severity), sorted(peer["results"][name])
        if own_levels != levels:
            raise RobustnessError(
                f"baseline {peer_name} was measured at severities {', '.join(levels)} of {name}, not at "
                f"{', '.join(own_levels)}; run it again"
            )
    ce, relative = {}, []
    clean, peer_clean = _error(corruptions["clean"]), _error(peer["clean"])
    for name, by_severity in corruptions["results"].items():
        own = [_error(metrics) for metrics in by_severity.values()]
        other = [_error(metrics) for metrics in peer["results"][name].values()]
        ce[name] = _ratio(sum(own), sum(other))
        relative.append(_ratio(sum(own) - clean * len(own), sum(other) - peer_clean * len(other)))
    mce, relative_mce = mean_of_known(ce.values()), mean_of_known(relative)
    return {"baseline": peer_name, "mce": mce, "relative_mce": relative_mce, "ce": ce}


def read_baseline(path: Path) -> tuple[dict[str, Any], str]:
    """The corruption results in a JSON that ``clip-rl eval --corruptions`` wrote, and the name of its model."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RobustnessError(f"baseline {path} cannot be read: {error}") from error
    corruptions = data.get("corruptions") if isinstance(data, dict) else None
    if not isinstance(corruptions, dict) or "results" not in corruptions:
        raise RobustnessError(f"baseline {path} holds no corruption results; make it with clip-rl eval --corruptions")
    return corruptions, str(data.get("name") or data.get("checkpoint") or path.stem)


def frame_digest(dataset: SegmentationDataset) -> str:
    """Tells lists of frames apart: CRC32 of sequence and frame names."""
    names = "\n".join(f"{item.sequence}/{item.frame}" for item in dataset.items)
    return f"{zlib.crc32(names.encode()):08x}"


def _damage(name: str, severity: int, seed: int, video: bool) -> Callable[[ByteArray, Item], tuple[ByteArray, Any]]:
    def damage(rgb: ByteArray, item: Item) -> tuple[ByteArray, Any]:
        own = zlib.crc32((item.sequence if video else f"{item.sequence}/{item.frame}").encode())
        return corrupt_and_cover(name, rgb, severity, seed=seed * 2**32 + own)

    return damage


def _error(metrics: dict[str, Any]) -> float:
    """E; where no foreground was in truth or prediction there is none to get wrong."""
    value = metrics["miou_no_background"]
    return 0.0 if value is None else 1.0 - float(value)


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator > 0 else None


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None without any."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
