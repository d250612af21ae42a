"""The two files of a checkpoint: tensors as safetensors, a description as JSON. Nothing here knows the network."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from clip_rl_perception.errors import ClipRlError

FORMAT = "clip-rl-checkpoint"
FORMAT_VERSION = 1
"""Raised when a reader of the old form would misread the new one."""


class CheckpointError(ClipRlError):
    """A checkpoint cannot be used; the message says which file, what differs and what to do."""


def write_files(stem: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> str:
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


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors by name. Raises `CheckpointError` if the file is damaged or a value is not finite."""
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error
    _check_finite(tensors, str(path))
    return tensors


def _check_finite(tensors: dict[str, Tensor], source: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(f"{source}: {name} holds values that are not finite")
