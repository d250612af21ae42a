"""The parts of a run: which candidates meet, and what the report says of them."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.bench import encoder_timing, peer_engines
from clip_rl_perception.bench.bench_frames import BenchFrames, back_and_forth
from clip_rl_perception.bench.engine_timing import PipelineCandidate, PlainTorch, Setting, agreement, steps_summary
from clip_rl_perception.bench.frame_kinds import kinds_of, measure_kinds
from clip_rl_perception.bench.interleaved import Candidate, Loaded, Series, interleave, ratio, timed
from clip_rl_perception.bench.roofline import Ceilings, bound_ms, network_work
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.engine.load import load_engine, open_engine
from clip_rl_perception.engine.manifest import MANIFEST_FILE, Bounds
from clip_rl_perception.engine.protocol import Engine, EngineError
from clip_rl_perception.labels import LabelSpace, label_space_from_names
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.peer_networks import PeerError
from clip_rl_perception.runs.host import host
from clip_rl_perception.sources.golden_frames import golden_images

Progress = Callable[[str], None]

RANDOM_BOUNDS = Bounds(label_agreement=0.0, logit_error=1e3)
"""Of engines with random weights: their labels are coin tosses between classes, so only failures count."""
GPU_BACKENDS = ("cuda", "tensorrt")
"""Where the first engine runs on a GPU, plain torch does so too."""
AGREEMENT_FRAMES = 8
"""Frames on which labels are compared with FP32's."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure, and how long."""

    out: Path
    """Working folder: engines, random checkpoints, exported graphs."""
    model: str
    backends: tuple[str, ...]
    """``openvino``, ``openvino:fp32``, ``openvino:int8``, ``torch``, ``cuda``, ``tensorrt``; the first is ours."""
    size: tuple[int, int] | None
    """(H, W); None takes the checkpoint's."""
    rounds: int
    classes: tuple[int, ...]
    """Further numbers of classes that the first backend is measured with."""
    peer_names: tuple[str, ...]
    encoder_names: tuple[str, ...]


def best_precision(backend: str) -> str:
    """The precision that a backend computes in by default here."""
    from clip_rl_perception.engine.backends import backend_named

    if backend == "torch":
        return "fp32"
    return "bf16" if backend == "cuda" else backend_named(backend).default_precision()


def prepare_engine(checkpoint: Checkpoint, setting: Setting, out: Path, bounds: Bounds | None, log: Progress) -> Path:
    """Build the engine of a setting unless it is there and fits; the directory, its build time beside it."""
    name = f"{setting.backend}-{setting.precision}-{setting.encoder}-{setting.size[0]}x{setting.size[1]}"
    directory = out / "engines" / name
    if (directory / MANIFEST_FILE).is_file():
        try:
            open_engine(directory, checkpoint).close()
            return directory
        except EngineError as error:
            log(f"  {name}: building again ({error})")
    images = golden_images(setting.size)
    # Measuring speed alone: what ranges are taken from hardly matters to it.
    calibration = images if setting.precision == "int8" else []
    made = timed(
        lambda: build_engine(
            checkpoint, setting.backend, directory, images=images, input_size=setting.size,
            precision=setting.precision, bounds=bounds, calibration=calibration, progress=log,
        )
    )  # fmt: skip
    directory.with_suffix(".seconds").write_text(f"{made.seconds:.2f}\n", encoding="utf-8")
    return directory


def load(checkpoint: Checkpoint, setting: Setting, directory: Path | None) -> Loaded:
    """The engine of a setting: opened and verified, or torch's."""
    if directory is not None:
        return timed(lambda: open_engine(directory, checkpoint))
    return timed(lambda: load_engine(setting.backend, checkpoint, input_size=setting.size, precision=setting.precision))


def settings_of(checkpoint: Checkpoint, options: Options) -> list[Setting]:
    """One for each backend."""
    config = checkpoint.segmenter.config
    size = options.size or config.input_size
    result = []
    for text in options.backends:
        backend, _, precision = text.partition(":")
        chosen = precision or best_precision(backend)
        result.append(Setting(backend, chosen, config.encoder.name, size, len(checkpoint.label_space)))
    return result


def prepare(checkpoint: Checkpoint, options: Options, log: Progress) -> dict[str, Path]:
    """Build every engine that `measure_engines` needs; directories by setting name. Not measured, takes minutes."""
    found = {}
    for setting in settings_of(checkpoint, options):
        if setting.backend not in ("torch", "cuda"):
            found[setting.name] = prepare_engine(checkpoint, setting, options.out, None, log)
    return found


def measure_engines(checkpoint: Checkpoint, frames: BenchFrames, options: Options, log: Progress) -> dict[str, Any]:
    """`engines`, `peers` and `classes` in one interleaved run; `kinds` of frames on the first engine after it."""
    directories = prepare(checkpoint, options, log)
    settings = settings_of(checkpoint, options)
    loaded = {setting.name: load(checkpoint, setting, directories.get(setting.name)) for setting in settings}
    ours = [PipelineCandidate(setting, loaded[setting.name].value, checkpoint) for setting in settings]
    first = settings[0]
    more = [
        PipelineCandidate(
            dataclasses.replace(first, classes=count), loaded[first.name].value, checkpoint, _classes(count)
        )
        for count in options.classes
    ]
    plain = PlainTorch(checkpoint, first.encoder, first.size, "cuda" if first.backend in GPU_BACKENDS else "cpu")
    others, rows = _peers(first, options, log)
    log(f"measuring {len(ours) + len(more) + len(others) + 1} candidates in turns, {options.rounds} rounds")
    film = back_and_forth(frames.frames)
    everyone: list[Candidate] = [*ours, *more, plain, *others]
    series = interleave(everyone, film, options.rounds)
    embeddings = np.ascontiguousarray(checkpoint.text.numpy(), np.float32)
    reference = _reference(checkpoint, first, settings, loaded)
    images = golden_images(first.size)[:AGREEMENT_FRAMES]
    engines = []
    for candidate in [*ours, *more]:
        setting = candidate.setting
        made = loaded.get(setting.name)
        row = _row(setting, series[candidate.name], series[plain.name])
        if made is not None:
            row["build_s"] = _build_seconds(directories.get(setting.name))
            row["load_s"], row["memory_mb"] = round(made.seconds, 2), round(made.memory_mb)
            row["label_agreement"] = agreement(candidate.engine, reference, images, embeddings)
        row["refinement"] = steps_summary(candidate.steps, candidate.engine.info.max_refine_steps)
        engines.append(row)
    engines.append(_plain_row(first, series[plain.name]))
    own = series[first.name].stages
    ours_ms = [network + refine for network, refine in zip(own["network"], own["refine"], strict=True)]
    for row, other in zip(rows, others, strict=True):
        theirs = series[other.name]
        row |= {"stage_ms": theirs.summary(), "fps": round(theirs.fps(), 2)}
        row["network_ratio_to_ours"] = round(ratio(theirs.stages["network"], ours_ms), 3)
    kinds = kinds_of(frames.frames, images)
    result: dict[str, Any] = {"engines": engines, "peers": rows, "kinds": measure_kinds(ours[0], kinds)}
    if len(more) > 1:
        result["classes"] = _class_ratio(more, series)
    for item in loaded.values():
        item.value.close()
    return result


def measure_encoders(frames: BenchFrames, options: Options, log: Progress) -> list[dict[str, Any]]:
    """Each bigger encoder: the whole engine, its bare encoder and decoder, plain torch; interleaved."""
    rows = []
    film = back_and_forth(frames.frames)
    for preset in options.encoder_names:
        checkpoint, setting, directory, paths = prepare_encoder(preset, options, log)
        made = load(checkpoint, setting, directory)
        ours = PipelineCandidate(setting, made.value, checkpoint)
        bare = encoder_timing.BareParts(preset, paths, checkpoint, setting.size, setting.precision)
        plain = PlainTorch(checkpoint, setting.encoder, setting.size)
        rounds = max(5, options.rounds // 4)
        log(f"measuring {setting.name}, {rounds} rounds")
        series = interleave([ours, bare, plain], film, rounds, warm_up=2)
        parts = series[bare.name]
        sums = [a + b for a, b in zip(parts.stages["encoder"], parts.stages["decoder"], strict=True)]
        row = _row(setting, series[ours.name], series[plain.name])
        row |= {
            "build_s": _build_seconds(directory),
            "load_s": round(made.seconds, 2),
            "memory_mb": round(made.memory_mb),
            "bare_ms": {stage: round(parts.median(stage), 3) for stage in ("encoder", "decoder")},
            "ratio_to_bare": round(ratio(series[ours.name].stages["network"], sums), 4),
            "weights": "random",
        }
        rows.append(row)
        made.value.close()
    return rows


def prepare_encoder(
    preset: str, options: Options, log: Progress
) -> tuple[Checkpoint, Setting, Path, tuple[Path, Path]]:
    """Random checkpoint, engine directory and graphs of the parts of a preset; made where they are missing."""
    log(f"preparing {preset}")
    checkpoint = encoder_timing.random_checkpoint(preset, options.out / "models")
    config = checkpoint.segmenter.config
    size, name = options.size or config.input_size, config.encoder.name
    setting = Setting("openvino", best_precision("openvino"), name, size, len(checkpoint.label_space))
    directory = prepare_engine(checkpoint, setting, options.out, RANDOM_BOUNDS, log)
    paths = encoder_timing.export_parts(checkpoint, size, options.out / "parts" / f"{preset}-{size[0]}x{size[1]}")
    return checkpoint, setting, directory, paths


def measure_roofline(checkpoint: Checkpoint, size: tuple[int, int] | None, ceilings: Ceilings) -> dict[str, Any]:
    """Ceilings of the machine, work of the network and the time that it needs at the least."""
    chosen = size or checkpoint.segmenter.config.input_size
    work = network_work(checkpoint, chosen)
    return {
        "gflops": ceilings.gflops,
        "bandwidth_gb_s": ceilings.bandwidth_gb_s,
        "network_gflop": round(work.flops / 1e9, 4),
        "network_mb": {name: round(work.elements * size / 1e6, 2) for name, size in (("fp32", 4), ("bf16", 2))},
        "parameters": work.parameters,
        "bound_ms": {
            name: {key: round(value, 3) for key, value in bound_ms(work, ceilings, name).items()}
            for name in ("fp32", "bf16")
        },
        "host": host(),
    }


def _classes(count: int) -> LabelSpace:
    """Background, one class of instruments, and other things."""
    names = ["background", "instrument", *(f"tissue {index}" for index in range(2, count))]
    return label_space_from_names(names, instrument=[name == "instrument" for name in names])


def _reference(checkpoint: Checkpoint, first: Setting, settings: list[Setting], loaded: dict[str, Loaded]) -> Engine:
    for setting in settings:
        if (setting.backend, setting.precision) == ("torch", "fp32"):
            engine: Engine = loaded[setting.name].value
            return engine
    return load_engine("torch", checkpoint, input_size=first.size)


def _row(setting: Setting, own: Series, plain: Series) -> dict[str, Any]:
    return {
        "backend": setting.backend,
        "precision": setting.precision,
        "encoder": setting.encoder,
        "size": list(setting.size),
        "classes": setting.classes,
        "stage_ms": own.summary(),
        "fps": round(own.fps(), 2),
        "ratio_to_torch": round(ratio(plain.total, own.total), 3),
    }


def _plain_row(first: Setting, plain: Series) -> dict[str, Any]:
    return {
        "backend": "plain torch",
        "precision": "fp32",
        "encoder": first.encoder,
        "size": list(first.size),
        "classes": first.classes,
        "stage_ms": plain.summary(),
        "fps": round(plain.fps(), 2),
        "ratio_to_torch": 1.0,
    }


def _peers(
    first: Setting, options: Options, log: Progress
) -> tuple[list[peer_engines.OpenVinoPeer], list[dict[str, Any]]]:
    """Peers at the first engine's size and precision, and what is known of them before they run."""
    candidates: list[peer_engines.OpenVinoPeer] = []
    rows: list[dict[str, Any]] = []
    if importlib.util.find_spec("openvino") is None:
        return candidates, rows
    precision = first.precision if first.precision in ("bf16", "fp32") else "fp32"
    for name in options.peer_names:
        try:
            path, network = peer_engines.export_peer(name, first.classes, first.size, options.out / "peers")
        except PeerError as error:
            log(f"  left out: {error}")
            continue
        candidates.append(peer_engines.OpenVinoPeer(name, path, first.size, precision))
        rows.append(
            {
                "name": name,
                "backend": "openvino",
                "precision": precision,
                "size": list(first.size),
                "parameters": sum(value.numel() for value in network.parameters()),
                "weights": "random",
            }
        )
    return candidates, rows


def _class_ratio(more: list[PipelineCandidate], series: dict[str, Series]) -> dict[str, Any]:
    fewest, most = more[0], more[-1]
    return {
        "fewest": fewest.setting.classes,
        "most": most.setting.classes,
        "ratio": round(ratio(series[most.name].total, series[fewest.name].total), 4),
    }


def _build_seconds(directory: Path | None) -> float | None:
    if directory is None:
        return None
    try:
        return float(directory.with_suffix(".seconds").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
