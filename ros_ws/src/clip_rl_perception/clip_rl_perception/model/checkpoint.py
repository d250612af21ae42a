"""Checkpoints: NAME.safetensors holds every tensor, NAME.json everything else, the SHA-256 of the former included.

Loading runs no code, checks the hash before a tensor is used, and names what differs. Tensors whose values all fit half
precision exactly are stored in it (see `round_to_half_`), so a checkpoint loads equal to the bit either way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from clip_rl_perception.labels import LabelError, LabelSpace, label_space_from_dict
from clip_rl_perception.model.calibration import Calibration as Calibration
from clip_rl_perception.model.checkpoint_files import CheckpointError as CheckpointError
from clip_rl_perception.model.checkpoint_files import read_description, read_tensors, require, sha256, write_files
from clip_rl_perception.model.run_folder import STATE, checkpoint_in, unfinished
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import DEFAULT_TEMPLATES, ConfigError, SegmenterConfig
from clip_rl_perception.resources import ResourceError, share_path

_SAME_TEXT = 0.99
"""Least cosine between a stored text embedding and the one its prompts give; rounding of weights and of other CPUs is
far smaller, another class far larger."""

_WEIGHTS = "segmenter."
_TEXT = "text_embeddings"
_NOVELTY_MEAN = "calibration.novelty_mean"
_NOVELTY_STD = "calibration.novelty_std"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    segmenter: ClipRlSegmenter
    """In evaluation mode, on the CPU."""
    label_space: LabelSpace
    """Classes that the network was trained on."""
    text: Tensor
    """Their text embeddings, float32 (K, D), unit rows."""
    calibration: Calibration
    provenance: dict[str, Any]
    """What it was trained on, with which command, how long, on what; free form."""
    model_id: str
    """First 12 hex digits of the SHA-256 of the safetensors file."""
    path: Path
    """The safetensors file."""
    templates: tuple[str, ...] = DEFAULT_TEMPLATES
    """Prompt templates that `text` was made with; new classes are embedded with the same."""

    def encode_text(self, label_space: LabelSpace) -> Tensor:
        """Text embeddings of other classes, float32 (K, D), unit rows: what `set_classes` needs."""
        return self.segmenter.encode_text(label_space, self.templates)


@torch.no_grad()
def round_to_half_(segmenter: ClipRlSegmenter) -> None:
    """Round every floating-point tensor of the network to the nearest half-precision value, in place.

    Applied at the end of training and before evaluation, it halves the checkpoint without changing what was evaluated.
    Values beyond half precision's range are left as they are; such a tensor is stored in single precision.
    """
    for tensor in segmenter.state_dict().values():
        if tensor.is_floating_point():
            rounded = tensor.half().to(tensor.dtype)
            tensor.copy_(torch.where(rounded.isfinite(), rounded, tensor))


def save_checkpoint(
    path_stem: str | Path,
    segmenter: ClipRlSegmenter,
    label_space: LabelSpace,
    text: Tensor,
    calibration: Calibration,
    provenance: dict[str, Any],
    *,
    templates: Sequence[str] = DEFAULT_TEMPLATES,
) -> str:
    """Write PATH_STEM.safetensors and PATH_STEM.json, each beside its place and then renamed; returns the model id.

    Args:
        path_stem: path without suffix; the folder is made if missing.
        segmenter: the network; its configuration and normalisation are stored too.
        label_space: the classes, K of them.
        text: their text embeddings (K, D), as the network's own text tower makes them of `templates`.
        calibration: see `Calibration`.
        provenance: plain data for JSON.
        templates: prompt templates, see `encode_prompts`.

    Raises:
        CheckpointError: shapes that contradict each other, text embeddings of other classes or weights, non-finite
            weights, provenance that is not plain data, or a disk that refuses.
    """
    stem = Path(path_stem)
    _check_text(segmenter, label_space, text, templates, f"not saved to {stem}")
    tensors = {_WEIGHTS + name: tensor for name, tensor in segmenter.state_dict().items()}
    tensors[_TEXT] = text.detach()
    tensors[_NOVELTY_MEAN] = torch.from_numpy(np.ascontiguousarray(calibration.novelty_mean, np.float32))
    tensors[_NOVELTY_STD] = torch.from_numpy(np.ascontiguousarray(calibration.novelty_std, np.float32))
    content = {
        "architecture": segmenter.config.to_dict(),
        "label_space": label_space.to_dict(),
        "templates": list(templates),
        **_summary(segmenter),
        "calibration": {
            "temperature": calibration.temperature,
            "novelty_limit": calibration.novelty_limit if math.isfinite(calibration.novelty_limit) else None,
        },
        "provenance": provenance,
    }
    return write_files(stem, tensors, content)[:12]


def resolve_checkpoint(path_or_name: str | Path, log: Callable[[str], None] = lambda line: None) -> Path:
    """Path of the safetensors file: a path with or without suffix, the name of one shipped in ``models/``, or a folder.

    Args:
        path_or_name: a shipped name goes before a folder that is called alike; ``./NAME`` is the folder.
        log: told in a line which checkpoint of a folder was taken, see `run_folder`.

    Raises:
        CheckpointError: none of them exists; the message says where it looked.
    """
    given = Path(path_or_name)
    stem = given.with_name(given.name.removesuffix(".safetensors").removesuffix(".json"))
    weights = stem.with_name(stem.name + ".safetensors")
    if weights.is_file():
        return weights
    named = given.name == str(path_or_name)
    if given.is_dir() and not (named and _shipped(given.name)):
        weights, told = checkpoint_in(given)
        log(told)
        return weights
    if given.name == STATE and given.is_file():
        raise CheckpointError(unfinished(given))
    if stem.name != str(stem):
        raise CheckpointError(f"no checkpoint '{path_or_name}': {weights} does not exist")
    try:
        return share_path("models", weights.name)
    except ResourceError as error:
        raise CheckpointError(
            f"no checkpoint '{path_or_name}': {weights.absolute()} does not exist, and it is not shipped: {error}"
        ) from error


def _shipped(name: str) -> bool:
    try:
        return share_path("models", f"{name}.safetensors").is_file()
    except ResourceError:
        return False


def load_checkpoint(path_or_name: str | Path, *, device: str | torch.device = "cpu") -> Checkpoint:
    """Load and verify a checkpoint; runs no code from it and never uses the network.

    Args:
        path_or_name: NAME.safetensors, NAME.json, NAME, a shipped name, for example ``demo``, or the folder of
            a training run.
        device: where the network goes.

    Raises:
        CheckpointError: missing, truncated, another hash, unusable classes, unknown architecture, tensors that are
            missing, surplus or of another shape.
    """
    weights = resolve_checkpoint(path_or_name)
    description = weights.with_suffix(".json")
    metadata = read_description(description)
    expected = require(metadata, "sha256", str, description)
    found = sha256(weights)
    if found != expected:
        raise CheckpointError(
            f"{weights}: SHA-256 is {found[:12]}, {description.name} expects {expected[:12]}; "
            "the file is truncated or from another training: fetch both files again"
        )
    try:
        label_space = label_space_from_dict(require(metadata, "label_space", dict, description), str(description))
        config = SegmenterConfig.from_dict(require(metadata, "architecture", dict, description))
        # The weights follow from the file; where they once came from must not be fetched again.
        pretrained = config.encoder.pretrained
        config = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, pretrained=None))
        with torch.random.fork_rng(devices=[]):  # building draws weights that are replaced below
            segmenter = ClipRlSegmenter(config)
    except LabelError as error:
        raise CheckpointError(str(error)) from error
    except ConfigError as error:
        raise CheckpointError(f"{description}: {error}") from error
    _check_summary(metadata, segmenter, description)
    if pretrained is not None:
        encoder = dataclasses.replace(segmenter.config.encoder, pretrained=pretrained)
        segmenter.config = dataclasses.replace(segmenter.config, encoder=encoder)
    tensors = read_tensors(weights)
    text, mean, std = (_pop(tensors, name, weights) for name in (_TEXT, _NOVELTY_MEAN, _NOVELTY_STD))
    _load_weights(segmenter, tensors, weights)
    templates = tuple(str(template) for template in require(metadata, "templates", list, description))
    _check_text(segmenter, label_space, text, templates, f"{description} does not belong to {weights.name}")
    if tuple(mean.shape) != (segmenter.embedding_dim,) or tuple(std.shape) != (segmenter.embedding_dim,):
        raise CheckpointError(
            f"{weights}: calibration has shapes {tuple(mean.shape)}, {tuple(std.shape)}, "
            f"expected ({segmenter.embedding_dim},)"
        )
    return Checkpoint(
        segmenter=segmenter.eval().to(device),
        label_space=label_space,
        text=text,
        calibration=_calibration(metadata, mean, std, description),
        provenance=require(metadata, "provenance", dict, description),
        model_id=found[:12],
        path=weights,
        templates=templates,
    )


def _check_summary(metadata: dict[str, Any], segmenter: ClipRlSegmenter, path: Path) -> None:
    """Readers without torch rely on the summary of the architecture; raise `CheckpointError` where it is wrong."""
    summary = _summary(segmenter)
    for key, value in summary.items():
        if metadata.get(key) != value:
            found = metadata.get(key)
            raise CheckpointError(f"{path}: '{key}' is {found!r}, which contradicts the architecture: {value!r}")


def _summary(segmenter: ClipRlSegmenter) -> dict[str, Any]:
    return {
        "input_size": list(segmenter.config.input_size),
        "normalisation": {"mean": list(segmenter.encoder.mean), "std": list(segmenter.encoder.std)},
    }


def _check_text(
    segmenter: ClipRlSegmenter, label_space: LabelSpace, text: Tensor, templates: Sequence[str], consequence: str
) -> None:
    """Raise `CheckpointError` unless `text` is what the text tower makes of the classes."""
    expected = (len(label_space), segmenter.embedding_dim)
    if tuple(text.shape) != expected:
        raise CheckpointError(
            f"text embeddings have shape {tuple(text.shape)}, {expected[0]} classes need {expected}: {consequence}"
        )
    try:
        made = segmenter.encode_text(label_space, templates)
    except ConfigError as error:
        raise CheckpointError(f"{error}: {consequence}") from error
    similarity = functional.cosine_similarity(made.cpu(), text.detach().float().cpu(), dim=1)
    for entry, cosine in zip(label_space.classes, similarity.tolist(), strict=True):
        if not cosine > _SAME_TEXT:
            raise CheckpointError(
                f"the text embedding of class '{entry.name}' is not what its prompts give (cosine {cosine:.2f}): "
                f"{consequence}"
            )


def _pop(tensors: dict[str, Tensor], name: str, path: Path) -> Tensor:
    if name not in tensors:
        raise CheckpointError(f"{path} lacks the tensor {name}")
    return tensors.pop(name).float()


def _load_weights(segmenter: ClipRlSegmenter, tensors: dict[str, Tensor], path: Path) -> None:
    found = {name.removeprefix(_WEIGHTS): tensor for name, tensor in tensors.items()}
    target = segmenter.state_dict()
    problems = [f"{name} is missing" for name in target if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in target]
    problems += [
        f"{name} is {tuple(tensor.shape)}, expected {tuple(target[name].shape)}"
        for name, tensor in found.items()
        if name in target and tensor.shape != target[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"{path} does not fit its architecture: {'; '.join(problems[:5])}{more}")
    segmenter.load_state_dict({name: tensor.to(target[name].dtype) for name, tensor in found.items()})


def _calibration(metadata: dict[str, Any], mean: Tensor, std: Tensor, path: Path) -> Calibration:
    stored = require(metadata, "calibration", dict, path)
    temperature, limit = stored.get("temperature"), stored.get("novelty_limit")
    if not isinstance(temperature, (int, float)) or not temperature > 0:
        raise CheckpointError(f"{path}: calibration temperature is {temperature!r}, expected a number above 0")
    if limit is not None and not (isinstance(limit, (int, float)) and limit > 0):
        raise CheckpointError(f"{path}: calibration novelty_limit is {limit!r}, expected a number above 0 or null")
    if not bool((std > 0).all()):
        raise CheckpointError(f"{path}: calibration.novelty_std must be positive")
    return Calibration(
        temperature=float(temperature),
        novelty_mean=mean.numpy(),
        novelty_std=std.numpy(),
        novelty_limit=math.inf if limit is None else float(limit),
    )
