"""Tags judged in replay: truth from a folder, carried by a bag, told in reports, compared and required."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_rl_perception.bags.bag_inputs import open_path
from clip_rl_perception.bags.bag_make import MakeOptions, make_bag
from clip_rl_perception.bags.bag_writer import BagWriter
from clip_rl_perception.messages import message_types
from clip_rl_perception.metrics.tag_measures import TagTruth, TrueInstrument
from clip_rl_perception.replay.online_evaluation import OnlineEvaluation
from clip_rl_perception.replay.recording import Published, Recording
from clip_rl_perception.replay.replay_options import RunOptions
from clip_rl_perception.report.report_files import write_report
from clip_rl_perception.report.requirements import check, parse
from clip_rl_perception.report.run_comparison import compare
from clip_rl_perception.report.run_summary import summary
from clip_rl_perception.runs.record_json import read_run
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.streams import InputOptions
from recorded import stamp, status, write_mask
from replay_inputs import PERIOD, SPACE, START, image, labels, replayed

FRAMES = 8


def told(index: int, kind: str = "forceps") -> dict[str, object]:
    """What is true of the shaft of frame `index`."""
    keypoints = [{"name": "tip_1", "x": 80.0 + 4 * index, "y": 75.0}, {"name": "wrist", "x": 60, "y": 75}]
    return {"instance": 3, "type": kind, "keypoints": keypoints}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of a shaft, masks, instances of 16 bits (its number is 300 times 3), and what it is."""
    root = tmp_path / "video"
    for name, pixels in (
        ("images", lambda index: image(index)[..., ::-1]),
        ("masks", lambda index: labels(index) * 255),
        ("instances", lambda index: labels(index).astype(np.uint16) * 300),
    ):
        (root / name).mkdir(parents=True)
        for index in range(FRAMES):
            assert cv2.imwrite(str(root / name / f"{index:03d}.png"), pixels(index))
    lines = [{"frame": index, "instruments": [{**told(index), "instance": 300}]} for index in range(FRAMES)]
    (root / "instruments.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return root


def test_a_folder_and_the_bag_made_of_it_are_judged_alike(folder: Path, tmp_path: Path) -> None:
    of_folder = replayed(folder)
    made = make_bag(open_path(folder), tmp_path / "bag", MakeOptions())
    assert made.labelled == FRAMES and not made.problems
    with_bag = replayed(tmp_path / "bag")
    tags = [summary(run)["tags"] for run in (of_folder, with_bag)]
    for report in tags:
        del report["sequences"]
    assert tags[0] == tags[1]
    boxes, masks = tags[0]["boxes"], tags[0]["masks"]
    assert boxes["recall"] == boxes["precision"] == masks["recall"] == 1 and boxes["instruments"] == FRAMES
    assert boxes["tracking"]["idf1"] == 1 and boxes["tracking"]["switches"] == 0 and masks["pq"] > 0.8
    assert tags[0]["keypoints"]["tip"]["visible"] == FRAMES and tags[0]["keypoints"]["tip"]["median_px"] < 6
    assert tags[0]["types"]["tracks"] == {"count": 1, "right": 1}
    assert not of_folder.problems and not with_bag.problems
    assert summary(replayed(folder, use_truth=False))["tags"] is None


def test_a_bag_carries_the_truth_of_tags(folder: Path, tmp_path: Path) -> None:
    make_bag(open_path(folder), tmp_path / "bag", MakeOptions())
    source = BagSource(tmp_path / "bag")
    assert source.info.topic == "/endoscope/image_raw/compressed", "instances are no images"
    frames = list(source)
    assert not source.problems and len(frames) == FRAMES
    for index, frame in enumerate(frames):
        assert frame.tags is not None
        np.testing.assert_array_equal(frame.tags.instances, labels(index).astype(np.uint16) * 300)
        points = {"tip_1": (80.0 + 4 * index, 75.0), "wrist": (60.0, 75.0)}
        assert frame.tags.instruments == {300: TrueInstrument("forceps", points)}


def test_what_is_told_wrongly_in_a_bag_is_named_and_left_out(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.write_label_space(SPACE, START, topic="/scope/labels")
        for index in range(3):
            at = START + index * PERIOD
            bag.write_image(image(index), at, topic="/scope/image_raw", encoding="png")
            bag.write_labels(labels(index), at, topic="/scope/labels")
            numbers = labels(index) if index else np.ones((5, 7), np.uint8)
            if index < 2:
                bag.write_tag_truth(TagTruth(numbers, {}), at, topic="/scope/labels")
        for place, said in enumerate(
            ('{"instruments": []}', "[" * 100_000, '{"stamp_ns": Infinity, "instruments": []}')
        ):
            text = message_types.BAG_TYPES.make(message_types.STRING, data=said)
            bag.write_message("/scope/labels/instruments", message_types.STRING, text, START + (3 + place) * PERIOD)
        bag.write_serialized(
            "/scope/labels/instances/compressed", message_types.COMPRESSED_IMAGE, b"\0\1\0\0\7", START + 6 * PERIOD
        )
    source = BagSource(tmp_path / "bag")
    assert [frame.tags is not None for frame in source] == [False, True, False]
    first, *others = source.problems
    assert first.endswith(
        "instances of labels are 7x5 but the image is 224x176; both must have one size; tags are judged without"
    )
    for line, reason in zip(others, ("KeyError: 'stamp_ns'", "RecursionError", "OverflowError"), strict=False):
        assert f"/scope/labels/instruments at 1700000000.{120 + 40 * others.index(line)} s: {reason}" in line
        assert line.endswith("expected stamp_ns and instruments in JSON; tags are judged without") and "\n" not in line
    assert len(others) == 4 and "/scope/labels/instances/compressed at 1700000000.240 s: " in others[3]


def test_reports_tell_of_tags_and_read_back(folder: Path, tmp_path: Path) -> None:
    run = replayed(folder)
    write_report(run, tmp_path / "report")
    page = (tmp_path / "report/report.html").read_text()
    for text in ("Tags against ground truth", "HOTA", "Keypoints that are seen", "tracks, by their last answer"):
        assert text in page
    again = read_run(tmp_path / "report")
    assert (
        summary(again)["tags"]
        == summary(run)["tags"]
        == json.loads((tmp_path / "report/report.json").read_text())["tags"]
    )
    verdicts = check(parse("tag_recall>=0.9,tag_hota>=0.8,tip_median_percent<1,type_right>0.9"), summary(again))
    assert all(verdict.holds for verdict in verdicts)
    assert not check(parse("tag_idf1>=0.1"), summary(replayed(folder, use_truth=False)))[0].holds


def test_two_runs_are_compared_by_their_tags(folder: Path) -> None:
    run = replayed(folder)
    blind = [dataclasses.replace(frame.tags, tracks=np.arange(1) + frame.index) for frame in run.frames if frame.tags]
    other = dataclasses.replace(
        run, frames=tuple(dataclasses.replace(frame, tags=tags) for frame, tags in zip(run.frames, blind, strict=True))
    )
    found = {item.name: item for item in compare(run, other).differences}
    assert found["tag_idf1"].a == 1 and found["tag_idf1"].b == pytest.approx(1 / FRAMES)
    assert found["tag_recall"].delta == 0 and found["tags' F1 per frame"].delta == 0
    assert not found["tag_idf1"].real, "how far chance goes is not known"
    without = replayed(folder, use_truth=False)
    assert not [item for item in compare(without, without).differences if item.name.startswith("tag")]


def test_tags_that_came_back_from_the_node_are_judged(folder: Path, tmp_path: Path) -> None:
    make_bag(open_path(folder), tmp_path / "bag", MakeOptions(start=START / 1e9))
    offline = replayed(tmp_path / "bag")
    with BagWriter(tmp_path / "heard") as bag:
        bag.write_label_space(SPACE, START, topic="/demo")
        for index in range(FRAMES):
            bag.write_message("/demo/status", message_types.STATUS, status(index), stamp(index) + 1)
            write_mask(bag, labels(index), stamp(index), stamp(index) + 2)
    published = [Published(index, stamp(index), stamp(index)) for index in range(FRAMES)]
    heard = Recording(tmp_path / "heard")
    heard.instruments |= {stamp(index): frame.instruments for index, frame in enumerate(offline.frames)}
    online = summary(OnlineEvaluation(heard, published, InputOptions((tmp_path / "bag",)), RunOptions()).run())
    expected = summary(offline)["tags"]
    assert online["tags"]["boxes"] == expected["boxes"]
    assert online["tags"]["masks"] is None, "a message does not tell whose pixels are whose"
    assert online["tags"]["types"] == expected["types"]
