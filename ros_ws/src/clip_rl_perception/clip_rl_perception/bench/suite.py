"""The parts of a run: which candidates meet, and what the report says of them."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from clip_rl_perception.bench import agreement, observers, replay_rates, roofline
from clip_rl_perception.bench.bare_graphs import BareParts, PeerCandidate, export_parts, random_checkpoint
from clip_rl_perception.bench.bench_engines import ANY_BOUNDS, compiled_engine, costs, load, prepare_engine, settings_of
from clip_rl_perception.bench.bench_run import BenchRun
from clip_rl_perception.bench.engine_timing import EngineCandidate, PipelineCandidate, PlainTorch, Setting
from clip_rl_perception.bench.footprint import measure_footprint
from clip_rl_perception.bench.interleaved import Series, interleave, ratio
from clip_rl_perception.bench.label_map_ways import measure_postprocess
from clip_rl_perception.bench.node_rates import measure_nodes
from clip_rl_perception.engine import golden as gate
from clip_rl_perception.engine.load import load_engine
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.labels import LabelSpace, label_space_from_names
from clip_rl_perception.model.checkpoint import Checkpoint
from clip_rl_perception.model.peer_networks import PeerError
from clip_rl_perception.model.text_process import text_of
from clip_rl_perception.sources.golden_frames import golden_images

AGREEMENT_FRAMES = 8
"""Frames on which labels are compared with FP32's."""
NETWORK_WARM_UP = 20
"""Untimed frames of each network: graphs are recorded and clocks rise."""
GPU_MATRIX = 8192
"""Edge of the matrices whose product is a GPU's ceiling."""


def prepare_engines(run: BenchRun) -> list[Setting]:
    """Build every engine that `measure_engines` needs."""
    settings = settings_of(run.checkpoint, run.options.size, run.options.backends)
    for setting in settings:
        prepare_engine(run.checkpoint, setting, run.out, run.log)
    return settings


def measure_engines(run: BenchRun) -> dict[str, Any]:
    """`engines`, `peers` and `classes` in one interleaved run."""
    checkpoint, out, settings = run.checkpoint, run.out, prepare_engines(run)
    loaded = {setting.name: load(checkpoint, setting, out) for setting in settings}
    ours = [PipelineCandidate(setting, loaded[setting.name].value, checkpoint) for setting in settings]
    first = settings[0]
    more = [
        PipelineCandidate(dataclasses.replace(first, classes=count), ours[0].engine, checkpoint, _classes(count))
        for count in dict.fromkeys(run.options.classes)
        if count != first.classes  # measured as it is
    ]
    plain, peers = PlainTorch(checkpoint, first.encoder, first.size, run.device), _peers(first, run)
    series = interleave([*ours, *more, plain, *peers], run.film, run.options.rounds)
    slow, images = series[plain.name], golden_images(first.size)[:AGREEMENT_FRAMES]
    exact = [item.engine for item in ours if (item.setting.backend, item.setting.precision) == ("torch", "fp32")]
    reference = exact[0] if exact else load_engine("torch", checkpoint, input_size=first.size)
    golden, engines = gate.reference_outputs(reference, images, text_of(checkpoint)), []
    for candidate in [*ours, *more]:
        row = _row(candidate.setting, series[candidate.name], slow)
        if candidate.name in loaded:
            row |= costs(loaded[candidate.name], candidate.setting, out)
            row["label_agreement"] = gate.measure(candidate.engine, golden).label_agreement
        engines.append(row)
    engines.append(_row(dataclasses.replace(first, backend="plain torch", precision="fp32"), slow, slow))
    own = series[first.name].stages["network"]
    result: dict[str, Any] = {
        "engines": engines,
        "peers": [peer.row | _peer_times(series[peer.name], own) for peer in peers],
        "classes": _class_ratio(more, series) if len(more) > 1 else None,
    }
    for item in loaded.values():
        item.value.close()
    return result


def prepare_encoders(run: BenchRun) -> Iterator[tuple[str, Checkpoint, Setting, tuple[Path, Path]]]:
    """Of each bigger encoder its preset, random checkpoint, setting and the graphs of its parts; the engine built."""
    for preset in run.options.encoders:
        run.log(f"preparing {preset}")
        checkpoint = random_checkpoint(preset, run.out / "models")
        (setting,) = settings_of(checkpoint, run.options.size, ["openvino"])
        prepare_engine(checkpoint, setting, networks_of(run), run.log, bounds=ANY_BOUNDS)
        height, width = setting.size
        paths = export_parts(checkpoint, setting.size, run.out / "parts" / f"{preset}-{height}x{width}")
        yield preset, checkpoint, setting, paths


def measure_encoders(run: BenchRun) -> dict[str, Any]:
    """`encoders`: of each bigger one the whole engine, its bare encoder and decoder, plain torch; interleaved."""
    rows = []
    for preset, checkpoint, setting, paths in prepare_encoders(run):
        made = load(checkpoint, setting, networks_of(run))
        ours = PipelineCandidate(setting, made.value, checkpoint)
        bare = BareParts(preset, paths, checkpoint, setting.size, setting.precision)
        plain = PlainTorch(checkpoint, setting.encoder, setting.size)
        series = interleave([ours, bare, plain], run.film, max(5, run.options.rounds // 4), warm_up=2)
        own, parts = series[ours.name], series[bare.name]
        rows.append(
            {
                **_row(setting, own, series[plain.name]),
                **costs(made, setting, networks_of(run)),
                "bare_ms": {stage: round(parts.median(stage), 3) for stage in ("encoder", "decoder")},
                "ratio_to_bare": round(ratio(own.stages["network"], parts.summed("encoder", "decoder")), 4),
                "weights": "random",
            }
        )
        made.value.close()
    return {"encoders": rows}


def measure_networks(run: BenchRun) -> dict[str, Any]:
    """`networks`: presets with random weights on every backend, `Engine.infer` alone, against the machine's ceiling."""
    gpu = run.device == "cuda"
    ceilings = roofline.ceilings_of(run, GPU_MATRIX if gpu else roofline.CPU_MATRIX)
    name = torch.cuda.get_device_name() if gpu else "cpu"
    rows = []
    for preset in run.options.encoders:
        checkpoint = random_checkpoint(preset, run.out / "models")
        settings = settings_of(checkpoint, run.options.size, run.options.backends)
        candidates = _networks(run, checkpoint, settings)
        if not candidates:
            continue
        size = settings[0].size
        series = interleave(candidates, golden_images(size)[:1], run.options.rounds, warm_up=NETWORK_WARM_UP)
        work = roofline.network_work(checkpoint, size)
        for candidate in candidates:
            own, peak = series[candidate.name], ceilings.gflops.get(candidate.setting.precision)
            row = _row(candidate.setting, own) | {"preset": preset, "device": name, "flops": work.flops}
            row["share_of_ceiling"] = round(work.flops / own.median("network") / peak / 1e6, 4) if peak else None
            rows.append(row)
            candidate.engine.close()
    return {"networks": rows}


def _networks(run: BenchRun, checkpoint: Checkpoint, settings: list[Setting]) -> list[EngineCandidate]:
    """Those that run here, torch on a GPU with recorded graphs and without; what does not is told."""
    candidates, out = [], networks_of(run)
    for setting in settings:
        try:
            prepare_engine(checkpoint, setting, out, run.log, bounds=ANY_BOUNDS)
            candidates.append(EngineCandidate(setting, load(checkpoint, setting, out).value, checkpoint))
            if setting.backend == "cuda":
                how: dict[str, Any] = {"input_size": setting.size, "precision": setting.precision, "record": False}
                eager = dataclasses.replace(setting, backend="cuda eager")
                candidates.append(EngineCandidate(eager, load_engine("cuda", checkpoint, **how), checkpoint))
        except EngineError as error:
            run.log(f"  left out: {setting.backend}: {error}")
    return candidates


def networks_of(run: BenchRun) -> Path:
    """Folder of engines with random weights: the model's own engine may be of the same encoder and size."""
    return run.out / "networks"


def _classes(count: int) -> LabelSpace:
    """Background, one class of instruments, and other things."""
    names = ["background", "instrument", *(f"tissue {index}" for index in range(2, count))]
    return label_space_from_names(names, instrument=[name == "instrument" for name in names])


def _row(setting: Setting, own: Series, plain: Series | None = None) -> dict[str, Any]:
    row = {**dataclasses.asdict(setting), "stage_ms": own.summary(), "fps": round(own.fps(), 2)}
    return row if plain is None else row | {"ratio_to_torch": round(ratio(plain.total, own.total), 3)}


def _peers(first: Setting, run: BenchRun) -> list[PeerCandidate]:
    """Peers at the first engine's size and precision; none where OpenVINO is missing."""
    if importlib.util.find_spec("openvino") is None:
        return []
    precision = first.precision if first.precision in ("bf16", "fp32") else "fp32"
    candidates = []
    for name in run.options.peers:
        try:
            candidates.append(PeerCandidate(name, first.classes, first.size, precision, run.out / "peers"))
        except PeerError as error:
            run.log(f"  left out: {error}")
    return candidates


def _peer_times(theirs: Series, ours_ms: list[float]) -> dict[str, Any]:
    return {
        "stage_ms": theirs.summary(),
        "fps": round(theirs.fps(), 2),
        "network_ratio_to_ours": round(ratio(theirs.stages["network"], ours_ms), 3),
    }


def _class_ratio(more: list[PipelineCandidate], series: dict[str, Series]) -> dict[str, Any]:
    fewest, most = more[0], more[-1]
    return {
        "fewest": fewest.setting.classes,
        "most": most.setting.classes,
        "ratio": round(ratio(series[most.name].total, series[fewest.name].total), 4),
    }


def _label_map(run: BenchRun) -> dict[str, Any]:
    return {"postprocess": measure_postprocess(run.frames.size, run.size, rounds=run.options.rounds)}


MEASURES: dict[str, Callable[[BenchRun], dict[str, Any]]] = {
    "roofline": roofline.measure_roofline,
    "engines": measure_engines,
    "encoders": measure_encoders,
    "postprocess": _label_map,
    "networks": measure_networks,
    "agreement": agreement.measure_agreement,
    "replay": replay_rates.measure_replay,
    "observers": observers.measure_observers,
    "node": measure_nodes,
    "footprint": measure_footprint,
}
"""What measures a part of a run; each returns the keys of the report that it fills."""
PREPARES: dict[str, Callable[[BenchRun], Iterable[object]]] = {
    "engines": prepare_engines,
    "encoders": prepare_encoders,
    **dict.fromkeys(("replay", "observers", "node", "footprint"), lambda run: [compiled_engine(run)]),
}
"""What takes minutes before a part is measured, and is kept."""
