"""The engines that are measured: which a run names, built where they are missing, loaded with what that cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bench.bench_run import BenchRun
from clip_rl_perception.bench.engine_timing import Setting
from clip_rl_perception.bench.interleaved import Loaded, timed
from clip_rl_perception.demo.demo_engine import can_compile
from clip_rl_perception.engine.backends import backend_named
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.engine.build_progress import Progress
from clip_rl_perception.engine.load import load_engine, open_engine
from clip_rl_perception.engine.manifest import MANIFEST_FILE, Bounds
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.sources.golden_frames import golden_images

ANY_BOUNDS = Bounds(label_agreement=0.0, logit_error=1e3)
"""Of engines that may stray: with random weights labels are coin tosses between classes, so only failures count."""
UNBUILT = ("torch", "cuda")
"""Backends that load a checkpoint as it is."""


def best_precision(backend: str) -> str:
    """The precision that a backend computes in by default here."""
    return {"torch": "fp32", "cuda": "bf16"}.get(backend) or backend_named(backend).default_precision()


def settings_of(checkpoint: Checkpoint, size: tuple[int, int] | None, backends: Sequence[str]) -> list[Setting]:
    """One for each ``BACKEND`` or ``BACKEND:PRECISION``; `size` None takes the checkpoint's (H, W)."""
    config, classes = checkpoint.config, len(checkpoint.label_space)
    result = []
    for text in backends:
        backend, _, precision = text.partition(":")
        precision = precision or best_precision(backend)
        result.append(Setting(backend, precision, config.encoder.name, size or config.input_size, classes))
    return result


def directory_of(setting: Setting, out: Path) -> Path:
    """Where the engine of a setting lies, and beside it the seconds that building took."""
    name = f"{setting.backend}-{setting.precision}-{setting.encoder}-{setting.size[0]}x{setting.size[1]}"
    return out / "engines" / name


def prepare_engine(
    checkpoint: Checkpoint,
    setting: Setting,
    out: Path,
    log: Progress,
    *,
    bounds: Bounds | None = None,
    calibration: Sequence[ByteArray] = (),
) -> None:
    """Build the engine of a setting unless it is there and fits, or needs no build. Not measured, takes minutes.

    Int8 ranges are taken from `calibration`, else from the golden frames, which hardly matters to speed.
    """
    if setting.backend in UNBUILT:
        return
    directory = directory_of(setting, out)
    if (directory / MANIFEST_FILE).is_file():
        try:
            open_engine(directory, checkpoint).close()
            return
        except EngineError as error:
            log(f"  {directory.name}: building again ({error})")
    images = golden_images(setting.size)
    made = timed(
        lambda: build_engine(
            checkpoint, setting.backend, directory, images=images, input_size=setting.size,
            precision=setting.precision, bounds=bounds, progress=log,
            calibration=(calibration or images) if setting.precision == "int8" else (),
        )
    )  # fmt: skip
    directory.with_suffix(".seconds").write_text(f"{made.seconds:.2f}\n", encoding="utf-8")


def load(checkpoint: Checkpoint, setting: Setting, out: Path) -> Loaded:
    """The engine of a setting: opened and verified, or torch's."""
    if setting.backend not in UNBUILT:
        return timed(lambda: open_engine(directory_of(setting, out), checkpoint))
    return timed(lambda: load_engine(setting.backend, checkpoint, input_size=setting.size, precision=setting.precision))


def costs(made: Loaded, setting: Setting, out: Path) -> dict[str, float | None]:
    """For the report: what building took, where it is known, and what loading took."""
    seconds = directory_of(setting, out).with_suffix(".seconds")
    return {
        "build_s": float(seconds.read_text(encoding="utf-8")) if seconds.is_file() else None,
        "load_s": round(made.seconds, 2),
        "memory_mb": round(made.memory_mb),
    }


def compiled_engine(run: BenchRun) -> str:
    """What nodes and replays get as `engine`: for ``auto`` the engine that the other parts measure, where it is."""
    out = run.out
    if not can_compile(run.options.engine):
        return run.options.engine
    (setting,) = settings_of(run.checkpoint, run.options.size, ("openvino",))
    prepare_engine(run.checkpoint, setting, out, run.log)
    return str(directory_of(setting, out).absolute())
