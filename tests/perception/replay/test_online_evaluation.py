"""What came back from the node, judged without ROS: a recording made here, frames and truth of a bag."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from clip_rl_perception.replay.online_evaluation import ByStamp, OnlineEvaluation
from clip_rl_perception.replay.recording import Published, Recording
from clip_rl_perception.replay.replay_options import RunOptions
from clip_rl_perception.report.accuracy import accuracy_report
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.runs.run_record import RunRecord, mask_hash
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.streams import InputOptions
from recorded import START, stamp, status, write_recording
from replay_inputs import SIZE, SPACE, labels, write_bag

MS = 1_000_000


class Watcher:
    def __init__(self) -> None:
        self.seen: list[SeenFrame] = []
        self.closed = False

    def on_frame(self, frame: SeenFrame) -> None:
        self.seen.append(frame)
        if len(self.seen) == 2:
            raise RuntimeError("no more")

    def close(self) -> None:
        self.closed = True


def sent(count: int) -> list[Published]:
    return [Published(index, stamp(index), stamp(index) + 5 * MS) for index in range(count)]


def check(
    bag: Path, recording: Path, published: Sequence[Published], *, observers: Sequence[Watcher] = ()
) -> RunRecord:
    evaluation = OnlineEvaluation(Recording(recording), published, InputOptions((bag,)), RunOptions())
    return evaluation.run(observers)


def test_masks_are_matched_by_stamp(tmp_path: Path) -> None:
    """Frame 1 is dropped, frame 2 refused, frame 3 comes after frame 4; masks are the truth, one of them wrong."""
    bag = write_bag(tmp_path / "bag", 5)
    wrong = labels(3)
    wrong[:60] = 1
    masks = [(0, labels(0), 30.0), (3, wrong, 95.0), (4, labels(4), 35.0)]
    statuses = [status(0), status(2, validity=5, reason="too dark"), status(3, dropped=1), status(4, dropped=1)]
    run = check(bag, write_recording(tmp_path / "rec", masks, statuses, SPACE), sent(5))
    assert [frame.kind for frame in run.frames] == ["mask", "dropped", "invalid", "mask", "mask"]
    assert [frame.latency_ms for frame in run.frames] == [25.0, None, None, 90.0, 30.0], (
        "from publishing, not from stamp"
    )
    assert run.frames[2].reason == "too dark" and run.frames[2].validity == "invalid_input"
    assert run.frames[1].validity is None and run.frames[1].stage_ms == {}
    assert run.frames[0].mask_sha256 == mask_hash(labels(0)) and run.frames[0].age_ms == 20.0
    report = accuracy_report(run.frames, run.evaluated, run.nsd_tau)
    assert report is not None and report["frames"] == 3
    counts = [np.asarray(frame.measures.confusion) for frame in run.frames if frame.measures is not None]
    assert counts[0][0, 1] == counts[0][1, 0] == counts[2][0, 1] == counts[2][1, 0] == 0
    assert counts[1][0, 1] == 60 * SIZE[1] and counts[1].sum() == SIZE[0] * SIZE[1]
    assert (run.mode, run.model_id, run.replaced) == ("online", "0123456789ab", 1)
    assert run.input_sha256 == BagSource(bag).sha256() and run.source["name"] == "bag"


def test_only_what_was_sent_is_judged(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 5)
    recording = write_recording(tmp_path / "rec", [(0, labels(0), 20.0)], [status(0)], SPACE)
    assert [frame.index for frame in check(bag, recording, sent(2)).frames] == [0, 1]


def test_arrivals_beside_the_node_stand_in_for_a_players_table(tmp_path: Path) -> None:
    """Frame 2 was heard by the node alone; 0 came before the evaluator listened, 4 was never played."""
    bag = write_bag(tmp_path / "bag", 5)
    masks = [(1, labels(1), 30.0), (2, labels(2), 30.0)]
    recording = write_recording(tmp_path / "rec", masks, [status(1), status(2)], SPACE)
    arrivals = [Published(None, stamp(index), stamp(index) + 2 * MS) for index in (1, 3)]
    run = check(bag, recording, arrivals)
    assert [(frame.index, frame.kind, frame.latency_ms) for frame in run.frames] == [
        (1, "mask", 28.0),
        (2, "mask", None),
        (3, "dropped", None),
    ]


def test_a_mask_of_the_networks_size_is_judged_at_the_frames(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 1)
    small = labels(0)[::2, ::2]
    run = check(bag, write_recording(tmp_path / "rec", [(0, small, 20.0)], [status(0)], SPACE), sent(1))
    assert run.frames[0].mask_sha256 == mask_hash(small), "the hash is of what was published"
    measures = run.frames[0].measures
    assert measures is not None and measures.confusion is not None
    assert measures.confusion.sum() == SIZE[0] * SIZE[1] and measures.iou > 0.97


def test_stamps_that_no_frame_had_and_repeated_ones_are_told(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 2)
    masks = [(0, labels(0), 20.0), (0, labels(0), 25.0), (1, labels(1), 20.0)]
    recording = write_recording(tmp_path / "rec", masks, [status(0), status(1)], SPACE, extra_stamps=[START + 7])
    run = check(bag, recording, sent(2))
    assert run.wrong_stamps == 2
    assert any("1 masks carry a stamp that no frame had" in line for line in run.problems)
    assert any("1 masks carry a stamp that an earlier mask had" in line for line in run.problems)


def test_of_frames_that_share_a_stamp_the_first_gets_the_answer(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 2)
    recording = write_recording(tmp_path / "rec", [(0, labels(0), 20.0)], [status(0)], SPACE)
    run = check(bag, recording, [Published(index, stamp(0), stamp(0)) for index in range(2)])
    assert [frame.kind for frame in run.frames] == ["mask", "dropped"]


def test_without_truth_and_without_any_mask(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 2, truth=False)
    run = check(bag, write_recording(tmp_path / "rec", [], [], SPACE), sent(2))
    assert [frame.kind for frame in run.frames] == ["dropped", "dropped"]
    assert accuracy_report(run.frames, run.evaluated, run.nsd_tau) is None and run.model_id is None


def test_an_observer_that_fails_is_left_out_and_closed(tmp_path: Path) -> None:
    bag, watcher = write_bag(tmp_path / "bag", 4), Watcher()
    masks = [(index, labels(index), 20.0) for index in range(4)]
    statuses = [status(index) for index in range(4)]
    run = check(bag, write_recording(tmp_path / "rec", masks, statuses, SPACE), sent(4), observers=[watcher])
    assert len(watcher.seen) == 2 and watcher.closed and len(run.frames) == 4
    first = watcher.seen[0]
    assert first.rgb is not None and first.mask is not None and first.truth is not None
    assert (first.truth == labels(0)).all()
    assert any("Watcher failed and is shown no more: RuntimeError: no more" in line for line in run.problems)


def test_masks_nobody_asks_for_do_not_fill_the_memory() -> None:
    images = ByStamp((index, np.zeros((2, 2), np.uint8)) for index in range(1000))
    assert images.get(999) is not None
    assert len(images._early) <= ByStamp.KEPT
    assert images.get(990) is not None and images.get(5) is None
    with pytest.raises(StopIteration):
        next(images._images)
