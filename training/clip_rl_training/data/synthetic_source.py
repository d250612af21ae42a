"""A synthetic operation as a source of frames: of its only eye, or of each of two, which are rendered together."""

from __future__ import annotations

import functools
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.metrics.tag_measures import TagTruth
from clip_rl_perception.sources.frames import Frame, LeftOut, SourceError, SourceInfo

from clip_rl_training.data.samples import labels_in
from clip_rl_training.synthetic.frame_tags import tag_truth_of
from clip_rl_training.synthetic.render_jobs import operation_of, run_jobs
from clip_rl_training.synthetic.scene_config import SceneConfig

Rendered = tuple[ByteArray, ByteArray, TagTruth]
"""Image, labels, truth of tags."""
KEPT = 64
"""Frames of one eye that wait for the other eye's source; those beyond are rendered again when they are asked for."""


class RenderedEyes:
    """The frames of all eyes of an operation, each rendered once; their sources may run on threads of their own.

    Args:
        config: as of `SyntheticOperation`.
        seed: as there.
        frames: as there.
        space: label space of the labels.
        eyes: 1, or 2 for left and right; truth of the left one of two tells where instruments are.
        workers: processes.
    """

    def __init__(self, config: SceneConfig, seed: int, frames: int, space: str, *, eyes: int, workers: int = 1) -> None:
        self.config, self.frames, self.space = config, frames, space
        self._work = functools.partial(_render, config, seed, frames, space, eyes)
        self._workers = workers
        self._rendering = threading.Lock()
        self._results: Generator[tuple[Rendered, ...], None, None] | None = None
        self._next = 0
        """Frame that `_results` gives next."""
        self._waiting: dict[tuple[int, int], Rendered] = {}
        """By eye and index; single operations on it need no lock."""

    def take(self, eye: int, index: int) -> Rendered:
        """Frame `index` of an eye, 0 for the left or only one; each eye's in order, or from any one again."""
        found = self._waiting.pop((eye, index), None)
        if found is None:
            with self._rendering:
                found = self._waiting.pop((eye, index), None)  # the other eye's source may have had it rendered
                if found is None:
                    found = self._rendered(eye, index)
        return found

    def close(self) -> None:
        """A source is read no further: end the processes. What is asked for later is rendered all the same."""
        with self._rendering:
            if self._results is not None:
                self._results.close()
                self._results = None

    def _rendered(self, eye: int, index: int) -> Rendered:
        """Render a frame; those of other eyes wait."""
        if self._results is None or index != self._next:
            self._results, self._next = run_jobs(self._work, range(index, self.frames), self._workers), index
        made = next(self._results)
        self._next += 1
        self._waiting |= {(other, index): each for other, each in enumerate(made) if other != eye}
        for key in list(self._waiting)[: max(0, len(self._waiting) - KEPT)]:
            self._waiting.pop(key, None)
        return made[eye]


class SyntheticSource:
    """One eye's frames."""

    def __init__(self, eyes: RenderedEyes, eye: int = 0) -> None:
        """`eye`: as of `RenderedEyes.take`."""
        self.problems: list[str] = []
        self.left_out: list[LeftOut] = []
        self._eyes, self._eye = eyes, eye
        size, space = (eyes.config.height, eyes.config.width), load_label_space(eyes.space)
        self._info = SourceInfo("folder", Path("synthetic"), eyes.frames, eyes.config.rate, size, space)

    @property
    def info(self) -> SourceInfo:
        """What this source is."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        try:
            for index in range(self._eyes.frames):
                rgb, labels, tags = self._eyes.take(self._eye, index)
                stamp = round(index * 1e9 / self._info.rate_hz)
                yield Frame(rgb, stamp, f"synthetic#{index}", labels, index=index, tags=tags)
        finally:
            self._eyes.close()

    def sha256(self) -> str:
        """Made, not read: there is no file to hash."""
        raise SourceError("a synthetic operation has no files")


def _render(config: SceneConfig, seed: int, frames: int, space: str, eyes: int, index: int) -> tuple[Rendered, ...]:
    operation = operation_of(config, seed, frames)
    left = operation.frame(index)
    if eyes == 1:
        return ((left.rgb, labels_in(left, space), tag_truth_of(left)),)
    right = operation.right_frame(index)
    places = operation.space_of(left, right)
    return (
        (left.rgb, labels_in(left, space), tag_truth_of(left, places)),
        (right.rgb, labels_in(right, space), tag_truth_of(right)),
    )
