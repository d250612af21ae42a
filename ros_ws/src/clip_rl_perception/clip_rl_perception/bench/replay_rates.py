"""How much of the bare pipeline's frame rate is left to a whole replay: reading, measuring and writing with it.

Bare: the pipeline over frames that are decoded already, on one thread. Each way of replaying runs right after a bare
run; what counts are the medians of rates and of their ratios.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_rl_perception.bench.bench_engines import compiled_engine
from clip_rl_perception.bench.bench_run import BenchRun
from clip_rl_perception.progress import Stage
from clip_rl_perception.replay.offline import OfflineReplay
from clip_rl_perception.replay.replay_options import OfflineOptions
from clip_rl_perception.report.frame_gallery import FrameGallery
from clip_rl_perception.sources.streams import InputOptions, open_inputs
from clip_rl_perception.stream import LoadedModel, StreamRunner, load
from clip_rl_perception.stream_options import ModelOptions
from clip_rl_perception.threads.priority import hand_over_quickly

FRAMES = 100
"""Of the recording, at most."""
WAYS: dict[str, Mapping[str, bool]] = {
    "reading and decoding": {},
    "+ output bag": {"bag": True},
    "+ overlay video": {"bag": True, "video": True},
    "+ temporal consistency (no truth: the default)": {"bag": True, "video": True, "temporal": True},
    "+ accuracy (with truth: the default)": {"bag": True, "video": True, "temporal": True, "truth": True},
    "accuracy alone: --no-bag --no-video --no-temporal": {"truth": True},
}
"""Ways of replaying, by what they do beside reading."""


def measure_replay(run: BenchRun) -> dict[str, Any]:
    """`replay`: frames a second, bare and replayed, and their ratio, for each way."""
    path, interval = run.recording(), sys.getswitchinterval()
    options = ModelOptions(run.options.model, compiled_engine(run), input_size=run.options.size)
    rows = []
    hand_over_quickly()  # as `clip-rl replay` does
    try:
        with load(options) as model, tempfile.TemporaryDirectory() as scratch:
            for number, (name, way) in enumerate(WAYS.items(), start=1):
                with Stage(number, len(WAYS), name) as stage:
                    confidence = bool(way.get("bag") or way.get("truth"))
                    pairs = [
                        (bare_rate(model, path, confidence), replay_rate(model, path, Path(scratch), **way))
                        for _ in range(run.long_rounds)
                    ]
                    bare, rate = (statistics.median(values) for values in zip(*pairs, strict=True))
                    ratio = statistics.median(replayed / alone for alone, replayed in pairs)
                    rows.append({"replay": name, "bare_fps": bare, "replay_fps": rate, "ratio": ratio})
                    stage.result(f"{bare:.1f} frames/s bare, {rate:.1f} replayed, {ratio:.2f} of it")
    finally:
        sys.setswitchinterval(interval)
    return {"replay": rows}


def bare_rate(model: LoadedModel, path: Path, confidence: bool) -> float:
    """Frames a second of the pipeline alone."""
    source = open_inputs(InputOptions((path,)), model.space).streams[0].source
    frames = list(itertools.islice(iter(source), FRAMES))
    stream = StreamRunner(model)
    begun = time.perf_counter()
    for frame in frames:
        stream.process_file_frame(frame, want_confidence=confidence)
    return len(frames) / (time.perf_counter() - begun)


def replay_rate(
    model: LoadedModel,
    path: Path,
    scratch: Path,
    *,
    truth: bool = False,
    temporal: bool = False,
    bag: bool = False,
    video: bool = False,
) -> float:
    """Frames a second of a whole replay, from opening the input to the last output closed."""
    what = InputOptions((path,), use_truth=truth)
    options = OfflineOptions(
        bag=scratch / "bag" if bag else None,
        video=scratch if video else None,
        temporal=temporal,
        max_frames=FRAMES,
    )
    run = OfflineReplay(what, model, options, observers=[FrameGallery()]).run()
    assert run.wall_s is not None
    return len(run.frames) / run.wall_s
