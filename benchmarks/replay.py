"""How much of the bare pipeline's frame rate is left to a whole replay: reading, measuring and writing with it.

    python benchmarks/replay.py recording --engine auto --frames 100

Bare: the pipeline over frames that are decoded already, on one thread. Each way of replaying runs right after a bare
run, `--rounds` times; the medians of rates and of their ratios are printed as a Markdown table. Not a test: numbers
depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from clip_rl_perception.replay.offline import OfflineOptions, OfflineReplay
from clip_rl_perception.report.frame_gallery import FrameGallery
from clip_rl_perception.sources.streams import InputOptions, open_inputs
from clip_rl_perception.stream import LoadedModel, ModelOptions, StreamRunner, load
from clip_rl_perception.threads.priority import hand_over_quickly


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path, help="bag, video or folder")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    ways = {
        "reading and decoding": {"temporal": False, "truth": False},
        "+ output bag": {"temporal": False, "truth": False, "bag": True},
        "+ overlay video": {"temporal": False, "truth": False, "bag": True, "video": True},
        "+ temporal consistency (no truth: the default)": {"truth": False, "bag": True, "video": True},
        "+ accuracy (with truth: the default)": {"bag": True, "video": True},
        "accuracy alone: --no-bag --no-video --no-temporal": {"temporal": False},
    }
    hand_over_quickly()  # as `clip-rl replay` does
    options = ModelOptions(model=arguments.model, engine=arguments.engine, threads=arguments.threads)
    with load(options) as model, tempfile.TemporaryDirectory() as scratch:
        print(f"{model.engine_name}, {arguments.frames} frames of {arguments.input.name}\n")
        print("| replay | bare, frames/s | replay, frames/s | ratio |\n|---|---|---|---|")
        for name, way in ways.items():
            pairs = []
            for _ in range(arguments.rounds):
                confidence = bool(way.get("bag")) or way.get("truth", True)
                bare = bare_rate(model, arguments.input, arguments.frames, confidence)
                pairs.append((bare, replay_rate(model, arguments.input, arguments.frames, Path(scratch), **way)))
            bare, rate, ratio = (
                statistics.median(values)
                for values in (*zip(*pairs, strict=True), [replay / bare for bare, replay in pairs])
            )
            print(f"| {name} | {bare:.1f} | {rate:.1f} | {ratio:.2f} |", flush=True)


def bare_rate(model: LoadedModel, path: Path, count: int, confidence: bool) -> float:
    """Frames a second of the pipeline alone."""
    source = open_inputs(InputOptions((path,)), model.space).streams[0].source
    frames = list(itertools.islice(iter(source), count))
    runner = StreamRunner(model)
    begun = time.perf_counter()
    for frame in frames:
        runner.process_file_frame(frame, want_confidence=confidence)
    return len(frames) / (time.perf_counter() - begun)


def replay_rate(
    model: LoadedModel,
    path: Path,
    count: int,
    scratch: Path,
    *,
    truth: bool = True,
    temporal: bool = True,
    bag: bool = False,
    video: bool = False,
) -> float:
    """Frames a second of a whole replay, from opening the input to the last output closed."""
    inputs = open_inputs(InputOptions((path,), use_truth=truth), model.space)
    options = OfflineOptions(
        bag=scratch / "bag" if bag else None,
        video=scratch if video else None,
        temporal=temporal,
        max_frames=count,
    )
    run = OfflineReplay(inputs, model, options, observers=[FrameGallery()]).run("", {})
    assert run.wall_s is not None
    return len(run.frames) / run.wall_s


if __name__ == "__main__":
    main()
