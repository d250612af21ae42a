"""Parts of the benchmark beside the default ones, on inputs of a few frames: do their numbers hang together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_perception.bench import bench_report, observers
from clip_rl_perception.bench.bench_run import BenchOptions, BenchRun
from clip_rl_perception.bench.label_map_ways import OpenCv, log_probs_like_a_network, one_opencv_thread
from clip_rl_perception.bench.replay_rates import WAYS
from clip_rl_perception.bench.suite import MEASURES, PREPARES
from clip_rl_perception.commands import bench
from clip_rl_perception.resources import share_path
from clip_rl_perception.scene.label_map import reference_maps
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.sources.frames import SourceError
from replay_inputs import SIZE, write_bag

SECOND = 1_000_000_000


def quick(tmp_path: Path, source: Path, **options: Any) -> BenchRun:
    return BenchRun(BenchOptions(tmp_path / "out", source, rounds=3, engine="torch", quick=True, **options))


def test_every_part_is_measured_by_something() -> None:
    assert {*bench.PARTS, *bench.MORE_PARTS, "node"} == set(MEASURES)
    assert set(PREPARES) < set(MEASURES)
    keys = {*bench_report.LISTS, *bench_report.MAPPINGS}
    assert set(MEASURES) < keys and {"peers", "classes"} < keys


@pytest.mark.parametrize("classes", [2, 5])
def test_opencv_gives_the_labels_of_the_definition(classes: int) -> None:
    log_probs = log_probs_like_a_network(classes, (16, 24), seed=classes)
    # The frame fills the network's input: the same but for rounding.
    view = make_letterbox((256, 384), (64, 96))
    with one_opencv_thread():
        assert (OpenCv(log_probs, view).labels() == reference_maps(log_probs, view)[0]).mean() > 0.9999
    # With padding above or beside it, by no whole number of frame pixels: half a pixel aside at most.
    for frame in ((250, 384), (256, 370)):
        view = make_letterbox(frame, (64, 96))
        found = OpenCv(log_probs, view).labels()
        assert found.shape == frame
        assert (found == reference_maps(log_probs, view)[0]).mean() > 0.98


def test_opencv_takes_the_first_class_on_ties() -> None:
    log_probs = np.zeros((3, 4, 4), np.float32)
    log_probs[1:, :, :2] = 1.0
    labels = OpenCv(log_probs, make_letterbox((16, 16), (16, 16))).labels()
    assert (labels[:, :8] == 1).all() and (labels[:, 12:] == 0).all()


def test_opencv_has_its_threads_back() -> None:
    before = cv2.getNumThreads()
    with pytest.raises(ZeroDivisionError), one_opencv_thread():
        assert cv2.getNumThreads() == 1
        raise ZeroDivisionError
    assert cv2.getNumThreads() == before


def test_agreement_with_fp32(tmp_path: Path) -> None:
    run = quick(tmp_path, write_bag(tmp_path / "bag", 4), backends=("torch", "torch:bf16"))
    found = MEASURES["agreement"](run)["agreement"]
    assert (found["model"], found["frames"], found["frame_size"]) == (run.checkpoint.model_id, 4, list(SIZE))
    exact, rough = found["engines"]
    assert exact == {"engine": "torch:fp32", "label_agreement": 1.0, "miou": found["fp32_miou"], "miou_change": 0.0}
    assert rough["engine"] == "torch:bf16" and 0.9 < rough["label_agreement"] <= 1
    assert rough["miou_change"] == pytest.approx(100 * (rough["miou"] - found["fp32_miou"]))


def test_agreement_needs_ground_truth(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no ground truth"):
        MEASURES["agreement"](quick(tmp_path, share_path("models", "golden")))


def test_replay_against_the_bare_pipeline(tmp_path: Path) -> None:
    rows = MEASURES["replay"](quick(tmp_path, write_bag(tmp_path / "bag")))["replay"]
    assert [row["replay"] for row in rows] == list(WAYS)
    assert all(row["ratio"] == pytest.approx(row["replay_fps"] / row["bare_fps"]) for row in rows)


def test_networks_alone(tmp_path: Path) -> None:
    run = quick(tmp_path, share_path("models", "golden"), backends=("torch", "tensorrt"), encoders=("tiny",))
    (row,) = MEASURES["networks"](run)["networks"]  # without a GPU there is no TensorRT, which ends nothing
    assert (row["preset"], row["backend"], row["precision"], row["device"]) == ("tiny", "torch", "fp32", "cpu")
    assert row["stage_ms"]["network"]["p50"] < row["stage_ms"]["total"]["p50"]
    assert row["share_of_ceiling"] > 0


def a_round(second_viewer_ms: float) -> observers.Times:
    """Three seconds of two frames under each condition, 10 ms each but with a second viewer."""
    stamps = [second * SECOND + half * SECOND // 2 for second in range(1, 4) for half in (0, 1)]
    spent = {**dict.fromkeys(observers.CONDITIONS, 10.0), "second viewer": second_viewer_ms}
    return {name: [(stamp, ms, 2 * ms) for stamp in stamps] for name, ms in spent.items()}


def test_observers_are_compared_with_the_baseline() -> None:
    rows = {(row["field"], row["condition"]): row for row in observers.compare([a_round(13.0), a_round(15.0)])}
    assert len(rows) == 8 and all(row["frames"] == 12 for row in rows.values())
    baseline = rows["age_ms", "baseline"]
    assert baseline["ms"] == {"p50": 20.0, "p95": 20.0, "p99": 20.0}
    assert baseline["spread_ms"] == {"p50": 0.0, "p95": 0.0, "p99": 0.0}
    viewer = rows["total_ms", "second viewer"]
    assert viewer["difference_ms"]["p50"] == 4.0 and viewer["difference_ms"]["p99"] == 5.0
    assert (viewer["low_ms"]["p50"], viewer["high_ms"]["p50"]) == (3.0, 5.0)
    assert viewer["beyond_noise"] == ["p50", "p95", "p99"]
    assert rows["total_ms", "slow disk"]["beyond_noise"] == []


def test_rounds_are_added_to_those_of_the_same_settings(tmp_path: Path) -> None:
    kept, settings = tmp_path / "observers.json", {"rate_hz": 12.0, "seconds": 7.0}
    assert observers.read_rounds(kept, settings) == []
    kept.write_text(json.dumps({"settings": settings, "rounds": [a_round(13.0)]}), encoding="utf-8")
    assert len(observers.read_rounds(kept, settings)) == 1
    assert observers.read_rounds(kept, {**settings, "rate_hz": 10.0}) == []


def test_the_page_shows_all_parts_and_those_of_older_reports() -> None:
    report = bench_report.empty_report("hash", {"frames": 4, "width": 8, "height": 8})
    for key in ("networks", "replay", "observers", "agreement", "footprint"):
        del report[key]
    assert "##" not in bench_report.page(report), "nothing was measured"
    times = {"p50": 20.0, "p95": 25.0, "p99": 30.0, "max": 31.0}
    report |= {
        "networks": [
            {
                "preset": "rn50", "backend": "cuda eager", "precision": "bf16", "size": [512, 640], "device": "a GPU",
                "fps": 50.0, "stage_ms": {"total": times, "network": times}, "share_of_ceiling": 0.123,
            }
        ],
        "replay": [{"replay": "+ output bag", "bare_fps": 40.0, "replay_fps": 30.0, "ratio": 0.75}],
        "agreement": {
            "frames": 96, "frame_size": [1024, 1280], "fp32_miou": 0.8523,
            "engines": [{"engine": "torch:bf16", "label_agreement": 0.99955, "miou": 0.8525, "miou_change": 0.016}],
        },
        "observers": observers.compare([a_round(13.0), a_round(15.0)]),
        "footprint": {
            "times": 3,
            "libraries": {"cv2": {"seconds": 0.061, "cpu_s": 0.012, "mb": 17.4}},
            "node": {"cpu_s": 1.58, "first_mask_s": 7.66, "rss_mb": 501, "anon_mb": 215, "file_mb": 210, "shm_mb": 77},
        },
    }  # fmt: skip
    text = bench_report.page(report)
    for line in (
        "## Networks alone, 512x640, on a GPU",
        "| rn50 | cuda eager bf16 | 50.00 | 20.00 | 25.00 | 30.00 | 31.00 | 20.00 | 12 % |",
        "| torch:bf16 | 99.9550 % | 85.25 % | +0.016 |",
        "| + output bag | 40.0 | 30.0 | 0.75 |",
        "Libraries, each in a fresh interpreter after numpy, medians of 3. Seconds of a core, and of the clock.",
        "| cv2 | 0.01 | 0.06 | 17 |",
        "| 1.58 | 7.66 | 501 | 215 | 210 | 77 |",
        "| total_ms | baseline | 12 | 10.0 | 10.0 | 10.0 | between rounds: 0.0, 0.0, 0.0 | |",
        "| total_ms | slow disk | 12 | 10.0 | 10.0 | 10.0 | "
        "+0.0 [+0.0, +0.0], +0.0 [+0.0, +0.0], +0.0 [+0.0, +0.0] | no |",
    ):
        assert f"{line}\n" in text
