"""What bags are made of: frames of one camera or of a stereo pair, with or without ground truth.

Whoever has frames of another kind (the training package: datasets and synthetic scenes) adds them to `clip-rl bag make`
by naming a module in the entry-point group `GROUP`, with

    Options                                   its options, a dataclass as `clip_rl_perception.options` reads it
    open_inputs(options, *, source, rate_hz, label_map, right) -> list[BagInput] | None
                                              with these options of `make`; None where none of its own was given
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.folder_files import frames_in, image_files
from clip_rl_perception.labels import LabelSpace, label_space_from_names
from clip_rl_perception.sources.camera_model import CameraModel, load_calibration
from clip_rl_perception.sources.frames import Frame, FrameSource, LeftOut, SourceError, SourceInfo
from clip_rl_perception.sources.media_source import FolderSource, open_source
from clip_rl_perception.sources.tag_truth import RIGHT_FRAMES, TagTruthFolder, instances_beside
from clip_rl_perception.sources.truth_classes import TruthClasses
from clip_rl_perception.sources.truth_folder import TruthFolder, masks_beside
from clip_rl_perception.sources.truth_label_map import LabelMap, binary_label_map

GROUP = "clip_rl.bag_inputs"


@dataclasses.dataclass(frozen=True)
class BagInput:
    """Frames that become one bag."""

    name: str
    """Of the sequence; names the bag where several are made."""
    frames: FrameSource
    """Of the only camera, or of the left one. Labels in them are ids of `label_space`."""
    label_space: LabelSpace | None = None
    """None without ground truth."""
    right: FrameSource | None = None
    """The right camera's frames, paired with the left ones as `RightFrames` does."""
    cameras: tuple[CameraModel, ...] = ()
    """Their models where they are known, left first."""
    rate_hz: float | None = None
    """Spaces the frames of a bag anew; None keeps the bag's stamps."""


class LabelledSource:
    """Frames of a source with masks of a folder as their ground truth, and instances beside images as that of tags."""

    def __init__(self, source: FrameSource, folder: Path, label_map: LabelMap) -> None:
        """Join them by file name or place, see `TruthFolder`; raises `SourceError`, `TagTruthError`."""
        self.problems: list[str] = []
        self.left_out: list[LeftOut] = []
        self._source = source
        self._folder = folder
        self._truth = TruthFolder(folder, label_map.coding, source.info)
        self._label_map = label_map
        self._info = dataclasses.replace(source.info, label_space=space_of(label_map))
        beside = instances_beside(source.info.path) if source.info.kind == "folder" else None
        self._tags = TagTruthFolder(beside) if beside is not None else None

    @property
    def info(self) -> SourceInfo:
        """That of the frames, with the classes of the masks."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        problems: list[str] = []
        classes = TruthClasses(self._label_map.names, self._label_map.coding.describe(), every=True)
        frames = 0
        for frame in self._source:
            frames += 1
            truth = None
            try:
                truth = self._truth.truth_of(frame)
                if truth is not None:
                    classes.add(truth)
                else:
                    problems.append(f"{frame.name}: no mask for it in {self._folder}; written without labels")
            except ClipRlError as error:
                problems.append(f"{frame.name}: {error}; written without labels")
            tags = None
            try:
                tags = self._tags.of_frame(frame.name, frame.rgb.shape) if self._tags is not None else None
            except ClipRlError as error:
                problems.append(f"{frame.name}: {error}; written without truth of tags")
            self.problems, self.left_out = [*self._source.problems, *problems], self._source.left_out
            yield dataclasses.replace(frame, labels=truth, tags=tags)
        problems += [f"{self._folder}: {line}" for line in [classes.problem()] if line]
        if problem := self._truth.unmatched(frames + len(self._source.left_out)):
            problems.append(problem)
        self.problems, self.left_out = [*self._source.problems, *problems], self._source.left_out

    def sha256(self) -> str:
        """Hash of the images; masks do not count."""
        return self._source.sha256()


def space_of(label_map: LabelMap) -> LabelSpace:
    """Label space of the classes in a label map, called as its file."""
    name = "binary" if label_map.names == ("background", "instrument") else Path(label_map.source).stem
    return label_space_from_names(label_map.names, name=name)


def open_path(
    path: Path,
    *,
    rate_hz: float | None = None,
    topic: str | None = None,
    labels: Path | None = None,
    label_map: LabelMap | None = None,
    right: Path | None = None,
    right_topic: str | None = None,
) -> BagInput:
    """A video, a folder of images or another bag.

    Args:
        path: of the only camera, or of the left one. A folder may have its images in ``images`` or ``left_frames``.
        rate_hz: frames per second instead of the source's own.
        topic: image topic of a bag.
        labels: folder of masks; None takes ``masks`` or ``labels`` beside a folder's images, or a bag's labels.
        label_map: how masks are stored; None: as `binary_label_map`.
        right: the right camera's frames; None takes ``right_frames`` beside ``left_frames`` where both cameras'
            calibrations lie there, see `cameras_beside`.
        right_topic: image topic of the right camera's bag.

    Raises:
        SourceError: nothing there, masks and images do not fit, or both eyes would be the same.
    """
    name = path.resolve().name
    source = _open(path, rate_hz, topic)
    if labels is None and isinstance(source, FolderSource):
        found = masks_beside(source.info.path)
        if len(found) > 1:
            raise SourceError(f"{path}: has masks/ and labels/; say with --labels which to take")
        labels = found[0] if found else None
    if labels is None and label_map is not None:
        raise SourceError(f"{path}: a label map is given but no masks; expected masks/ or labels/ beside the images")
    if labels is not None:
        source = LabelledSource(source, labels, label_map or binary_label_map())
    cameras = cameras_beside(path)
    if right is None and len(cameras) == 2 and image_files(path / RIGHT_FRAMES):
        right = path / RIGHT_FRAMES
    other = _open(right, rate_hz, right_topic) if right is not None else None
    if other is not None and (other.info.path.resolve(), other.info.topic) == (
        source.info.path.resolve(), source.info.topic,
    ):  # fmt: skip
        more = f", topic {source.info.topic}; name the right eye's with --right-topic" if source.info.topic else ""
        raise SourceError(f"{path}: left and right images are the same ones{more}")
    return BagInput(name, source, source.info.label_space, other, cameras, rate_hz=rate_hz)


def cameras_beside(folder: Path) -> tuple[CameraModel, ...]:
    """Left and right camera of a folder of stereo frames, from its left.yaml and right.yaml; empty without both.

    Raises:
        CalibrationError: one of them cannot be used.
    """
    files = [folder / "left.yaml", folder / "right.yaml"]
    return tuple(map(load_calibration, files)) if all(file.is_file() for file in files) else ()


def _open(path: Path, rate_hz: float | None, topic: str | None) -> FrameSource:
    frames = path / "left_frames"
    if frames.is_dir() and not frames_in(path):
        return FolderSource(frames, rate_hz=rate_hz)
    return open_source(path, rate_hz=rate_hz, topic=topic)
