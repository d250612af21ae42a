"""What every look says of every frame of a video, kept on disk: choosing among looks is then free of the network.

Within a frame the reward of every choice can be computed, and a policy sees thousands of streams a minute. Looks at
parts of a frame hold NaN where they show nothing.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import BoolArray, ByteArray, FloatArray
from clip_rl_perception.atomic_write import write_bytes
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.looks.evidence import EvidenceConfig
from clip_rl_perception.looks.look import EXPOSED_MIRRORS, PARTS, Look
from clip_rl_perception.looks.motion import motion_between, picture_of
from clip_rl_perception.pipeline import PerceptionPipeline, PreparedFrame
from clip_rl_perception.scene.content_area import ContentAreaTracker
from clip_rl_perception.scene.letterbox import STRIDE, to_network

LOOKS: tuple[Look, ...] = (*EXPOSED_MIRRORS, *PARTS)
"""Looks that are kept, in this order."""
WHOLE = len(EXPOSED_MIRRORS)
"""The first so many of them are at the whole frame: only these can be a frame's only look."""
_NAMES = [look.name for look in LOOKS]
_TINY = 1e-6


class CachedLooksError(ClipRlError):
    """Kept looks cannot be used; the message says which file and what to do."""


@dataclasses.dataclass(frozen=True)
class CachedVideo:
    """N frames of one video, on the logit grid (h, w)."""

    name: str
    """Of the video."""
    made: str
    """What else the looks depend on, in words: network, truth, damage. Other files are not taken for these."""
    log_odds: npt.NDArray[np.float16]
    """Of instrument against not, by frame and look, (N, L, h, w); NaN where a look shows nothing."""
    columns: FloatArray
    """Where each node was in the frame before, (N, h, w), as `motion.Motion` has it; the first frame's are its own."""
    rows: FloatArray
    """The same for rows."""
    fit: FloatArray
    """How well the moved frame fits, 0 to 1, (N, h, w); 0 for the first frame and after a cut."""
    luma: FloatArray
    """Brightness, 0 to 1, (N, h, w)."""
    light: FloatArray
    """Of the whole picture, (N, 8): five quantiles of its brightness, its spread, saturation and sharpness."""
    truth: npt.NDArray[np.int16]
    """Share of instrument x 255, (N, h, w); -1 where the truth is not known or nothing is shown."""

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        data = io.BytesIO()
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        np.savez(data, looks=_NAMES, **fields)
        write_bytes(path, data.getvalue())

    @classmethod
    def load(cls, path: Path) -> CachedVideo:
        """Read it again. Raises `CachedLooksError`."""
        try:
            with np.load(path, allow_pickle=False) as data:
                names = data["looks"].tolist()
                fields = {field.name: data[field.name] for field in dataclasses.fields(cls)}
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise CachedLooksError(f"{path} is no file of looks ({error}); delete it and run again") from error
        if names != _NAMES:
            raise CachedLooksError(f"{path} holds other looks than this version takes; delete it and run again")
        return cls(name=str(fields.pop("name")), made=str(fields.pop("made")), **fields)


def look_at_video(
    pipeline: PerceptionPipeline,
    name: str,
    frames: Iterable[tuple[ByteArray, ByteArray]],
    config: EvidenceConfig,
    *,
    made: str = "",
) -> CachedVideo:
    """Take every look at every frame.

    Args:
        pipeline: engine, classes and content area as a stream has them.
        name: of the video.
        frames: uint8 RGB (height, width, 3), and truth uint8 (height, width): 1 instrument, 0 not, 255 unknown.
        config: what fits, and what is a cut.
        made: as of `CachedVideo`.
    """
    tracker: ContentAreaTracker | None = None
    pictures: list[ByteArray] = []
    said, motions, truths = [], [], []
    for rgb, truth in frames:
        prepared = pipeline.prepare(rgb, tracker)
        tracker = prepared.content
        said.append(np.stack(list(_log_odds(pipeline, prepared))).astype(np.float16))
        truths.append(_truth_on_grid(truth, prepared))
        pictures.append(picture_of(prepared.network_rgb))
        motions.append(_motion(pictures[-2:], said[-1].shape[1:], config))
    columns, rows, fit = (np.stack(list(maps)) for maps in zip(*motions, strict=True))
    size = (said[0].shape[2], said[0].shape[1])
    grey = [picture.mean(axis=2) for picture in pictures]
    return CachedVideo(
        name=name,
        made=made,
        log_odds=np.stack(said),
        columns=columns,
        rows=rows,
        fit=fit,
        luma=np.asarray([cv2.resize(one, size, interpolation=cv2.INTER_AREA) / 255 for one in grey], np.float32),
        light=np.stack([light_of(picture) for picture in pictures]),
        truth=np.stack(truths),
    )


def light_of(picture: ByteArray) -> FloatArray:
    """Light and sharpness of a picture, float32 (8,), each about 0 to 1; see `CachedVideo.light`."""
    values = picture.astype(np.float32)
    grey = values.mean(axis=2)
    saturation = (values.max(axis=2) - values.min(axis=2)).mean() / 255
    sharpness = float(np.std(cv2.Laplacian(grey, cv2.CV_32F))) / 20
    quantiles = np.percentile(grey, [5, 25, 50, 75, 95]) / 255
    return np.array([*quantiles, grey.std() / 64, saturation, sharpness], np.float32)


def _log_odds(pipeline: PerceptionPipeline, prepared: PreparedFrame) -> Iterator[FloatArray]:
    instrument = list(pipeline.label_space.instrument_ids)
    other = [index for index in range(len(pipeline.label_space)) if index not in instrument]
    for look in LOOKS:
        output = pipeline.engine.infer(look.of(prepared.network_rgb, prepared.rgb, prepared.view), pipeline.text)
        maps = np.exp(look.to_plain(output.log_probs, prepared.view))
        odds = np.log(maps[instrument].sum(axis=0) + _TINY) - np.log(maps[other].sum(axis=0) + _TINY)
        shown = look.shows(prepared.view)
        yield odds if shown is None else np.where(shown, odds, np.float32(np.nan))


def _truth_on_grid(truth: ByteArray, prepared: PreparedFrame) -> npt.NDArray[np.int16]:
    known = np.where(truth == 255, 0, 255).astype(np.uint8)
    planes = np.stack([np.where(truth == 1, 255, 0).astype(np.uint8), known, np.zeros_like(known)], axis=2)
    height, width = prepared.view.network_size
    seen = to_network(planes, prepared.view)
    seen[_padding(prepared)] = 0
    seen = np.asarray(cv2.resize(seen, (width // STRIDE, height // STRIDE), interpolation=cv2.INTER_AREA), np.uint8)
    return np.where(seen[..., 1] >= 250, seen[..., 0].astype(np.int16), np.int16(-1))


def _padding(prepared: PreparedFrame) -> BoolArray:
    view = prepared.view
    shown = to_network(np.full((*view.frame_size, 3), 255, np.uint8), view)
    return np.asarray((shown < 250).any(axis=2), np.bool_)


def _motion(
    pictures: list[ByteArray], shape: tuple[int, ...], config: EvidenceConfig
) -> tuple[FloatArray, FloatArray, FloatArray]:
    if len(pictures) == 2 and pictures[0].shape == pictures[1].shape:
        motion = motion_between(pictures[0], pictures[1], config.tolerance)
        kept = motion.fit if float(motion.fit.mean()) >= config.cut else np.zeros_like(motion.fit)
        return motion.columns, motion.rows, kept
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return columns, rows, np.zeros(shape, np.float32)
