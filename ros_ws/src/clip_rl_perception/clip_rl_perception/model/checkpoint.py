"""Checkpoints: NAME.safetensors holds every tensor, NAME.json everything else, the SHA-256 of the former included.

Loading runs no code, checks the hash before a tensor is used, and names what differs. The network itself is built when
it is asked for: who runs a compiled engine needs classes, their text embeddings and calibration alone, and no torch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clip_rl_perception.arrays import FloatArray
from clip_rl_perception.labels import LabelError, LabelSpace, label_space_from_dict
from clip_rl_perception.model.calibration import Calibration as Calibration
from clip_rl_perception.model.checkpoint_files import (
    NOVELTY_MEAN,
    NOVELTY_STD,
    TEXT,
    read_arrays,
    read_description,
    require,
    sha256,
)
from clip_rl_perception.model.checkpoint_files import CheckpointError as CheckpointError
from clip_rl_perception.model.frame_classifier import ClassifierError, frame_classifier
from clip_rl_perception.model.run_folder import STATE, checkpoint_in, unfinished
from clip_rl_perception.model.segmenter_config import DEFAULT_TEMPLATES, ConfigError, SegmenterConfig
from clip_rl_perception.resources import ResourceError, share_path

if TYPE_CHECKING:
    import torch

    from clip_rl_perception.model.segmenter import ClipRlSegmenter


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, verified but for its network, which `segmenter` loads."""

    network: Callable[[], ClipRlSegmenter]
    """Loads the network and verifies it, see `segmenter`."""
    label_space: LabelSpace
    """Classes that the network was trained on."""
    text_embeddings: FloatArray
    """Their text embeddings, (K, D), unit rows."""
    calibration: Calibration
    provenance: dict[str, Any]
    """What it was trained on, with which command, how long, on what; free form."""
    model_id: str
    """First 12 hex digits of the SHA-256 of the safetensors file."""
    path: Path
    """The safetensors file."""
    config: SegmenterConfig
    """The architecture, as it is stored."""
    weights_sha256: str = ""
    """Of the safetensors file, hexadecimal."""
    description_sha256: str = ""
    """Of the JSON file, hexadecimal."""
    templates: tuple[str, ...] = DEFAULT_TEMPLATES
    """Prompt templates that the text embeddings were made with; new classes are embedded with the same."""
    close_up_scale: float = 1.0
    """Inverse temperature that close-ups and texts were compared with in training; 1 without a branch for close-ups."""
    left_out: str = ""
    """What the files hold beyond what this version uses, one line; empty: nothing."""

    @functools.cached_property
    def segmenter(self) -> ClipRlSegmenter:
        """The network, in evaluation mode, on the CPU; loaded and verified when it is first asked for.

        Raises:
            CheckpointError: unknown architecture, tensors that are missing, surplus, of another shape or not finite,
                text embeddings of other classes, or files that were replaced since.
        """
        return self.network()

    @property
    def text(self) -> torch.Tensor:
        """`text_embeddings` for torch, float32 (K, D)."""
        import torch

        return torch.from_numpy(self.text_embeddings)

    @property
    def embedding_dim(self) -> int:
        """D, width of the text embeddings."""
        return int(self.text_embeddings.shape[1])

    def encode_text(self, label_space: LabelSpace) -> torch.Tensor:
        """Text embeddings of other classes, float32 (K, D), unit rows, by the network's own text tower."""
        return self.segmenter.encode_text(label_space, self.templates)


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
        here = "" if given.is_absolute() else f"; relative paths begin at the current folder, {Path.cwd()}"
        raise CheckpointError(
            f"no checkpoint '{path_or_name}': {weights.absolute()} does not exist, nor a folder "
            f"{given.absolute()}{here}"
        )
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


def open_checkpoint(path_or_name: str | Path) -> Checkpoint:
    """Read and verify a checkpoint but for its network, without torch; `Checkpoint.segmenter` does the rest.

    Args:
        path_or_name: NAME.safetensors, NAME.json, NAME, a shipped name, for example ``demo``, or the folder of
            a training run.

    Raises:
        CheckpointError: missing, truncated, another hash, unusable classes, text embeddings or calibration that do not
            fit them.
    """
    weights = resolve_checkpoint(path_or_name)
    description = weights.with_suffix(".json")
    metadata = read_description(description)
    expected = require(metadata, "sha256", str, description)
    files = weights, description
    stamps, hashes = _stamps(files), tuple(map(sha256, files))
    found = hashes[0]
    if found != expected:
        raise CheckpointError(
            f"{weights}: SHA-256 is {found[:12]}, {description.name} expects {expected[:12]}; "
            "the file is truncated or from another training: fetch both files again"
        )
    try:
        label_space = label_space_from_dict(require(metadata, "label_space", dict, description), str(description))
        architecture = require(metadata, "architecture", dict, description)
        config = SegmenterConfig.from_dict(architecture)
    except LabelError as error:
        raise CheckpointError(str(error)) from error
    except ConfigError as error:
        raise CheckpointError(f"{description}: {error}") from error
    templates = tuple(str(template) for template in require(metadata, "templates", list, description))
    text, mean, std = read_arrays(weights, (TEXT, NOVELTY_MEAN, NOVELTY_STD))
    if text.ndim != 2 or len(text) != len(label_space):
        needed = (len(label_space), *text.shape[1:])
        raise CheckpointError(
            f"text embeddings have shape {text.shape}, {needed[0]} classes need {needed}: "
            f"{description} does not belong to {weights.name}"
        )
    if mean.shape != text.shape[1:] or std.shape != text.shape[1:]:
        raise CheckpointError(f"{weights}: calibration has shapes {mean.shape}, {std.shape}, expected {text.shape[1:]}")

    def network() -> ClipRlSegmenter:
        from clip_rl_perception.model.checkpoint_network import load_network

        # Hashed again only where they may be others: the network is mostly built at once.
        if _stamps(files) != stamps and tuple(map(sha256, files)) != hashes:
            raise CheckpointError(f"{weights} or {description.name} was replaced since it was read; load it again")
        return load_network(weights, metadata, config, label_space, templates)

    return Checkpoint(
        network=network,
        label_space=label_space,
        text_embeddings=np.ascontiguousarray(text),
        calibration=_calibration(metadata, mean, std, description),
        provenance=require(metadata, "provenance", dict, description),
        model_id=found[:12],
        path=weights,
        config=config,
        weights_sha256=hashes[0],
        description_sha256=hashes[1],
        templates=templates,
        close_up_scale=_close_up_scale(weights) if config.close_up.widths else 1.0,
        left_out=f"{weights}: its refiner, of an earlier version, is left out" if "refiner" in architecture else "",
    )


def _close_up_scale(weights: Path) -> float:
    """As of `CloseUpBranch.scale`."""
    [log_scale] = read_arrays(weights, ("segmenter.close_up.log_scale",))
    return math.exp(min(max(float(log_scale), 0.0), math.log(100.0)))


def _stamps(files: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    """What changes when a file is written or replaced; None where it is gone."""
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return found


def load_checkpoint(path_or_name: str | Path, *, device: str | torch.device = "cpu") -> Checkpoint:
    """Load and verify a checkpoint with its network; runs no code from it and never uses the network.

    Args:
        path_or_name: as of `open_checkpoint`.
        device: where the network goes.

    Raises:
        CheckpointError: as of `open_checkpoint` and `Checkpoint.segmenter`.
    """
    checkpoint = open_checkpoint(path_or_name)
    checkpoint.segmenter.to(device)
    return checkpoint


def _calibration(metadata: dict[str, Any], mean: FloatArray, std: FloatArray, path: Path) -> Calibration:
    stored = require(metadata, "calibration", dict, path)
    temperature, limit = stored.get("temperature"), stored.get("novelty_limit")
    if not isinstance(temperature, (int, float)) or not temperature > 0:
        raise CheckpointError(f"{path}: calibration temperature is {temperature!r}, expected a number above 0")
    if limit is not None and not (isinstance(limit, (int, float)) and limit > 0):
        raise CheckpointError(f"{path}: calibration novelty_limit is {limit!r}, expected a number above 0 or null")
    if not (std > 0).all():
        raise CheckpointError(f"{path}: calibration.novelty_std must be positive")
    classifier = stored.get("classifier")
    try:
        fitted = None if classifier is None else frame_classifier(classifier, len(mean))
    except ClassifierError as error:
        raise CheckpointError(
            f"{path}: calibration.classifier cannot be used: {error}; fit another with: clip-rl validity fit"
        ) from error
    return Calibration(
        temperature=float(temperature),
        novelty_mean=mean,
        novelty_std=std,
        novelty_limit=math.inf if limit is None else float(limit),
        classifier=fitted,
    )
