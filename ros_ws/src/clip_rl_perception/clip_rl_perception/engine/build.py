"""Building an engine directory: compile, make the golden frames, measure against them, write all of it at once or not.

An engine directory holds the compiled graphs, ``manifest.json`` and ``golden.safetensors``. It is written beside its
place, with access for its owner alone, and renamed when whole, so a directory that exists is a finished engine.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clip_rl_perception.engine import golden as gate
from clip_rl_perception.engine.backends import Backend, backend_named
from clip_rl_perception.engine.manifest import MANIFEST_FILE, Bounds, Manifest, sha256_of, write_manifest
from clip_rl_perception.engine.protocol import ByteArray, EngineError
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.config import ConfigError, check_input_size
from clip_rl_perception.model.segmenter import STRIDE

Progress = Callable[[str], None]
"""Called with one line at every stage, and at least every `HEARTBEAT_S` seconds within one."""

HEARTBEAT_S = 4.0

BOUNDS = {
    "fp32": Bounds(label_agreement=0.9999, logit_error=1e-3),
    "bf16": Bounds(label_agreement=0.99, logit_error=0.25),
    "fp16": Bounds(label_agreement=0.995, logit_error=0.1),
    "int8": Bounds(label_agreement=0.97, logit_error=1.0),
}
"""What each precision must reach on its golden frames."""


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
        calibration: network-sized RGB frames for int8.
        progress: told of every stage.

    Returns:
        The manifest, with what the gate measured.

    Raises:
        EngineError: unknown backend or precision, unusable size, missing library, a disk that refuses, or golden frames
            that the compiled engine does not reproduce; nothing is left at `out` then but what was there before.
    """
    chosen = backend_named(backend)
    size = checkpoint.segmenter.config.input_size if input_size is None else input_size
    try:
        check_input_size(size)
    except ConfigError as error:
        raise EngineError(str(error)) from error
    precision = precision or chosen.default_precision()
    if precision not in chosen.precisions:
        raise EngineError(f"backend {backend} has no precision '{precision}'; it has {', '.join(chosen.precisions)}")
    if not images:
        raise EngineError("no golden frames: at least one image is needed; give some with --frames")
    if out.exists() and not (out / MANIFEST_FILE).is_file():
        raise EngineError(f"{out} exists and is not an engine directory; choose another --out or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # mkdtemp makes it mode 0700: compiled graphs are trusted code, no one else may write them.
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise EngineError(f"cannot write beside {out}: {error.strerror}") from error
    try:
        manifest = _build_into(
            aside, checkpoint, chosen, size, precision, images, calibration, threads, bounds or BOUNDS[precision],
            _command(checkpoint, backend, size, precision, out), progress,
        )  # fmt: skip
        _replace(aside, out)
    except OSError as error:
        raise EngineError(f"cannot write {out}: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    progress(f"engine ready: {out}")
    return manifest


def _build_into(
    directory: Path,
    checkpoint: Checkpoint,
    backend: Backend,
    size: tuple[int, int],
    precision: str,
    images: Sequence[ByteArray],
    calibration: Sequence[ByteArray],
    threads: int | None,
    bounds: Bounds,
    command: str,
    progress: Progress,
) -> Manifest:
    text = checkpoint.text.cpu().float().numpy()
    reference = TorchEngine(checkpoint, input_size=size, precision="fp32")
    with _stage(f"reference outputs of {len(images)} golden frames (torch fp32)", progress):
        golden = gate.make_golden(reference, images, text)
        gate.save_golden(directory, golden)
    with _stage(f"compile for {backend.name} {precision} {size[0]}x{size[1]}", progress):
        backend.write_graphs(checkpoint, size, precision, directory, calibration)
    manifest = Manifest(
        backend=backend.name,
        precision=precision,
        input_size=size,
        stride=STRIDE,
        embedding_dim=checkpoint.segmenter.embedding_dim,
        max_refine_steps=checkpoint.segmenter.config.refiner.max_steps,
        model_id=checkpoint.model_id,
        weights_sha256=sha256_of(checkpoint.path),
        versions=backend.versions(),
        device=backend.device(),
        files={path.name: sha256_of(path) for path in sorted(directory.iterdir())},
        bounds=bounds,
        rebuild_command=command,
    )
    with _stage("golden frames on the compiled engine", progress):
        engine = backend.open(directory, manifest, threads)
        try:
            result = gate.measure(engine, golden)
        finally:
            engine.close()
    failure = result.failure(bounds)
    if failure:
        raise EngineError(
            f"{backend.name} {precision} does not reproduce this model: {failure}. Use another --precision, "
            "or accept it with --min-agreement / --max-logit-error if you know why"
        )
    measured = {**dataclasses.asdict(result)}
    manifest = dataclasses.replace(manifest, measured=measured)
    write_manifest(directory, manifest)
    progress(
        f"golden frames: labels agree on {result.label_agreement:.4%} of pixels, logits differ by "
        f"{result.logit_error:.3g} RMS"
    )
    return manifest


@contextmanager
def _stage(name: str, progress: Progress) -> Iterator[None]:
    """Report a stage's begin and end, and every few seconds between: compiling must not look like hanging."""
    start = time.monotonic()
    done = threading.Event()

    def heartbeat() -> None:
        while not done.wait(HEARTBEAT_S):
            progress(f"  {name}: {time.monotonic() - start:.0f} s so far")

    progress(name)
    thread = threading.Thread(target=heartbeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    progress(f"  {name}: done in {time.monotonic() - start:.1f} s")


def _replace(aside: Path, out: Path) -> None:
    """Put the finished directory in its place; an older engine there gives way only then."""
    if not out.exists():
        aside.rename(out)
        return
    retired = aside.with_name(aside.name + ".old")
    out.rename(retired)
    aside.rename(out)
    shutil.rmtree(retired, ignore_errors=True)


def _command(checkpoint: Checkpoint, backend: str, size: tuple[int, int], precision: str, out: Path) -> str:
    return (
        f"clip-rl build-engine --checkpoint {checkpoint.path.with_suffix('')} --backend {backend} "
        f"--size {size[0]}x{size[1]} --precision {precision} --out {out}"
    )
