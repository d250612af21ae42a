"""The model card: what a checkpoint was trained on and what it scores, from measured numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.model.checkpoint import Calibration
from clip_rl_perception.report.pages import templates

from clip_rl_training.data.dataset_parts import Parts
from clip_rl_training.data.samples import TRAINING, VALIDATION
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.validate import ValidationResult


def model_card(
    config: TrainConfig,
    scores: ValidationResult,
    calibration: Calibration,
    provenance: dict[str, Any],
    model_id: str,
    *,
    labelled: Sequence[str],
    tested_on: str,
    tags: Mapping[str, Any] | None = None,
) -> str:
    """Markdown text of the card.

    `labelled` names the label spaces, `tested_on` says where scores come from, `tags` are of `score_tags`.
    """
    rows = {
        "pooled mIoU with background": scores.metrics.miou(),
        "pooled mIoU without background": scores.metrics.miou(background=False),
        "pooled Dice without background": scores.metrics.mean_dice(),
        "pooled IoU, instrument against not": scores.instrument_iou,
    }
    return _TEMPLATES.get_template("model_card.md.j2").render(
        config=config,
        scores=scores,
        calibration=calibration,
        provenance=provenance,
        naming=provenance.get("naming"),
        tags=tags,
        model_id=model_id,
        trained_on=provenance["trained_on"],
        labelled=labelled,
        tested_on=tested_on,
        rows=list(rows.items()),
        classes=zip(scores.metrics.class_names, scores.metrics.iou(), scores.metrics.frames_of_class, strict=True),
    )


def trained_on(config: TrainConfig, parts: Parts | None) -> str:
    """What the network was trained on, in words; `parts` of the dataset, if there is one."""
    if config.data.source != "dataset":
        return "synthetic endoscopic scenes only, no patient data"
    dataset = config.data.dataset
    sequences = f", sequences {', '.join(dataset.train.sequences)}" if dataset.train.sequences else ""
    less = ""
    if parts is not None and dataset.validation is None and parts[VALIDATION] is not parts[TRAINING]:
        held_out, trained = len(parts[VALIDATION]), len(parts[TRAINING])
        less = f", {held_out} of its {held_out + trained} frames ({held_out / (held_out + trained):.0%}) held out"
    return f"dataset {dataset.name}, split {dataset.train.split}{sequences}{less}"


_TEMPLATES = templates(Path(__file__).with_name("templates"), escape=False)
