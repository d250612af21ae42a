"""Offline replay: frames of files through the node's pipeline, as fast as they can be had, without ROS.

Three threads work at once, joined by bounded queues: one reads and decodes, this one infers, one measures, one writes.
What a frame becomes depends on the frames before it in its own stream alone, so threads change times and no result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.metrics.confusion import MetricError
from clip_rl_perception.replay.replay_outputs import OutputBag, OverlayVideos
from clip_rl_perception.replay.scoring import FrameScorer, ScoredFrame
from clip_rl_perception.replay.stream_checks import StreamCheck
from clip_rl_perception.runs.host import host, versions
from clip_rl_perception.runs.observer import FrameObserver, SeenFrame, describe
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import FrameRecord, RunRecord, SeenInstrument, mask_hash
from clip_rl_perception.sources.frames import Frame, LeftOut, SourceError
from clip_rl_perception.sources.streams import Inputs, Item, Stream, read
from clip_rl_perception.stream import LoadedModel, Processed, StreamRunner
from clip_rl_perception.threads.prefetch import Prefetch
from clip_rl_perception.threads.worker_thread import Worker

AHEAD_BYTES = 64 << 20
"""Memory for frames decoded ahead."""
WAITING = 4
"""Frames that may wait between two threads."""


@dataclasses.dataclass(frozen=True)
class OfflineOptions:
    """What a replay does beside inferring."""

    bag: Path | None = None
    """Output bag to write; None: none."""
    video: Path | None = None
    """Folder for the overlay video; None: none."""
    boundary: bool = True
    """Measure NSD and HD95."""
    temporal: bool = True
    """Measure consistency with the previous frame."""
    nsd_tau: float = 10.0
    """Tolerance of the NSD, px of the full-size mask."""
    max_frames: int | None = None
    """End after so many frames; None: all."""
    only_stamps: frozenset[int] | None = None
    """Process only frames of these stamps, ns: those that an online run processed. None: all."""
    title: str = "CLIP-RL replay"
    """Heading of the report."""
    command: str = ""
    """Command line, for the report."""


class OfflineReplay:
    """One replay. `run` does it; `stop` ends it early from any thread or signal handler."""

    def __init__(
        self,
        inputs: Inputs,
        model: LoadedModel,
        options: OfflineOptions,
        *,
        observers: Sequence[FrameObserver] = (),
        problems: ProblemLog | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> None:
        """Prepare it.

        Args:
            inputs: opened.
            model: loaded; not closed here.
            options: outputs and measures.
            observers: shown every frame, and closed at the end.
            problems: collects what is left out.
            progress: told frames done and in all (None: not known) after each.
        """
        self.problems = problems or ProblemLog()
        self._inputs, self._model, self._options = inputs, model, options
        self._observers = list(observers)
        self._progress = progress
        self._stop = False
        self._states: dict[str, StreamRunner] = {}
        self._checks: dict[str, StreamCheck] = {}
        self._records: dict[str, list[FrameRecord]] = {_key(stream): [] for stream in inputs.streams}
        self._scorer = FrameScorer(
            model.space,
            inputs.mapping,
            nsd_tau=options.nsd_tau,
            boundary=options.boundary,
            temporal=options.temporal,
        )
        self._bag: OutputBag | None = None
        self._videos: OverlayVideos | None = None
        self._done = 0

    @property
    def video_files(self) -> dict[str, Path]:
        """Overlay videos written, by sequence and topic."""
        return self._videos.files if self._videos is not None else {}

    def stop(self) -> None:
        """End after the frame in hand; what was done is kept."""
        self._stop = True

    def run(self, input_sha256: str, source: dict[str, Any]) -> RunRecord:
        """Replay everything and return what it left behind; files are closed whatever happens.

        Args:
            input_sha256: of the input.
            source: plain data that describes it.
        """
        started, begun = datetime.datetime.now(datetime.timezone.utc), time.perf_counter()
        for line in self._inputs.problems:
            self.problems.add(line)
        with contextlib.ExitStack() as stack:
            self._open_outputs(stack)
            for observer in self._observers:
                stack.callback(self._close_observer, observer)
            writer: Worker[_Done] = stack.enter_context(Worker(self._write, capacity=WAITING, name="replay-write"))
            meter: Worker[_Inferred] = stack.enter_context(
                Worker(lambda item: writer.put(self._measure(item)), capacity=WAITING, name="replay-measure")
            )
            items = stack.enter_context(
                Prefetch(read(self._inputs), limit_bytes=AHEAD_BYTES, size=_size, give_way=True)
            )
            try:
                for item in items:
                    for line in item.problems:
                        self.problems.add(line)
                    if self._ended():
                        break
                    self._take(item, meter)
            except SourceError as error:
                self.problems.add(f"{error}; reading ended after {self._done} frames")
        for key, check in self._checks.items():
            for line in check.finish(max((other.last_ns for other in self._same_bag(key)), default=0)):
                self.problems.add(line)
        return self._record(input_sha256, source, started, time.perf_counter() - begun)

    def _ended(self) -> bool:
        limit = self._options.max_frames
        return self._stop or (limit is not None and self._done >= limit)

    def _take(self, item: Item, meter: Worker[_Inferred]) -> None:
        stream, content, key = item.stream, item.content, _key(item.stream)
        if content is None:
            return
        check = self._checks.get(key)
        if check is None:
            check = self._checks[key] = StreamCheck(str(stream.path), stream.topic, stream.source.info.rate_hz)
        if isinstance(content, LeftOut):
            self._done += 1
            meter.put(_Inferred(stream, content, None, 0))
            return
        for line in check.take(content):
            self.problems.add(line)
        only = self._options.only_stamps
        if only is not None and content.stamp_ns not in only:
            return
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = StreamRunner(self._model)
        self._done += 1
        result = state.process_file_frame(content, want_confidence=self._bag is not None or content.labels is not None)
        if result.scene is None:
            place = f"{stream.path}: {stream.topic or content.name} at {content.stamp_ns / 1e9:.3f} s"
            self.problems.add(f"{place}: {result.reason}; left out")
        meter.put(_Inferred(stream, content, result, time.time_ns()))
        self._progress(self._done, self._inputs.frames)

    def _measure(self, item: _Inferred) -> _Done:
        stream, frame, result = item.stream, item.frame, item.result
        if isinstance(frame, LeftOut):
            record = FrameRecord(
                frame.index, stream.topic, stream.sequence, frame.stamp_ns, "invalid", "invalid_input", frame.reason
            )
            return _Done(stream, None, record, SeenFrame(record, None, None, (), self._model.space))
        assert result is not None
        record = FrameRecord(
            index=frame.index,
            topic=stream.topic,
            sequence=stream.sequence,
            stamp_ns=frame.stamp_ns,
            kind="mask" if result.scene is not None else "invalid",
            validity=result.validity.name.lower(),
            reason=result.reason,
        )
        scene = result.scene
        if scene is None:
            return _Done(stream, frame, record, SeenFrame(record, frame.rgb, None, (), self._model.space))
        if result.forgot:
            self._scorer.reset(_key(stream))
        scored = self._score(stream, frame, scene.label_map, scene.confidence)
        stages = {
            "decode": frame.decode_ms,
            "preprocess": scene.preprocess_ms,
            "network": scene.network_ms,
            "refine": scene.refine_ms,
            "postprocess": scene.postprocess_ms,
            "tags": scene.tags_ms,
        }
        stages["total"] = sum(stages.values())
        record = dataclasses.replace(
            record,
            novelty=None if math.isnan(scene.novelty) else float(scene.novelty),
            latency_ms=stages["total"],
            received_ns=item.finished_ns,
            stage_ms=stages,
            refine_steps=scene.refine_steps,
            instruments=tuple(SeenInstrument.of(tag) for tag in scene.instruments),
            mask_sha256=mask_hash(scene.label_map),
            measures=scored.measures if scored is not None else None,
        )
        mapping = self._inputs.mapping
        seen = SeenFrame(
            record,
            frame.rgb,
            scene.label_map,
            scene.instruments,
            self._model.space,
            confidence=scene.confidence,
            truth=scored.truth if scored is not None else None,
            prediction=scored.prediction if scored is not None else None,
            palette=mapping.palette if mapping is not None else None,
            scene=scene,
        )
        return _Done(stream, frame, record, seen)

    def _score(self, stream: Stream, frame: Frame, mask: Any, confidence: Any) -> ScoredFrame | None:
        try:
            return self._scorer.score(_key(stream), mask, frame.labels, confidence, frame.rgb)
        except MetricError as error:
            place = f"{stream.path}: {stream.topic or frame.name} at {frame.stamp_ns / 1e9:.3f} s"
            self.problems.add(f"{place}: {error}; evaluated without")
            return None

    def _write(self, item: _Done) -> None:
        self._records[_key(item.stream)].append(item.record)
        if self._bag is not None:
            try:
                self._bag.write(item.record, item.seen, item.frame)
            except ClipRlError as error:
                self.problems.add(f"{error}; the output bag ends at {item.record.stamp_ns / 1e9:.3f} s")
                self._bag = None
        if self._videos is not None:
            try:
                self._videos.write(_key(item.stream), item.seen)
            except (ClipRlError, OSError) as error:
                self.problems.add(f"{error}; the overlay video ends at {item.record.stamp_ns / 1e9:.3f} s")
                self._videos = None
        for observer in list(self._observers):
            try:
                observer.on_frame(item.seen)
            except Exception as error:  # who watches must not end what is watched
                self.problems.add(f"{describe(observer)} failed and is shown no more: {type(error).__name__}: {error}")
                self._observers.remove(observer)

    def _open_outputs(self, stack: contextlib.ExitStack) -> None:
        if self._options.bag is not None:
            topics = list(dict.fromkeys(stream.topic for stream in self._inputs.streams))
            bag = OutputBag(self._options.bag, topics, self._model.space, self._model.model_id, self._model.engine_name)
            self._bag = bag
            stack.callback(bag.close)
        if self._options.video is not None:
            rates = {_key(stream): stream.source.info.rate_hz for stream in self._inputs.streams}
            self._videos = OverlayVideos(self._options.video, rates)
            stack.callback(self._videos.close)

    def _close_observer(self, observer: FrameObserver) -> None:
        try:
            observer.close()
        except Exception as error:
            self.problems.add(f"{describe(observer)} failed at its end: {type(error).__name__}: {error}")

    def _same_bag(self, key: str) -> list[StreamCheck]:
        path = self._checks[key].path
        return [check for check in self._checks.values() if check.path == path]

    def _record(
        self, input_sha256: str, source: dict[str, Any], started: datetime.datetime, wall_s: float
    ) -> RunRecord:
        mapping, model = self._inputs.mapping, self._model
        outputs = {"boundary": self._options.boundary, "temporal": self._options.temporal}
        return RunRecord(
            mode="offline",
            title=self._options.title,
            input_sha256=input_sha256,
            source=source,
            model_id=model.model_id,
            engine=model.engine_name,
            frames=tuple(record for records in self._records.values() for record in records),
            label_space=model.space,
            evaluated=self._scorer.names,
            evaluated_note=mapping.note if mapping is not None else "",
            unanswered=mapping.unanswered if mapping is not None else (),
            nsd_tau=self._options.nsd_tau,
            engine_manifest=model.manifest,
            parameters={**model.parameters, **outputs},
            host=host(),
            versions=versions(),
            problems=self.problems.lines(),
            complete=not self._stop,
            wall_s=wall_s,
            started=started.isoformat(timespec="seconds"),
            command=self._options.command,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Inferred:
    stream: Stream
    frame: Frame | LeftOut
    result: Processed | None
    finished_ns: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Done:
    stream: Stream
    frame: Frame | None
    record: FrameRecord
    seen: SeenFrame


def _key(stream: Stream) -> str:
    return f"{stream.sequence}\0{stream.topic}"


def _size(item: Item) -> int:
    return int(item.content.rgb.nbytes) if isinstance(item.content, Frame) else 1
