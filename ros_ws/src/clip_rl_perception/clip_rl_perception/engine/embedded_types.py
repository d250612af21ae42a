"""Types of instruments with their text embeddings, kept in an engine directory: a node that starts needs no torch."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
import safetensors.numpy

from clip_rl_perception.engine.protocol import EmbeddedTypes, EngineError
from clip_rl_perception.labels import LabelError, label_space_from_dict

TYPES_FILE = "types.safetensors"
_TEXT = "text"
_SPACE = "space"


def save_types(directory: Path, types: EmbeddedTypes) -> None:
    """Write them into an engine directory. Raises `EngineError` if the disk refuses."""
    metadata = {_SPACE: json.dumps(types.space.to_dict())}
    try:
        safetensors.numpy.save_file({_TEXT: types.text}, directory / TYPES_FILE, metadata)
    except safetensors.SafetensorError as error:
        raise EngineError(f"types cannot be written to {directory}: {error}") from error


def load_types(directory: Path) -> EmbeddedTypes | None:
    """Read those of an engine directory; None where it has none. Raises `EngineError` when they are damaged."""
    path = directory / TYPES_FILE
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, framework="numpy") as stream:
            text = stream.get_tensor(_TEXT)
            space = label_space_from_dict(json.loads((stream.metadata() or {})[_SPACE]), str(path))
    except (OSError, KeyError, ValueError, LabelError, safetensors.SafetensorError) as error:
        raise EngineError(f"types {path} cannot be read ({error})") from error
    if text.ndim != 2 or len(text) != len(space):
        raise EngineError(f"types {path} contradict themselves: {len(space)} types, texts are {text.shape}")
    return EmbeddedTypes(space, text)
