"""`clip-rl info`: versions, this machine, the shipped models and the engines that can run them here."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_rl_perception.engine.load import default_engine_dir
from clip_rl_perception.folder_files import below
from clip_rl_perception.resources import ResourceError, share_path
from clip_rl_perception.runs.host import host, versions


@dataclasses.dataclass(frozen=True)
class Options:
    """How it is told."""

    json: bool = False
    """Print JSON."""


def run(options: Options) -> int:
    """Print what there is; always 0."""
    facts: dict[str, Any] = {"versions": versions(), "host": host(), "models": models(), "engines": engines()}
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    for title, values in facts.items():
        print(f"{title}")
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            text = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else value
            print(f"  {name:{width}}  {text}")
        if not values:
            print("  none")
    return 0


def models() -> dict[str, dict[str, Any]]:
    """Shipped checkpoints by name: size, classes, input size and the compiled engine that "auto" would take."""
    try:
        folder = share_path("models")
    except ResourceError:
        return {}
    return {file.stem: _model(file) for file in below(folder, "*.safetensors") if file.with_suffix(".json").is_file()}


def engines() -> dict[str, str]:
    """What each kind of engine needs, and whether it is here."""
    return {
        "torch": _torch(),
        "openvino": "ready" if importlib.util.find_spec("openvino") else "not installed: pip install openvino",
        "tensorrt": "installed" if importlib.util.find_spec("torch_tensorrt") else "not installed",
    }


def _model(file: Path) -> dict[str, Any]:
    from clip_rl_perception.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(file)
    size = checkpoint.segmenter.config.input_size
    compiled = default_engine_dir(checkpoint.model_id, size)
    return {
        "id": checkpoint.model_id,
        "megabytes": round(file.stat().st_size / 1e6, 1),
        "classes": f"{len(checkpoint.label_space)} of {checkpoint.label_space.name}",
        "input": f"{size[0]}x{size[1]}",
        "compiled": str(compiled) if compiled.is_dir() else "no",
    }


def _torch() -> str:
    if importlib.util.find_spec("torch") is None:
        return "not installed"
    import torch

    return f"ready, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "ready, CPU"
