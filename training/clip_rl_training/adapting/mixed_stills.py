"""Frames with pseudo labels among synthetic scenes, by number: sample i depends on the seed and i alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from clip_rl_perception.arrays import ByteArray

from clip_rl_training.adapting.labelled_videos import LabelledVideo
from clip_rl_training.data.dataset_stills import content_mask
from clip_rl_training.data.samples import TRAINING, DatasetFrame, Stills, labels_in

_ORDER = 0xADA
_IDENTITY: ByteArray = np.arange(256, dtype=np.uint8)

FRAME_CAPTION = "a frame of the user's video"
"""Tells frames from scenes in a batch; no loss reads it."""

Place = tuple[LabelledVideo, int]
"""A frame of a video by its number."""


class MixedStills:
    """Training scenes of which a share are frames of videos; validation and test scenes are synthetic alone."""

    def __init__(
        self, scenes: Stills, frames: Sequence[Place], *, space: str, drawn: str, share: float, seed: int
    ) -> None:
        """Mix `frames`, at least one, into `scenes`.

        Args:
            scenes: synthetic.
            frames: with pseudo labels in `space`.
            space: label space that the training asks for.
            drawn: what scenes call the same classes.
            share: of the training scenes that are frames; they are spread evenly, so that every batch has as many.
            seed: of the order of frames.
        """
        self._scenes = scenes
        self._frames = LabelledFrames(frames, space=space)
        self._space, self._drawn = space, drawn
        self._share = share
        self._seed = seed
        self._order: tuple[int, np.ndarray[tuple[int], np.dtype[np.int64]]] | None = None

    def available(self, split: int) -> int | None:
        """As many as the scenes; frames come round again in another order."""
        return self._scenes.available(split)

    def frame(self, split: int, index: int) -> DatasetFrame:
        """Scene or frame `index` of `split`."""
        before, after = int(index * self._share), int((index + 1) * self._share)
        if split != TRAINING or after == before:
            return self._scene(split, index - (before if split == TRAINING else 0))
        epoch, place = divmod(before, len(self._frames))
        if self._order is None or self._order[0] != epoch:
            order = np.random.default_rng([self._seed, _ORDER, epoch]).permutation(len(self._frames))
            self._order = epoch, order
        return self._frames.frame(split, int(self._order[1][place]))

    def _scene(self, split: int, index: int) -> DatasetFrame:
        scene = self._scenes.frame(split, index)
        ids = labels_in(scene, self._drawn)
        return DatasetFrame(scene.rgb, ids, {self._space: _IDENTITY}, scene.content, scene.caption)


class LabelledFrames:
    """Frames with pseudo labels alone, in the order given: those held out, to validate on."""

    def __init__(self, frames: Sequence[Place], *, space: str) -> None:
        self.places = tuple(frames)
        self._space = space

    def __len__(self) -> int:
        return len(self.places)

    def available(self, split: int) -> int:
        """All of them, of every split."""
        return len(self.places)

    def frame(self, split: int, index: int) -> DatasetFrame:
        """Frame `index`. Raises `AdaptError` where its file is gone or damaged."""
        video, number = self.places[index]
        rgb = video.video.frame(number)
        return DatasetFrame(rgb, video.mask(number), {self._space: _IDENTITY}, content_mask(rgb), FRAME_CAPTION)
