"""How far every engine's masks are from FP32 torch's, and what that costs in mIoU, on recordings with ground truth.

Every engine sees the same recordings through the whole pipeline, earlier looks joined, as in the node. Compared are
full-size label maps. Without a source the recordings are synthetic operations whose seeds no training uses; int8 is
calibrated on first frames of other synthetic videos.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bench.bench_engines import ANY_BOUNDS, load, prepare_engine, settings_of
from clip_rl_perception.bench.bench_frames import RATE_HZ, rendered
from clip_rl_perception.bench.bench_run import BenchRun
from clip_rl_perception.demo.demo_scene import SyntheticError
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.engine.protocol import Engine, EngineError
from clip_rl_perception.labels import UNLABELLED
from clip_rl_perception.metrics.confusion import PooledMetrics
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.replay.offline import OfflineReplay
from clip_rl_perception.replay.replay_options import OfflineOptions
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.golden_frames import golden_images
from clip_rl_perception.sources.streams import InputOptions, open_inputs
from clip_rl_perception.stream import LoadedModel

TEST_SEED = 900_000
"""Of the first recording; no training uses seeds from here on."""
VIDEOS, FRAMES = 4, 24
"""Recordings, and frames of each; one of 4 frames in a quick run."""
CALIBRATION_STILLS = 64


class MaskKeeper:
    """A `FrameObserver` that keeps every label map."""

    def __init__(self) -> None:
        self.maps: list[ByteArray] = []
        """uint8 (H, W), 255 outside the content area."""

    def on_frame(self, frame: SeenFrame) -> None:
        """Take a frame."""
        if frame.mask is not None:
            self.maps.append(frame.mask)

    def close(self) -> None:
        """Nothing is open."""


def measure_agreement(run: BenchRun) -> dict[str, Any]:
    """`agreement`: share of equal pixels inside the content area, and mIoU, of every backend that the run names.

    Raises:
        SourceError: the source has no ground truth.
    """
    checkpoint, out, asked = run.checkpoint, run.out / "agreement", run.options.size
    what = InputOptions(_recordings(run, out))
    inputs = open_inputs(what, checkpoint.label_space)
    if inputs.mapping is None:
        raise SourceError(
            f"{run.options.source} has no ground truth; `clip-rl bag make --synthetic` makes a bag with it"
        )
    reference, fp32_miou = masks_of(load_engine("torch", checkpoint, input_size=asked), checkpoint, what)
    run.log(f"{len(reference)} frames; torch fp32: mIoU {fp32_miou:.2%}")
    rows: list[dict[str, Any]] = []
    for setting in settings_of(checkpoint, asked, run.options.backends):
        calibration = _stills(setting.size, out) if setting.precision == "int8" else ()
        prepare_engine(checkpoint, setting, out, run.log, bounds=ANY_BOUNDS, calibration=calibration)
        maps, miou = masks_of(load(checkpoint, setting, out).value, checkpoint, what)
        name, change = f"{setting.backend}:{setting.precision}", (miou - fp32_miou) * 100
        same = float(np.mean([(a == b)[b != UNLABELLED].mean() for a, b in zip(maps, reference, strict=True)]))
        rows.append({"engine": name, "label_agreement": same, "miou": miou, "miou_change": change})
        run.log(f"{name}: labels agree on {same:.4%} of pixels, mIoU {miou:.2%}, {change:+.3f} points")
    frame_size = list(inputs.streams[0].source.info.size)
    found = {"model": checkpoint.model_id, "frames": len(reference), "frame_size": frame_size}
    found |= {"evaluated": list(inputs.mapping.names), "evaluated_note": inputs.mapping.note}
    return {"agreement": {**found, "fp32_miou": fp32_miou, "engines": rows}}


def masks_of(engine: Engine, checkpoint: Checkpoint, what: InputOptions) -> tuple[list[ByteArray], float]:
    """Full-size label maps of all frames, and their mIoU, pooled, background included; the engine is closed.

    Raises:
        EngineError: it gave no mask of a frame.
    """
    keeper, options = MaskKeeper(), OfflineOptions(boundary=False, temporal=False)
    with LoadedModel(PerceptionPipeline.of_checkpoint(engine, checkpoint)) as model:
        record = OfflineReplay(what, model, options, observers=[keeper]).run()
    metrics = PooledMetrics(record.evaluated)
    for frame in record.frames:
        if frame.kind != "mask":
            raise EngineError(f"{record.engine}, frame {frame.index}: {frame.reason}")
        if frame.measures is not None and frame.measures.confusion is not None:
            metrics.add(frame.measures.confusion)
    return keeper.maps, metrics.miou()


def _recordings(run: BenchRun, out: Path) -> tuple[Path, ...]:
    if run.options.source is not None:
        return (run.options.source,)
    videos, frames = (1, 4) if run.options.quick else (VIDEOS, FRAMES)
    return tuple(
        rendered(out / f"video{index}", run.frame_size, frames / RATE_HZ, TEST_SEED + index) for index in range(videos)
    )


def _stills(size: tuple[int, int], out: Path) -> list[ByteArray]:
    """First frames of network-sized synthetic videos, of their own seed; rendered once."""
    folder = out / f"stills-{size[0]}x{size[1]}"
    command = [sys.executable, "-m", "clip_rl_perception.cli", "synth", "frames", f"--out={folder}"]
    command += [f"--size={size[1]}x{size[0]}", f"--seed={TEST_SEED}", f"--sequences={CALIBRATION_STILLS}", "--frames=1"]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise SyntheticError("int8 needs stills to calibrate on, and `clip-rl synth frames` gave none")
    return [image for still in sorted(folder.glob("*/left_frames")) for image in golden_images(size, still, 1)]
