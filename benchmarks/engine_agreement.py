"""How far every engine's masks are from FP32 torch's, and what that costs in mIoU, on synthetic test videos.

    python benchmarks/engine_agreement.py [--checkpoint demo] [--engines torch:bf16,openvino:fp32,openvino:bf16]
        [--videos 4] [--frames 24] [--frame-size 1024x1280] [--json out/agreement.json]

Every engine sees the same videos through the whole pipeline, previous frames recalled, as in the node. Compared are
full-size label maps. Truth is the generator's; the videos' seeds begin at 900000, which no training uses. int8 is
calibrated on stills of other seeds. Needs clip_rl_training for the videos; takes a minute per engine and 100 frames.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.commands.build_engine import parse_size
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.engine.manifest import Bounds
from clip_rl_perception.engine.protocol import Engine
from clip_rl_perception.metrics.confusion import PooledMetrics
from clip_rl_perception.model.checkpoint import Checkpoint, load_checkpoint
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.scene.letterbox import make_letterbox, to_network
from clip_rl_perception.sources.golden_frames import golden_images
from clip_rl_perception.stream import LoadedModel, StreamRunner
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.operation import SyntheticOperation, showcase
from clip_rl_training.synthetic.scene_config import SceneConfig
from clip_rl_training.synthetic.stills import render_still

TEST_SEED = 900_000
RATE = 25.0
CALIBRATION_STILLS = 64
OUTSIDE = 255
"""What label maps hold outside the content area."""


@dataclasses.dataclass
class Row:
    """One engine against FP32 torch."""

    engine: str
    label_agreement: float
    """Share of equal pixels inside the content area."""
    miou: float
    """Against the truth, pooled over the videos."""
    miou_change: float
    """Points, engine minus FP32."""


def main() -> int:
    """Print a table; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--engines", default="torch:bf16,openvino:fp32,openvino:bf16,openvino:int8")
    parser.add_argument("--videos", type=int, default=4)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--frame-size", default="1024x1280")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    checkpoint = load_checkpoint(arguments.checkpoint)
    size = parse_size(arguments.frame_size)
    config = showcase(*size, RATE)
    videos = [
        list(SyntheticOperation(config, TEST_SEED + index, arguments.frames)) for index in range(arguments.videos)
    ]
    truth = [truth_of(frame, checkpoint.label_space.name) for video in videos for frame in video]
    reference_maps = label_maps(load_engine("torch", checkpoint), checkpoint, videos)
    reference_miou = miou(reference_maps, truth, checkpoint)
    print(f"{len(truth)} frames of {len(videos)} videos; torch fp32: mIoU {reference_miou:.2%}", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.engines.split(","):
            engine = make_engine(name, checkpoint, Path(folder))
            maps = label_maps(engine, checkpoint, videos)
            engine.close()
            score = miou(maps, truth, checkpoint)
            same = np.mean([np.mean((a == b)[b != OUTSIDE]) for a, b in zip(maps, reference_maps, strict=True)])
            rows.append(Row(name, float(same), score, (score - reference_miou) * 100))
            print(
                f"{name}: labels agree on {rows[-1].label_agreement:.4%} of pixels, mIoU {score:.2%}, "
                f"{rows[-1].miou_change:+.3f} points",
                flush=True,
            )
    if arguments.json is not None:
        result: dict[str, Any] = {
            "model": checkpoint.model_id, "frames": len(truth), "frame_size": size, "fp32_miou": reference_miou,
            "engines": [dataclasses.asdict(row) for row in rows],
        }  # fmt: skip
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def make_engine(name: str, checkpoint: Checkpoint, folder: Path) -> Engine:
    """``BACKEND:PRECISION``: torch and cuda loaded, others built, whatever they cost."""
    backend, _, precision = name.partition(":")
    if backend in ("torch", "cuda"):
        return load_engine(backend, checkpoint, precision=precision)
    size = checkpoint.segmenter.config.input_size
    directory = folder / name.replace(":", "-")
    build_engine(
        checkpoint,
        backend,
        directory,
        images=golden_images(size),
        calibration=list(stills(size)) if precision == "int8" else (),
        precision=precision,
        bounds=Bounds(label_agreement=0.0, logit_error=float("inf")),
        progress=lambda line: print(line, file=sys.stderr, flush=True) if "against FP32" in line else None,
    )
    return load_engine(directory, checkpoint)


def stills(size: tuple[int, int]) -> Iterator[ByteArray]:
    """Network-sized stills as the network is trained on, of their own seed."""
    rng = np.random.default_rng(TEST_SEED)
    config = dataclasses.replace(SceneConfig(), height=size[0], width=size[1])
    for _ in range(CALIBRATION_STILLS):
        rgb = render_still(rng, config).rgb
        yield to_network(rgb, make_letterbox((rgb.shape[0], rgb.shape[1]), size))


def label_maps(engine: Engine, checkpoint: Checkpoint, videos: list[list[SyntheticFrame]]) -> list[ByteArray]:
    """Full-size label maps of all frames, each video a stream of its own."""
    model = LoadedModel(PerceptionPipeline.of_checkpoint(engine, checkpoint))
    maps = []
    for video in videos:
        runner = StreamRunner(model)
        for index, frame in enumerate(video):
            scene, _ = runner.process(frame.rgb, round(index / RATE * 1e9))
            maps.append(scene.label_map)
    return maps


def miou(maps: list[ByteArray], truth: list[ByteArray], checkpoint: Checkpoint) -> float:
    """Pooled over all frames, background included."""
    metrics = PooledMetrics([entry.name for entry in checkpoint.label_space.classes])
    for predicted, true in zip(maps, truth, strict=True):
        metrics.update(predicted, true)
    return metrics.miou()


def truth_of(frame: SyntheticFrame, space: str) -> ByteArray:
    """The generator's labels in a label space."""
    if space in ("binary", "endovis2017-binary"):
        return (frame.part_map > 0).astype(np.uint8)
    maps = {"endovis2018": frame.scene_map, "endovis2018-type": frame.type_map, "endovis2017-parts": frame.part_map}
    if space not in maps:
        raise SystemExit(f"the generator has no labels of '{space}'; it has binary, {', '.join(maps)}")
    return maps[space]


if __name__ == "__main__":
    sys.exit(main())
