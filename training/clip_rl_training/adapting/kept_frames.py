"""The frames that an adaptation learns from, read from whatever the user has and kept as small pictures.

``frames/NAME/000123.jpg`` is a frame by its number in the video; ``video.json`` comes last: with it a video is whole. A
run that goes on so reads only what is missing.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.atomic_write import write_bytes, write_json
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.pictures.picture_files import decode_rgb, read_picture
from clip_rl_perception.progress import Progress
from clip_rl_perception.runs.problems import ProblemLog
from clip_rl_perception.sources.frames import Frame, SourceError
from clip_rl_perception.sources.input_paths import input_paths, told_unread
from clip_rl_perception.sources.streams import InputOptions, Inputs, SourceOptions, Stream, open_inputs, read

from clip_rl_training.adapting.adapt_config import FramesConfig
from clip_rl_training.data.augment import is_gray

_NOTE = "video.json"
_QUALITY = 95
"""Of the JPEGs."""


class AdaptError(ClipRlError):
    """A network cannot be adapted; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class KeptVideo:
    """Frames of one video, one topic of a bag or one folder."""

    name: str
    """What reports call it."""
    size: tuple[int, int]
    """(height, width) of its first frame as it came, px."""
    gray: bool
    """Whether its first frame has no colour."""
    numbers: tuple[int, ...]
    """Of the kept frames, in order."""
    stamps_ns: tuple[int, ...]
    """Of these frames, ns."""
    folder: Path
    """Where they lie."""

    def stem(self, number: int) -> Path:
        """Path of a frame without suffix."""
        return self.folder / f"{number:06d}"

    def frame(self, number: int) -> ByteArray:
        """A kept frame, uint8 RGB (h, w, 3). Raises `AdaptError` where its file is gone or damaged."""
        path = self.stem(number).with_suffix(".jpg")
        try:
            return decode_rgb(read_picture(path))
        except ClipRlError as error:
            raise AdaptError(f"{path} {error}; delete its folder and run again") from error


def keep_frames(
    what: SourceOptions,
    space: LabelSpace,
    network_size: tuple[int, int],
    out: Path,
    config: FramesConfig,
    say: Callable[[str], None],
) -> list[KeptVideo]:
    """Read videos, bags and folders, and keep frames of each; what cannot be read is told in one line and left out.

    Args:
        what: paths, topics and rate.
        space: classes of the network.
        network_size: (H, W) of its input.
        out: folder of the kept frames.
        config: how many, how large.
        say: told what is left out or unusual.

    Raises:
        AdaptError: nothing can be read.
        ClipRlError: the disk refuses; what is whole stays, and the same call goes on.
    """
    problems = ProblemLog(say)
    opened = _open_each(what, space, problems)
    total = sum(inputs.frames or config.most for _, inputs in opened)
    period = config.clip if total <= config.most else math.ceil(config.clip * total / config.most)
    videos: list[KeptVideo] = []
    with Progress("reading") as progress:
        for place, (name, inputs) in enumerate(opened):
            room = config.most - sum(len(video.numbers) for video in videos)
            reader = _Reader(out, place, name, network_size, config, period, room)
            found = reader.whole(inputs)
            if found is None:
                try:
                    found = reader.read(inputs, problems, lambda done: progress.update(done, None, "frames kept"))
                except SourceError as error:
                    problems.add(f"{one_line(error)}; reading it ended there")
                    found = reader.done()
            videos += [video for video in found if video.numbers]
    if not videos:
        raise AdaptError("no frame of what was given can be read; expected a video, a rosbag2 or a folder of images")
    return videos


def _open_each(what: SourceOptions, space: LabelSpace, problems: ProblemLog) -> list[tuple[str, Inputs]]:
    """Every path on its own, so that one that cannot be read costs the others nothing."""
    found, images = input_paths(what.paths)
    problems.add(*told_unread(what.paths))
    opened = []
    for path, name in found:
        options = InputOptions(
            paths=tuple(images) if path in images else (path,),
            topics=what.topics,
            rate_hz=what.rate_hz,
            stereo_layout=what.stereo_layout,
            eye=what.eye,
            use_truth=False,
        )
        try:
            inputs = open_inputs(options, space)
        except ClipRlError as error:
            problems.add(f"{one_line(error)}; left out")
            continue
        problems.add(*inputs.problems)
        opened.append((name, inputs))
    if not opened:
        raise AdaptError("none of what was given can be read; the lines above say why")
    return opened


class _Reader:
    """Keeps frames of one path, which may have several topics."""

    def __init__(
        self,
        out: Path,
        place: int,
        name: str,
        network_size: tuple[int, int],
        config: FramesConfig,
        period: int,
        room: int,
    ) -> None:
        self._out, self._place, self._name, self._size, self._config = out, place, name, network_size, config
        self._period, self._room = period, room
        self._videos: dict[str, KeptVideo] = {}

    def whole(self, inputs: Inputs) -> list[KeptVideo] | None:
        """What an earlier call kept of these, if it is whole."""
        folders = [self._folder(index) for index in range(len(inputs.streams))]
        if not all((folder / _NOTE).is_file() for folder in folders):
            return None
        return [_read_note(folder) for folder in folders]

    def read(self, inputs: Inputs, problems: ProblemLog, progress: Callable[[int], None]) -> list[KeptVideo]:
        """Read them all; raises `SourceError` where a source gives up, after which `done` has what came before."""
        streams = {id(stream): index for index, stream in enumerate(inputs.streams)}
        kept = 0
        for item in read(inputs):
            problems.add(*item.problems)
            frame = item.content
            if not isinstance(frame, Frame) or frame.index % self._period >= self._config.clip or kept >= self._room:
                continue
            self._keep(item.stream, self._folder(streams[id(item.stream)]), frame)
            kept += 1
            progress(kept)
        return self.done()

    def done(self) -> list[KeptVideo]:
        """Write down that what was kept is whole."""
        for video in self._videos.values():
            note = dataclasses.asdict(video)
            del note["folder"]
            write_json(video.folder / _NOTE, note)
        return list(self._videos.values())

    def _keep(self, stream: Stream, folder: Path, frame: Frame) -> None:
        rgb = frame.rgb
        height, width = rgb.shape[:2]
        factor = self._config.scale * max(self._size[0] / height, self._size[1] / width)
        if factor < 1:
            shape = (max(1, round(width * factor)), max(1, round(height * factor)))
            rgb = np.asarray(cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA), np.uint8)
        good, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not good:
            raise AdaptError(f"{stream.path}: {frame.name} of {width}x{height} px is no picture that can be kept")
        video = self._videos.get(folder.name)
        if video is None:
            name = f"{self._name}:{stream.topic}" if stream.topic else self._name
            video = KeptVideo(name, (height, width), is_gray(rgb[::4, ::4]), (), (), folder)
        self._videos[folder.name] = dataclasses.replace(
            video, numbers=(*video.numbers, frame.index), stamps_ns=(*video.stamps_ns, frame.stamp_ns)
        )
        write_bytes(video.stem(frame.index).with_suffix(".jpg"), data.tobytes())

    def _folder(self, stream: int) -> Path:
        return self._out / f"{self._place:03d}-{stream:02d}"


def _read_note(folder: Path) -> KeptVideo:
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        return KeptVideo(
            str(note["name"]), (int(note["size"][0]), int(note["size"][1])), bool(note["gray"]),
            tuple(map(int, note["numbers"])), tuple(map(int, note["stamps_ns"])), folder,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdaptError(f"{folder / _NOTE} is damaged ({one_line(error)}); delete its folder and run again") from error


def kinds_of(videos: Sequence[KeptVideo]) -> list[str]:
    """Where frames of several kinds are to make one network, a line that says which."""
    kinds: dict[tuple[tuple[int, int], bool], int] = {}
    for video in videos:
        kind = video.size, video.gray
        kinds[kind] = kinds.get(kind, 0) + len(video.numbers)
    if len(kinds) < 2:
        return []
    said = ", ".join(
        f"{count} of {width}x{height} {'gray' if gray else 'colour'}"
        for ((height, width), gray), count in kinds.items()
    )
    return [
        f"frames of several kinds: {said}; all are used, for one network: adapt each camera by itself if they differ"
    ]
