"""Which classes are evaluated, and how masks of a model and a ground truth map onto them."""

from __future__ import annotations

import dataclasses

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace, distinct_color, label_space_from_names
from clip_rl_perception.metrics.confusion import IGNORED
from clip_rl_perception.sources.truth_label_map import LabelMap


@dataclasses.dataclass(frozen=True, eq=False)
class TruthMapping:
    """Evaluated classes, and tables from the truth's and the model's ids to theirs."""

    names: tuple[str, ...]
    """Evaluated classes; id 0 is the background."""
    truth: ByteArray
    """Evaluated id by id of the decoded truth, uint8 (256,); 255 stays 255 and is not counted."""
    prediction: ByteArray
    """Evaluated id by predicted id, uint8 (256,); 255 (outside the content area) stays 255."""
    palette: ByteArray
    """Colours by evaluated id for pictures, RGB uint8 (256, 3)."""
    unanswered: tuple[str, ...] = ()
    """Evaluated classes that no predicted class maps to: they score 0 wherever they occur."""
    note: str = ""
    """How they were made comparable, where the classes differ; one sentence."""


def mapping_of_spaces(predicted: LabelSpace, truth: LabelSpace) -> TruthMapping:
    """Compare a model with a truth stored as ids of a label space.

    Where both have the same class names every class counts; else only instrument or not, which both know.
    """
    if predicted.names == truth.names:
        table = np.arange(256, dtype=np.uint8)
        return TruthMapping(truth.names, table, table, _palette(truth.names, (predicted, truth)))
    binary = label_space_from_names(["background", "instrument"], name="binary")
    note = (
        f"Classes of the model ({predicted.name}) and of the truth ({truth.name}) differ: "
        "compared as instrument or not."
    )
    palette = _palette(binary.names, (predicted, truth, binary))
    return TruthMapping(binary.names, _instrument_table(truth), _instrument_table(predicted), palette, note=note)


def mapping_of_label_map(predicted: LabelSpace, label_map: LabelMap) -> TruthMapping:
    """Compare a model with a truth decoded by `label_map.coding`; raises `LabelMapError` where they do not fit."""
    return TruthMapping(
        names=label_map.names,
        truth=np.arange(256, dtype=np.uint8),
        prediction=label_map.prediction_table(predicted),
        palette=_palette(label_map.names, (predicted,)),
        unanswered=label_map.unanswered(predicted),
        note=f"Classes as label map {label_map.source} merges them." if label_map.merge else "",
    )


def _instrument_table(space: LabelSpace) -> ByteArray:
    table = np.arange(256, dtype=np.uint8)
    table[: len(space)] = [entry.instrument for entry in space.classes]
    return table


def _palette(names: tuple[str, ...], spaces: tuple[LabelSpace, ...]) -> ByteArray:
    palette = np.zeros((256, 3), np.uint8)
    for index, name in enumerate(names):
        known = [entry.color for space in spaces for entry in space.classes if entry.name == name]
        palette[index] = (known[0] if known and index else None) or (distinct_color(index) if index else (0, 0, 0))
    palette[IGNORED] = (96, 96, 96)
    return palette
