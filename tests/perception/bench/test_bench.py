"""What the benchmark computes from its times, on cases worked out by hand; no test here measures anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_rl_perception import options
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bench import bench_report
from clip_rl_perception.bench.bench_frames import back_and_forth, load_frames
from clip_rl_perception.bench.interleaved import Series, interleave, ratio, resident_mb
from clip_rl_perception.bench.label_map_ways import measure_postprocess
from clip_rl_perception.bench.node_rates import NodeSetting, describe, find_peak, keeps_up, summarise
from clip_rl_perception.bench.roofline import Ceilings, Work, bound_ms, count_work, measure_ceilings
from clip_rl_perception.commands import bench
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.resources import share_path
from clip_rl_perception.sources.frames import SourceError

FRAMES = tuple(np.full((8, 8, 3), value, np.uint8) for value in range(4))


class Witness:
    """A candidate that notes when it is called with what."""

    def __init__(self, name: str, calls: list[tuple[str, int]]) -> None:
        self.name = name
        self._calls = calls

    def run(self, frame: ByteArray) -> dict[str, float]:
        self._calls.append((self.name, int(frame[0, 0, 0])))
        return {"network": float(len(self._calls))}


def test_candidates_take_turns_on_the_same_frame() -> None:
    calls: list[tuple[str, int]] = []
    candidates = [Witness(name, calls) for name in "abc"]
    series = interleave(candidates, FRAMES, rounds=19, warm_up=1)
    rounds = [calls[start : start + 3] for start in range(0, len(calls), 3)]
    assert len(rounds) == 20
    assert all(len({frame for _, frame in turn}) == 1 for turn in rounds), "one frame in a round"
    assert all({name for name, _ in turn} == {"a", "b", "c"} for turn in rounds)
    followed = {(turn[place][0], turn[place + 1][0]) for turn in rounds for place in range(2)}
    assert len(followed) == 6, "everyone follows everyone at times"
    assert [turn[0][1] for turn in rounds[1:6]] == [0, 1, 2, 3, 0]
    assert {len(item.total) for item in series.values()} == {19}
    assert len(series["a"].stages["network"]) == 19
    again: list[tuple[str, int]] = []
    interleave([Witness(name, again) for name in "abc"], FRAMES, rounds=19, warm_up=1)
    assert again == calls, "every run measures in the same order"


def test_two_candidates_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        interleave([Witness("a", []), Witness("a", [])], FRAMES, 1)


def test_ratio_is_the_median_of_ratios_within_rounds() -> None:
    # The machine was ten times slower in the last round; the ratio does not care.
    assert ratio([10.0, 12.0, 100.0], [5.0, 6.0, 50.0]) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="3 times cannot be compared with 2"):
        ratio([1.0, 2.0, 3.0], [1.0, 2.0])


def test_series_summary() -> None:
    series = Series()
    for value in range(1, 101):
        series.add({"total": float(value)})
    assert series.summary()["total"] == {"p50": 50.5, "p95": 95.05, "p99": 99.01, "max": 100.0}
    assert series.fps() == pytest.approx(1000 / 50.5)
    assert resident_mb() > 10


def test_memory_is_told_in_millions_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "Name:\tpython\nVmRSS:\t  500000 kB\n")
    assert resident_mb() == pytest.approx(512)


def test_back_and_forth_repeats_no_end() -> None:
    film = [int(frame[0, 0, 0]) for frame in back_and_forth(FRAMES) * 2]
    assert film == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1]


def test_roofline_on_a_known_machine() -> None:
    ceilings = Ceilings({"fp32": 100.0, "bf16": 200.0}, bandwidth_gb_s=10.0)
    work = Work(flops=2 * 10**9, elements=5 * 10**6, parameters=0)
    assert bound_ms(work, ceilings, "fp32") == pytest.approx({"arithmetic": 20.0, "memory": 2.0, "bound": 20.0})
    heavy = Work(flops=10**9, elements=10**8, parameters=0)
    assert bound_ms(heavy, ceilings, "bf16") == pytest.approx({"arithmetic": 5.0, "memory": 20.0, "bound": 20.0})


def test_work_of_known_layers() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.Flatten())
    network.append(torch.nn.Linear(8 * 16 * 16, 10, bias=False))
    with torch.inference_mode():
        work = count_work(network, lambda: network(torch.zeros(1, 3, 16, 16)))
    convolution, product = 3 * 8 * 9 * 256, 8 * 256 * 10
    assert work.flops == 2 * (convolution + product)
    assert work.parameters == 3 * 8 * 9 + 8 * 256 * 10
    assert work.elements == work.parameters + (3 + 8) * 256 + 8 * 256 + 10


def test_work_of_attention() -> None:
    attention, tokens = torch.nn.MultiheadAttention(32, 4, batch_first=True).eval(), torch.zeros(1, 10, 32)
    with torch.inference_mode():
        work = count_work(attention, lambda: attention(tokens, tokens, tokens, need_weights=False))
    projected, compared = 10 * 32 * (3 + 1) * 32, 2 * 10 * 10 * 32
    assert work.flops == 2 * (projected + compared)
    assert work.parameters == sum(weight.numel() for weight in attention.parameters())


def test_ceilings_are_numbers_above_zero() -> None:
    ceilings = measure_ceilings(size=64, seconds=0.0)
    assert min(*ceilings.gflops.values(), ceilings.bandwidth_gb_s) > 0


def point(rate: float, dropped: int, sent: int = 100, cameras: int = 1, transport: str = "raw") -> dict[str, Any]:
    times = {"p50": 20.0, "p95": 25.0, "p99": 30.0, "max": 31.0}
    return {
        "rate_hz": rate, "cameras": cameras, "transport": transport, "fps": rate, "sent": sent, "dropped": dropped,
        "latency_ms": times, "stage_ms": {"total": times}, "engine_share": 0.6, "cpu_ms": 25.0,
    }  # fmt: skip


def test_the_peak_is_the_highest_rate_that_keeps_up() -> None:
    probed: list[float] = []

    def machine(rate: float) -> dict[str, Any]:
        probed.append(rate)
        return point(rate, 0 if rate <= 47.0 else 20)

    best = find_peak(machine, [point(30.0, 0), point(60.0, 20)], 4)
    assert best is not None
    assert probed == [45.0, 52.5, 48.8, 46.9]
    assert best["rate_hz"] == 46.9


def test_the_peak_above_all_known_rates_and_below_all() -> None:
    best = find_peak(lambda rate: point(rate, 0), [point(60.0, 4)], 2)
    assert best is not None and best["rate_hz"] == pytest.approx(60 * 1.6 * 1.6)
    assert find_peak(lambda rate: point(rate, 50), [point(10.0, 50)], 3) is None
    assert keeps_up(point(10, 4)) and not keeps_up(point(10, 5))


def status(network: float, total: float) -> dict[str, Any]:
    stages = dict.fromkeys(("decode", "preprocess", "postprocess", "tags", "publish"), 1.0)
    stages |= {"network": network, "refine": 1.0, "total": total}
    return {"stage_ms": stages, "engine": "openvino bf16 288x352"}


def test_a_point_of_two_cameras() -> None:
    stamps = [k * 100_000_000 for k in range(1, 5)]
    arrived = {
        "/a": {"masks": [[stamp, stamp + 20_000_000] for stamp in stamps], "status": [status(9.0, 20.0)] * 4},
        # One frame lost, one mask of an earlier run.
        "/b": {"masks": [[7, 8], *([s, s + 40_000_000] for s in stamps[:3])], "status": [status(9.0, 20.0)] * 3},
    }
    found = summarise(NodeSetting(2, "raw"), 10.0, {"stamps_ns": stamps, "late": 1}, arrived, cpu=0.14)
    assert (found["sent"], found["dropped"], found["late"]) == (8, 1, 1)
    assert found["fps"] == 10.0
    assert found["latency_ms"]["p50"] == 20.0 and found["latency_ms"]["max"] == 40.0
    assert found["engine_share"] == 0.5
    assert found["cpu_ms"] == 20.0
    assert found["stage_ms"]["network"]["p50"] == 9.0
    assert "2 x raw" in describe(found) and "1 of 8 dropped" in describe(found)


def test_a_point_without_a_mask_says_so() -> None:
    arrived = {"/a": {"masks": [], "status": []}}
    found = summarise(NodeSetting(1, "raw"), 60.0, {"stamps_ns": [1, 2], "late": 0}, arrived, cpu=0.0)
    assert (found["dropped"], found["fps"], found["cpu_ms"], found["engine_share"]) == (2, 0.0, None, None)
    assert "2 of 2 dropped" in describe(found)


def test_parts_measured_apart_come_together(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    source = {"frames": 4, "width": 8, "height": 8}
    first = bench_report.empty_report("hash", source)
    first["node"] = [point(30.0, 0), point(30.0, 0, transport="compressed")]
    bench_report.merge(file, first, ["node"], "one")
    second = bench_report.empty_report("hash", source)
    second["node"], second["postprocess"] = [point(60.0, 9, cameras=2), point(10.0, 0)], [{"classes": 2, "ms": 1.0}]
    merged = bench_report.merge(file, second, ["node", "postprocess"], "two")
    assert [(p["cameras"], p["transport"], p["rate_hz"]) for p in merged["node"]] == [
        (1, "raw", 10.0), (1, "compressed", 30.0), (2, "raw", 60.0)
    ]  # fmt: skip
    assert merged["commands"] == {"node": "two", "postprocess": "two"}
    assert json.loads(file.read_text(encoding="utf-8")) == merged
    other = bench_report.merge(file, bench_report.empty_report("another input", source), ["roofline"], "three")
    assert other["node"] == [] and other["commands"] == {"roofline": "three"}


def test_a_damaged_report_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{", encoding="utf-8")
    with pytest.raises(bench_report.ReportError, match=r"report\.json is damaged .* remove it"):
        bench_report.merge(tmp_path / "report.json", bench_report.empty_report("", {}), [], "")


@pytest.mark.parametrize("content", [[1], 1, {}, {"format": "clip-rl-run/1"}])
def test_a_report_of_another_kind_is_kept(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "report.json"
    if content == {"format": "clip-rl-run/1"}:
        content |= {"host": {}, "versions": {}, "input_sha256": ""}
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(bench_report.ReportError, match=r"report\.json exists and is not of a benchmark"):
        bench_report.merge(file, bench_report.empty_report("", {}), [], "")
    with pytest.raises(bench_report.ReportError, match="is not of a benchmark"):
        run_command("--out", str(tmp_path), "--source", str(tmp_path / "not opened"))
    assert json.loads(file.read_text(encoding="utf-8")) == content


def test_a_table_shows_what_is_missing() -> None:
    report = bench_report.empty_report("hash", {"frames": 4, "width": 8, "height": 8})
    report["postprocess"] = [{"a_b": None, "c": 0.99951}, {"a_b": 1234.5, "c": "x"}]
    assert bench_report.page(report).endswith("| a b | c |\n|---|---|\n| - | 0.9995 |\n| 1234 | x |\n")
    times = {"p50": 20.0, "p95": 25.0, "p99": 30.0, "max": 31.0}
    report["engines"] = [
        {
            "backend": "torch", "precision": "fp32", "encoder": "e", "size": [8, 8], "classes": 2, "fps": 1.5,
            "stage_ms": {"network": times, "total": times}, "ratio_to_torch": 1.0,
        }
    ]  # fmt: skip
    row = "| torch fp32 | 2 | - | 20.00 | - | - | - | 20.00 | 25.00 | 30.00 | 31.00 | 1.50 | 1.00 | - | - | - | - |"
    assert row in bench_report.page(report)


def test_postprocessing_is_exact_where_it_is_measured() -> None:
    (row,) = measure_postprocess((64, 80), (64, 96), rounds=1, classes=(3,))
    assert row["classes"] == 3
    assert row["label_agreement"] > 0.999 and row["confidence_within_one"] > 0.999


def test_frames_of_a_folder(tmp_path: Path) -> None:
    frames = load_frames(share_path("models", "golden"), tmp_path, count=3)
    assert len(frames.frames) == 3
    assert frames.sha256 == load_frames(share_path("models", "golden"), tmp_path, count=3).sha256
    assert frames.sha256 != load_frames(share_path("models", "golden"), tmp_path, count=2).sha256
    with pytest.raises(SourceError):
        load_frames(tmp_path, tmp_path)


def run_command(*words: str) -> int:
    return bench.run(options.parse(bench, list(words)))


def test_the_command_measures_and_writes(tmp_path: Path) -> None:
    page = tmp_path / "page" / "performance.md"
    words = ["--quick", "--source", str(share_path("models", "golden")), "--out", str(tmp_path), "--page", str(page)]
    words += ["--parts", "roofline", "engines", "postprocess", "--backends", "torch", "--classes", "2", "3", "5", "3"]
    assert run_command(*words, "--peers") == 0
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert {"node", "engines", "peers", "roofline", "host", "versions", "input_sha256"} <= set(found)
    plain = next(entry for entry in found["engines"] if entry["backend"] == "plain torch")
    ours = found["engines"][0]
    assert (ours["backend"], ours["encoder"], ours["size"]) == ("torch", "clip-rl-tiny", [288, 352])
    assert ours["label_agreement"] == 1.0 and plain["ratio_to_torch"] == 1.0
    assert {"preprocess", "network", "refine", "postprocess", "tags", "total"} == set(ours["stage_ms"])
    assert set(ours["stage_ms"]["total"]) == {"p50", "p95", "p99", "max"}
    assert all(entry["fps"] > 0 and entry["ratio_to_torch"] > 0 for entry in found["engines"])
    assert [entry["classes"] for entry in found["engines"]] == [2, 3, 5, 2]
    assert (found["classes"]["fewest"], found["classes"]["most"]) == (3, 5)
    text = page.read_text(encoding="utf-8")
    for head in (
        "# Performance",
        "## Engines: clip-rl-tiny, 288x352",
        "## Roofline",
        "## Label map",
    ):
        assert head in text


def test_wrong_arguments_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command("--size", "352", "--out", str(tmp_path))
    assert "not HEIGHTxWIDTH" in capsys.readouterr().err
    with pytest.raises(ClipRlError, match="--rounds is 0; expected 1 or more"):
        run_command("--rounds", "0", "--out", str(tmp_path))
    with pytest.raises(SourceError):
        run_command("--source", str(tmp_path / "missing"), "--out", str(tmp_path))
