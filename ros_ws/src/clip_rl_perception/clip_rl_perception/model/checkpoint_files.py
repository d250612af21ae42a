"""The two files of a checkpoint: tensors as safetensors, a description as JSON. No network here, and no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from clip_rl_perception.arrays import FloatArray
from clip_rl_perception.errors import ClipRlError

FORMAT = "clip-rl-checkpoint"
FORMAT_VERSION = 1
"""Raised when a reader of the old form would misread the new one."""
TEXT = "text_embeddings"
NOVELTY_MEAN = "calibration.novelty_mean"
NOVELTY_STD = "calibration.novelty_std"
"""Tensors beside those of the network."""


class CheckpointError(ClipRlError):
    """A checkpoint cannot be used; the message says which file, what differs and what to do."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises `CheckpointError` if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def read_description(path: Path) -> dict[str, Any]:
    """The JSON part. Raises `CheckpointError` if it is missing, damaged, of another kind or another version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} is missing; a checkpoint is a .safetensors and a .json of the same name"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}; fetch both files again") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CheckpointError(f"{path} does not describe a checkpoint of this project: 'format' is not '{FORMAT}'")
    if data.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {data.get('format_version')!r}; this version of clip-rl reads {FORMAT_VERSION}"
        )
    return data


def require(metadata: dict[str, Any], key: str, kind: type, path: Path) -> Any:
    """The value of a key that must be there and of a kind, else `CheckpointError`."""
    value = metadata.get(key)
    if not isinstance(value, kind):
        raise CheckpointError(f"{path}: '{key}' is missing or not a {kind.__name__}")
    return value


def read_arrays(path: Path, names: Sequence[str]) -> list[FloatArray]:
    """Some of the tensors, as float32.

    Raises:
        CheckpointError: the file is damaged, one of them is not there, or a value is not finite.
    """
    found = []
    try:
        with safe_open(path, framework="numpy") as stream:
            there = set(stream.keys())
            for name in names:
                if name not in there:
                    raise CheckpointError(f"{path} lacks the tensor {name}")
                try:
                    found.append(np.asarray(stream.get_tensor(name), np.float32))
                except TypeError as error:  # of a type that numpy does not have
                    kind = stream.get_slice(name).get_dtype()
                    raise CheckpointError(
                        f"{path}: {name} is stored as {kind}, which is not read here; expected F16 or F32, as clip-rl "
                        "writes checkpoints"
                    ) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error
    for name, array in zip(names, found, strict=True):
        if not np.isfinite(array).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
    return found
