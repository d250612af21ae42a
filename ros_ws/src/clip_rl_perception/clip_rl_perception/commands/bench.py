"""`clip-rl bench`: time engines, encoders, peers and the node on this machine, against plain PyTorch in one run.

Candidates take turns frame by frame, so ratios hold on a busy machine too. Parts may be measured one by one; each
replaces its own part of report.json as long as machine, versions and input are the same.

    clip-rl bench                        # roofline, engines and peers, encoders, label map
    clip-rl bench --node                 # the node over DDS at 10, 30, 60 Hz and its peak; needs ROS 2
    clip-rl bench --parts engines --backends cuda tensorrt --model CHECKPOINT --size 512x640      # on a GPU
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import shlex
import sys
from pathlib import Path
from typing import Any

from clip_rl_perception.bench.bench_frames import COUNT, SIZE, BenchFrames, load_frames
from clip_rl_perception.bench.bench_report import empty_report, merge, write_page
from clip_rl_perception.cli_types import height_by_width

PARTS = ("roofline", "engines", "encoders", "postprocess")


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int
    seconds: float
    rates: tuple[float, ...]
    peak_probes: int
    frame_size: tuple[int, int]
    """(width, height) of a synthetic operation, px."""
    frames: int


QUICK = Scale(3, 2.0, (10.0,), 0, (320, 256), 4)
"""What --quick measures: enough to see that everything works, too little to say anything."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `clip-rl bench`."""
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=None, help=f"default: {' '.join(PARTS)}")
    parser.add_argument("--node", action="store_true", help="measure the node over DDS (and, without --parts, only it)")
    parser.add_argument("--prepare", action="store_true", help="build engines and render frames; measure nothing")
    parser.add_argument("--quick", action="store_true", help="a few small frames: a test of the benchmark, no result")
    parser.add_argument("--source", type=Path, help="video, folder or bag (default: a synthetic operation, 1280x1024)")
    parser.add_argument("--model", default="demo", help="checkpoint: shipped name or path (default: demo)")
    parser.add_argument("--size", type=height_by_width, help="network input HxW (default: the checkpoint's)")
    parser.add_argument(
        "--backends", nargs="+", metavar="BACKEND[:PRECISION]", default=["openvino", "openvino:fp32", "torch"],
        help="openvino, torch, cuda, tensorrt; peers meet the first (default: openvino openvino:fp32 torch)",
    )  # fmt: skip
    parser.add_argument("--classes", type=int, nargs="*", default=[12, 50], help="further numbers of classes")
    parser.add_argument("--peers", nargs="*", default=None, help="names, none for no peers (default: three)")
    parser.add_argument("--encoders", nargs="*", default=None, help="presets with random weights (default: three)")
    parser.add_argument("--rounds", type=int, default=60, help="timed frames of each candidate (default: 60)")
    parser.add_argument("--rates", type=float, nargs="+", default=[10.0, 30.0, 60.0], help="of the node's camera, Hz")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2], help="of the node part (default: 1 2)")
    parser.add_argument("--transports", nargs="+", choices=("raw", "compressed"), default=["raw", "compressed"])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate of the node part (default: 5)")
    parser.add_argument("--peak-probes", type=int, default=3, help="rates tried to find the peak (default: 3)")
    parser.add_argument("--engine", default="auto", help="of the node part (default: the one that is measured)")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="output folder (default: out/bench)")
    parser.add_argument("--page", type=Path, help="also write the report as Markdown with plots beside it")
    parser.add_argument("--prose", type=Path, help="Markdown that the page begins with, after the machine")


def run(arguments: argparse.Namespace) -> int:
    """Measure; returns the exit status."""
    parts = list(arguments.parts or ([] if arguments.node else PARTS))
    scale = _scale(arguments)
    frames = load_frames(arguments.source, arguments.out, count=scale.frames, size=scale.frame_size)
    fresh = empty_report(frames.sha256, frames.describe())
    measured: list[str] = []
    if parts:
        measured += _measure(parts, arguments, frames, fresh, scale)
    if arguments.node and not arguments.prepare:
        fresh["node"] = _measure_node(arguments, frames, scale)
        measured.append("node")
    if arguments.prepare:
        _log("prepared; nothing was measured")
        return 0
    report_file = arguments.out / "report.json"
    report = merge(report_file, fresh, measured, f"clip-rl {shlex.join(sys.argv[1:])}")
    print(report_file)
    if arguments.page is not None:
        from clip_rl_perception.bench.bench_plots import draw

        prose = arguments.prose.read_text(encoding="utf-8") if arguments.prose else ""
        arguments.page.parent.mkdir(parents=True, exist_ok=True)
        write_page(report, arguments.page, draw(report, arguments.page.parent), prose)
        print(arguments.page)
    return 0


def _measure(
    parts: list[str], arguments: argparse.Namespace, frames: BenchFrames, fresh: dict[str, Any], scale: Scale
) -> list[str]:
    """Fill `fresh`; returns the keys that were measured."""
    # Imported here: torch takes seconds, and what is wrong with the input is said before.
    from clip_rl_perception.bench import encoder_timing, peer_engines, roofline, suite
    from clip_rl_perception.bench.label_map_ways import measure_postprocess
    from clip_rl_perception.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(arguments.model)
    options = suite.Options(
        out=arguments.out,
        model=arguments.model,
        backends=tuple(arguments.backends),
        size=arguments.size,
        rounds=scale.rounds,
        classes=tuple(arguments.classes),
        peer_names=tuple(peer_engines.PEERS if arguments.peers is None else arguments.peers),
        encoder_names=tuple(encoder_timing.ENCODERS if arguments.encoders is None else arguments.encoders),
    )
    if arguments.prepare:
        if "engines" in parts:
            suite.prepare(checkpoint, options, _log)
        if "encoders" in parts:
            for name in options.encoder_names:
                suite.prepare_encoder(name, options, _log)
        return []
    measured = []
    if "roofline" in parts:
        device = "cuda" if arguments.backends[0] in suite.GPU_BACKENDS else "cpu"
        ceilings = roofline.measure_ceilings(
            device, size=256 if arguments.quick else 1024, seconds=0.05 if arguments.quick else 1.0
        )
        fresh["roofline"] = suite.measure_roofline(checkpoint, options.size, ceilings)
        measured.append("roofline")
    if "engines" in parts:
        fresh |= suite.measure_engines(checkpoint, frames, options, _log)
        measured += ["engines", "peers", "classes", "kinds"]
    if "encoders" in parts:
        fresh["encoders"] = suite.measure_encoders(frames, options, _log)
        measured.append("encoders")
    if "postprocess" in parts:
        network = options.size or checkpoint.segmenter.config.input_size
        fresh["postprocess"] = measure_postprocess(frames.size, network, rounds=scale.rounds)
        measured.append("postprocess")
    return measured


def _measure_node(arguments: argparse.Namespace, frames: BenchFrames, scale: Scale) -> list[dict[str, Any]]:
    from clip_rl_perception.bench.node_rates import NodeSetting, measure_node

    points = []
    engine = _compiled_engine(arguments)
    for cameras in arguments.cameras:
        for transport in arguments.transports:
            setting = NodeSetting(cameras, transport, arguments.model, engine)
            points += measure_node(
                setting,
                frames,
                arguments.out / "node" / f"{cameras}-{transport}",
                rates=scale.rates,
                seconds=scale.seconds,
                peak_probes=scale.peak_probes,
                progress=_log,
            )
    return points


def _compiled_engine(arguments: argparse.Namespace) -> str:
    """What the node's parameter `engine` gets: for ``auto`` the engine that the other parts measure, where it is."""
    if arguments.engine != "auto" or importlib.util.find_spec("openvino") is None:
        return str(arguments.engine)
    from clip_rl_perception.bench import suite
    from clip_rl_perception.bench.engine_timing import Setting
    from clip_rl_perception.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(arguments.model)
    size = arguments.size or checkpoint.segmenter.config.input_size
    precision = suite.best_precision("openvino")
    setting = Setting(
        "openvino", precision, checkpoint.segmenter.config.encoder.name, size, len(checkpoint.label_space)
    )
    return str(suite.prepare_engine(checkpoint, setting, arguments.out, None, _log).absolute())


def _scale(arguments: argparse.Namespace) -> Scale:
    if arguments.quick:
        return QUICK
    return Scale(
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        rates=tuple(arguments.rates),
        peak_probes=arguments.peak_probes,
        frame_size=SIZE,
        frames=COUNT,
    )


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
