"""The model card: what a checkpoint was trained on and what it scores, from measured numbers only."""

from __future__ import annotations

from typing import Any

from clip_rl_perception.metrics.confusion import PooledMetrics
from clip_rl_perception.model.checkpoint import Calibration

from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.validate import ValidationResult, foreground_iou


def model_card(
    config: TrainConfig, scores: ValidationResult, calibration: Calibration, provenance: dict[str, Any], model_id: str
) -> str:
    """Markdown text of the card."""
    size = "x".join(map(str, config.model.input_size))
    spaces = ", ".join(config.data.label_spaces)
    lines = [
        f"# Model card: {config.name}",
        "",
        "Research software, not a medical device. It must not guide treatment.",
        "",
        f"- Model id: `{model_id}` (first 12 hex digits of the SHA-256 of the weights)",
        f"- Network: {config.model.encoder.name} encoder, FPN decoder with text classifier, per-pixel refiner "
        f"(up to {config.model.refiner.max_steps} steps), input {size}",
        f"- Trained on: {trained_on(config)}, labelled in {spaces}",
        f"- Training: {provenance['steps']} steps, {provenance['images']} images, {provenance['hours']} h on "
        f"{provenance['hardware']}; refiner trained by: {config.reinforce.mode}",
        *([f"- Began with the weights of {provenance['started_from']}"] if provenance.get("started_from") else []),
        *([f"- Note: {config.note}"] if config.note else []),
        f"- Calibration: temperature {calibration.temperature:.3f}, novelty limit {calibration.novelty_limit:.3f}",
        "",
        f"## Scores on {scores.refined.frames} {_tested_on(config)}",
        "",
        "| | unrefined | refined |",
        "|---|---|---|",
    ]
    rows = (
        ("pooled mIoU with background", lambda metrics: metrics.miou()),
        ("pooled mIoU without background", lambda metrics: metrics.miou(background=False)),
        ("pooled Dice without background", lambda metrics: metrics.mean_dice()),
        ("pooled IoU, instrument against not", foreground_iou),
    )
    for name, measure in rows:
        lines.append(f"| {name} | {measure(scores.unrefined):.3f} | {measure(scores.refined):.3f} |")
    lines += ["", "| class | IoU unrefined | IoU refined | scenes |", "|---|---|---|---|"]
    lines += _class_rows(scores.unrefined, scores.refined)
    lines += [
        "",
        f"Refinement: {scores.steps:.1f} steps on average, {100 * scores.edited:.1f} % of pixels edited per step.",
        *_naming_rows(provenance.get("naming")),
        "",
        "## Limits",
        "",
        *_limits(config),
        "- Instrument types look alike and are confused wherever the table above says so.",
        "",
    ]
    return "\n".join(lines)


def trained_on(config: TrainConfig) -> str:
    """What the network was trained on, in words."""
    if config.data.source != "dataset":
        return "synthetic endoscopic scenes only, no patient data"
    dataset = config.data.dataset
    sequences = f", sequences {', '.join(dataset.train.sequences)}" if dataset.train.sequences else ""
    return f"dataset {dataset.name}, split {dataset.train.split}{sequences}"


def _tested_on(config: TrainConfig) -> str:
    if config.data.source != "dataset":
        return "synthetic test scenes (never trained on)"
    dataset = config.data.dataset
    part = dataset.test or dataset.validation
    if part is None:
        return f"frames of {dataset.name} (trained on: no other part was named)"
    how = "" if dataset.test is not None else ", also used to calibrate and to choose the margin of the keep action"
    sequences = f", sequences {', '.join(part.sequences)}" if part.sequences else ""
    return f"frames of {dataset.name}, split {part.split}{sequences} (never trained on{how})"


def _limits(config: TrainConfig) -> list[str]:
    if config.data.source == "dataset":
        return [
            "- Scores on one dataset say little about another camera, operation or patient.",
            "- The novelty limit separates frames from those of this dataset; it is no detector of every failure.",
        ]
    return [
        "- No real image was seen in training; scores on synthetic scenes say little about a given camera or patient.",
        "- The novelty limit separates frames from synthetic scenes; it is no detector of every failure.",
    ]


def _naming_rows(naming: dict[str, Any] | None) -> list[str]:
    if not naming:
        return []
    size = "x".join(map(str, naming["size"]))
    return [
        "",
        f"## Names of {naming['crops']} synthetic close-ups, from the texts of seven types alone",
        "",
        f"Shown at {size}: {100 * naming['accuracy_image']:.1f} % named rightly by the image embedding, "
        f"{100 * naming['accuracy_pixels']:.1f} % by the pixels (chance: 14 %).",
        "",
        "| type | close-ups | by image | by pixels |",
        "|---|---|---|---|",
        *(
            f"| {name} | {entry['crops']} | {_percent(entry['image'])} | {_percent(entry['pixels'])} |"
            for name, entry in naming["types"].items()
        ),
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _class_rows(unrefined: PooledMetrics, refined: PooledMetrics) -> list[str]:
    before, after = unrefined.iou(), refined.iou()
    return [
        f"| {name} | {before[index]:.3f} | {after[index]:.3f} | {int(refined.frames_of_class[index])} |"
        for index, name in enumerate(refined.class_names)
    ]
