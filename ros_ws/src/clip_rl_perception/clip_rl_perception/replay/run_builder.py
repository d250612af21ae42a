"""A run while it is made: frames measured, shown to observers, collected into a `RunRecord`.

Offline replay, online replay and the demo all build here: the same mask gives the same numbers wherever it comes from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import named_line
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics.confusion import IGNORED, MetricError
from clip_rl_perception.metrics.tag_measures import TagMeasures, measure_tags
from clip_rl_perception.replay.replay_options import RunOptions
from clip_rl_perception.replay.scoring import FrameScorer, ScoredFrame, at_size
from clip_rl_perception.replay.stream_checks import StreamCheck
from clip_rl_perception.runs.host import host, versions
from clip_rl_perception.runs.observer import FrameObserver, SeenFrame
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import FrameRecord, Kind, Mode, RunRecord, mask_hash, noted
from clip_rl_perception.runs.scene_tags import content_pixels, frame_tags, scene_tags
from clip_rl_perception.scene.types import Instrument, Scene
from clip_rl_perception.sources.frames import Frame, LeftOut
from clip_rl_perception.sources.streams import InputOptions, Stream, open_inputs, read_ahead

StreamKey = tuple[str, str]
"""Sequence and topic."""


TITLES: dict[Mode, str] = {"offline": "CLIP-RL replay", "online": "CLIP-RL online replay", "demo": "CLIP-RL demo"}
"""Headings of reports by mode."""


class RunBuilder:
    """One run: inside `running`, `read` the input, `measure` what became of each frame and `add` it; then `finish`.

    Reading, measuring and adding may each be in a thread of its own, in the order of the frames.
    """

    def __init__(
        self, what: InputOptions, space: LabelSpace, options: RunOptions, problems: ProblemLog | None = None
    ) -> None:
        """Open the input.

        Args:
            what: the input, and where its truth is.
            space: classes of the masks.
            options: what is measured.
            problems: collects what is left out or unusual.

        Raises:
            SourceError: the input cannot be read.
            LabelMapError: a label map that does not fit the classes.
        """
        self.problems = problems or ProblemLog()
        self.inputs = open_inputs(what, space)
        self._what, self._space, self._options = what, space, options
        self._scorer = FrameScorer(
            space, self.inputs.mapping, nsd_tau=options.nsd_tau, boundary=options.boundary, temporal=options.temporal
        )
        self._plain_scorer = FrameScorer(
            space, self.inputs.mapping, nsd_tau=options.nsd_tau, boundary=options.boundary, temporal=False
        )
        self._checks = {key_of(stream): StreamCheck(stream) for stream in self.inputs.streams}
        self._records: dict[StreamKey, list[FrameRecord]] = {key: [] for key in self._checks}
        self._observers: list[FrameObserver] = []
        self._sha256 = ""
        self._hashing = threading.Thread(target=self._hash, name="replay-hash", daemon=True)
        self.started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        """UTC, ISO 8601."""
        self.count = 0
        """Frames added."""

    @contextlib.contextmanager
    def running(self, observers: Sequence[FrameObserver]) -> Iterator[None]:
        """While frames are added: they are shown to `observers`, which are closed at the end, whatever happened."""
        self._observers = list(observers)
        self._hashing.start()
        self.problems.add(*self.inputs.problems)
        try:
            yield
        finally:
            for observer in observers:
                self._tell(observer, "failed at its end", observer.close)

    def read(self, *, give_way: bool = False) -> Generator[tuple[Stream, Frame | LeftOut]]:
        """Frames of the input, read ahead in a thread, with `give_way` at a low priority. Raises `SourceError`."""
        with read_ahead(self.inputs, give_way=give_way) as items:
            for item in items:
                self.problems.add(*item.problems)
                if item.content is not None:
                    yield item.stream, item.content

    def check(self, stream: Stream, content: Frame | LeftOut) -> None:
        """Collect what is unusual about the next frame of a stream."""
        if isinstance(content, Frame):
            self.problems.add(*self._checks[key_of(stream)].take(content))

    def begin_anew(self, stream: Stream) -> None:
        """The next frame of `stream` has no previous one to be consistent with."""
        self._scorer.reset(key_of(stream))

    def measure(
        self,
        stream: Stream,
        content: Frame | LeftOut,
        kind: Kind,
        told: Mapping[str, Any],
        *,
        mask: ByteArray | None = None,
        confidence: ByteArray | None = None,
        instruments: Sequence[Instrument] = (),
        scene: Scene | None = None,
        plain: ByteArray | None = None,
    ) -> SeenFrame:
        """The record of a frame, with measures where it has a mask, and the pixels that belong to it.

        Args:
            stream: what the frame is part of.
            content: the frame as it was read.
            kind: what became of it.
            told: what is known beside: validity, reason, times, by field of `FrameRecord`.
            mask: class ids, uint8 (H, W) at any size; None without.
            confidence: uint8 (H, W) at any size, or None.
            instruments: as tagged.
            scene: all of the scene, where it is known.
            plain: class ids of one plain look, uint8 (H, W), where it is told against the truth too.
        """
        place = (content.index, stream.topic, stream.sequence, content.stamp_ns)
        if not isinstance(content, Frame) or mask is None:
            rgb = content.rgb if isinstance(content, Frame) else None
            return SeenFrame(FrameRecord(*place, kind, **told), rgb, None, (), self._space)
        shown, mapping = at_size(mask, content.rgb.shape), self.inputs.mapping
        scored = self._score(self._scorer, stream, content, shown, confidence)
        alone = self._score(self._plain_scorer, stream, content, plain) if plain is not None else None
        record = FrameRecord(
            *place,
            kind,
            **told,
            instruments=noted(instruments),
            mask_sha256=mask_hash(mask),
            measures=scored.measures if scored is not None else None,
            plain=alone.measures if alone is not None else None,
            tags=self._measure_tags(stream, content, shown, instruments, scene),
        )
        return SeenFrame(
            record,
            content.rgb,
            shown,
            tuple(instruments),
            self._space,
            confidence=confidence,
            truth=scored.truth if scored is not None else None,
            prediction=scored.prediction if scored is not None else None,
            palette=mapping.palette if mapping is not None else None,
            scene=scene,
        )

    def add(self, seen: SeenFrame) -> None:
        """Keep the record of a frame, and show the frame unless it was dropped."""
        self.count += 1
        self._records[key_of(seen.record)].append(seen.record)
        if seen.record.kind == "dropped":
            return
        for observer in list(self._observers):
            if not self._tell(observer, "failed and is shown no more", observer.on_frame, seen):
                self._observers.remove(observer)

    def finish(self, *, mode: Mode, parameters: Mapping[str, Any], **further: Any) -> RunRecord:
        """The record of the run.

        Args:
            mode: what made the run.
            parameters: what the run was asked for beside `RunOptions`.
            further: further fields of `RunRecord`: model, times.
        """
        for check in self._checks.values():
            ends = [other.last_ns for other in self._checks.values() if other.path == check.path]
            self.problems.add(*check.finish(max(ends)))
        self._hashing.join()
        options, mapping = self._options, self.inputs.mapping
        return RunRecord(
            input_sha256=self._sha256,
            source=self.inputs.describe(self._what),
            mode=mode,
            title=options.title or TITLES[mode],
            frames=tuple(record for records in self._records.values() for record in records),
            evaluated=self._scorer.names,
            evaluated_note=mapping.note if mapping is not None else "",
            unanswered=mapping.unanswered if mapping is not None else (),
            nsd_tau=options.nsd_tau,
            parameters={**parameters, "boundary": options.boundary, "temporal": options.temporal},
            host=host(),
            versions=versions(),
            problems=self.problems.lines(),
            command=options.command,
            **{"label_space": self._space, "started": self.started, **further},
        )

    def _hash(self) -> None:
        # A file that vanished in the meantime: what was read of it is still told.
        with contextlib.suppress(OSError):
            self._sha256 = self.inputs.sha256()

    def _score(
        self, scorer: FrameScorer, stream: Stream, frame: Frame, mask: ByteArray, confidence: ByteArray | None = None
    ) -> ScoredFrame | None:
        if confidence is not None:
            confidence = at_size(confidence, mask.shape)
        try:
            return scorer.score(key_of(stream), mask, frame.labels, confidence, frame.rgb)
        except MetricError as error:
            self.problems.add(f"{place_of(stream, frame)}: {error}; evaluated without")
            return None

    def _measure_tags(
        self, stream: Stream, frame: Frame, mask: ByteArray, instruments: Sequence[Instrument], scene: Scene | None
    ) -> TagMeasures | None:
        if frame.tags is None:
            return None
        ignored = None if frame.labels is None else frame.labels == IGNORED
        truth = dataclasses.replace(frame.tags, ignored=ignored)
        if scene is None:
            tags = frame_tags(instruments, self._space, tentative=False)
        else:
            tags = scene_tags(scene, self._space, tentative=False)
        try:
            return measure_tags(tags, truth, content_area=content_pixels(mask), stamp_s=frame.stamp_ns / 1e9)
        except MetricError as error:
            self.problems.add(f"{place_of(stream, frame)}: {error}; tags are judged without")
            return None

    def _tell(self, observer: FrameObserver, failure: str, call: Callable[..., None], *what: SeenFrame) -> bool:
        try:
            call(*what)
        except Exception as error:  # who watches must not end what is watched
            self.problems.add(f"{type(observer).__name__} {failure}: {named_line(error)}")
            return False
        return True


def key_of(part: Stream | FrameRecord) -> StreamKey:
    """What tells the streams of a run apart."""
    return part.sequence, part.topic


def place_of(stream: Stream, frame: Frame) -> str:
    """Names a frame in messages."""
    return f"{stream.path}: {stream.topic or frame.name} at {frame.stamp_ns / 1e9:.3f} s"
