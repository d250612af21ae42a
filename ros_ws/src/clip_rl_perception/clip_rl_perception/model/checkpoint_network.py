"""The network of a checkpoint: built, filled and held against its description; and written.

Tensors whose values all fit half precision exactly are stored in it (see `round_to_half_`), so a checkpoint loads equal
to the bit either way.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.model.checkpoint_files import (
    FORMAT,
    FORMAT_VERSION,
    NOVELTY_MEAN,
    NOVELTY_STD,
    TEXT,
    CheckpointError,
    sha256,
)
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import DEFAULT_TEMPLATES, ConfigError, SegmenterConfig
from clip_rl_perception.model.tensor_checks import differences, not_finite

_SAME_TEXT = 0.99
"""Least cosine between a stored text embedding and the one its prompts give; rounding of weights and of other CPUs is
far smaller, another class far larger."""

_WEIGHTS = "segmenter."
_REFINER = "refiner."
"""Of networks of earlier versions; its tensors are left out."""


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
    tensors[TEXT] = text.detach().float()
    tensors[NOVELTY_MEAN] = torch.from_numpy(np.ascontiguousarray(calibration.novelty_mean, np.float32))
    tensors[NOVELTY_STD] = torch.from_numpy(np.ascontiguousarray(calibration.novelty_std, np.float32))
    content = {
        "architecture": segmenter.config.to_dict(),
        "label_space": label_space.to_dict(),
        "templates": list(templates),
        **_summary(segmenter),
        "calibration": {
            "temperature": calibration.temperature,
            "novelty_limit": calibration.novelty_limit if math.isfinite(calibration.novelty_limit) else None,
            **({} if calibration.classifier is None else {"classifier": calibration.classifier.to_dict()}),
        },
        "provenance": provenance,
    }
    return _write_files(stem, tensors, content)[:12]


def load_network(
    weights: Path,
    metadata: dict[str, Any],
    config: SegmenterConfig,
    label_space: LabelSpace,
    templates: Sequence[str],
) -> ClipRlSegmenter:
    """The network of a checkpoint, in evaluation mode on the CPU.

    Args:
        weights: the safetensors file.
        metadata: what the description beside it says.
        config: the architecture in it.
        label_space: its classes; their text embeddings must be what the network makes of them.
        templates: its prompt templates.

    Raises:
        CheckpointError: unknown architecture, a summary that contradicts it, tensors that are missing, surplus, of
            another shape or not finite, text embeddings of other classes.
    """
    description = weights.with_suffix(".json")
    # The weights follow from the file; where they once came from must not be fetched again.
    pretrained = config.encoder.pretrained
    config = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, pretrained=None))
    try:
        with torch.random.fork_rng(devices=[]):  # building draws weights that are replaced below
            segmenter = ClipRlSegmenter(config)
    except ConfigError as error:
        raise CheckpointError(f"{description}: {error}") from error
    _check_summary(metadata, segmenter, description)
    if pretrained is not None:
        encoder = dataclasses.replace(segmenter.config.encoder, pretrained=pretrained)
        segmenter.config = dataclasses.replace(segmenter.config, encoder=encoder)
    tensors = _read_tensors(weights)
    text = tensors.pop(TEXT)
    for name in (NOVELTY_MEAN, NOVELTY_STD):
        tensors.pop(name)
    _load_weights(segmenter, tensors, weights)
    _check_text(segmenter, label_space, text, templates, f"{description} does not belong to {weights.name}")
    return segmenter.eval()


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


def _load_weights(segmenter: ClipRlSegmenter, tensors: dict[str, Tensor], path: Path) -> None:
    named = {name.removeprefix(_WEIGHTS): tensor for name, tensor in tensors.items()}
    found = {name: tensor for name, tensor in named.items() if not name.startswith(_REFINER)}
    target = segmenter.state_dict()
    if problems := differences(found, target):
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(f"{path} does not fit its architecture: {'; '.join(problems[:5])}{more}")
    segmenter.load_state_dict({name: tensor.to(target[name].dtype) for name, tensor in found.items()})


def _write_files(stem: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> str:
    """Write STEM.safetensors and STEM.json beside their places, flush them to the disk, then rename.

    Format, version and hash are added to the description. Returns the SHA-256 of the safetensors file, hexadecimal.

    Raises:
        CheckpointError: values that are not finite, a description that is not plain data, a disk that refuses; the old
            files are as they were.
    """
    _check_finite(tensors, str(stem))
    stored = {name: _compact(tensor) for name, tensor in tensors.items()}
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{stem.name}.", dir=stem.parent) as aside:
            weights, text = Path(aside) / "weights", Path(aside) / "description"
            save_file(stored, weights)
            digest = sha256(weights)
            content = {"format": FORMAT, "format_version": FORMAT_VERSION, **description, "sha256": digest}
            text.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
            for part in (weights, text):
                part.chmod(0o644)
                with part.open("rb") as stream:
                    os.fsync(stream.fileno())
            weights.replace(stem.with_name(stem.name + ".safetensors"))
            text.replace(stem.with_name(stem.name + ".json"))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write checkpoint {stem}: {error}") from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {stem}: provenance or calibration is not plain finite data: {error}"
        ) from error
    return digest


def _compact(tensor: Tensor) -> Tensor:
    """The tensor in half precision if that changes no value, else as it is; contiguous, on the CPU."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.float32:
        half = tensor.half()
        if torch.equal(half.float(), tensor):
            return half
    return tensor.clone()


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors by name. Raises `CheckpointError` if the file is damaged or a value is not finite."""
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error
    _check_finite(tensors, str(path))
    return tensors


def _check_finite(tensors: dict[str, Tensor], source: str) -> None:
    if fault := not_finite(tensors):
        raise CheckpointError(f"{source}: {fault}")
