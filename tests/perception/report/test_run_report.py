from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from clip_rl_perception.atomic_write import write_json
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.metrics import latency
from clip_rl_perception.replay.recording import Published, Recording, read_published
from clip_rl_perception.report import report_html, requirements, run_summary, svg_plots
from clip_rl_perception.report.frame_gallery import Picture
from clip_rl_perception.report.report_files import write_report
from clip_rl_perception.report.time_axis import anchor
from clip_rl_perception.runs.record_json import ReportError, frame_from_json, frame_to_json, read_run
from clip_rl_perception.runs.run_record import STAGES, RunRecord, noted
from clip_rl_perception.scene.types import Basis, Box, Instrument
from clip_rl_perception.sources.frames import SourceError
from recorded import PERIOD, stamp, status, write_recording
from runs import frame, missing, run_of, scored_run

MASK = np.zeros((6, 8), np.uint8)


def ten_frames() -> RunRecord:
    """Ten frames: 0..5 with masks 10, 20, .. 60 ms late, 6 invalid, 7 and 8 replaced by newer ones, 9 lost."""
    frames = [frame(index) for index in range(6)]
    frames[2] = frame(2, validity="degraded", reason="looks left out")
    frames[5] = frame(5, stage_ms={stage: 2.0 * (place + 1) for place, stage in enumerate(STAGES)})
    frames.append(missing(6, "invalid", validity="invalid_input", reason="step 3 is too small"))
    frames += [missing(index) for index in range(7, 10)]
    return run_of(frames, replaced=2, problems=("x.png: no",))


def test_percentiles_are_interpolated() -> None:
    values = [float(value) for value in range(1, 101)]
    assert latency.percentiles(values) == {"p50": 50.5, "p95": 95.05, "p99": 99.01, "max": 100.0}
    assert latency.percentiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0, "max": 7.0}
    assert latency.percentiles([]) == {"p50": None, "p95": None, "p99": None, "max": None}


def test_rate() -> None:
    assert latency.rate_hz([0, 40_000_000, 80_000_000]) == 25.0
    assert latency.rate_hz([5]) is None
    assert latency.rate_hz([5, 5]) is None


def test_summary() -> None:
    summary = run_summary.summary(ten_frames())
    assert (summary["frames_sent"], summary["masks_received"], summary["dropped"]) == (10, 6, 4)
    assert summary["drops"] == {"replaced_by_newer": 2, "invalid": 1, "lost": 1}
    assert summary["latency_ms"] == {"p50": 35.0, "p95": 57.5, "p99": 59.5, "max": 60.0}
    assert summary["fps"] == pytest.approx(20.0)  # 6 masks, 50 ms apart
    # Stages are timed 1, 2, 3.. ms, and twice that on frame 5; the rejected frame does not count.
    assert summary["stage_ms"]["decode"] == {"p50": 1.0, "p95": 1.75, "p99": 1.95, "max": 2.0}
    assert summary["stage_ms"]["network"]["p50"] == 3.0
    assert list(summary["stage_ms"]) == [
        "decode", "preprocess", "network", "refine", "postprocess", "tags", "publish", "total",
    ]  # fmt: skip
    assert summary["validity"] == {"ok": 5, "degraded": 1, "invalid_input": 1}
    assert summary["reasons"] == {"looks left out": 1, "step 3 is too small": 1}
    assert (summary["model_id"], summary["engine"]) == ("0123456789ab", "torch fp32 288x352")
    assert not [name for name in summary if "refine" in name], "of the time before looks"
    assert summary["metrics"] is None
    assert summary["input_sha256"] == "ab" * 32
    assert summary["problems"] == ["x.png: no"]
    # Latency grows by 10 ms from mask to mask; stamps are exactly even.
    assert summary["jitter_ms"]["latency"]["p50"] == 10.0 and summary["jitter_ms"]["input"]["max"] == 0.0


def test_no_mask_at_all() -> None:
    run = run_of([missing(0)], model_id=None, engine=None)
    summary = run_summary.summary(run)
    assert (summary["masks_received"], summary["fps"], summary["model_id"]) == (0, None, None)
    assert run_summary.verdict(summary) == "No mask came back for 1 frames."
    assert "No mask came back" in report_html.render(summary, run)
    assert "No mask came of 1 frames" in run_summary.verdict(run_summary.summary(run_of([missing(0)], mode="offline")))


def test_accuracy_of_shifted_squares() -> None:
    # 20 px wide squares beside the truth by 0 and 10 px: 400 and 200 px in common of 400 and 600.
    summary = run_summary.summary(scored_run([0] * 50 + [10] * 50))
    metrics = summary["metrics"]
    iou = (400 + 200) / (400 + 600)
    assert metrics["classes"]["bipolar-forceps"]["iou"] == pytest.approx(iou)
    assert metrics["isi_iou"] == pytest.approx((1 + 1 / 3) / 2)
    low, high = metrics["intervals"]["classes"]["bipolar-forceps"]["iou"]
    assert low < iou < high and 0.05 < high - low < 0.7
    assert metrics["intervals"]["over"] == "blocks of 10 frames" and metrics["intervals"]["units"] == 10
    assert "mean IoU 0.7" in run_summary.verdict(summary) and "95 % between" in run_summary.verdict(summary)


def test_what_masks_rest_on_is_summed_up() -> None:
    bases = [
        Basis(("plain",)),
        Basis(("half turn", "window"), 0.25, 40.0, 0.5),
        Basis(("plain",), 0.5, 80.0, 0.25),
        None,
    ]
    run = run_of([*(frame(index, basis=basis) for index, basis in enumerate(bases)), missing(4)])
    found = run_summary.summary(run)
    assert found["looks"] == {
        "a_frame": 4 / 3, "kinds": {"plain": 2, "half turn": 1, "window": 1}, "memory_share": 0.25,
        "memory_age_ms": {"p50": 40.0, "p95": 76.0, "p99": 79.2, "max": 80.0}, "disagreement": 0.375,
    }  # fmt: skip
    assert found["gain"] is None
    words = " ".join(Page(report_html.render(found, run)).text)
    assert "window" in words and "comes from looks at earlier frames" in words and "0.3750 bits" in words
    assert run_summary.summary(run_of([frame(0, basis=None)]))["looks"] is None


def test_gain_is_told_of_the_frames_that_both_were_measured_on() -> None:
    run, worse = scored_run([0] * 8 + [10] * 2), scored_run([10] * 10)
    frames = [
        dataclasses.replace(own, plain=other.measures if place < 8 else None)
        for place, (own, other) in enumerate(zip(run.frames, worse.frames, strict=True))
    ]
    run = dataclasses.replace(run, frames=tuple(frames))
    found = run_summary.summary(run)
    # Squares in their place against squares that are half beside it: IoU 1 and 200 px of 600.
    assert found["gain"]["frames"] == 8 and found["gain"]["plain"]["miou_no_background"] == pytest.approx(1 / 3)
    assert found["gain"]["miou_no_background"] == pytest.approx(1 - 1 / 3)
    assert requirements.values_of(found)["gain_miou_no_background"] == found["gain"]["miou_no_background"]
    first = run.frames[0]
    again = frame_from_json(json.loads(json.dumps(frame_to_json(first))), 8)
    assert again.plain is not None and first.plain is not None
    assert (again.plain.confusion == first.plain.confusion).all()
    words = " ".join(Page(report_html.render(found, run)).text)
    assert f"{found['gain']['miou']:+.3f}" in words and "IoU of one plain look" in words


def test_tracks_tell_how_long_they_live() -> None:
    found = run_summary.summary(scored_run([0] * 23))["tracks"]
    assert (found["count"], found["median_frames"], found["short"]) == (3, 10.0, 1)
    assert found["list"][2] == {
        "stream": "operation0", "id": 3, "class_id": 1, "first": 20, "last": 22, "frames": 3
    }  # fmt: skip


def test_sequences_stay_apart_in_jitter_and_tracks() -> None:
    summary = run_summary.summary(scored_run([0] * 40, sequences=4))
    # Each sequence begins at the same stamp again: steps between them would be far from 40 ms.
    assert summary["jitter_ms"]["input"]["max"] == 0.0
    assert {life["stream"] for life in summary["tracks"]["list"]} == {f"operation{n}" for n in range(4)}


def test_masks_are_read_back(tmp_path: Path) -> None:
    masks_in = [(index, MASK + index, 10.0 * (index + 1)) for index in range(6)]
    recording = Recording(write_recording(tmp_path / "rec", masks_in, [status(index) for index in range(6)]))
    masks = list(recording.masks())
    assert [found for found, _ in masks] == [stamp(index) for index in range(6)]
    assert all(np.array_equal(mask, MASK + index) for index, (_, mask) in enumerate(masks))
    assert recording.label_space == load_label_space("endovis2018-type")


def test_stamps_table(tmp_path: Path) -> None:
    rows = [{"index": 3, "source_index": 4, "stamp_ns": 17, "published_ns": 18}, {"source_index": 5, "stamp_ns": 19}]
    (tmp_path / "frames.jsonl").write_text("".join(json.dumps({"published_ns": 20, **row}) + "\n" for row in rows))
    assert read_published(tmp_path / "frames.jsonl") == [Published(4, 17, 18), Published(5, 19, 20)]
    (tmp_path / "bad.jsonl").write_text('{"index": 3')
    for name in ("bad.jsonl", "none.jsonl"):
        with pytest.raises(SourceError, match=name):
            read_published(tmp_path / name)


def test_a_summary_is_finite_json(tmp_path: Path) -> None:
    summary = run_summary.summary(ten_frames())
    write_json(tmp_path / "report.json", summary)
    assert json.loads((tmp_path / "report.json").read_text()) == summary


def test_a_report_reads_back_as_the_run_that_it_tells_of(tmp_path: Path) -> None:
    run = scored_run([0, 3, 10, 25] * 5, sequences=2, problems=("one line",), complete=False, wall_s=1.5)
    written = write_report(run, tmp_path / "out")
    again = read_run(tmp_path / "out" / "report.json")
    assert run_summary.summary(again) == run_summary.summary(run) == written
    assert [frame_to_json(item) for item in again.frames] == [frame_to_json(item) for item in run.frames]
    assert again.output_sha256 == run.output_sha256
    for one, other in zip(run.frames, again.frames, strict=True):
        assert (one.measures.confusion == other.measures.confusion).all()
        np.testing.assert_allclose(one.measures.nsd, other.measures.nsd, atol=1e-6)
    assert [item.basis for item in again.frames] == [item.basis for item in run.frames]
    assert [item.instruments[0].box for item in again.frames] == [item.instruments[0].box for item in run.frames]
    told = json.loads((tmp_path / "out" / "report.json").read_text())["frames"]
    assert told[0]["basis"]["looks"] == ["plain", "half turn"] and told[0]["basis"]["disagreement"] is None
    assert told[1]["basis"] == {"looks": ["plain"], "memory_share": 0.5, "memory_age_ms": 40.0, "disagreement": 0.125}
    before = frame_from_json({name: value for name, value in told[1].items() if name != "basis"}, 8)
    assert before.basis is None, "of before it was told"
    lone = missing(3, "invalid", reason="no")
    alone = frame_from_json(json.loads(json.dumps(frame_to_json(lone))), 8)
    assert dataclasses.asdict(alone) == dataclasses.asdict(lone)


def test_a_row_of_an_instrument_stays_what_it_was() -> None:
    row = [7, 2, 0.8712, 20, 30, 40, 10, 20.13, 45.5, 300.4, 0.5]
    data = {"index": 0, "topic": "", "sequence": "a", "stamp_ns": 1, "kind": "mask", "instruments": [row]}
    (found,) = frame_from_json(data, 8).instruments
    assert (found.track_id, found.class_id, found.confidence) == (7, 2, 0.8712)
    assert (found.box, found.tip, found.area, found.visibility) == (Box(20, 30, 40, 10), (20.13, 45.5), 300.4, 0.5)
    exact = dataclasses.replace(
        found, confidence=np.float32(0.87123), tip=(20.1312, 45.5), area=300.4321, track_id=np.int64(7)
    )
    again = frame_to_json(dataclasses.replace(frame_from_json(data, 8), instruments=(exact,)))
    assert json.dumps(again["instruments"]) == json.dumps([row])


def test_a_record_keeps_instruments_in_order_and_without_footprints() -> None:
    tag = Instrument(1, 0.5, Box(0, 0, 4, 4), (1.0, 2.0), (0.0, 1.0), 9.0, True, footprint=np.ones((4, 4), np.uint8))
    kept = noted([dataclasses.replace(tag, track_id=2), dataclasses.replace(tag, track_id=1)])
    assert [(item.track_id, item.footprint) for item in kept] == [(1, None), (2, None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[]", "format is None"), ('{"format": "other"}', "format is other"), (None, "No such file")],
)
def test_what_is_no_report_is_refused_in_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ReportError, match=message):
        read_run(path)


def test_half_a_report_is_refused(tmp_path: Path) -> None:
    write_report(scored_run([0] * 4), tmp_path)
    path = tmp_path / "report.json"
    data = json.loads(path.read_text())
    del data["evaluated"]
    path.write_text(json.dumps(data))
    with pytest.raises(ReportError, match="not a whole report: KeyError: 'evaluated'"):
        read_run(path)


class Page(HTMLParser):
    """Collects what a browser would show or fetch, and checks that elements close in order."""

    VOID = ("meta", "img", "br", "line", "circle", "rect")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_page_is_whole_and_opens_offline() -> None:
    run = ten_frames()
    summary = run_summary.summary(run)
    picture = np.full((90, 1200, 3), (200, 30, 30), np.uint8)
    pictures = [Picture(run.frames[5], ("slowest",), (("input", picture), ("what came back", picture)))]
    text = report_html.render(summary, run, pictures, videos=["overlay.mp4"])
    page = Page(text)
    fragment = f"#{anchor(run.frames[5])}"
    assert {link for link in page.links if not link.startswith("data:image/jpeg;base64,")} == {"overlay.mp4", fragment}
    assert sum(link.startswith("data:") for link in page.links) == 2
    words = " ".join(page.text)
    assert "<operation> & co.mp4" in words
    assert "Frame 5" in words and "slowest" in words
    assert "6 of 10 frames came back with a mask" in words
    assert "replaced by a newer frame before it was taken up: 2" in words
    assert "step 3 is too small: 1 frames" in words
    assert "not a medical device" in words
    assert not re.search(r"https?://|@import|url\(", text)


def test_peaks_lead_to_their_frames() -> None:
    run = scored_run([0, 2, 4, 15] * 10)
    worst = run.frames[3]
    pictures = [Picture(worst, ("lowest IoU",), (("input", np.zeros((9, 9, 3), np.uint8)),))]
    text = report_html.render(run_summary.summary(run), run, pictures)
    # From IoU, latency, consistency, novelty and the number of instruments.
    assert text.count(f'<a href="#{anchor(worst)}">') == 5
    assert text.count(f'id="{anchor(worst)}"') == 1


def test_everything_measured_is_on_the_page() -> None:
    run = scored_run([0, 2, 4, 15] * 20, sequences=8, unanswered=("clip-applier",), complete=False)
    words = " ".join(Page(report_html.render(run_summary.summary(run), run)).text)
    for expected in (
        "Interrupted:",
        "mIoU without background", "NSD", "HD95", "Challenge IoU", "mcIoU", "eps-mIoU", "ECE", "temporal consistency",
        "bootstrap over 8 sequences", "operation7", "answers to clip-applier",
        "jitter", "Steadiness", "Looks and memory", "half turn", "Instruments over time", "Novelty",
        "encoder and decoder",
    ):  # fmt: skip
        assert expected in words, expected
    assert "bipolar-forceps" in words and "prograsp-forceps" not in words  # a class that never occurs has no row


def test_a_long_run_makes_a_small_page() -> None:
    run = run_of([frame(index, latency_ms=20.0 + index % 7) for index in range(6000)])
    text = report_html.render(run_summary.summary(run), run)
    assert len(text) < 1_500_000


def test_plots_are_valid_and_in_bounds() -> None:
    times = [index * 0.04 for index in range(50)]
    values = [10.0 + index % 7 for index in range(50)]
    drawings = [
        svg_plots.scatter(times, values, lines={"p50": 12.0, "p99": 16.0}, events=[(1.0, "a < b")], names=["n"] * 50),
        svg_plots.histogram(values),
        svg_plots.stages({"network": 20.0, "refine": 5.0, "none": 0.0}),
        svg_plots.strip([(0.0, 1.0, "v-ok", "ok"), (1.0, 2.0, "v-dropped", "dropped")], 2.0),
        svg_plots.course(
            times, {"a": [*values[:20], None, *values[21:]], "b": values}, links={3: "x", 20: "y"}, unit="ms"
        ),
        svg_plots.lives([("#1", [(0.0, 1.0), (1.5, 2.0)], "red", "a < b")], 2.0),
        svg_plots.whiskers([("a", 0.5, (0.4, 0.6), "red", "n"), ("b", None, None, "blue", "n")]),
    ]
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for element in root.iter():
            for name in ("x", "cx", "x1", "x2"):
                assert 0 <= float(element.attrib.get(name, 0)) <= width
            for name in ("y", "cy", "y1", "y2"):
                assert -1 <= float(element.attrib.get(name, 0)) <= height + 1
    assert sum(len(ElementTree.fromstring(drawings[0]).findall(".//circle")) for _ in (0,)) == 50


def test_plots_of_nothing() -> None:
    assert svg_plots.histogram([]) == ""
    assert svg_plots.stages({}) == ""
    assert svg_plots.course([0.0], {"a": [None]}) == svg_plots.lives([], 1.0) == svg_plots.whiskers([]) == ""
    assert ElementTree.fromstring(svg_plots.scatter([], [], lines={})) is not None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0, 0.37, [0, 0.1, 0.2, 0.3]), (0, 250, [0, 50, 100, 150, 200, 250]), (3, 3, [3])],
)
def test_ticks(low: float, high: float, expected: list[float]) -> None:
    assert svg_plots.nice_ticks(low, high) == pytest.approx(expected)


def test_period_is_what_the_tests_say() -> None:
    assert PERIOD == 1e9 / 25
