"""TensorRT in both its flavours, imported only when asked for.

``tensorrt`` is the standard library, ``tensorrt_rtx`` the one for RTX GPUs; one engine belongs to one of them. Running
an engine needs the flavour's runtime alone, building one needs torch-tensorrt too.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.errors import one_line

FLAVOURS = ("tensorrt", "tensorrt_rtx")
"""Python modules of the runtimes."""

INSTALL = "on a PyTorch for CUDA: pip install torch-tensorrt-rtx, or torch-tensorrt for the standard flavour"


def import_flavour(flavour: str) -> ModuleType:
    """The runtime's module. Raises `EngineError` where it is missing or cannot find its libraries."""
    try:
        return importlib.import_module(flavour)
    except Exception as error:  # missing libraries surface as whatever the binding raises
        raise EngineError(f"{flavour} cannot be imported ({one_line(error)}); {INSTALL}") from error


def import_compiler() -> tuple[ModuleType, str]:
    """torch_tensorrt and the flavour that it builds for. Raises `EngineError` where it cannot be imported."""
    try:
        compiler = importlib.import_module("torch_tensorrt")
        flavour = str(importlib.import_module("torch_tensorrt._TensorRTProxyModule").package_name)
    except Exception as error:  # without its libraries or a GPU it raises a bare Exception
        raise EngineError(f"torch_tensorrt cannot be imported ({one_line(error)}); {INSTALL}") from error
    return compiler, flavour


def versions() -> dict[str, str]:
    """Runtimes that can be imported, flavour to version. Raises `EngineError` where there is none."""
    found, reasons = {}, []
    for flavour in FLAVOURS:
        try:
            found[flavour] = str(import_flavour(flavour).__version__)
        except EngineError as error:
            reasons.append(str(error))
    if not found:
        raise EngineError(reasons[-1])
    return found


def compiler_versions() -> dict[str, str]:
    """The runtime that engines built now belong to. Raises `EngineError` where none can be built."""
    _require_gpu()
    _, flavour = import_compiler()
    return {flavour: str(import_flavour(flavour).__version__)}


def device() -> dict[str, str]:
    """The GPU that an engine is bound to. Raises `EngineError` where there is none."""
    _require_gpu()
    major, minor = torch.cuda.get_device_capability()
    return {"gpu": torch.cuda.get_device_name(), "sm": f"{major}.{minor}"}


def _require_gpu() -> None:
    if not torch.cuda.is_available():
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
        raise EngineError(
            f"the tensorrt backend needs an NVIDIA GPU, and torch {torch.__version__} (built for {build}) sees none; "
            "what can be checked without one: clip-rl build-engine --backend tensorrt --check"
        )
