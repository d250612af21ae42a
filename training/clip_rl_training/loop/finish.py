"""The end of a run: calibrate, round to half precision, score what will be shipped, write it and its card."""

from __future__ import annotations

import dataclasses
import platform
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from clip_rl_perception import __version__
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.model.checkpoint_network import round_to_half_, save_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.typed_data import to_data

from clip_rl_training.data.dataset_parts import Parts, label_spaces, tested_on
from clip_rl_training.data.dataset_stills import DatasetStills
from clip_rl_training.data.samples import TEST, TRAINING, VALIDATION, Stills
from clip_rl_training.loop.batches import validation_batches
from clip_rl_training.loop.best_weights import FOLDER, Validated
from clip_rl_training.loop.calibrate import calibrate
from clip_rl_training.loop.model_card import model_card, trained_on
from clip_rl_training.loop.tagged_videos import score_tags
from clip_rl_training.loop.training_config import TrainConfig
from clip_rl_training.loop.validate import ValidationResult, validate
from clip_rl_training.naming.close_up_naming import NAMED_SPACE, name_close_ups, naming_size
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.validity.fit_classifier import FitConfig, fit_for

_WRITTEN = ("model.safetensors", "model.json", "MODEL_CARD.md")


def finish(
    config: TrainConfig,
    segmenter: ClipRlSegmenter,
    stills: Stills,
    *,
    folder: Path,
    at: Validated,
    say: Callable[[str], None],
    started_from: str = "",
) -> str:
    """Write model.safetensors, model.json and MODEL_CARD.md to `folder`; returns the model id.

    Temperature is fitted on validation scenes, novelty on those and, of a data set, on training frames too; the card's
    scores come from test scenes. The network is rounded to half precision first, so
    that what is scored is what is stored. `at` says which step's weights they are; `started_from` what weights the run
    began with, if not with random or pretrained ones.
    """
    spaces = label_spaces(config.data)
    space = next(iter(spaces.values()))
    device = next(segmenter.parameters()).device
    segmenter.eval()
    say("calibrating on validation scenes")
    round_to_half_(segmenter)
    calibration = calibrate(
        segmenter,
        validation_batches(config, stills, split=VALIDATION),
        space,
        device=device,
        # Of a data set's few videos those that were trained on are as known as those held out.
        known=validation_batches(config, stills, split=TRAINING) if isinstance(stills, DatasetStills) else (),
    )
    calibration, fitted = _with_classifier(config, segmenter, calibration, say)
    say("scoring test scenes")
    scores = validate(segmenter, validation_batches(config, stills, split=TEST), space, device=device)
    naming = _naming(config, segmenter, say)
    parts = stills.parts if isinstance(stills, DatasetStills) else None
    provenance = _provenance(config, parts, scores, at)
    provenance |= {"started_from": started_from} if started_from else {}
    provenance |= {"naming": naming} if naming else {}
    provenance |= {"classifier": fitted} if fitted else {}
    provenance["activation"] = "QuickGELU" if segmenter.config.encoder.quick_gelu else "GELU"
    provenance |= {"weights": list(segmenter.weights_notes)} if segmenter.weights_notes else {}
    text = segmenter.encode_text(space)
    model_id = save_checkpoint(folder / "model", segmenter, space, text, calibration, provenance)
    tested = "synthetic test scenes (never trained on)"
    if parts is not None:
        tested = tested_on(config.data.dataset, parts)
    labelled = [each.name for each in spaces.values()]
    tags = None
    if config.validation.tag_videos and space.instrument_ids:
        say(f"scoring tags on {config.validation.tag_videos} videos")
        tags = score_tags(folder / "model.safetensors", config.validation.tag_videos)
    card = model_card(config, scores, calibration, provenance, model_id, labelled=labelled, tested_on=tested, tags=tags)
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    say(f"wrote {folder / 'model.safetensors'} ({model_id}) and MODEL_CARD.md")
    return model_id


def copy_checkpoint(source: Path, target: Path) -> None:
    """The checkpoint of one folder in another too: the last step was the best."""
    target.mkdir(parents=True, exist_ok=True)
    for name in _WRITTEN:
        shutil.copy2(source / name, target / name)


def farewell(config: TrainConfig, stills: Stills, folder: Path, best: Validated | None, step: int) -> list[str]:
    """What is said when a run ends: where its checkpoints are, and what to do with them, of whole videos held out."""
    lines = [f"last: step {step}, {folder / 'model.safetensors'}"]
    if best is not None:
        lines.append(
            f"best: step {best.step}, mIoU {best.score:.3f} when it was validated (single frames at the network's "
            "size, with background; eval and replay measure otherwise: docs/finetuning.md), "
            f"{folder / FOLDER / 'model.safetensors'}"
        )
    run, data = ["--checkpoint", str(folder)], config.data
    engine, predictions = str(folder / "engine"), str(folder / "predictions")
    frames, commands = "FRAMES", [["clip-rl", "build-engine", *run, "--backend", "openvino", "--out", engine]]
    if data.source == "dataset":
        root = str(data.root)
        dataset = ["--dataset", data.dataset.name] if data.dataset.name != "folder" else []
        label_map = ["--label-map", data.dataset.label_map] if data.dataset.label_map else []
        unseen: list[str] = []
        if isinstance(stills, DatasetStills):
            training, held_out = (stills.parts[part].sequences for part in (TRAINING, VALIDATION))
            unseen = [] if set(training) & set(held_out) else ["--sequences", ",".join(held_out)]
        commands.insert(0, ["clip-rl", "eval", *run, *dataset, "--root", root, *label_map, *unseen])
        frames = root if data.dataset.name == "folder" else frames
    commands.append(["clip-rl", "predict", frames, *run, "--out", predictions])
    if data.source == "dataset" and config.steps and config.start_from and not set("*+") & set(config.start_from):
        # One set of weights that it began with: their mean with these keeps more of other cameras (WiSE-FT).
        mean, name = f"start_from=0.5*{config.start_from} + 0.5*{folder}", f"name={config.name}-halfway"
        command = ["clip-rl", "train", "--config", str(folder / "config.yaml")]
        command += ["--set", "steps=0", "--set", mean, "--set", name]
        lines.append(f"halfway to what it began with, surer on other cameras, in seconds: {shlex.join(command)}")
    return [*lines, *(f"next: {shlex.join(command)}" for command in commands)]


def _naming(config: TrainConfig, segmenter: ClipRlSegmenter, say: Callable[[str], None]) -> dict[str, Any]:
    """How many close-ups are named rightly, where types are trained on synthetic scenes; else nothing."""
    crops = config.validation.close_ups
    if crops == 0 or config.data.source == "dataset" or NAMED_SPACE not in config.data.label_spaces:
        return {}
    say(f"naming {crops} close-ups")
    space, size = load_label_space(NAMED_SPACE), naming_size(to_data(config), config.model.input_size)
    # Of the same scenes as `clip-rl naming`, whatever was trained on, so that the card's numbers can be had again.
    named = name_close_ups(segmenter, space, SceneConfig(), crops=crops, size=size)
    return {"size": list(size), **named.report(tuple(space.names[1:]))}


def _with_classifier(
    config: TrainConfig, segmenter: ClipRlSegmenter, calibration: Calibration, say: Callable[[str], None]
) -> tuple[Calibration, dict[str, Any]]:
    """The calibration with a classifier of frames where one is asked for, and what that was fitted on."""
    if config.validation.classifier_scenes < 1:
        return calibration, {}
    say("fitting the classifier of frames")
    classifier, note = fit_for(segmenter, FitConfig(scenes=config.validation.classifier_scenes))
    for package in note["absent"]:
        say(f"{package} is not installed: its pictures are left out")
    return dataclasses.replace(calibration, classifier=classifier), note


def _hardware(config: TrainConfig) -> str:
    if config.accelerator != "cpu" and torch.cuda.is_available():
        return f"{config.devices} x {torch.cuda.get_device_name()}"
    threads = config.devices * torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of a {platform.machine()} CPU"


def _provenance(config: TrainConfig, parts: Parts | None, scores: ValidationResult, at: Validated) -> dict[str, Any]:
    settings = to_data(config)
    # Where files lay on the training machine is nobody else's business and would not help them.
    del settings["out"], settings["data"]["root"], settings["start_from"]
    for folder in ("background_folder", "cutout_folder"):
        settings["data"]["scene"].pop(folder)
    if settings["data"]["dataset"]["label_map"]:
        settings["data"]["dataset"]["label_map"] = Path(settings["data"]["dataset"]["label_map"]).name
    settings["data"]["label_spaces"] = {
        Path(name).name: weight for name, weight in settings["data"]["label_spaces"].items()
    }
    return {
        "project": f"clip-rl {__version__}",
        "run": config.name,
        "trained_on": trained_on(config, parts),
        "steps": at.step,
        "images": at.images,
        "hours": round(at.seconds / 3600, 2),
        "hardware": _hardware(config),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "test_scores": {name: round(value, 4) for name, value in scores.scalars().items()},
        "config": settings,
    }
