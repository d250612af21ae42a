"""Engines by name or directory, verified before they run a frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine import golden as gate
from clip_rl_perception.engine.backends import backend_named
from clip_rl_perception.engine.embedded_types import load_types
from clip_rl_perception.engine.manifest import (
    BOUNDS,
    FORMAT_VERSION,
    build_command,
    read_manifest,
    rebuild_hint,
    verify_manifest,
)
from clip_rl_perception.engine.protocol import Engine, EngineError
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.resources import user_cache

NAMES = ("auto", "cuda", "torch")
"""What `load_engine` takes besides a directory."""

Log = Callable[[str], None]


def engine_names() -> list[str]:
    """Names that `load_engine` takes; a directory made by ``clip-rl build-engine`` is the other choice."""
    return sorted(NAMES)


def load_engine(
    name_or_dir: str | Path,
    checkpoint: Checkpoint,
    *,
    input_size: tuple[int, int] | None = None,
    precision: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    build_if_missing: bool = False,
    golden_images: Callable[[tuple[int, int]], Sequence[ByteArray]] = lambda size: (),
    log: Log = lambda line: None,
    **options: Any,
) -> Engine:
    """Load an engine for a checkpoint.

    Args:
        name_or_dir: ``torch``: the reference engine on the CPU, needs no build. ``cuda``: torch on the GPU with
            recorded graphs, needs none either. A directory: the engine built there, if manifest and golden frames
            hold. ``auto``: the engine at `default_engine_dir` if one is there, else ``cuda`` where there is a GPU,
            else ``torch``.
        checkpoint: a loaded checkpoint.
        input_size: (H, W) in pixels, multiples of 32; None takes the engine's, or the checkpoint's.
        precision: None takes the engine's own, for torch ``fp32``, for cuda ``bf16``.
        threads: CPU threads; None leaves the library's choice.
        device: ``cpu``, ``cuda``, ``cuda:1``: where the engine runs; None leaves it to the engine.
        build_if_missing: build with OpenVINO where ``auto`` or the directory finds nothing; logs its progress. An
            engine that is there and cannot be used is refused all the same.
        golden_images: gives network-sized frames of a size (H, W), for such a build and for the gate of ``cuda``,
            which is held to the bounds of its precision against FP32 on the CPU where there are any.
        log: told what is being done, a line at a time.
        options: passed on to the torch engine.

    Raises:
        EngineError: an unknown name; an engine that is missing, damaged, not for this machine, these libraries or these
            weights, or that fails its golden frames. The message says what differs and which command rebuilds it.
    """
    name = str(name_or_dir)
    kind = device.partition(":")[0] if device is not None else None
    if name == "auto" and kind not in (None, "cpu"):
        name = "cuda" if kind == "cuda" else "torch"
    if name in ("cuda", "torch") and device is not None:
        options = {**options, "device": device}
    size = input_size or checkpoint.config.input_size
    if name == "torch":
        return _torch(name, checkpoint, size, precision, threads, log, options)
    if name == "cuda":
        engine = _torch(name, checkpoint, size, precision, threads, log, options)
        return _verified(engine, checkpoint, golden_images(size), log)
    directory = default_engine_dir(checkpoint.model_id, size) if name == "auto" else Path(name).absolute()
    if name != "auto" and os.sep not in name and not directory.exists():
        known = ", ".join(engine_names())
        raise EngineError(f"no engine '{name}': expected {known} or a directory made by clip-rl build-engine")
    if not directory.exists():
        command = build_command(checkpoint.path, "openvino", size, directory, precision=precision)
        if build_if_missing:
            from clip_rl_perception.engine.build import build_engine

            if device not in (None, "cpu"):
                raise EngineError(
                    f"engine {directory} would be built for cpu, asked for is device '{device}'; take engine torch, or "
                    "leave the device out"
                )
            log(f"no engine at {directory}: building one, as build_if_missing asks")
            build_engine(
                checkpoint,
                "openvino",
                directory,
                images=golden_images(size),
                input_size=size,
                precision=precision,
                threads=threads,
                progress=log,
            )
        elif name == "auto":
            import torch

            found = "cuda" if torch.cuda.is_available() and device is None else "torch"
            log(f"no compiled engine at {directory}; running {found}. Build one with: {command}")
            return load_engine(
                found, checkpoint, input_size=size, precision=precision, threads=threads,
                golden_images=golden_images, log=log, **options,
            )  # fmt: skip
    engine = open_engine(directory, checkpoint, input_size=input_size, precision=precision, threads=threads, log=log)
    places = ("cuda", "cuda:0") if engine.info.backend == "tensorrt" else ("cpu",)
    if device is not None and device not in places:
        engine.close()
        raise EngineError(
            f"engine {directory} runs on {places[0]}, asked for is device '{device}'; take engine torch, or leave the "
            "device out"
        )
    return engine


def open_engine(
    directory: Path,
    checkpoint: Checkpoint,
    *,
    input_size: tuple[int, int] | None = None,
    precision: str | None = None,
    threads: int | None = None,
    log: Log = lambda line: None,
) -> Engine:
    """Open an engine directory: manifest, files, then the golden frames on the engine itself; see `load_engine`.

    The network, and torch with it, is loaded only where the checkpoint's description is not the one that was verified
    when the engine was built.
    """
    config = checkpoint.config
    asked_size = input_size or config.input_size
    command = build_command(checkpoint.path, "openvino", asked_size, directory, precision=precision)
    manifest = read_manifest(directory, command)
    command = build_command(
        checkpoint.path,
        manifest.backend,
        input_size or manifest.input_size,
        directory,
        precision=precision or manifest.precision,
        options=manifest.build_options,
    )
    backend = backend_named(manifest.backend)
    verify_manifest(
        directory,
        manifest,
        weights_sha256=checkpoint.weights_sha256,
        versions=backend.versions(),
        device=backend.device(),
        command=command,
    )
    for asked, built, what in (
        (input_size, manifest.input_size, "input size"),
        (precision, manifest.precision, "precision"),
        (checkpoint.embedding_dim, manifest.embedding_dim, "embedding width"),
    ):
        if asked is not None and asked != built:
            raise EngineError(f"engine {directory} has {what} {built}, asked for is {asked}. {rebuild_hint(command)}")
    if manifest.description_sha256 != checkpoint.description_sha256:
        log(
            f"engine {directory} was built of another {checkpoint.path.with_suffix('.json').name} or by an earlier "
            f"version: the checkpoint's network is loaded to verify it. To start sooner: {command}"
        )
        checkpoint.segmenter.eval()
    try:
        golden = gate.load_golden(directory)
        engine = backend.open(directory, manifest, threads)
        engine.types = load_types(directory)
    except EngineError as error:
        raise EngineError(f"{error}. {rebuild_hint(command)}") from error
    try:
        result = gate.measure(engine, golden)
    except EngineError as error:
        engine.close()
        raise EngineError(f"engine {directory} fails on its golden frames: {error}. {rebuild_hint(command)}") from error
    failure = result.failure(manifest.bounds)
    if failure:
        engine.close()
        raise EngineError(f"engine {directory} fails its golden frames: {failure}. {rebuild_hint(command)}")
    log(f"engine {directory} verified: on its golden frames, {result.describe()}")
    return engine


def default_engine_dir(model_id: str, input_size: tuple[int, int]) -> Path:
    """Where ``auto`` looks: under CLIP_RL_ENGINES, else the user's cache, by model, size and format.

    Two versions of this project on one machine would else build over each other's engines and refuse them.
    """
    root = Path(os.environ.get("CLIP_RL_ENGINES") or user_cache() / "clip-rl" / "engines")
    return root / f"{model_id}-{input_size[0]}x{input_size[1]}-format{FORMAT_VERSION}"


def _verified(engine: Engine, checkpoint: Checkpoint, images: Sequence[ByteArray], log: Log) -> Engine:
    """`engine`, which nothing was built for, once it has passed the golden gate on `images`; unchecked without any."""
    if not images:
        return engine
    from clip_rl_perception.engine.torch_engine import TorchEngine

    reference = TorchEngine(checkpoint, input_size=engine.info.input_size)
    result = gate.measure(engine, gate.reference_outputs(reference, images, checkpoint.text_embeddings))
    failure = result.failure(BOUNDS[engine.info.precision])
    if failure:
        engine.close()
        raise EngineError(f"engine {engine.info.describe()} strays from FP32: {failure}. Use engine torch instead")
    log(f"{engine.info.describe()} verified: on {len(images)} golden frames, {result.describe()}")
    return engine


def _torch(
    name: str,
    checkpoint: Checkpoint,
    input_size: tuple[int, int],
    precision: str | None,
    threads: int | None,
    log: Log,
    options: dict[str, Any],
) -> Engine:
    from clip_rl_perception.engine.graphs import default_gpu_precision
    from clip_rl_perception.engine.torch_engine import TorchEngine

    if name == "cuda":
        options = {"device": "cuda", **options}
        precision = precision or default_gpu_precision()
    precision = precision or "fp32"
    try:
        return TorchEngine(checkpoint, input_size=input_size, precision=precision, threads=threads, log=log, **options)
    except TypeError as error:
        raise EngineError(f"engine '{name}': {error}") from error
