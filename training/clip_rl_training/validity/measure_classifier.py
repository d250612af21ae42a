"""How well validity knows surgery from all else: real frames against pictures that were never fitted on."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from clip_rl_perception.arrays import DoubleArray
from clip_rl_perception.metrics.roc import roc_area
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


def validity_report(real: Described, other: Described, calibration: Calibration) -> dict[str, Any]:
    """What validity says of real frames and of other pictures, as plain data.

    Keys: roc_area, how well the classifier's probability of surgery tells the two apart, None without a classifier;
    rows, `row` of all and of each source; wrong, the pictures on the wrong side of 0.5, the worst first.
    """
    judged = judge(real, calibration), judge(other, calibration)
    rows = {"real": part(real, judged[0], list(range(len(real.labels))))}
    rows |= {f"real: {name}": part(real, judged[0], some) for name, some in by_source(real).items()}
    rows |= {"others": part(other, judged[1], list(range(len(other.labels))))}
    rows |= {f"others: {name}": part(other, judged[1], some) for name, some in by_source(other).items()}
    if calibration.classifier is None:
        return {"roc_area": None, "rows": rows, "wrong": []}
    refused = _wrong(real.sources, judged[0].surgery, refused=True)
    taken = _wrong(other.sources, judged[1].surgery, refused=False)
    return {"roc_area": roc_area(judged[0].surgery, judged[1].surgery), "rows": rows, "wrong": refused + taken}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Rows as a table in Markdown, shares in %."""
    columns = ("ok", "degraded", "out_of_body", "out_of_distribution", "kind_right", "agree")
    lines = [f"| pictures | n | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for name, values in rows.items():
        shares = ("" if values[key] is None else f"{100 * values[key]:.1f}" for key in columns)
        lines.append(f"| {name} | {values['pictures']} | {' | '.join(shares)} |")
    return "\n".join(lines)


def _wrong(sources: tuple[str, ...], surgery: DoubleArray, *, refused: bool) -> list[dict[str, Any]]:
    """Pictures on the wrong side of 0.5, by their mean probability over the looks, the worst first."""
    means = surgery.mean(axis=1).tolist()
    found = [
        {"picture": source, "surgery": round(mean, 4)}
        for source, mean in zip(sources, means, strict=True)
        if (mean < 0.5) == refused
    ]
    return sorted(found, key=lambda each: json.dumps(each["surgery"]), reverse=not refused)
