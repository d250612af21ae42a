"""Building an engine directory: compile, make the golden frames, measure against them, write all of it at once or not.

An engine directory holds the compiled graphs, ``manifest.json`` and ``golden.safetensors``. It is written beside its
place, with access for its owner alone, and renamed when whole, so a directory that exists is a finished engine.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine import golden as gate
from clip_rl_perception.engine.backends import Backend, backend_named
from clip_rl_perception.engine.build_progress import Progress, stage
from clip_rl_perception.engine.embedded_types import save_types
from clip_rl_perception.engine.manifest import BOUNDS, Bounds, Manifest, holds_engine, write_manifest
from clip_rl_perception.engine.protocol import EmbeddedTypes, EngineError
from clip_rl_perception.engine.torch_engine import TorchEngine, engine_info
from clip_rl_perception.instrument_types import usual_types
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.checkpoint_files import sha256

HOLD_OUT_EVERY = 4
"""Of the calibration frames, every fourth is kept from calibration and shows what it costs."""


def build_engine(
    checkpoint: Checkpoint,
    backend: str,
    out: Path,
    *,
    images: Sequence[ByteArray],
    input_size: tuple[int, int] | None = None,
    precision: str | None = None,
    threads: int | None = None,
    bounds: Bounds | None = None,
    calibration: Sequence[ByteArray] = (),
    options: Sequence[str] = (),
    progress: Progress = print,
) -> Manifest:
    """Build an engine directory.

    Args:
        checkpoint: the network to compile.
        backend: ``openvino`` or ``tensorrt``.
        out: the directory to make; an engine that is there already is replaced once the new one is whole.
        images: network-sized RGB frames (H, W, 3) that become the golden frames; at least one.
        input_size: (H, W), multiples of 32; None takes the checkpoint's.
        precision: None takes the backend's default on this machine.
        threads: CPU threads of the engine while it is measured.
        bounds: what the gate must hold; None takes the precision's of `BOUNDS`.
        calibration: network-sized RGB frames for int8; every `HOLD_OUT_EVERY`-th is held out to measure its cost.
        options: words of the user's command that belong into the command which builds the engine again.
        progress: told of every stage.

    Returns:
        The manifest, with what was measured.

    Raises:
        EngineError: unknown backend or precision, unusable size, missing library, a disk that refuses, or golden frames
            that the compiled engine does not reproduce; nothing is left at `out` then but what was there before.
    """
    chosen = backend_named(backend)
    precision = precision or chosen.default_precision()
    info = engine_info(checkpoint, backend, precision, input_size)
    if precision not in chosen.precisions:
        raise EngineError(f"backend {backend} has no precision '{precision}'; it has {', '.join(chosen.precisions)}")
    if not images:
        raise EngineError("no golden frames: at least one image is needed; give some with --frames")
    held_out = calibration[HOLD_OUT_EVERY - 1 :: HOLD_OUT_EVERY]
    if precision == "int8" and not held_out:
        raise EngineError(
            f"int8 needs at least {HOLD_OUT_EVERY} frames to calibrate on, got {len(calibration)}; "
            "give them with --calibration"
        )
    versions, device = chosen.compiler_versions(), chosen.device()
    if out.exists() and not holds_engine(out):
        raise EngineError(f"{out} exists and is not an engine directory; choose another --out or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # mkdtemp makes it mode 0700: compiled graphs are trusted code, no one else may write them.
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise EngineError(
            f"cannot write beside {out}: {error.strerror}; name another place with --out, or in CLIP_RL_ENGINES"
        ) from error
    try:
        draft = Manifest(
            **vars(info),
            weights_sha256=checkpoint.weights_sha256,
            description_sha256=checkpoint.description_sha256,
            versions=versions,
            device=device,
            files={},
            bounds=bounds or BOUNDS[precision],
            build_options=list(options),
        )
        fitting = [frame for number, frame in enumerate(calibration, start=1) if number % HOLD_OUT_EVERY]
        manifest = _build_into(aside, draft, checkpoint, chosen, images, fitting, held_out, threads, progress)
        _replace(aside, out)
    except OSError as error:
        raise EngineError(f"cannot write {out}: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    progress(f"engine ready: {out}")
    return manifest


def _build_into(
    directory: Path,
    manifest: Manifest,
    checkpoint: Checkpoint,
    backend: Backend,
    images: Sequence[ByteArray],
    calibration: Sequence[ByteArray],
    held_out: Sequence[ByteArray],
    threads: int | None,
    progress: Progress,
) -> Manifest:
    size, precision = manifest.input_size, manifest.precision
    text = checkpoint.text_embeddings
    quantised = precision == "int8"
    with stage(f"reference outputs of {len(images)} golden frames (torch fp32)", progress):
        reference = TorchEngine(checkpoint, input_size=size, precision="fp32")
        golden = gate.reference_outputs(reference, images, text)
        gate.save_golden(directory, golden)
        kept_back = gate.reference_outputs(reference, held_out, text) if quantised else None
    with stage(f"compile for {backend.name} {precision} {size[0]}x{size[1]}", progress):
        backend.write_graphs(checkpoint, size, precision, directory, calibration)
    if manifest.close_up_side is not None:
        types = usual_types(checkpoint.label_space)
        save_types(directory, EmbeddedTypes(types, checkpoint.encode_text(types).cpu().numpy()))
    manifest = dataclasses.replace(manifest, files={path.name: sha256(path) for path in sorted(directory.iterdir())})
    with stage("golden frames on the compiled engine", progress):
        engine = backend.open(directory, manifest, threads)
        try:
            result = gate.measure(engine, golden)
            cost = gate.measure(engine, kept_back) if kept_back is not None else None
        finally:
            engine.close()
    progress(f"{precision} against FP32 on {len(images)} golden frames: {result.describe()}")
    measured = dataclasses.asdict(result)
    if cost is not None:
        progress(
            f"{precision} against FP32 on {len(held_out)} frames held out of {len(held_out) + len(calibration)} "
            f"calibration frames: {cost.describe()}"
        )
        measured |= {f"held_out_{name}": value for name, value in dataclasses.asdict(cost).items()}
    failure = result.failure(manifest.bounds)
    if failure:
        raise EngineError(
            f"{backend.name} {precision} does not reproduce this model: {failure}. Use another --precision, "
            "or accept it with --min-agreement / --max-logit-error if you know why"
        )
    manifest = dataclasses.replace(manifest, measured=measured)
    write_manifest(directory, manifest)
    return manifest


def _replace(aside: Path, out: Path) -> None:
    """Put the finished directory in its place; an older engine there gives way only then."""
    if not out.exists():
        aside.rename(out)
        return
    retired = aside.with_name(aside.name + ".old")
    out.rename(retired)
    try:
        aside.rename(out)
    except OSError:
        retired.rename(out)
        raise
    shutil.rmtree(retired, ignore_errors=True)
