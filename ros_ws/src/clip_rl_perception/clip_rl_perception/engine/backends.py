"""The compiled backends: what each can do, imported only when it is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.manifest import Manifest, describe_cpu
from clip_rl_perception.engine.protocol import Engine, EngineError

if TYPE_CHECKING:
    from clip_rl_perception.model.checkpoint import Checkpoint


@dataclasses.dataclass(frozen=True)
class Backend:
    """One compiler and runtime."""

    name: str
    precisions: tuple[str, ...]
    """Precisions that engines can be built in."""
    default_precision: Callable[[], str]
    """The best of them on this machine."""
    compiler_versions: Callable[[], dict[str, str]]
    """Libraries that an engine built now would be bound to; raises `EngineError` where they are missing."""
    versions: Callable[[], dict[str, str]]
    """Libraries that can run engines here; raises `EngineError` where there are none."""
    device: Callable[[], dict[str, str]]
    """What an engine is bound to of this machine."""
    write_graphs: Callable[[Checkpoint, tuple[int, int], str, Path, Sequence[ByteArray]], None]
    """Compile into a directory: checkpoint, (H, W), precision, directory, calibration frames."""
    open: Callable[[Path, Manifest, int | None], Engine]
    """Open a directory that was verified: directory, manifest, CPU threads."""


def backend_names() -> list[str]:
    """Backends that engines can be built for, sorted; whether their libraries are installed is another question."""
    return sorted(_LOADERS)


def backend_named(name: str) -> Backend:
    """The backend called `name`. Raises `EngineError` that lists the known ones."""
    if name not in _LOADERS:
        raise EngineError(f"no compiled backend '{name}'; there are: {', '.join(backend_names())}")
    return _LOADERS[name]()


def _openvino() -> Backend:
    from clip_rl_perception.engine import openvino_engine

    def write_graphs(*arguments: Any) -> None:
        from clip_rl_perception.engine import openvino_build  # needs torch, which running an engine does not

        openvino_build.write_graphs(*arguments)

    return Backend(
        name="openvino",
        precisions=openvino_engine.PRECISIONS,
        default_precision=openvino_engine.default_precision,
        compiler_versions=openvino_engine.versions,
        versions=openvino_engine.versions,
        device=describe_cpu,
        write_graphs=write_graphs,
        open=openvino_engine.OpenVinoEngine,
    )


def _tensorrt() -> Backend:
    from clip_rl_perception.engine import tensorrt_build, tensorrt_engine, tensorrt_library
    from clip_rl_perception.engine.graphs import default_gpu_precision

    return Backend(
        name="tensorrt",
        precisions=tensorrt_build.PRECISIONS,
        default_precision=default_gpu_precision,
        compiler_versions=tensorrt_library.compiler_versions,
        versions=tensorrt_library.versions,
        device=tensorrt_library.device,
        write_graphs=tensorrt_build.write_graphs,
        open=tensorrt_engine.TensorRtEngine,
    )


_LOADERS: dict[str, Callable[[], Backend]] = {"openvino": _openvino, "tensorrt": _tensorrt}
