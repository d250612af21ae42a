"""What offline replay, online replay and the demo have in common: records, observers, what is told of the input."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_rl_perception.replay.replay_options import RunOptions
from clip_rl_perception.replay.run_builder import RunBuilder
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.runs.run_record import RunRecord, mask_hash
from clip_rl_perception.sources.bag_source import BagSource
from clip_rl_perception.sources.frames import LeftOut
from clip_rl_perception.sources.streams import InputOptions
from replay_inputs import SPACE, labels, write_bag


class Watcher:
    def __init__(self, *, fails_at_its_end: bool = False) -> None:
        self.seen: list[SeenFrame] = []
        self.closed = 0
        self._fails = fails_at_its_end

    def on_frame(self, frame: SeenFrame) -> None:
        self.seen.append(frame)

    def close(self) -> None:
        self.closed += 1
        if self._fails:
            raise OSError("no space left")


def builder(path: Path, count: int = 4, **options: bool) -> RunBuilder:
    return RunBuilder(InputOptions((write_bag(path, count),)), SPACE, RunOptions(title="A run", **options))


def finished(run: RunBuilder) -> RunRecord:
    return run.finish(mode="offline", model_id="0123456789ab", engine="none", parameters={"model": "none"})


def test_records_observers_and_input(tmp_path: Path) -> None:
    """Frame 1 is dropped, frame 2 is refused, frame 3 could not be read."""
    run, good, bad = builder(tmp_path / "bag", boundary=False), Watcher(), Watcher(fails_at_its_end=True)
    with run.running([bad, good]):
        for stream, frame in run.read():
            run.check(stream, frame)
            if frame.index == 0:
                seen = run.measure(stream, frame, "mask", {"validity": "ok", "latency_ms": 5.0}, mask=labels(0))
            elif frame.index == 3:
                seen = run.measure(stream, LeftOut(3, frame.stamp_ns, "torn"), "invalid", {"reason": "torn"})
            else:
                seen = run.measure(stream, frame, "dropped" if frame.index == 1 else "invalid", {"reason": "dark"})
            run.add(seen)
    record = finished(run)
    assert [frame.kind for frame in record.frames] == ["mask", "dropped", "invalid", "invalid"] and run.count == 4
    assert [frame.reason for frame in record.frames] == ["", "dark", "dark", "torn"]
    assert [seen.record.index for seen in good.seen] == [0, 2, 3], "dropped frames are not shown"
    assert [seen.rgb is None for seen in good.seen] == [False, False, True]
    first = record.frames[0]
    assert first.mask_sha256 == mask_hash(labels(0)) and first.latency_ms == 5.0
    assert first.measures is not None and first.measures.iou == 1 and first.measures.nsd is None
    assert good.closed == bad.closed == 1
    assert record.problems == ("Watcher failed at its end: OSError: no space left",)
    assert record.input_sha256 == BagSource(tmp_path / "bag").sha256() and record.source["name"] == "bag"
    assert record.parameters == {"model": "none", "boundary": False, "temporal": True} and record.title == "A run"


def test_observers_are_closed_whatever_happened(tmp_path: Path) -> None:
    watcher = Watcher()
    with pytest.raises(RuntimeError, match="the disk is gone"), builder(tmp_path / "bag", 1).running([watcher]):
        raise RuntimeError("the disk is gone")
    assert watcher.closed == 1


def test_a_mask_at_the_networks_size_is_hashed_as_it_came_and_shown_at_the_frames(tmp_path: Path) -> None:
    run, small = builder(tmp_path / "bag", 1), labels(0)[::2, ::2]
    with run.running([]):
        ((stream, frame),) = run.read()
        seen = run.measure(stream, frame, "mask", {}, mask=small, confidence=small)
    assert seen.mask is not None and seen.mask.shape == labels(0).shape and seen.confidence is small
    assert seen.record.mask_sha256 == mask_hash(small)
    assert seen.record.measures is not None and seen.record.measures.calibration is not None
