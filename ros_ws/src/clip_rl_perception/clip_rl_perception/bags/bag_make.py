"""Makes a bag of frames: images, camera models, ground truth. The same input gives the same bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from clip_rl_perception.bags.bag_inputs import BagInput
from clip_rl_perception.bags.bag_writer import IMAGE_CODINGS, BagError, BagWriter, clear_for_bag
from clip_rl_perception.bags.eye_pairs import RightFrames
from clip_rl_perception.cli_types import PositiveNumber
from clip_rl_perception.options import NotAnOption, Option
from clip_rl_perception.pictures.compressed_format import mosaic_in
from clip_rl_perception.sources.camera_model import FIELD_OF_VIEW, CameraModel, load_calibration, pinhole
from clip_rl_perception.sources.frames import Frame, FrameSource, SourceError
from clip_rl_perception.threads.prefetch import Prefetch

START_NS = 1_700_000_000_000_000_000
"""Stamp of a bag's first frame unless another is asked for: fixed, so that the same input makes the same bag."""

AHEAD_BYTES = 128 << 20
"""Memory for frames that are decoded ahead."""

AS_STORED = "source"
"""Encoding that leaves JPEG and PNG files as they are; other frames become JPEG."""


TRUTH, IMAGES, TIME, STORAGE = "ground truth", "images", "time", "storage"
"""Groups of options of `clip-rl bag make`."""
_KNOWN = f"{AS_STORED}, {', '.join(IMAGE_CODINGS)}"
_ENCODINGS = f"{AS_STORED} (default: JPEG, PNG files as they are, others as jpeg), {', '.join(IMAGE_CODINGS)}"


def _ros_name(text: str) -> str:
    name = "/" + text.strip("/")
    if re.fullmatch(r"/|(/[A-Za-z_][A-Za-z0-9_]*)+", name) is None:
        raise SourceError(f"--namespace '{text}': expected a ROS name such as /endoscope or /psm/left")
    return name


@dataclasses.dataclass(frozen=True)
class MakeOptions:
    """How frames are written."""

    labels: Annotated[Literal["png", "mono8", "none"], Option("--label-encoding", group=TRUTH)] = "png"
    """How labels are stored."""
    namespace: Annotated[str, Option(read=_ros_name, group=IMAGES)] = "/endoscope"
    """Of the topics."""
    encoding: Annotated[str, Option(metavar="ENCODING", help=_ENCODINGS, group=IMAGES)] = AS_STORED
    """How images are stored: `AS_STORED`, or one of `IMAGE_CODINGS`."""
    quality: Annotated[int, Option(metavar="1-100", group=IMAGES)] = 90
    """Of JPEG; of H.264 and HEVC, 90 is CRF 18 and two less are one CRF more."""
    camera: Annotated[CameraModel | None, Option(metavar="FILE", read=load_calibration, group=IMAGES)] = None
    """Calibration (camera_calibration's YAML)."""
    right_camera: Annotated[CameraModel | None, Option(metavar="FILE", read=load_calibration, group=IMAGES)] = None
    """Of the right camera."""
    field_of_view: Annotated[PositiveNumber, Option(group=IMAGES)] = FIELD_OF_VIEW
    """Degrees, without --camera."""
    baseline_m: Annotated[float, NotAnOption()] = 0.005
    """Between the eyes of a pair without calibration, m; that of a stereo endoscope is 4 to 6 mm."""
    start: Annotated[float | None, Option(metavar="SECONDS", group=TIME)] = None
    """Stamp of the first frame (a bag keeps its own; others: fixed)."""
    frames: Annotated[int | None, Option(group=TIME)] = None
    """Write only so many."""
    storage: Annotated[Literal["mcap", "sqlite3"], Option(help="(default: mcap)", group=STORAGE)] = "mcap"
    """Format of the bag."""
    compress: Annotated[bool, Option(group=STORAGE)] = False
    """zstd: pays for raw images."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise SourceError(f"--quality {self.quality} is out of range; 1 to 100 is possible")
        if self.encoding not in (AS_STORED, *IMAGE_CODINGS):
            raise SourceError(f"no encoding '{self.encoding}'; known are {_KNOWN}")
        if self.start is not None and self.start < 0:
            raise SourceError(f"--start {self.start:g}: stamps are seconds since 1970, not negative")
        if self.frames is not None and self.frames < 1:
            raise SourceError(f"--frames {self.frames}: at least 1 is needed")
        if self.right_camera is not None and self.camera is None:
            raise SourceError("--right-camera needs --camera, the left one")

    @property
    def cameras(self) -> tuple[CameraModel, ...]:
        """Calibrated models, left first."""
        return tuple(camera for camera in (self.camera, self.right_camera) if camera is not None)


@dataclasses.dataclass(frozen=True)
class MadeBag:
    """What was written."""

    path: Path
    frames: int
    labelled: int
    """Frames with ground truth."""
    pairs: int
    """Frames with a right image."""
    problems: tuple[str, ...]
    """One line for everything left out."""


def make_bag(
    entry: BagInput,
    path: Path,
    options: MakeOptions,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> MadeBag:
    """Write the frames of `entry` to a new bag at `path`, whole or not at all.

    Args:
        entry: what to write.
        path: folder to create.
        options: how.
        overwrite: replace a bag that is there already, once the new one is complete.
        progress: told frames written, and in all as far as known.

    Raises:
        BagError: `path` exists, the disk refuses, an impossible option, or no frame could be written.
        SourceError: the frames cannot be read.
    """
    if path.exists() and not overwrite:
        raise BagError(f"{path} exists already; name another folder, or add --overwrite")
    aside = path.parent / f".{path.name}.making-{os.getpid()}"
    try:
        with BagWriter(aside / path.name, storage=options.storage, compress=options.compress) as bag:
            made = _write(entry, bag, options, progress)
        if not made.frames:
            raise BagError(f"{path}: no frame could be read" + (f": {made.problems[0]}" if made.problems else ""))
        if path.exists():
            clear_for_bag(path, overwrite=True)
        (aside / path.name).replace(path)
    except OSError as error:
        raise BagError(f"cannot write bag {path}: {error.strerror}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return dataclasses.replace(made, path=path)


def _write(
    entry: BagInput, bag: BagWriter, options: MakeOptions, progress: Callable[[int, int | None], None]
) -> MadeBag:
    space = entry.label_space if options.labels != "none" else None
    stereo = entry.right is not None
    if entry.right is not None:
        _check_pair(entry.frames, entry.right)
    cameras = options.cameras or entry.cameras
    if stereo and len(cameras) == 1:
        raise SourceError("--camera is the left eye's calibration alone; a pair needs --right-camera as well")
    left = _Eye(bag, options, "left" if stereo else "", 0, cameras)
    right = _Eye(bag, options, "right", 1, cameras) if stereo else None
    total, counts, problems = _total(entry.frames, options), [0, 0, 0], list[str]()
    with contextlib.ExitStack() as stack:
        frames = stack.enter_context(_ahead(entry.frames))
        others = None
        if entry.right is not None:
            others = RightFrames(entry.frames, entry.right, stack.enter_context(_ahead(entry.right)))
            problems += filter(None, [others.note])
        offset: int | None = None
        of_bag, first, first_index = False, 0, 0
        for frame in frames:
            if options.frames is not None and counts[0] == options.frames:
                break
            if offset is None:
                # A bag's own stamps begin anywhere; all others are counted from 0.
                of_bag = entry.frames.info.kind == "bag"
                first, first_index = frame.stamp_ns if of_bag else 0, frame.index
                start = round(options.start * 1e9) if options.start is not None else first if of_bag else START_NS
                offset = start - first
                if space is not None:
                    bag.write_label_space(space, frame.stamp_ns + offset, topic=left.labels)
                right_space = entry.right.info.label_space if entry.right is not None else None
                if space is not None and right is not None and right_space is not None:
                    bag.write_label_space(right_space, frame.stamp_ns + offset, topic=right.labels)
            stamp = frame.stamp_ns + offset
            if of_bag and entry.rate_hz is not None:
                stamp = first + offset + round((frame.index - first_index) * 1e9 / entry.rate_hz)
            other = others.get(frame) if others is not None else None
            left.write(frame, stamp)
            if right is not None and others is not None and other is not None:
                its = stamp + (other.stamp_ns - frame.stamp_ns if others.by_stamp else 0)
                right.write(other, its)
                if space is not None:
                    right.write_truth(other, its)
            if space is not None and left.write_truth(frame, stamp):
                counts[1] += 1
            counts[0] += 1
            counts[2] += other is not None
            if others is not None and other is None:
                problems.append(f"{frame.name}: no right image for it; written without")
            progress(counts[0], total)
    problems += entry.frames.problems
    problems += entry.right.problems if entry.right is not None else []
    if stereo and counts[0] and not counts[2]:
        raise BagError(f"none of {counts[0]} left frames has a right one: {problems[0]}")
    if entry.label_space is not None and space is not None and counts[0] and not counts[1]:
        raise BagError(
            f"none of {counts[0]} frames has usable labels: {problems[0] if problems else 'none were found'}"
        )
    return MadeBag(bag.path, counts[0], counts[1], counts[2], tuple(problems))


class _Eye:
    """Topics of one camera."""

    def __init__(
        self, bag: BagWriter, options: MakeOptions, side: str, number: int, cameras: tuple[CameraModel, ...]
    ) -> None:
        base = f"{options.namespace.rstrip('/')}/{side}" if side else options.namespace.rstrip("/")
        self.image, self.info, self.labels = (f"{base}/{name}" for name in ("image_raw", "camera_info", "labels"))
        name = options.namespace.strip("/").replace("/", "_") or "camera"
        self.frame_id = f"{name}_{side}_optical" if side else f"{name}_optical"
        self._bag, self._options, self._number = bag, options, number
        self._camera = cameras[number] if number < len(cameras) else None

    def write(self, frame: Frame, stamp: int) -> None:
        """The image and its camera model."""
        height, width = frame.rgb.shape[:2]
        camera = self._camera
        if camera is None:
            baseline = self._options.baseline_m if self._number else 0.0
            camera = pinhole(width, height, field_of_view=self._options.field_of_view, baseline_m=baseline)
        elif (camera.width, camera.height) != (width, height):
            raise BagError(
                f"{frame.name} is {width}x{height} but its calibration is for {camera.width}x{camera.height}"
            )
        self._bag.write_camera_info(camera, stamp, topic=self.info, frame_id=self.frame_id)
        kind = _kind_of(frame.encoded)
        wanted = self._options.encoding
        if frame.encoded is not None and kind and wanted in (AS_STORED, kind):
            self._bag.write_encoded(
                frame.encoded,
                kind,
                stamp,
                topic=self.image,
                frame_id=self.frame_id,
                pixel_format=mosaic_in(frame.encoding) or "bgr8",
            )
            return
        self._bag.write_image(
            frame.rgb,
            stamp,
            topic=self.image,
            frame_id=self.frame_id,
            encoding="jpeg" if wanted == AS_STORED else wanted,
            quality=self._options.quality,
        )

    def write_truth(self, frame: Frame, stamp: int) -> bool:
        """The labels of a frame, and its truth of tags; whether it has labels."""
        if frame.labels is None:
            return False
        topic, frame_id, compressed = self.labels, self.frame_id, self._options.labels == "png"
        self._bag.write_labels(frame.labels, stamp, topic=topic, frame_id=frame_id, compressed=compressed)
        if frame.tags is not None:
            self._bag.write_tag_truth(frame.tags, stamp, topic=topic, frame_id=frame_id)
        return True


def _ahead(source: FrameSource) -> Prefetch[Frame]:
    return Prefetch(source, limit_bytes=AHEAD_BYTES, size=lambda frame: int(frame.rgb.nbytes))


def _total(source: FrameSource, options: MakeOptions) -> int | None:
    known = [count for count in (source.info.frames, options.frames) if count is not None]
    return min(known) if known else None


def _kind_of(content: bytes | None) -> str:
    if content is None:
        return ""
    return "png" if content[:4] == b"\x89PNG" else "jpeg" if content[:2] == b"\xff\xd8" else ""


def _check_pair(left: FrameSource, right: FrameSource) -> None:
    """Refuse eyes of different size; raises `SourceError`."""
    if left.info.size != right.info.size:
        sizes = " and ".join(f"{info.size[1]}x{info.size[0]}" for info in (left.info, right.info))
        raise SourceError(f"left and right images are {sizes}; a stereo pair has one size")
