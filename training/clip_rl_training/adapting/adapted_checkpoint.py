"""The adapted network as a checkpoint: calibrated anew, with a card that says what it is and is not."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from clip_rl_perception import __version__
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.checkpoint_network import round_to_half_, save_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import InstanceHeadConfig

from clip_rl_training.adapting.mixed_stills import LabelledFrames, MixedStills
from clip_rl_training.loop.batches import validation_batches
from clip_rl_training.loop.best_weights import Validated
from clip_rl_training.loop.calibrate import calibrate
from clip_rl_training.loop.start_from import summed
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.validity.fit_classifier import FitConfig, fit_for

_UNTOUCHED = ("text.", "logit_scale", "close_up.", "instance_head.")
"""What masks do not learn through: of the adapted network these are the checkpoint's own, to the bit."""


@torch.no_grad()
def with_untouched_parts(adapted: ClipRlSegmenter, original: ClipRlSegmenter) -> ClipRlSegmenter:
    """Put back what only the rounding of an average has moved; returns `adapted`."""
    own = {name: value for name, value in original.state_dict().items() if name.startswith(_UNTOUCHED)}
    adapted.load_state_dict(own, strict=False)
    return adapted


@torch.no_grad()
def blended(adapted: ClipRlSegmenter, original: ClipRlSegmenter, share: float) -> ClipRlSegmenter:
    """So much of the way from the checkpoint to the adapted network; changes and returns `adapted`.

    The mean of a network's weights before and after it learned from one kind of pictures keeps most of what was won on
    these and loses less on others than the end does (Wortsman et al. 2022, WiSE-FT, arXiv 2109.01903).
    """
    before, after = original.state_dict(), adapted.state_dict()
    adapted.load_state_dict(
        summed([before, {name: after[name].to(before[name]) for name in before}], [1 - share, share])
    )
    return adapted


def without_head(segmenter: ClipRlSegmenter) -> ClipRlSegmenter:
    """The same network without its instance head, in evaluation mode."""
    bare = ClipRlSegmenter(dataclasses.replace(segmenter.config, instance_head=InstanceHeadConfig()))
    kept = bare.state_dict()
    bare.load_state_dict({name: value for name, value in segmenter.state_dict().items() if name in kept})
    return bare.eval()


def write_adapted(
    stem: Path,
    checkpoint: Checkpoint,
    segmenter: ClipRlSegmenter,
    config: TrainConfig,
    stills: MixedStills,
    learned: LabelledFrames,
    adapted: dict[str, Any],
    at: Validated,
    say: Callable[[str], None],
    *,
    classifier: bool,
) -> str:
    """Calibrate, round to half precision and write; returns the model id.

    Args:
        stem: where, without suffix.
        checkpoint: that was adapted: classes, their texts and templates are its own.
        segmenter: the adapted network, whose texts are the checkpoint's.
        config: of its training.
        stills: temperature is fitted on its validation scenes.
        learned: frames that count as known beside them.
        adapted: for the provenance: from what, on what, how it measured.
        at: the step.
        say: told in a line what is done.
        classifier: fit another classifier of frames, where the checkpoint has one and the training asks for it; else
            the checkpoint's stays.
    """
    round_to_half_(with_untouched_parts(segmenter, checkpoint.segmenter))
    segmenter.eval()
    device = next(segmenter.parameters()).device
    say("calibrating on synthetic validation scenes")
    calibration = calibrate(
        segmenter,
        validation_batches(config, stills),
        checkpoint.label_space,
        device=device,
        known=validation_batches(config, learned),
    )
    tells = checkpoint.calibration.classifier
    if classifier and tells is not None and config.validation.classifier_scenes:
        say("fitting the classifier of frames")
        tells = fit_for(segmenter, FitConfig(scenes=config.validation.classifier_scenes))[0]
    calibration = dataclasses.replace(calibration, classifier=tells)
    provenance = {
        "project": f"clip-rl {__version__}",
        "run": "adapt",
        "trained_on": trained_on(adapted),
        "adapted": adapted,
        "steps": at.step,
        "images": at.images,
        "hours": round(at.seconds / 3600, 2),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "started_from": f"checkpoint {checkpoint.model_id}",
        "before": checkpoint.provenance,
    }
    return save_checkpoint(
        stem,
        segmenter,
        checkpoint.label_space,
        checkpoint.text,
        calibration,
        provenance,
        templates=checkpoint.templates,
    )


def trained_on(adapted: dict[str, Any]) -> str:
    """What an adapted network learned from, in words."""
    return (
        f"checkpoint {adapted['from']} adapted to {adapted['frames']} frames of {adapted['videos']} videos without "
        "labels, beside synthetic endoscopic scenes"
    )


def adapted_card(model_id: str, adapted: dict[str, Any], at: Validated, table: Sequence[str]) -> str:
    """Markdown text of the model card; `table` are lines of the measures before and after."""
    lines = [
        "# Model card: adapted",
        "",
        "Research software, not a medical device. It must not guide treatment.",
        "",
        f"- Model id: `{model_id}` (first 12 hex digits of the SHA-256 of the weights)",
        f"- Adapted by `clip-rl adapt` from checkpoint `{adapted['from']}`",
        f"- Learned from: {adapted['frames']} frames of {adapted['videos']} videos of one user, **without labels** "
        "(what the checkpoint itself was sure of at four mirror images and over time), and synthetic scenes",
        f"- Training: {at.step} steps, {at.images} images, {at.seconds / 3600:.2f} h, seed {adapted['seed']}",
        f"- Weights: {adapted['config']['blend']:g} of the way from that checkpoint to what was learned",
        "- **Not for passing on**: rights in the weights follow those in the videos",
        "",
        "## Before and after",
        "",
        *table,
        "",
        "## Limits",
        "",
        "- No truth was seen: the numbers above say how far the network agrees with itself, not that it is right.",
        "- Made for the camera and the kind of operation of these videos; on others it may be worse than before.",
    ]
    return "\n".join(lines) + "\n"
