"""Engines by name or directory, verified before they run a frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.engine import golden as gate
from clip_rl_perception.engine.backends import backend_named
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.engine.manifest import MANIFEST_FILE, read_manifest, rebuild_hint, sha256_of, verify_manifest
from clip_rl_perception.engine.protocol import ByteArray, Engine, EngineError
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.model.checkpoint import Checkpoint

NAMES = ("auto", "torch")
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
    build_if_missing: bool = False,
    golden_images: Sequence[ByteArray] = (),
    log: Log = lambda line: None,
    **options: Any,
) -> Engine:
    """Load an engine for a checkpoint.

    Args:
        name_or_dir: ``torch``: the reference engine, needs no build. A directory: the engine built there, if manifest
            and golden frames hold. ``auto``: the engine at `default_engine_dir` if one is there, else torch.
        checkpoint: a loaded checkpoint.
        input_size: (H, W) in pixels, multiples of 32; None takes the engine's, or the checkpoint's.
        precision: None takes the engine's own, for torch ``fp32``.
        threads: CPU threads; None leaves the library's choice.
        build_if_missing: build with OpenVINO where ``auto`` or the directory finds none; logs its progress.
        golden_images: network-sized frames for such a build.
        log: told what is being done, a line at a time.
        options: passed on to the torch engine, for example ``device``.

    Raises:
        EngineError: an unknown name; an engine that is missing, damaged, not for this machine, these libraries or these
            weights, or that fails its golden frames. The message says what differs and which command rebuilds it.
    """
    name = str(name_or_dir)
    if name == "torch":
        return _torch(checkpoint, input_size, precision, threads, options)
    size = input_size or checkpoint.segmenter.config.input_size
    if name == "auto":
        directory = default_engine_dir(checkpoint.model_id, size)
        if not (directory / MANIFEST_FILE).is_file() and not build_if_missing:
            log(
                f"no compiled engine at {directory}; running torch. Faster: clip-rl build-engine "
                f"--checkpoint {checkpoint.path.with_suffix('')} --backend openvino"
            )
            return _torch(checkpoint, input_size, precision, threads, options)
    else:
        directory = Path(name)
        if os.sep not in name and not directory.exists():
            known = ", ".join(engine_names())
            raise EngineError(f"no engine '{name}': expected {known} or a directory made by clip-rl build-engine")
    if build_if_missing and not (directory / MANIFEST_FILE).is_file():
        log(f"no engine at {directory}: building one, as build_if_missing asks")
        build_engine(
            checkpoint,
            "openvino",
            directory,
            images=golden_images,
            input_size=size,
            precision=precision,
            threads=threads,
            progress=log,
        )
    return open_engine(directory, checkpoint, input_size=input_size, precision=precision, threads=threads, log=log)


def open_engine(
    directory: Path,
    checkpoint: Checkpoint,
    *,
    input_size: tuple[int, int] | None = None,
    precision: str | None = None,
    threads: int | None = None,
    log: Log = lambda line: None,
) -> Engine:
    """Open an engine directory: manifest, files, then the golden frames on the engine itself; see `load_engine`."""
    manifest = read_manifest(directory)
    backend = backend_named(manifest.backend)
    verify_manifest(
        directory,
        manifest,
        weights_sha256=sha256_of(checkpoint.path),
        versions=backend.versions(),
        device=backend.device(),
    )
    for asked, built, what in (
        (input_size, manifest.input_size, "input size"),
        (precision, manifest.precision, "precision"),
    ):
        if asked is not None and asked != built:
            raise EngineError(
                f"engine {directory} has {what} {built}, asked for was {asked}; {rebuild_hint(manifest, directory)}"
            )
    golden = gate.load_golden(directory)
    engine = backend.open(directory, manifest, threads)
    try:
        result = gate.measure(engine, golden)
    except EngineError:
        engine.close()
        raise
    failure = result.failure(manifest.bounds)
    if failure:
        engine.close()
        raise EngineError(f"engine {directory} fails its golden frames: {failure}. {rebuild_hint(manifest, directory)}")
    log(
        f"engine {directory} verified: labels of its golden frames agree on {result.label_agreement:.4%}, "
        f"logits within {result.logit_error:.3g} RMS"
    )
    return engine


def default_engine_dir(model_id: str, input_size: tuple[int, int]) -> Path:
    """Where ``auto`` looks: under CLIP_RL_ENGINES, else the user's cache, by model and size."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(os.environ.get("CLIP_RL_ENGINES") or cache / "clip-rl" / "engines")
    return root / f"{model_id}-{input_size[0]}x{input_size[1]}"


def _torch(
    checkpoint: Checkpoint,
    input_size: tuple[int, int] | None,
    precision: str | None,
    threads: int | None,
    options: dict[str, Any],
) -> Engine:
    try:
        return TorchEngine(checkpoint, input_size=input_size, precision=precision or "fp32", threads=threads, **options)
    except TypeError as error:
        raise EngineError(f"engine 'torch': {error}") from error
