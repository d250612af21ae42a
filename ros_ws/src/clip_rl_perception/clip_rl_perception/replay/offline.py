"""Offline replay: frames of files through the node's pipeline, as fast as they can be had, without ROS.

Four threads work at once, joined by bounded queues: one reads and decodes, this one infers, one measures, one writes.
What a frame becomes depends on the frames before it in its own stream alone, so threads change times and no result.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.replay.plain_looks import PlainLooks
from clip_rl_perception.replay.replay_options import OfflineOptions
from clip_rl_perception.replay.replay_outputs import OutputBag, OverlayVideos
from clip_rl_perception.replay.run_builder import RunBuilder, StreamKey, key_of, place_of
from clip_rl_perception.replay.space_replay import SpaceReplay
from clip_rl_perception.runs.observer import FrameObserver, SeenFrame
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.runs.run_record import RunRecord
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.sources.frames import Frame, LeftOut, SourceError
from clip_rl_perception.sources.streams import InputOptions, Stream
from clip_rl_perception.stream import LoadedModel, Processed, StreamRunner
from clip_rl_perception.threads.collection import working
from clip_rl_perception.threads.worker_thread import Worker

WAITING = 4
"""Frames that may wait between two threads."""


class OfflineReplay:
    """One replay. `run` does it; `stop` ends it early from any thread or signal handler."""

    def __init__(
        self,
        what: InputOptions,
        model: LoadedModel,
        options: OfflineOptions,
        *,
        observers: Sequence[FrameObserver] = (),
        problems: ProblemLog | None = None,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> None:
        """Open the input.

        Args:
            what: the input, and where its truth is.
            model: loaded; not closed here.
            options: outputs and measures.
            observers: shown every frame, and closed at the end.
            problems: collects what is left out.
            progress: told frames done and in all (None: not known) after each.

        Raises:
            SourceError: the input cannot be read.
            LabelMapError: a label map that does not fit the model.
            ClipRlError: true tags of what is no stereo bag.
        """
        self._model, self._options, self._observers, self._progress = model, options, observers, progress
        self._run = RunBuilder(what, model.space, options, problems)
        self.inputs = self._run.inputs
        self._states: dict[StreamKey, StreamRunner] = {}
        self._plain = PlainLooks(model) if options.against_plain else None
        self._space = None
        if options.in_space or options.true_tags:
            self._space = SpaceReplay(
                self.inputs, model.space, self._run.problems, options.stereo_config(), true_tags=options.true_tags
            )
        self._outputs: dict[str, Callable[[SeenFrame, Frame | None], None]] = {}
        self._stop = False
        self._done = 0
        self.video_files: dict[StreamKey, Path] = {}
        """Overlay videos written, by stream."""

    def stop(self) -> None:
        """End after the frame in hand; what was done is kept."""
        self._stop = True

    def run(self) -> RunRecord:
        """Replay everything and return what it left behind; files are closed whatever happens."""
        begun = time.perf_counter()
        with contextlib.ExitStack() as stack:
            self._open_outputs(stack)
            stack.enter_context(self._run.running(self._observers))
            writer: Worker[_Done] = stack.enter_context(
                Worker(lambda item: self._write(*item), capacity=WAITING, name="replay-write")
            )
            meter: Worker[_Inferred] = stack.enter_context(
                Worker(lambda item: writer.put(self._seen(item)), capacity=WAITING, name="replay-measure")
            )
            frames = stack.enter_context(contextlib.closing(self._run.read(give_way=True)))
            stack.enter_context(working(self))
            try:
                for stream, content in frames:
                    if self._stop or self._done == self._options.max_frames:
                        break
                    self._take(stream, content, meter)
            except SourceError as error:
                self._run.problems.add(f"{error}; reading ended after {self._done} frames")
        return self._run.finish(
            mode="offline",
            model_id=self._model.model_id,
            engine=self._model.engine_name,
            engine_manifest=self._model.manifest,
            parameters=self._model.parameters,
            complete=not self._stop,
            space=self._space.report() if self._space is not None else None,
            wall_s=time.perf_counter() - begun,
        )

    def _take(self, stream: Stream, content: Frame | LeftOut, meter: Worker[_Inferred]) -> None:
        self._run.check(stream, content)
        if isinstance(content, LeftOut):
            self._done += 1
            meter.put((stream, content, Processed(None, Validity.INVALID_INPUT, content.reason), 0, None))
            self._progress(self._done, self.inputs.frames)
            return
        only = self._options.only_stamps
        if only is not None and content.stamp_ns not in only:
            return
        state = self._states.get(key_of(stream))
        if state is None:
            state = self._states[key_of(stream)] = StreamRunner(self._model)
        self._done += 1
        result = state.process_file_frame(
            content, want_confidence=self._options.bag is not None or content.labels is not None
        )
        if result.scene is None:
            self._run.problems.add(f"{place_of(stream, content)}: {result.reason}; left out")
        finished_ns, plain = time.time_ns(), None
        if self._plain is not None and content.labels is not None and result.scene is not None:
            plain = self._plain.mask_of(key_of(stream), content)
        meter.put((stream, content, result, finished_ns, plain))
        self._progress(self._done, self.inputs.frames)

    def _seen(self, inferred: _Inferred) -> _Done:
        seen, frame = self._measure(*inferred)
        if self._space is not None:
            self._space.take(inferred[0], frame, seen)
        return seen, frame

    def _measure(
        self,
        stream: Stream,
        content: Frame | LeftOut,
        result: Processed,
        finished_ns: int,
        plain: ByteArray | None,
    ) -> _Done:
        scene, frame = result.scene, content if isinstance(content, Frame) else None
        told: dict[str, Any] = {"validity": result.validity.name.lower(), "reason": result.reason}
        if scene is None or frame is None:
            return self._run.measure(stream, content, "invalid", told), frame
        if result.forgot:
            self._run.begin_anew(stream)
        stages = {"decode": frame.decode_ms, **scene.stage_ms}
        stages["total"] = sum(stages.values())
        told |= {
            "novelty": None if math.isnan(scene.novelty) else float(scene.novelty),
            "latency_ms": stages["total"],
            "received_ns": finished_ns,
            "stage_ms": stages,
            "basis": scene.basis,
        }
        seen = self._run.measure(
            stream,
            content,
            "mask",
            told,
            mask=scene.label_map,
            confidence=scene.confidence,
            instruments=scene.instruments,
            scene=scene,
            plain=plain,
        )
        return seen, frame

    def _write(self, seen: SeenFrame, frame: Frame | None) -> None:
        for name, write in list(self._outputs.items()):
            try:
                write(seen, frame)
            except (ClipRlError, OSError) as error:
                self._run.problems.add(f"{error}; the {name} ends at {seen.record.stamp_ns / 1e9:.3f} s")
                del self._outputs[name]
        self._run.add(seen)

    def _open_outputs(self, stack: contextlib.ExitStack) -> None:
        streams, model = self.inputs.streams, self._model
        if self._options.bag is not None:
            bag = OutputBag(
                self._options.bag,
                [key_of(stream) for stream in streams],
                model.space,
                model.model_id,
                model.engine_name,
            )
            stack.callback(bag.close)
            self._outputs["output bag"] = lambda seen, frame: bag.write(seen.record, seen, frame)
        if self._options.video is not None:
            videos = OverlayVideos(
                self._options.video, {key_of(stream): stream.source.info.rate_hz for stream in streams}
            )
            stack.callback(videos.close)
            self._outputs["overlay video"] = lambda seen, frame: videos.on_frame(seen)
            self.video_files = videos.files


_Inferred = tuple[Stream, Frame | LeftOut, Processed, int, ByteArray | None]
"""A frame, what the pipeline made of it, when that was done, ns, and the mask of one plain look, where asked for."""
_Done = tuple[SeenFrame, Frame | None]
"""A frame measured, and as it was read (None: it could not be)."""
