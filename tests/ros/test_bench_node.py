"""`clip-rl bench` on real nodes over DDS: do its numbers hang together, however large they are."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.bench import observers
from clip_rl_perception.bench.bench_frames import load_frames
from clip_rl_perception.bench.bench_processes import START_TIMEOUT_S
from clip_rl_perception.bench.bench_run import BenchOptions, BenchRun
from clip_rl_perception.bench.footprint import import_costs, measure_start
from clip_rl_perception.bench.node_rates import NodeSetting, measure_node
from clip_rl_perception.replay.node_run import NodeRunError
from clip_rl_perception.runs.run_record import STAGES
from harness import picture


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), cv2.cvtColor(picture(96, 128, seed=index), cv2.COLOR_RGB2BGR))
    return folder


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_two_cameras(
    frames: Path, checkpoint: Path, tmp_path: Path, transport: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = BenchRun(BenchOptions(tmp_path, frames, rates=(5.0,), seconds=2.0, peak_probes=0))
    (point,) = measure_node(run, NodeSetting(2, transport, str(checkpoint), "torch", threads=1))
    lines = capsys.readouterr().err.splitlines()
    assert (point["cameras"], point["transport"], point["rate_hz"], point["sent"]) == (2, transport, 5.0, 20)
    assert 0 <= point["dropped"] < 20, "masks came back"
    assert point["fps"] > 0 and point["engine"] == "torch fp32 96x128" and point["threads"] == 1
    assert 0 < point["latency_ms"]["p50"] <= point["latency_ms"]["p99"] <= point["latency_ms"]["max"]
    assert 0 < point["engine_share"] < 1
    stages = {name: point["stage_ms"][name]["p50"] for name in STAGES}
    assert all(value is not None and value >= 0 for value in stages.values())
    assert stages["network"] < stages["total"]
    assert len(lines) == 1 and f"2 x {transport}" in lines[0]
    json.dumps(point, allow_nan=False)


def test_a_node_that_refuses_its_model_is_named(frames: Path, tmp_path: Path) -> None:
    with pytest.raises(NodeRunError, match=r"not active.*no checkpoint"):
        measure_node(BenchRun(BenchOptions(tmp_path, frames)), NodeSetting(1, "raw", "no_such_model", "torch"))


def test_what_a_start_costs(frames: Path, checkpoint: Path, tmp_path: Path) -> None:
    run = BenchRun(BenchOptions(tmp_path, frames, str(checkpoint), engine="torch", seconds=1.0))
    found = measure_start(run, 0)
    # The camera begins half a second after the node listens.
    assert found["cpu_s"] > 0 and 0.5 < found["first_mask_s"] < START_TIMEOUT_S
    parts = found["anon_mb"] + found["file_mb"] + found["shm_mb"]
    assert found["rss_mb"] > 100 and abs(parts - found["rss_mb"]) <= 2, "its parts are all of it, each rounded"
    with pytest.raises(NodeRunError, match=r"no_such_library cannot be imported: .*No module named 'no_such_library'"):
        import_costs("no_such_library")
    seconds, cpu, mb = import_costs("json")
    assert 0 < seconds < 10 and 0 <= cpu <= 10 and mb < 50


def test_a_slow_disk_behind_a_running_node(
    frames: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "CONDITIONS", ("baseline", "slow disk"))
    monkeypatch.setattr(observers, "WARM_UP_S", 0.4)
    options = BenchOptions(tmp_path, frames, str(checkpoint), engine="torch", rounds=1, rates=(5.0,), seconds=0.6)
    rows = observers.measure_observers(BenchRun(options))["observers"]
    assert [(row["field"], row["condition"]) for row in rows] == [
        (field, condition) for field in ("total_ms", "age_ms") for condition in observers.CONDITIONS
    ]
    assert all(0 < row["frames"] <= 3 for row in rows)
    spent, age = rows[0]["ms"], rows[2]["ms"]
    assert 0 < spent["p50"] <= spent["p99"] and spent["p50"] < age["p50"]
    assert len(json.loads((tmp_path / "observers.json").read_text(encoding="utf-8"))["rounds"]) == 1


def test_frames_reach_the_cameras_as_they_are(frames: Path, tmp_path: Path) -> None:
    held = load_frames(frames, tmp_path)
    np.testing.assert_array_equal(held.frames[1], picture(96, 128, seed=1))
