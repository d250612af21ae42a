"""Truth of tags in folders: pictures of instrument numbers, and what is known of the instruments beside.

    instances/NAME.png      8 or 16 bits, one channel: instrument numbers, the same for the same one throughout a video;
                            0 is none
    instruments.jsonl       in that folder, or beside `instances`: a line of JSON a frame

    {"frame": 7, "instruments": [{"instance": 1, "type": "bipolar-forceps",
                                  "keypoints": [{"name": "tip_1", "x": 310.5, "y": 200.0, "visible": true}]}]}

`frame` is the picture's name without its suffix, or the last number in it. Everything but `frame` and `instance` may be
left out: what is not told is not measured. Keypoints are called as `KEYPOINTS` of `clip_rl_perception.scene.types`, px
of the whole picture; those that are not visible do not count. Where the instruments of a stereo pair are in space is
read from beside `instances` too, see `space_truth`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clip_rl_perception.arrays import described
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.folder_files import image_files
from clip_rl_perception.metrics.tag_measures import Numbers, Point, TagTruth, TrueInstrument
from clip_rl_perception.pictures.picture_files import PictureError, decode_stored, read_picture
from clip_rl_perception.scene.types import KEYPOINTS
from clip_rl_perception.sources.frames import Frame, SourceInfo
from clip_rl_perception.sources.space_truth import (
    FOLDER,
    SpaceTruthError,
    plain_axis,
    plain_points,
    space_from_plain,
    space_of_file,
)

INSTANCES, TOLD = "instances", "instruments.jsonl"
"""The folder, and the file of what is told."""
IN_SPACE, AXIS = FOLDER, "axis3d"
"""What is told of an instrument in space."""


def right_folder(name: str) -> str:
    """The right eye's folder for one of the left eye's: right_frames for left_frames, right_types for types."""
    return f"right_{name.removeprefix('left_')}"


RIGHT_FRAMES = right_folder("left_frames")
"""Folder of the right eye's images."""


class TagTruthError(ClipRlError, ValueError):
    """A truth of tags is not as described at the top; the message names file and line, and what was expected."""


class TagTruthFolder:
    """Truth of tags of one folder of images."""

    def __init__(self, folder: Path) -> None:
        """Read what is told of instruments.

        Args:
            folder: pictures of instrument numbers.

        Raises:
            TagTruthError: a line of `TOLD` that is not as described.
        """
        self._pictures = {path.stem: path for path in image_files(folder)}
        beside = [folder / TOLD, *([folder.parent / TOLD] if folder.name == INSTANCES else [])]
        self._space = folder.parent / FOLDER if folder.name == INSTANCES else None
        self._told: dict[str | int, dict[int, TrueInstrument]] = {}
        for path in beside:
            if path.is_file():
                self._told = _read_told(path)
                break

    def truth_of(self, name: str) -> TagTruth | None:
        """Truth of the image of that name without suffix; None where there is no picture of instances.

        Raises:
            TagTruthError: the picture cannot be read, or is none of numbers.
        """
        path = self._pictures.get(name)
        return None if path is None else TagTruth(read_numbers(path), self._in_space(name, self._instruments(name)))

    def of_frame(self, name: str, shape: tuple[int, ...]) -> TagTruth | None:
        """As `truth_of`, of the image file `name`, whose pixels are (H, W) or more; raises `TagTruthError`."""
        truth = self.truth_of(Path(name).stem)
        if truth is not None:
            check_size(truth, shape, name)
        return truth

    @classmethod
    def beside(cls, info: SourceInfo) -> TagTruthFolder | None:
        """That of a folder of images; None where there is none. Raises `TagTruthError`."""
        folder = instances_beside(info.path) if info.kind == "folder" else None
        return None if folder is None else cls(folder)

    def tagged(self, frame: Frame, path: Path) -> tuple[Frame, tuple[str, ...]]:
        """The frame with its truth, and lines on what is wrong with that; `path`: what it is of."""
        try:
            return dataclasses.replace(frame, tags=self.of_frame(frame.name, frame.rgb.shape)), ()
        except ClipRlError as error:
            return frame, (f"{path}: {frame.name}: {error}; tags are judged without",)

    def _in_space(self, name: str, instruments: Mapping[int, TrueInstrument]) -> Mapping[int, TrueInstrument]:
        path = self._space / f"{name}.json" if self._space is not None else None
        if path is None or not path.is_file():
            return instruments
        try:
            found = space_of_file(path)
        except SpaceTruthError as error:
            raise TagTruthError(str(error)) from error
        placed = {
            number: dataclasses.replace(instruments.get(number, TrueInstrument()), space=space)
            for number, space in found.items()
        }
        return {**instruments, **placed}

    def _instruments(self, name: str) -> Mapping[int, TrueInstrument]:
        numbers = re.findall(r"\d+", name)
        return self._told.get(name) or (self._told.get(int(numbers[-1]), {}) if numbers else {})


def instances_beside(images: Path) -> Path | None:
    """The folder of instances that belongs to a folder of images, or None.

    It lies beside the folder of images, or in it; to ``images/VIDEO`` belongs ``instances/VIDEO``, to ``right_frames``
    alone ``right_instances``.
    """
    images = images.resolve()
    if images.name == RIGHT_FRAMES:  # what lies beside is of the left eye
        right = images.parent / right_folder(INSTANCES)
        return right if image_files(right) else None
    for folder in (images.parent / INSTANCES, images.parent.parent / INSTANCES / images.name, images / INSTANCES):
        if image_files(folder):
            return folder
    return None


def read_numbers(path: Path) -> Numbers:
    """A picture of instrument numbers, uint8 or uint16 (H, W). Raises `TagTruthError`."""
    try:
        return decode_numbers(read_picture(path))
    except PictureError as error:
        raise TagTruthError(f"{path} {error}") from error


def decode_numbers(content: bytes) -> Numbers:
    """The same of a file's bytes. Raises `PictureError` that begins with a verb."""
    stored = decode_stored(content)
    if stored.ndim == 3 and (stored[..., :1] == stored[..., :3]).all():
        stored = stored[..., 0]
    if stored.ndim != 2 or stored.dtype not in (np.uint8, np.uint16):
        raise PictureError(f"is {described(stored)}; expected instrument numbers, 8 or 16 bits in one channel")
    return stored


def check_size(truth: TagTruth, shape: tuple[int, ...], name: str) -> None:
    """Raise `TagTruthError` where instances are of another size than the image called `name`, (H, W) or more."""
    if truth.instances.shape != shape[:2]:
        sizes = [f"{size[1]}x{size[0]}" for size in (truth.instances.shape, shape)]
        raise TagTruthError(f"instances of {name} are {sizes[0]} but the image is {sizes[1]}; both must have one size")


def plain_instruments(instruments: Mapping[int, TrueInstrument]) -> list[dict[str, Any]]:
    """What a line of `TOLD` holds of instruments; see `instruments_from_plain`."""
    return [
        {
            "instance": number,
            "type": each.type_name,
            "keypoints": [{"name": name, "x": x, "y": y, "visible": True} for name, (x, y) in each.points.items()],
            **({} if each.space is None else {IN_SPACE: plain_points(each.space), AXIS: plain_axis(each.space)}),
        }
        for number, each in sorted(instruments.items())
    ]


def instruments_from_plain(entries: Any) -> dict[int, TrueInstrument]:
    """Instruments by number from the list that a line of `TOLD` holds. Raises `TagTruthError` without a place."""
    if not isinstance(entries, list):
        raise TagTruthError(f"instruments is {entries!r}; expected a list")
    found: dict[int, TrueInstrument] = {}
    for entry in entries:
        number = entry.get("instance") if isinstance(entry, dict) else None
        if not isinstance(number, int) or number < 1 or number in found:
            raise TagTruthError(
                f"instrument {entry!r}; expected an object whose instance is a number from 1, each once"
            )
        name = entry.get("type", "")
        if not isinstance(name, str):
            raise TagTruthError(f"type of instance {number} is {name!r}; expected a name, or an empty one")
        points = dict(_points(entry.get("keypoints", []), number))
        try:
            space = space_from_plain(entry[IN_SPACE], entry.get(AXIS)) if IN_SPACE in entry else None
        except SpaceTruthError as error:
            raise TagTruthError(f"instance {number}: {error}") from error
        found[number] = TrueInstrument(name, points, space)
    return found


def _points(entries: Any, number: int) -> list[tuple[str, Point]]:
    try:
        points = [(each["name"], (float(each["x"]), float(each["y"])), each.get("visible", True)) for each in entries]
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise TagTruthError(f"keypoints of instance {number}: expected objects with name, x and y") from error
    for name, place, _ in points:
        if name not in KEYPOINTS or not np.isfinite(place).all():
            raise TagTruthError(
                f"keypoint {name!r} of instance {number} at {place}; expected one of {', '.join(KEYPOINTS)}, in numbers"
            )
    return [(name, place) for name, place, visible in points if visible]


def _read_told(path: Path) -> dict[str | int, dict[int, TrueInstrument]]:
    told: dict[str | int, dict[int, TrueInstrument]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TagTruthError(f"{path}: cannot be read: {one_line(error)}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            frame = data["frame"]
            if not isinstance(frame, str | int):
                raise TagTruthError(f"frame is {frame!r}; expected a picture's name, or the number in it")
            told[frame] = instruments_from_plain(data.get("instruments", []))
        except TagTruthError as error:
            raise TagTruthError(f"{path}, line {number}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise TagTruthError(
                f'{path}, line {number}: not a frame; expected {{"frame": NAME, "instruments": [...]}} in JSON'
            ) from error
    return told
