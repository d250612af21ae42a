"""`clip-rl build-engine`: compile a checkpoint for this machine, with golden frames that guard it.

Writes a directory: the compiled graph, manifest.json, golden.safetensors. The node loads it with the parameter
`engine`; without --out it goes where engine "auto" looks. What engines are: docs/engines.md.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from clip_rl_perception.cli_types import CheckpointName, NotNegative, Share
from clip_rl_perception.engine.backends import backend_named, backend_names
from clip_rl_perception.engine.build_progress import stage
from clip_rl_perception.engine.manifest import BOUNDS, Bounds
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.options import Option

CALIBRATION_FRAMES = 128
"""Frames for int8 ranges, at most."""
FASTER = (
    "this CPU computes nothing narrower than fp32 but int8, which takes little more than half of its time: "
    "--precision int8 --calibration FRAMES (pip install nncf onnx); what it costs is measured while it is built"
)
"""Said where fp32 was the best by default."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What is compiled."""

    checkpoint: CheckpointName = "demo"
    """Shipped name, path, or the folder of a training run."""
    backend: Annotated[str, Option(choices=backend_names())] = "openvino"
    """Compiler."""
    size: str | None = None
    """Network input HxW, multiples of 32; None: the checkpoint's."""
    precision: Annotated[
        str | None, Option(choices=sorted(BOUNDS), help="default: the best this machine computes in")
    ] = None
    """In which the network computes."""
    frames: Annotated[Path | None, Option("--source", "--frames")] = None
    """Video, folder or bag for golden frames; None: shipped ones."""
    calibration: Annotated[Path | None, Option(metavar="DIR")] = None
    """Video, folder or bag that int8 is calibrated on; every fourth frame is held out to measure the cost;
    None: --source, else the shipped frames."""
    threads: int | None = None
    """CPU threads while measuring; None: the library's choice."""
    min_agreement: Share | None = None
    """Accept this share of equal golden labels, 0 to 1."""
    max_logit_error: NotNegative | None = None
    """Accept this RMS difference of golden logits."""
    out: Path | None = None
    """Engine directory; None: where engine 'auto' looks."""
    check: bool = False
    """tensorrt only: write no engine, but export the network and build it with TensorRT-RTX as far as that goes
    without a GPU."""


def run(options: Options) -> int:
    """Build the engine; 0 when it stands and holds its golden frames."""
    size = parse_size(options.size) if options.size else None
    if options.calibration is not None and options.precision != "int8":
        raise EngineError("--calibration is for --precision int8: the others have no ranges to take from frames")
    if options.check and options.backend != "tensorrt":
        raise EngineError("--check is for --backend tensorrt: the others can be built where they are checked")
    with stage(f"load checkpoint {options.checkpoint}", _say):
        # Imported here: torch takes seconds, and by now the first line has been said.
        from clip_rl_perception.engine.build import build_engine
        from clip_rl_perception.engine.load import default_engine_dir
        from clip_rl_perception.model.checkpoint import load_checkpoint, resolve_checkpoint
        from clip_rl_perception.sources.golden_frames import SHIPPED_FRAMES, golden_images

        checkpoint = load_checkpoint(resolve_checkpoint(options.checkpoint, _say))
    size = size or checkpoint.segmenter.config.input_size
    if options.check:
        from clip_rl_perception.engine.tensorrt_check import check

        print(check(checkpoint, size, options.precision or "bf16", _say).describe())
        return 0
    precision = options.precision or backend_named(options.backend).default_precision()
    with stage("read frames", _say):
        images = golden_images(size, options.frames, SHIPPED_FRAMES)
        source = options.calibration or options.frames
        calibration = golden_images(size, source, CALIBRATION_FRAMES) if precision == "int8" else []
    out = options.out or default_engine_dir(checkpoint.model_id, size)
    manifest = build_engine(
        checkpoint,
        options.backend,
        out,
        images=images,
        input_size=size,
        precision=precision,
        threads=options.threads,
        bounds=_bounds(options, BOUNDS[precision]),
        calibration=calibration,
        options=_repeated(options),
        progress=_say,
    )
    print(f"{out}: {manifest.describe()}, model {manifest.model_id}")
    if options.precision is None and options.backend == "openvino" and precision == "fp32":
        _say(FASTER)
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """``HxW`` to (H, W). Raises `EngineError` that shows the form."""
    match = re.fullmatch(r"0*([1-9]\d*)x0*([1-9]\d*)", text.strip())
    if match is None:
        raise EngineError(f"--size '{text}': expected HEIGHTxWIDTH in pixels, for example 288x352")
    return int(match[1]), int(match[2])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _repeated(options: Options) -> Sequence[str]:
    """What the command that builds this engine again has to repeat."""
    words: list[str] = []
    for name in ("frames", "calibration"):
        path = getattr(options, name)
        words += [f"--{name}", str(path.absolute())] if path is not None else []
    for name in ("min_agreement", "max_logit_error"):
        value = getattr(options, name)
        words += ["--" + name.replace("_", "-"), str(value)] if value is not None else []
    return words


def _bounds(options: Options, usual: Bounds) -> Bounds:
    asked = {"label_agreement": options.min_agreement, "logit_error": options.max_logit_error}
    return dataclasses.replace(usual, **{name: value for name, value in asked.items() if value is not None})
