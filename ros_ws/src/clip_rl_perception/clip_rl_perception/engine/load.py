"""Engines by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clip_rl_perception.engine.protocol import Engine, EngineError
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.model.checkpoint import Checkpoint

_BACKENDS: dict[str, Callable[..., Engine]] = {"torch": TorchEngine}


def engine_names() -> list[str]:
    """Names that `load_engine` takes."""
    return sorted(_BACKENDS)


def load_engine(
    name_or_dir: str | Path,
    checkpoint: Checkpoint,
    *,
    input_size: tuple[int, int] | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    **options: Any,
) -> Engine:
    """Load an engine for a checkpoint.

    Args:
        name_or_dir: ``torch``.
        checkpoint: a loaded checkpoint.
        input_size: (H, W) in pixels, multiples of 32; None takes the checkpoint's.
        precision: ``fp32`` or ``bf16``.
        threads: CPU threads; None leaves the library's choice.
        options: passed on to the engine, for example ``device``.

    Raises:
        EngineError: an unknown name, or an engine that cannot be made as asked.
    """
    backend = _BACKENDS.get(str(name_or_dir))
    if backend is None:
        raise EngineError(f"no engine '{name_or_dir}'; there are: {', '.join(engine_names())}")
    try:
        return backend(checkpoint, input_size=input_size, precision=precision, threads=threads, **options)
    except TypeError as error:
        raise EngineError(f"engine '{name_or_dir}': {error}") from error
