"""How well validity knows surgery from all else: real frames against pictures that were never fitted on."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.model.frame_classifier import KINDS, SURGERY
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.scene.validity import Shown, ValidityConfig, check

from clip_rl_training.validity.examples import DRAWN, Example, drawn_example, package_example
from clip_rl_training.validity.fit_classifier import Described, probabilities
from clip_rl_training.validity.package_pictures import package_pictures

USABLE = (Validity.OK, Validity.DEGRADED)


@dataclasses.dataclass(frozen=True)
class Judged:
    """What validity says of pictures, at each of the four mirror images."""

    validity: tuple[tuple[Validity, ...], ...]
    """N of four."""
    surgery: DoubleArray
    """Probability of surgery, (N, 4)."""


def other_examples(count: int, seed: int) -> tuple[list[Example], list[str]]:
    """`count` pictures of what was never fitted on, half of them of packages, half drawn; and what is not installed.

    Of packages first every picture as it is, then parts of each; fewer are made up for by drawn ones.
    """
    pictures, absent = package_pictures(fitted=False)
    wanted = count // 2 if pictures else 0
    shipped = [package_example(pictures[n % len(pictures)], seed, n // len(pictures)) for n in range(wanted)]
    kinds = [name for name, kind in DRAWN.items() if not kind.fitted]
    drawn = [drawn_example(kinds[n % len(kinds)], seed, n // len(kinds)) for n in range(count - wanted)]
    return shipped + drawn, absent


def judge(described: Described, calibration: Calibration, config: ValidityConfig | None = None) -> Judged:
    """What the pipeline says of each picture as the first of its stream, by each mirror image."""
    config = config or ValidityConfig()
    count, looks = described.embeddings.shape[:2]
    classifier = calibration.classifier
    found = np.full((count, looks, len(KINDS)), np.nan) if classifier is None else probabilities(classifier, described)

    def of(index: int) -> Iterator[Validity]:
        for look in range(looks):
            shown = None if classifier is None else Shown(*found[index, look].tolist())
            novelty = calibration.novelty(described.embeddings[index, look])
            yield check(described.appearances[index], novelty, False, config, shown=shown)[0]

    return Judged(tuple(tuple(of(index)) for index in range(count)), found[..., SURGERY])


def roc_area(positive: DoubleArray, negative: DoubleArray) -> float:
    """Area under the ROC curve: how often a positive's score is above a negative's; ties count half."""
    if not len(positive) or not len(negative):
        return float("nan")
    ordered = np.sort(negative)
    below, upto = (np.searchsorted(ordered, positive, side) for side in ("left", "right"))
    return float(np.mean(below + upto) / (2 * len(negative)))


def row(judged: Judged, labels: list[int]) -> dict[str, Any]:
    """Shares of pictures by validity, over all four looks; `agree`: of pictures that all looks say the same of."""
    said = [validity for looks in judged.validity for validity in looks]
    wanted = [Validity.OUT_OF_BODY if label == 1 else Validity.OUT_OF_DISTRIBUTION for label in labels]
    named = [say == want for looks, want in zip(judged.validity, wanted, strict=True) for say in looks]
    usable = [tuple(validity in USABLE for validity in looks) for looks in judged.validity]
    return {
        "pictures": len(judged.validity),
        **{name.name.lower(): said.count(name) / len(said) for name in (*USABLE, Validity.OUT_OF_BODY)},
        "out_of_distribution": said.count(Validity.OUT_OF_DISTRIBUTION) / len(said),
        "refused": sum(validity not in USABLE for validity in said) / len(said),
        "agree": sum(len(set(looks)) == 1 for looks in usable) / len(usable),
        "kind_right": sum(named) / len(named) if all(label != SURGERY for label in labels) else None,
    }


def by_source(described: Described) -> dict[str, list[int]]:
    """Indices of pictures by their package, drawn kind or input."""
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for index, source in enumerate(described.sources):
        groups[source.split(":")[0]].append(index)
    return dict(groups)


def part(described: Described, judged: Judged, chosen: list[int]) -> dict[str, Any]:
    """`row` of some of the pictures."""
    some = Judged(tuple(judged.validity[index] for index in chosen), judged.surgery[chosen])
    return row(some, [int(described.labels[index]) for index in chosen])
