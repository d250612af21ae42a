"""Online replay judged: what a recorder heard of the node, matched by stamp to what was played and to its truth.

No ROS here: the recorder's bag and the player's table are read back when the run is over, so that judging takes nothing
from the node while it works. Offline and online score with the same code; the same mask gives the same numbers.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.metrics.confusion import MetricError
from clip_rl_perception.replay.recording import Published, Recording, Status
from clip_rl_perception.replay.scoring import FrameScorer, ScoredFrame, at_size
from clip_rl_perception.replay.stream_checks import StreamCheck
from clip_rl_perception.runs.host import host, versions
from clip_rl_perception.runs.observer import FrameObserver, SeenFrame, describe
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import FrameRecord, RunRecord, SeenInstrument, mask_hash
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.sources.frames import Frame, LeftOut
from clip_rl_perception.sources.streams import Inputs, Item, Stream, read
from clip_rl_perception.threads.prefetch import Prefetch

AHEAD_BYTES = 64 << 20
"""Memory for frames decoded ahead."""


@dataclasses.dataclass(frozen=True)
class OnlineOptions:
    """What is measured, and what the report says of the run."""

    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the run was asked for."""
    boundary: bool = True
    """Measure NSD and HD95."""
    temporal: bool = True
    """Measure consistency with the previous frame that came back."""
    nsd_tau: float = 10.0
    """Tolerance of the NSD, px of the full-size mask."""
    complete: bool = True
    """False when playing was interrupted."""
    started: str = ""
    """UTC, ISO 8601."""
    wall_s: float | None = None
    """How long playing took, s."""
    transport: str = "raw"
    """``raw`` or ``compressed``: how images travelled."""
    title: str = "CLIP-RL online replay"
    """Heading of the report."""
    command: str = ""
    """Command line, for the report."""


class OnlineEvaluation:
    """One run; `run` judges it."""

    def __init__(
        self,
        recording: Recording,
        published: Sequence[Published],
        inputs: Inputs,
        space: LabelSpace,
        options: OnlineOptions,
        *,
        observers: Sequence[FrameObserver] = (),
        problems: ProblemLog | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> None:
        """Prepare it.

        Args:
            recording: what the node published.
            published: what was sent to it, in order.
            inputs: the one stream that was played, with its truth.
            space: classes of the masks.
            options: what is measured.
            observers: shown every frame, and closed at the end.
            problems: collects what is left out.
            progress: told frames judged, and how many were sent.
        """
        self.problems = problems or ProblemLog()
        self._recording, self._published, self._inputs, self._space = recording, published, inputs, space
        self._options, self._observers, self._progress = options, list(observers), progress
        self._scorer = FrameScorer(
            space, inputs.mapping, nsd_tau=options.nsd_tau, boundary=options.boundary, temporal=options.temporal
        )
        self._statuses = {status.stamp_ns: status for status in recording.statuses}
        self._masks = ByStamp(recording.masks())
        self._confidences = ByStamp(recording.confidences())
        self._wrong_stamps = 0

    def run(self, input_sha256: str, source: dict[str, Any]) -> RunRecord:
        """Judge every frame that was sent; the arguments are as of `OfflineReplay.run`."""
        for line in self._inputs.problems:
            self.problems.add(line)
        rows = _Rows(self._published)
        records: list[FrameRecord] = []
        check: StreamCheck | None = None
        taken: set[int] = set()
        with Prefetch(read(self._inputs), limit_bytes=AHEAD_BYTES, size=_size) as items:
            for item in items:
                for line in item.problems:
                    self.problems.add(line)
                content, stream = item.content, item.stream
                if content is None:
                    continue
                if check is None:
                    check = StreamCheck(str(stream.path), stream.topic, stream.source.info.rate_hz)
                row = rows.of(content)
                if row is None:
                    continue
                if isinstance(content, Frame):
                    for line in check.take(content):
                        self.problems.add(line)
                # Masks are told apart by their stamps: of frames that share one the first gets the answer.
                seen = self._check(stream, content, row, first=row.stamp_ns not in taken)
                taken.add(row.stamp_ns)
                records.append(seen.record)
                self._show(seen)
                self._progress(len(records), len(self._published))
        for observer in self._observers:
            self._tell(observer, observer.close)
        self._check_stamps()
        return self._record(tuple(records), input_sha256, source)

    def _check(self, stream: Stream, content: Frame | LeftOut, row: Published, *, first: bool) -> SeenFrame:
        status = self._statuses.get(row.stamp_ns) if first else None
        received = self._recording.mask_received_ns.get(row.stamp_ns) if first else None
        record = FrameRecord(
            index=content.index,
            topic=stream.topic,
            sequence=stream.sequence,
            stamp_ns=content.stamp_ns,
            kind="mask" if received is not None else _kind_without_mask(status),
            **_told(status),
        )
        rgb = content.rgb if isinstance(content, Frame) else None
        if received is None or rgb is None:
            return SeenFrame(record, rgb, None, (), self._space)
        mask = self._masks.get(row.stamp_ns)
        if mask is None:
            return SeenFrame(record, rgb, None, (), self._space)
        tags = self._recording.instruments.get(row.stamp_ns, ())
        known = row.stamp_ns in self._recording.confidence_stamps
        confidence = self._confidences.get(row.stamp_ns) if known else None
        full = at_size(mask, rgb.shape)
        scored = self._score(stream, content, full, confidence)
        record = dataclasses.replace(
            record,
            latency_ms=(received - row.published_ns) / 1e6 if row.published_ns is not None else None,
            received_ns=received,
            instruments=tuple(SeenInstrument.of(tag) for tag in sorted(tags, key=lambda tag: tag.track_id)),
            mask_sha256=mask_hash(mask),
            measures=scored.measures if scored is not None else None,
        )
        mapping = self._inputs.mapping
        return SeenFrame(
            record,
            rgb,
            full,
            tuple(tags),
            self._space,
            confidence=confidence,
            truth=scored.truth if scored is not None else None,
            prediction=scored.prediction if scored is not None else None,
            palette=mapping.palette if mapping is not None else None,
        )

    def _score(
        self, stream: Stream, content: Frame | LeftOut, mask: ByteArray, confidence: ByteArray | None
    ) -> ScoredFrame | None:
        assert isinstance(content, Frame)
        if confidence is not None:
            confidence = at_size(confidence, mask.shape)
        try:
            return self._scorer.score(stream.topic, mask, content.labels, confidence, content.rgb)
        except MetricError as error:
            place = f"{stream.path}: {stream.topic or content.name} at {content.stamp_ns / 1e9:.3f} s"
            self.problems.add(f"{place}: {error}; evaluated without")
            return None

    def _show(self, seen: SeenFrame) -> None:
        if seen.record.kind == "dropped":
            return
        for observer in list(self._observers):
            if not self._tell(observer, lambda shown=observer: shown.on_frame(seen)):  # type: ignore[misc]
                self._observers.remove(observer)

    def _tell(self, observer: FrameObserver, call: Callable[[], None]) -> bool:
        try:
            call()
        except Exception as error:  # who watches must not end what is watched
            self.problems.add(f"{describe(observer)} failed and is shown no more: {type(error).__name__}: {error}")
            return False
        return True

    def _check_stamps(self) -> None:
        stamps = {row.stamp_ns for row in self._published}
        wrong = sum(stamp not in stamps for stamp in self._recording.mask_received_ns)
        self._wrong_stamps = wrong + self._recording.repeated_masks
        if wrong:
            self.problems.add(f"{wrong} masks carry a stamp that no frame had")
        if self._recording.repeated_masks:
            self.problems.add(f"{self._recording.repeated_masks} masks carry a stamp that an earlier mask had")

    def _record(self, frames: tuple[FrameRecord, ...], input_sha256: str, source: dict[str, Any]) -> RunRecord:
        mapping, options = self._inputs.mapping, self._options
        last = self._recording.statuses[-1] if self._recording.statuses else None
        started = options.started or datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        return RunRecord(
            mode="online",
            title=options.title,
            input_sha256=input_sha256,
            source=source,
            model_id=last.model_id if last is not None else None,
            engine=last.engine if last is not None else None,
            frames=frames,
            label_space=self._space,
            evaluated=self._scorer.names,
            evaluated_note=mapping.note if mapping is not None else "",
            unanswered=mapping.unanswered if mapping is not None else (),
            nsd_tau=options.nsd_tau,
            parameters={**options.parameters, "boundary": options.boundary, "temporal": options.temporal},
            host=host(),
            versions=versions(),
            problems=self.problems.lines(),
            complete=options.complete,
            wall_s=options.wall_s,
            started=started,
            command=options.command,
            transport=options.transport,
            replaced=max((status.dropped for status in self._recording.statuses), default=0),
            wrong_stamps=self._wrong_stamps,
        )


class ByStamp:
    """Images that are there, asked for by stamp in nearly the order of the stream of (stamp, image) that they are in.

    What comes before the wanted one is kept until it is asked for, at most `KEPT` images: masks of frames that nobody
    asks for would else fill the memory.
    """

    KEPT = 32

    def __init__(self, images: Iterator[tuple[int, ByteArray]]) -> None:
        self._images = images
        self._early: dict[int, ByteArray] = {}

    def get(self, stamp: int) -> ByteArray | None:
        """The first image of that stamp that was not asked for yet; None when there is none."""
        if stamp in self._early:
            return self._early.pop(stamp)
        for found, image in self._images:
            if found == stamp:
                return image
            self._early.setdefault(found, image)
            if len(self._early) > self.KEPT:
                del self._early[next(iter(self._early))]
        return None


class _Rows:
    """What was sent, by the frames of the input."""

    def __init__(self, published: Sequence[Published]) -> None:
        self._by_index = {row.index: row for row in published if row.index is not None}
        self._by_stamp = {row.stamp_ns: row for row in published if row.index is None}
        self._span = (min(self._by_stamp, default=0), max(self._by_stamp, default=-1))

    def of(self, content: Frame | LeftOut) -> Published | None:
        """The row of a frame; None where it was not sent.

        Where only arrivals beside the node are known, a frame between the first and the last of them was sent too.
        """
        if self._by_index:
            return self._by_index.get(content.index)
        stamp = content.stamp_ns
        between = self._span[0] <= stamp <= self._span[1]
        return self._by_stamp.get(stamp, Published(None, stamp, None) if between else None)


def _kind_without_mask(status: Status | None) -> Any:
    return "invalid" if status is not None and status.validity == Validity.INVALID_INPUT else "dropped"


def _told(status: Status | None) -> dict[str, Any]:
    """What the node said of a frame."""
    if status is None:
        return {}
    processed = status.validity != Validity.INVALID_INPUT
    return {
        "validity": status.validity.name.lower(),
        "reason": status.reason,
        "novelty": status.novelty,
        "age_ms": status.age_ms,
        "stage_ms": dict(status.stage_ms) if processed else {},
        "refine_steps": status.refine_steps if processed else None,
    }


def _size(item: Item) -> int:
    return int(item.content.rgb.nbytes) if isinstance(item.content, Frame) else 1
