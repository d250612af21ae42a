"""How well an instance head keeps instruments apart: its votes on scenes that were not learned from.

Once on the masks of the network itself, as it will be used, and once on the true masks, where nothing but the head can
err. Instruments are compared on the grid of places by the measures of `clip-rl eval` (docs/evaluation.md, tags).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from clip_rl_perception.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics.confusion import to_json
from clip_rl_perception.metrics.instance_scores import instance_scores
from clip_rl_perception.metrics.tag_measures import FrameTags, Overlap, TagTruth, matched, measure_tags
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.scene.instances import InstanceConfig
from clip_rl_perception.scene.voted_instances import PLACE, VotedInstances, vote
from torch import Tensor

from clip_rl_training.instances.instance_targets import InstanceTargets

KINDS = ("own masks", "true masks")
"""What votes divide: what the network calls instrument, and what is one."""


Scores = dict[str, dict[str, float | None]]
"""By kind and measure, see `score_instances`."""


@dataclasses.dataclass(frozen=True, eq=False)
class KnownClasses:
    """Classes that the network's own masks are made of."""

    space: LabelSpace
    """K of them."""
    text: FloatArray
    """Their text embeddings, float32 (K, D), unit rows."""


@torch.no_grad()
def score_instances(network: ClipRlSegmenter, scenes: Sequence[InstanceTargets], classes: KnownClasses) -> Scores:
    """Scores of a network with an instance head, which is put in evaluation mode.

    Args:
        network: on any device.
        scenes: at its input's size; what lies around the content counts as content.
        classes: tell instruments from all else.

    Returns:
        Plain data by `KINDS`: scenes; instruments (those of at least 0.2 % of the picture), tags, found, recall,
        precision, pq at IoU 0.5; axis_degrees, the median angle between the axis that votes give a found instrument
        and its own. None where undefined.
    """
    network.eval()
    device = next(network.parameters()).device
    text = torch.from_numpy(classes.text).to(device)
    instrument = torch.zeros(len(classes.space), dtype=torch.bool, device=device)
    instrument[list(classes.space.instrument_ids)] = True
    overlaps: dict[str, list[Overlap]] = {kind: [] for kind in KINDS}
    angles: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for scene in scenes:
        mask, said = _seen(network, scene.rgb, text, instrument)
        for kind, divided in zip(KINDS, (mask, _nodes(scene.instance > 0)), strict=True):
            least = max(1.0, InstanceConfig().min_area * divided.size)
            found = vote(divided, np.ones_like(divided), said, least)
            overlap, numbers = _overlap(found, scene)
            overlaps[kind].append(overlap)
            for place, tag in zip(*matched(overlap.iou), strict=True):
                angles[kind].append(_angle(scene, numbers[place], found.lines.axis[tag]))
    return {kind: _report(overlaps[kind], angles[kind]) for kind in KINDS}


def score_line(scores: Scores) -> str:
    """Scores for people, one line."""

    def shown(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    return "; ".join(
        f"{kind}: recall {shown(each['recall'], '.3f')}, precision {shown(each['precision'], '.3f')}, "
        f"axis {shown(each['axis_degrees'], '.1f')} degrees"
        for kind, each in scores.items()
    )


def _seen(network: ClipRlSegmenter, rgb: ByteArray, text: Tensor, instrument: Tensor) -> tuple[BoolArray, FloatArray]:
    """What the network calls instrument, bool (h, w), and what its head says, float32 (9, h/2, w/2)."""
    images = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None].to(text.device)
    decoded = network.decode(network.prepare(images), text)
    assert decoded.instances is not None, "a network with an instance head"
    mask = instrument[decoded.logits[0].argmax(0)]
    return mask.cpu().numpy(), decoded.instances[0].float().cpu().numpy()


def _nodes(places: BoolArray) -> BoolArray:
    return places.repeat(PLACE, axis=0).repeat(PLACE, axis=1)


def _overlap(found: VotedInstances, scene: InstanceTargets) -> tuple[Overlap, list[int]]:
    """How far votes and truth are the same, and the numbers of the true instruments, by row."""
    owners = np.asarray(found.owners[::PLACE, ::PLACE], np.uint8)
    count = len(found.lines)
    tags = FrameTags(
        boxes=np.zeros((count, 4)),
        confidences=np.ones(count),
        tracks=np.arange(1, count + 1),
        types=("",) * count,
        points=({},) * count,
        owners=owners,
    )
    measures = measure_tags(tags, TagTruth(scene.instance, {}))
    assert measures.masks is not None
    return measures.masks, measures.truths.tolist()


def _angle(scene: InstanceTargets, number: int, axis: DoubleArray) -> float:
    """Between an instrument's own axis, which all its places name, and another, degrees."""
    row, column = np.argwhere(scene.instance == number)[0]
    true = scene.fields[:2, row, column]
    return float(np.degrees(np.arccos(np.clip(true @ axis / np.linalg.norm(true), -1, 1))))


def _report(overlaps: list[Overlap], angles: list[float]) -> dict[str, float | None]:
    scores: dict[str, Any] = instance_scores([(each, np.ones(each.iou.shape[1])) for each in overlaps])
    told = {name: scores[name] for name in ("instruments", "tags", "found", "recall", "precision", "pq")}
    return {"scenes": len(overlaps), **told, "axis_degrees": to_json(float(np.median(angles)) if angles else np.nan)}
