"""Pseudo labels of kept frames: what the teacher is sure of, as masks beside the pictures.

``000123.png`` holds class ids, 255 where nothing is taught; ``labels.json`` comes last, with what was left out and why.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import write_bytes, write_json
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.looks.evidence import Evidence, EvidenceConfig
from clip_rl_perception.pictures.picture_files import decode_stored, read_picture
from clip_rl_perception.pipeline import PerceptionPipeline
from clip_rl_perception.scene.label_map import full_size_disagreement, full_size_maps

from clip_rl_training.adapting.adapt_config import SureConfig
from clip_rl_training.adapting.kept_frames import AdaptError, KeptVideo
from clip_rl_training.adapting.pseudo_labels import sure_labels
from clip_rl_training.adapting.video_teacher import SeenFrame, evidence_of, look_at_frames

_NOTE = "labels.json"
_CHUNK = 200
"""Frames whose looks are in memory together; evidence does not go on beyond them."""


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
    """A video with its pseudo labels."""

    video: KeptVideo
    numbers: tuple[int, ...]
    """Frames that can be used, in order."""
    sure: float
    """Share of their pixels that are taught."""
    instrument: float
    """Share of their pixels that are taught as instrument."""
    refused: dict[str, int]
    """How many frames are not used, by reason."""

    def mask(self, number: int) -> ByteArray:
        """Pseudo labels of a frame, uint8 (h, w). Raises `AdaptError` where the file is gone or damaged."""
        return read_mask(self.video.stem(number).with_suffix(".png"))

    def parts(self, hold_out: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(learned from, held out): the last `hold_out` of the frames are held out, at least one of two or more."""
        first = len(self.numbers) - max(int(len(self.numbers) > 1), round(hold_out * len(self.numbers)))
        return self.numbers[:first], self.numbers[first:]


def read_mask(path: Path) -> ByteArray:
    """A mask of ids. Raises `AdaptError`."""
    try:
        mask = decode_stored(read_picture(path))
    except ClipRlError as error:
        raise AdaptError(f"{path} {error}; delete its folder and run again") from error
    if mask.ndim != 2:
        raise AdaptError(f"{path} is no mask of ids; delete its folder and run again")
    return mask


def label_video(
    pipeline: PerceptionPipeline,
    video: KeptVideo,
    config: SureConfig,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> LabelledVideo:
    """Write pseudo labels of every frame that can be used; what an earlier call wrote is read.

    Args:
        pipeline: the teacher.
        video: its frames.
        config: what is sure.
        progress: told how many frames are done.

    Raises:
        AdaptError: a kept frame is gone or damaged.
        ClipRlError: the disk refuses.
    """
    note = video.folder / _NOTE
    if note.is_file():
        return _read_note(note, video)
    counts: collections.Counter[str] = collections.Counter()
    used: list[int] = []
    refused: collections.Counter[str] = collections.Counter()
    seen = look_at_frames(pipeline, _frames(video))
    for number, frame, evidence in _believed(video.numbers, seen, progress):
        if not frame.usable:
            refused[frame.reason.split(":")[0]] += 1
            continue
        labels = labels_of(pipeline, frame, evidence, config)
        good, data = cv2.imencode(".png", labels, [cv2.IMWRITE_PNG_COMPRESSION, 2])
        assert good, "a mask is a picture"
        write_bytes(video.stem(number).with_suffix(".png"), data.tobytes())
        used.append(number)
        counts["all"] += labels.size
        counts["sure"] += int((labels != UNLABELLED).sum())
        counts["instrument"] += instrument_pixels(labels, pipeline.label_space)
    every = max(1, counts["all"])
    found = LabelledVideo(video, tuple(used), counts["sure"] / every, counts["instrument"] / every, dict(refused))
    write_json(note, {name: value for name, value in dataclasses.asdict(found).items() if name != "video"})
    return found


def labels_of(pipeline: PerceptionPipeline, frame: SeenFrame, evidence: Evidence, config: SureConfig) -> ByteArray:
    """Pseudo labels of a frame, uint8 (h, w)."""
    labels, confidence = full_size_maps(
        evidence.log_belief, frame.view, temperature=pipeline.calibration.temperature, want_confidence=True
    )
    assert confidence is not None
    disagreement = full_size_disagreement(evidence.disagreement, frame.view)
    return sure_labels(labels, confidence, disagreement, pipeline.label_space, config)


def instrument_pixels(labels: ByteArray, space: LabelSpace) -> int:
    """How many pixels are an instrument's."""
    return int(np.isin(labels, space.instrument_ids).sum())


def _frames(video: KeptVideo) -> Iterator[tuple[ByteArray, int]]:
    for number, stamp_ns in zip(video.numbers, video.stamps_ns, strict=True):
        yield video.frame(number), stamp_ns


def _believed(
    numbers: Sequence[int], seen: Iterator[SeenFrame], progress: Callable[[int], None]
) -> Iterator[tuple[int, SeenFrame, Evidence]]:
    for start in range(0, len(numbers), _CHUNK):
        chunk: list[SeenFrame] = []
        for _ in numbers[start : start + _CHUNK]:
            chunk.append(next(seen))
            progress(start + len(chunk))
        believed = evidence_of(chunk, EvidenceConfig())
        yield from zip(numbers[start : start + _CHUNK], chunk, believed, strict=True)


def _read_note(path: Path, video: KeptVideo) -> LabelledVideo:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return LabelledVideo(
            video,
            tuple(map(int, note["numbers"])),
            float(note["sure"]),
            float(note["instrument"]),
            dict(note["refused"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdaptError(f"{path} is damaged ({one_line(error)}); delete it and run again") from error
