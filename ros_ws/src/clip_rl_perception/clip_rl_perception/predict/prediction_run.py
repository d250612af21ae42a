"""Frames of files through the one runner into a folder of plain files: one thread reads, one infers, one writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from clip_rl_perception.folder_files import unused_name
from clip_rl_perception.predict.predict_options import FileOptions, FrameOptions
from clip_rl_perception.predict.prediction_files import PredictionFolder, folder_name
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.sources.frames import Frame, LeftOut, SourceError
from clip_rl_perception.sources.streams import Inputs, Item, Stream, read_ahead
from clip_rl_perception.stream import LoadedModel, Processed, StreamRunner
from clip_rl_perception.threads.collection import working
from clip_rl_perception.threads.worker_thread import Worker

WAITING = 4
"""Frames that may wait to be written."""


class PredictionRun:
    """One run; `stop` ends it early from any thread or signal handler."""

    def __init__(
        self,
        inputs: Inputs,
        model: LoadedModel,
        folder: PredictionFolder,
        options: FrameOptions,
        files: FileOptions,
        *,
        problems: ProblemLog,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> None:
        """Prepare it.

        Args:
            inputs: opened; their truth is not looked at.
            model: loaded; not closed here.
            folder: where results go; closed by `run`.
            options: which frames.
            files: what is written of each.
            problems: collects what is left out or unusual.
            progress: told frames done and in all (None: not known) after each.
        """
        self._inputs, self._model, self._folder, self._options = inputs, model, folder, options
        self._stills = model.for_stills()
        self._confidence, self._problems, self._progress = files.confidence, problems, progress
        names: dict[str, str] = {}
        for stream in sorted(inputs.streams, key=lambda stream: _folder_of(stream) != stream.sequence):
            if stream.sequence not in names:
                names[stream.sequence] = unused_name(_folder_of(stream), names.values(), "-")
        self._names = names if len(names) > 1 else dict.fromkeys(names, "")
        self._runners: dict[str, StreamRunner] = {}
        self._stop = False
        self.done = 0
        """Frames taken, those that were left out counted."""

    def stop(self) -> None:
        """End after the frame in hand; what was written is kept."""
        self._stop = True

    def run(self) -> None:
        """Predict everything. What can be read is written; raises `ClipRlError` where the disk refuses."""
        self._problems.add(*self._inputs.problems)
        complete = False
        try:
            with contextlib.ExitStack() as stack:
                writer: Worker[_Taken] = stack.enter_context(
                    Worker(lambda item: self._write(*item), capacity=WAITING, name="predict-write")
                )
                items = stack.enter_context(read_ahead(self._inputs, give_way=True))
                stack.enter_context(working(self))
                try:
                    for item in items:
                        if self._stop or self.done == self._options.max_frames:
                            break
                        self._take(item, writer)
                except SourceError as error:
                    self._problems.add(f"{error}; reading ended after {self.done} frames")
            complete = not self._stop
        finally:
            self._folder.close(complete=complete, problems=self._problems.lines())

    def _take(self, item: Item, writer: Worker[_Taken]) -> None:
        self._problems.add(*item.problems)
        stream, frame = item.stream, item.content
        if frame is None:
            return
        self.done += 1
        result = None
        if isinstance(frame, Frame):
            still = stream.source.info.kind == "folder" and not self._options.video
            runner = self._runners.get(stream.sequence)
            if runner is None:
                runner = self._runners[stream.sequence] = StreamRunner(self._stills if still else self._model)
            if still:
                runner.reset()
            result = runner.process_file_frame(frame, want_confidence=self._confidence)
        writer.put((stream, frame, result))
        self._progress(self.done, self._inputs.frames)

    def _write(self, stream: Stream, frame: Frame | LeftOut, result: Processed | None) -> None:
        if result is None or result.scene is None or isinstance(frame, LeftOut):
            if result is not None and isinstance(frame, Frame):
                self._problems.add(f"{stream.path}: {frame.name}: {result.reason}; left out")
            self._folder.leave_out()
            return
        self._folder.add(
            self._names[stream.sequence], stream.source.info, frame, result.scene, result.validity, result.reason
        )


def _folder_of(stream: Stream) -> str:
    """Below masks/ and the others: a tree's folders stay a tree; a bag's topic is no folder."""
    parts = [stream.sequence] if stream.topic else stream.sequence.split("/")
    return "/".join(map(folder_name, parts))


_Taken = tuple[Stream, Frame | LeftOut, Processed | None]
"""A frame and what the runner made of it; None: it could not be read."""
