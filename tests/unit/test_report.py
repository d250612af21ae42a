from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from clip_rl_perception.evaluation import latency, plots, report, report_html
from clip_rl_perception.evaluation.frames import SourceError
from clip_rl_perception.evaluation.recording import Recording, read_stamps
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.scene.types import Validity
from recorded import PERIOD, START, stamp, status, write_recording

MASK = np.zeros((6, 8), np.uint8)
SOURCE = {"kind": "video", "name": "<operation> & co.mp4", "width": 8, "height": 6, "rate_hz": 25.0}


def make(tmp_path: Path) -> tuple[dict[int, int], Recording]:
    """Ten frames: 0..5 with masks 10, 20, .. 60 ms late, 6 invalid, 7 and 8 replaced by newer ones, 9 lost."""
    masks = [(index, MASK + index, 10.0 * (index + 1)) for index in range(6)]
    statuses = [status(index, scale=1.0 + (index == 5)) for index in range(6)]
    statuses[2] = status(2, validity=1, reason="refinement cut short")
    statuses.append(status(6, validity=5, reason="step 3 is too small", dropped=2))
    recording = Recording(write_recording(tmp_path / "rec", masks, statuses))
    return {stamp(index): index for index in range(10)}, recording


def summarise(tmp_path: Path, metrics: dict | None = None) -> tuple[dict, list[report.FrameOutcome]]:
    stamps, recording = make(tmp_path)
    summary = report.summary(
        stamps,
        recording,
        input_sha256="ab" * 32,
        source=SOURCE,
        transport="raw",
        metrics=metrics,
        problems=["x.png: no"],
    )
    return summary, report.outcomes(stamps, recording)


def test_percentiles_are_interpolated() -> None:
    values = [float(value) for value in range(1, 101)]
    assert latency.percentiles(values) == {"p50": 50.5, "p95": 95.05, "p99": 99.01, "max": 100.0}
    assert latency.percentiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0, "max": 7.0}
    assert latency.percentiles([]) == {"p50": None, "p95": None, "p99": None, "max": None}


def test_rate() -> None:
    assert latency.rate_hz([0, 40_000_000, 80_000_000]) == 25.0
    assert latency.rate_hz([5]) is None
    assert latency.rate_hz([5, 5]) is None


def test_summary(tmp_path: Path) -> None:
    summary, _ = summarise(tmp_path)
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
    assert summary["reasons"] == {"refinement cut short": 1, "step 3 is too small": 1}
    assert (summary["model_id"], summary["engine"]) == ("0123456789ab", "torch fp32 288x352")
    assert summary["refine_steps"] == 2.0
    assert summary["metrics"] is None
    assert summary["input_sha256"] == "ab" * 32
    assert summary["wrong_stamps"] == 0
    assert summary["problems"] == ["x.png: no"]
    assert {"clip_rl", "numpy", "python", "opencv"} <= set(summary["versions"])


def test_outcomes(tmp_path: Path) -> None:
    _, results = summarise(tmp_path)
    assert [item.kind for item in results] == ["mask"] * 6 + ["invalid", "dropped", "dropped", "dropped"]
    assert [item.index for item in results] == list(range(10))
    assert results[3].latency_ms == pytest.approx(40.0)
    assert results[2].status is not None and results[2].status.validity == Validity.DEGRADED


def test_masks_with_wrong_stamps_are_counted_and_not_taken_for_masks(tmp_path: Path) -> None:
    masks = [(0, MASK, 10.0), (0, MASK, 15.0), (1, MASK, 10.0)]
    recording = Recording(write_recording(tmp_path / "rec", masks, extra_stamps=[START - 5, START + 7]))
    stamps = {stamp(index): index for index in range(3)}
    summary = report.summary(stamps, recording, input_sha256="", source=SOURCE, transport="raw", metrics=None)
    assert summary["masks_received"] == 2
    assert summary["wrong_stamps"] == 3  # two that no frame had, one repeated
    assert summary["problems"] == ["3 masks carry a stamp that no frame had, or had before"]


def test_no_mask_at_all(tmp_path: Path) -> None:
    recording = Recording(write_recording(tmp_path / "rec", []))
    stamps = {stamp(0): 0}
    summary = report.summary(stamps, recording, input_sha256="", source=SOURCE, transport="raw", metrics=None)
    assert (summary["masks_received"], summary["fps"], summary["model_id"]) == (0, None, None)
    assert report.verdict(summary) == "No mask came back for 1 frames."
    page = report_html.render(summary, report.outcomes(stamps, recording))
    assert "No mask came back" in page


def test_masks_are_read_back(tmp_path: Path) -> None:
    _, recording = make(tmp_path)
    masks = list(recording.masks())
    assert [found for found, _ in masks] == [stamp(index) for index in range(6)]
    assert all(np.array_equal(mask, MASK + index) for index, (_, mask) in enumerate(masks))
    assert recording.label_space == load_label_space("endovis2018-type")


def test_stamps_table(tmp_path: Path) -> None:
    (tmp_path / "frames.jsonl").write_text('{"index": 3, "stamp_ns": 17}\n{"index": 4, "stamp_ns": 19}\n')
    assert read_stamps(tmp_path / "frames.jsonl") == {17: 3, 19: 4}
    (tmp_path / "bad.jsonl").write_text('{"index": 3')
    for name in ("bad.jsonl", "none.jsonl"):
        with pytest.raises(SourceError, match=name):
            read_stamps(tmp_path / name)


def test_json_is_written_whole_and_finite(tmp_path: Path) -> None:
    summary, _ = summarise(tmp_path)
    report.write_json(summary, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == summary
    before = (tmp_path / "report.json").read_text()
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.write_json({"fps": math.nan}, tmp_path / "report.json")
    assert (tmp_path / "report.json").read_text() == before
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


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


METRICS = {
    "frames": 6,
    "miou": 0.71234,
    "miou_no_background": 0.6,
    "dice": 0.8,
    "classes": {
        "background": {"iou": 0.9, "dice": 0.95, "frames": 6},
        "bipolar-forceps": {"iou": 0.6, "dice": 0.8, "frames": 4},
        "clip-applier": {"iou": None, "dice": None, "frames": 0},
    },
}


def test_page_is_whole_and_opens_offline(tmp_path: Path) -> None:
    summary, results = summarise(tmp_path, METRICS)
    picture = np.full((90, 1200, 3), (200, 30, 30), np.uint8)
    stills = [report_html.Still("Frame <1>", (("input", picture), ("what came back", picture)))]
    space = load_label_space("endovis2018-type")
    page = Page(report_html.render(summary, results, stills, space=space, video="overlay.mp4"))
    assert [link for link in page.links if not link.startswith("data:image/jpeg;base64,")] == ["overlay.mp4"]
    assert len(page.links) == 3
    text = " ".join(page.text)
    assert "<operation> & co.mp4" in text
    assert "Frame <1>" in text
    assert "6 of 10 frames came back with a mask" in text
    assert "0.712" in text
    assert "bipolar-forceps" in text
    assert "2 replaced" not in text and "replaced by a newer frame before it was taken up: 2" in text
    assert "step 3 is too small: 1 frames" in text
    assert "not a medical device" in text
    assert not re.search(r"https?://|@import|url\(", report_html.render(summary, results, stills))


def test_class_that_never_occurs_is_left_out_of_the_table(tmp_path: Path) -> None:
    summary, results = summarise(tmp_path, METRICS)
    assert "clip-applier" not in report_html.render(summary, results)


def test_plots_are_valid_and_in_bounds() -> None:
    times = [index * 0.04 for index in range(50)]
    values = [10.0 + index % 7 for index in range(50)]
    drawings = [
        plots.scatter(times, values, lines={"p50": 12.0, "p99": 16.0}, events=[(1.0, "a < b")], names=["n"] * 50),
        plots.histogram(values),
        plots.stages({"network": 20.0, "refine": 5.0, "none": 0.0}),
        plots.strip([(0.0, 1.0, "v-ok", "ok"), (1.0, 2.0, "v-dropped", "dropped")], 2.0),
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
    assert plots.histogram([]) == ""
    assert plots.stages({}) == ""
    assert ElementTree.fromstring(plots.scatter([], [], lines={})) is not None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0, 0.37, [0, 0.1, 0.2, 0.3]), (0, 250, [0, 50, 100, 150, 200, 250]), (3, 3, [3])],
)
def test_ticks(low: float, high: float, expected: list[float]) -> None:
    assert plots.nice_ticks(low, high) == pytest.approx(expected)


def test_period_is_what_the_tests_say() -> None:
    assert PERIOD == 1e9 / 25
