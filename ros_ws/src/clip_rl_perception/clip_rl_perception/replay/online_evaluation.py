"""Online replay judged: what a recorder heard of the node, matched by stamp to what was played and to its truth.

No ROS here: the recorder's bag and the player's table are read back when the run is over, so that judging takes nothing
from the node while it works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.messages.scene_messages import Status
from clip_rl_perception.replay.plain_looks import PlainLooks
from clip_rl_perception.replay.recording import Published, Recording
from clip_rl_perception.replay.replay_options import RunOptions
from clip_rl_perception.replay.run_builder import RunBuilder, key_of
from clip_rl_perception.runs.observer import FrameObserver, SeenFrame
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import Kind, Mode, RunRecord
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.sources.frames import Frame, LeftOut, SourceError
from clip_rl_perception.sources.streams import InputOptions, Stream


class OnlineEvaluation:
    """One run; `run` judges it."""

    def __init__(
        self,
        recording: Recording,
        published: Sequence[Published],
        what: InputOptions,
        options: RunOptions,
        *,
        problems: ProblemLog | None = None,
        plain: PlainLooks | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> None:
        """Open the input.

        Args:
            recording: what the node published.
            published: what was sent to it, in order.
            what: the one stream that was played, with its truth.
            options: what is measured.
            problems: collects what is left out.
            plain: looks once more at frames with truth; None: they are not looked at.
            progress: told frames judged, and how many were sent.

        Raises:
            SourceError: the input cannot be read, or is more than one stream.
            LabelMapError: a label map that does not fit the node's classes.
        """
        self.problems = problems or ProblemLog()
        self._recording, self._published, self._progress = recording, published, progress
        self._plain = plain
        if recording.label_space is None:
            self.problems.add("the node never said what its classes are: no mask can be judged")
        self._run = RunBuilder(what, recording.label_space or load_label_space("binary"), options, self.problems)
        self.stream, *others = self._run.inputs.streams
        """What was played."""
        if others:
            topics = ", ".join(stream.topic for stream in self._run.inputs.streams)
            raise SourceError(f"{what.paths[0]}: has several image topics; say with --topic which is judged: {topics}")
        self._statuses = {status.stamp_ns: status for status in recording.statuses}
        self._masks = ByStamp(recording.masks())
        self._confidences = ByStamp(recording.confidences())

    def run(
        self,
        observers: Sequence[FrameObserver] = (),
        *,
        mode: Mode = "online",
        parameters: Mapping[str, Any] | None = None,
        transport: str = "raw",
        **played: Any,
    ) -> RunRecord:
        """Judge every frame that was sent.

        Args:
            observers: shown those that were not dropped.
            mode: what made the run.
            parameters: what the run was asked for.
            transport: ``raw`` or ``compressed``: how images travelled.
            played: further fields of `RunRecord` that tell how it was played: complete, started, wall_s.
        """
        heard, run = self._recording, self._run
        rows, taken = _Rows(self._published), set[int]()
        with run.running(observers):
            for stream, content in run.read():
                row = rows.of(content)
                if row is None:
                    continue
                run.check(stream, content)
                # Masks are told apart by their stamps: of frames that share one the first gets the answer.
                run.add(self._measure(stream, content, row, first=row.stamp_ns not in taken))
                taken.add(row.stamp_ns)
                self._progress(run.count, len(self._published))
        wrong = len(heard.mask_received_ns.keys() - {row.stamp_ns for row in self._published})
        if wrong:
            self.problems.add(f"{wrong} masks carry a stamp that no frame had")
        if heard.repeated_masks:
            self.problems.add(f"{heard.repeated_masks} masks carry a stamp that an earlier mask had")
        last = heard.statuses[-1] if heard.statuses else None
        return run.finish(
            mode=mode,
            model_id=last.model_id if last is not None else None,
            engine=last.engine if last is not None else None,
            label_space=heard.label_space,
            parameters=parameters or {},
            transport=transport,
            replaced=max((status.dropped for status in heard.statuses), default=0),
            wrong_stamps=wrong + heard.repeated_masks,
            **played,
        )

    def _measure(self, stream: Stream, content: Frame | LeftOut, row: Published, *, first: bool) -> SeenFrame:
        stamp, heard, run = row.stamp_ns, self._recording, self._run
        status = self._statuses.get(stamp) if first else None
        received = heard.mask_received_ns.get(stamp) if first else None
        told = _told(status)
        mask = self._masks.get(stamp) if received is not None and isinstance(content, Frame) else None
        if received is None or mask is None:
            return run.measure(stream, content, "mask" if received is not None else _kind_without_mask(status), told)
        told["received_ns"] = received
        told["latency_ms"] = (received - row.published_ns) / 1e6 if row.published_ns is not None else None
        return run.measure(
            stream,
            content,
            "mask",
            told,
            mask=mask,
            confidence=self._confidences.get(stamp) if stamp in heard.confidence_stamps else None,
            instruments=heard.instruments.get(stamp, ()),
            plain=self._look_plainly(stream, content),
        )

    def _look_plainly(self, stream: Stream, content: Frame | LeftOut) -> ByteArray | None:
        if self._plain is None or not isinstance(content, Frame) or content.labels is None:
            return None
        return self._plain.mask_of(key_of(stream), content)


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


def _kind_without_mask(status: Status | None) -> Kind:
    return "invalid" if status is not None and status.validity == Validity.INVALID_INPUT else "dropped"


def _told(status: Status | None) -> dict[str, Any]:
    """What the node said of a frame."""
    if status is None:
        return {}
    told: dict[str, Any] = {"validity": status.validity.name.lower(), "reason": status.reason}
    told |= {"novelty": status.novelty, "age_ms": status.age_ms}
    if status.validity != Validity.INVALID_INPUT:
        told |= {"stage_ms": dict(status.stage_ms), "basis": status.basis if status.basis.looks else None}
    return told
