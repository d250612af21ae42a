"""`clip-rl build-engine`: compile a checkpoint for this machine, with golden frames that guard it.

Writes a directory: compiled graphs, manifest.json, golden.safetensors. The node loads it with the parameter `engine`;
without --out it goes where engine "auto" looks. What engines are: docs/engines.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from clip_rl_perception.engine.backends import backend_named, backend_names
from clip_rl_perception.engine.build_progress import stage
from clip_rl_perception.engine.manifest import BOUNDS, Bounds
from clip_rl_perception.engine.protocol import EngineError

CALIBRATION_FRAMES = 128
"""Frames for int8 ranges, at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `clip-rl build-engine`."""
    parser.add_argument("--checkpoint", default="demo", help="checkpoint path or shipped name (default: demo)")
    parser.add_argument("--backend", default="openvino", choices=backend_names(), help="compiler (default: openvino)")
    parser.add_argument("--size", help="network input HxW, multiples of 32 (default: the checkpoint's)")
    parser.add_argument("--precision", choices=sorted(BOUNDS), help="default: the best this machine computes in")
    parser.add_argument("--frames", type=Path, help="video, folder or bag for golden frames (default: shipped ones)")
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="DIR",
        help="video, folder or bag that int8 is calibrated on; every fourth frame is held out to measure the cost "
        "(default: --frames, else the shipped frames)",
    )
    parser.add_argument("--threads", type=int, help="CPU threads while measuring (default: the library's choice)")
    parser.add_argument("--min-agreement", type=float, help="accept this share of equal golden labels, 0 to 1")
    parser.add_argument("--max-logit-error", type=float, help="accept this RMS difference of golden logits")
    parser.add_argument("--out", type=Path, help="engine directory (default: where engine 'auto' looks)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="tensorrt only: write no engine, but export the network and build it with TensorRT-RTX as far as that "
        "goes without a GPU",
    )


def run(arguments: argparse.Namespace) -> int:
    """Build the engine; 0 when it stands and holds its golden frames."""
    size = parse_size(arguments.size) if arguments.size else None
    if arguments.check and arguments.backend != "tensorrt":
        raise EngineError("--check is for --backend tensorrt: the others can be built where they are checked")
    with stage(f"load checkpoint {arguments.checkpoint}", _say):
        # Imported here: torch takes seconds, and by now the first line has been said.
        from clip_rl_perception.engine.build import build_engine
        from clip_rl_perception.engine.load import default_engine_dir
        from clip_rl_perception.model.checkpoint import load_checkpoint
        from clip_rl_perception.sources.golden_frames import SHIPPED_FRAMES, golden_images

        checkpoint = load_checkpoint(arguments.checkpoint)
    size = size or checkpoint.segmenter.config.input_size
    if arguments.check:
        from clip_rl_perception.engine.tensorrt_check import check

        for result in check(checkpoint, size, arguments.precision or "bf16", _say):
            print(result.describe())
        return 0
    precision = arguments.precision or backend_named(arguments.backend).default_precision()
    with stage("read frames", _say):
        images = golden_images(size, arguments.frames, SHIPPED_FRAMES)
        source = arguments.calibration or arguments.frames
        calibration = golden_images(size, source, CALIBRATION_FRAMES) if precision == "int8" else []
    out = arguments.out or default_engine_dir(checkpoint.model_id, size)
    manifest = build_engine(
        checkpoint,
        arguments.backend,
        out,
        images=images,
        input_size=size,
        precision=precision,
        threads=arguments.threads,
        bounds=_bounds(arguments, BOUNDS[precision]),
        calibration=calibration,
        options=_options(arguments),
        progress=_say,
    )
    print(f"{out}: {manifest.info().describe()}, model {manifest.model_id}")
    return 0


def parse_size(text: str) -> tuple[int, int]:
    """``HxW`` to (H, W). Raises `EngineError` that shows the form."""
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip())
    if match is None:
        raise EngineError(f"--size '{text}': expected HEIGHTxWIDTH in pixels, for example 288x352")
    return int(match[1]), int(match[2])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _options(arguments: argparse.Namespace) -> Sequence[str]:
    """What the command that builds this engine again has to repeat."""
    words: list[str] = []
    for name in ("frames", "calibration"):
        path = getattr(arguments, name)
        words += [f"--{name}", str(path.absolute())] if path is not None else []
    for name in ("min_agreement", "max_logit_error"):
        value = getattr(arguments, name)
        words += ["--" + name.replace("_", "-"), str(value)] if value is not None else []
    return words


def _bounds(arguments: argparse.Namespace, usual: Bounds) -> Bounds:
    return Bounds(
        label_agreement=usual.label_agreement if arguments.min_agreement is None else arguments.min_agreement,
        logit_error=usual.logit_error if arguments.max_logit_error is None else arguments.max_logit_error,
    )
