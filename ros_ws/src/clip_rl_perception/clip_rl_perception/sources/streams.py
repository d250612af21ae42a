"""What is replayed: bags, videos or folders opened as streams, with their ground truth, read in order of time."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from clip_rl_perception.cli_types import PositiveNumber
from clip_rl_perception.labels import LabelSpace, load_label_space
from clip_rl_perception.messages.transports import eye_topic
from clip_rl_perception.options import Option, Positional
from clip_rl_perception.pictures.encodings import ImageError
from clip_rl_perception.pictures.stereo_frames import BOTH, EYES, LAYOUTS, eye_size
from clip_rl_perception.sources.bag_files import is_bag
from clip_rl_perception.sources.bag_source import BagSource, input_topics
from clip_rl_perception.sources.bag_truth import not_beside, space_coding
from clip_rl_perception.sources.class_mapping import TruthMapping, mapping_of_label_map, mapping_of_spaces
from clip_rl_perception.sources.frames import Frame, FrameSource, LeftOut, SourceError, hash_files, one_eye
from clip_rl_perception.sources.input_paths import check_paths, input_paths, told_unread
from clip_rl_perception.sources.media_source import FolderSource, open_source
from clip_rl_perception.sources.tag_truth import TagTruthFolder
from clip_rl_perception.sources.truth_classes import TruthClasses
from clip_rl_perception.sources.truth_folder import TruthFolder, hold_0_and_255, mask_folders
from clip_rl_perception.sources.truth_label_map import LabelMap, binary_label_map, load_label_map
from clip_rl_perception.threads.prefetch import Prefetch

AHEAD_BYTES = 64 << 20
"""Memory for frames decoded ahead."""


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """What to read."""

    paths: Annotated[tuple[Path, ...], Positional("source")]
    """Rosbag2, video, folder of images or tree of such folders; each is a sequence. Images by name are one together."""
    topics: Annotated[tuple[str, ...], Option("--topic")] = ()
    """Image topic of the bag; may be given again (all)."""
    rate_hz: Annotated[PositiveNumber | None, Option("--rate")] = None
    """Frames per second of videos and folders; None: their own."""
    stereo_layout: Annotated[str, Option(choices=LAYOUTS)] = "single"
    """What a picture holds, one eye or both, as the node's parameter; truth is of the whole, and halved with it."""
    eye: Annotated[str, Option(choices=(*EYES, BOTH))] = "left"
    """Whose half is taken of a picture that holds both eyes; both: each is a sequence of its own."""


@dataclasses.dataclass(frozen=True)
class InputOptions(SourceOptions):
    """What to read, and where its truth is."""

    labels: Annotated[Path | None, Option(metavar="DIR")] = None
    """Folder of ground-truth masks; None: masks/ or labels/ beside the images of a folder."""
    label_topic: str | None = None
    """Topic of ground truth in the bag; None: labels beside the images."""
    label_map: Annotated[LabelMap | None, Option(metavar="NAME_OR_FILE", read=load_label_map)] = None
    """How truth is stored and merged: a shipped name such as binary, or YAML."""
    use_truth: Annotated[bool, Option("--no-truth")] = True
    """Look for truth; False: leave labels in a bag and masks beside images alone."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """One topic of a bag, one video or one folder."""

    path: Path
    topic: str
    """Empty for a video or a folder."""
    sequence: str
    source: FrameSource
    name: str = ""
    """Of the path among the inputs: the sequence's, without a topic or an eye."""
    truth: TruthFolder | None = None
    """Where the truth is not part of the source."""
    tags: TagTruthFolder | None = None
    """Where the truth of tags is not part of the source."""
    halves: tuple[str, str] = ("single", "left")
    """Layout of the pictures, and the eye that is taken."""
    classes: TruthClasses | None = None
    """Watches whether truth shows the classes that were named for it; None where a class list says what ids mean."""


@dataclasses.dataclass(frozen=True)
class Item:
    """What reading yields: a frame, or one that was left out."""

    stream: Stream
    content: Frame | LeftOut | None
    """None at the end of a stream that has more problems to tell."""
    problems: tuple[str, ...]
    """What was found unusual on the way to it."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Everything opened."""

    streams: tuple[Stream, ...]
    mapping: TruthMapping | None
    """None where no stream has ground truth."""
    problems: tuple[str, ...]
    """Found when opening."""
    frames: int | None
    """In all streams, as far as known."""

    def sha256(self) -> str:
        """Over the files read; of one bag, video or folder its own hash."""
        hashes = {stream.path: stream.source for stream in self.streams}
        if len(hashes) == 1:
            return next(iter(hashes.values())).sha256()
        parts = [os.fsencode(path.name) + f"\0{source.sha256()}\n".encode() for path, source in hashes.items()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def describe(self, options: InputOptions) -> dict[str, Any]:
        """Plain data for reports."""
        first = self.streams[0].source.info
        width, height = eye_size(first.size[::-1], options.stereo_layout)
        truth = "none"
        masks = [file for stream in self.streams if stream.truth is not None for file in stream.truth.files]
        if self.mapping is not None:
            truth = f"folder {(options.labels or masks[0].parent).name}" if masks else "labels topic of the bag"
        names = list(dict.fromkeys(stream.path.name for stream in self.streams))
        result: dict[str, Any] = {
            "kind": first.kind,
            "name": ", ".join(names),
            "width": width,
            "height": height,
            "rate_hz": round(first.rate_hz, 3),
            "ground_truth": truth,
        }
        if any(stream.topic for stream in self.streams):
            result["topic"] = ", ".join(dict.fromkeys(stream.topic for stream in self.streams if stream.topic))
        if options.stereo_layout != "single":
            result["eye"] = f"{options.eye} of {options.stereo_layout}"
        if options.label_map is not None:
            result["label_map"] = Path(options.label_map.source).name
        if masks:
            result["labels_sha256"] = hash_files(masks)
        return result


def open_inputs(options: InputOptions, space: LabelSpace) -> Inputs:
    """Open everything to be replayed.

    Args:
        options: what.
        space: classes of the model.

    Raises:
        SourceError: nothing there, nothing readable, no such topic; the message lists what was found.
        LabelMapError: a label map that does not fit the model.
    """
    if options.eye != EYES[0] and options.stereo_layout == "single":
        raise SourceError(f"--eye {options.eye} needs --stereo-layout: side_by_side or top_bottom, for both in one")
    if not options.use_truth and (options.labels or options.label_topic or options.label_map):
        raise SourceError("--no-truth leaves out the truth that --labels, --label-topic or --label-map names")
    check_paths(options.paths)
    problems = told_unread(options.paths)
    eyes = EYES if options.eye == BOTH else (options.eye,)
    streams = [_half(stream, options, eye) for eye in eyes for stream in _opened(options, problems)]
    mapping, streams = _with_truth(streams, options, space, problems)
    for stream in streams:
        problems += stream.source.problems
    counts = [stream.source.info.frames for stream in streams]
    known = None if None in counts else sum(count or 0 for count in counts)
    return Inputs(tuple(streams), mapping, tuple(dict.fromkeys(problems)), known)


def _opened(options: InputOptions, problems: list[str]) -> list[Stream]:
    """Every stream of whole pictures, without its truth where that is not part of the source."""
    streams: list[Stream] = []
    paths, images = input_paths(options.paths)
    for path, name in paths:
        if is_bag(path):
            streams += _of_bag(path, name, options, problems)
            continue
        if options.topics or options.label_topic:
            raise SourceError(f"{path}: topics can be chosen in bags only; this is a video or a folder of images")
        if path in images:
            source: FrameSource = FolderSource(images, rate_hz=options.rate_hz)
            name = path.name if len(images) == 1 else source.info.path.name
        else:
            source = open_source(path, rate_hz=options.rate_hz)
        tags = TagTruthFolder.beside(source.info) if options.use_truth else None
        streams.append(Stream(path, "", name, source, name, tags=tags))
    return streams


def _half(stream: Stream, options: InputOptions, eye: str) -> Stream:
    """One eye's half of a stream; where both are taken, called as that of an eye with a camera of its own."""
    stream = dataclasses.replace(stream, halves=(options.stereo_layout, eye))
    if options.eye != BOTH:
        return stream
    topic = eye_topic(stream.topic, eye) if stream.topic else ""
    return dataclasses.replace(stream, topic=topic, sequence=f"{stream.name}:{topic or eye}")


def read(inputs: Inputs) -> Iterator[Item]:
    """Frames of all streams; the topics of one bag in order of their time, one path after the other."""
    paths = list(dict.fromkeys(stream.path for stream in inputs.streams))
    for path in paths:
        streams = [stream for stream in inputs.streams if stream.path == path]
        # Merging compares times only: of a bag those of recording, which rise, whatever the stamps do.
        told = set(inputs.problems)
        yield from heapq.merge(*(_items(stream, told) for stream in streams), key=_time)


def read_ahead(inputs: Inputs, *, give_way: bool = False) -> Prefetch[Item]:
    """`read` in a thread of its own, with `give_way` at a low priority."""

    def size(item: Item) -> int:
        return int(item.content.rgb.nbytes) if isinstance(item.content, Frame) else 1

    return Prefetch(read(inputs), limit_bytes=AHEAD_BYTES, size=size, give_way=give_way)


def _of_bag(path: Path, name: str, options: InputOptions, problems: list[str]) -> list[Stream]:
    topics = list(options.topics) or input_topics(path, problems, options.label_topic)
    look = options.use_truth and options.labels is None
    others = not_beside(options.label_topic, topics) if look else []
    streams = []
    for topic in topics:
        try:
            source = BagSource(
                path,
                rate_hz=options.rate_hz,
                topic=topic,
                label_topic=options.label_topic if topic not in others else None,
                label_coding=options.label_map.coding if options.label_map and options.labels is None else None,
                use_labels=look and topic not in others,
            )
        except SourceError as error:
            if options.topics or len(topics) == 1:
                raise
            problems.append(f"{error}; topic left out")
            continue
        if topic in others:
            place = f"{path}: {topic} is not beside {options.label_topic}"
            source.problems.append(f"{place}; it is evaluated without truth")
        sequence = name if len(topics) == 1 else f"{name}:{source.info.topic}"
        streams.append(Stream(path, source.info.topic, sequence, source, name))
    if not streams:
        raise SourceError(f"{path}: none of its image topics can be read: {', '.join(topics)}")
    return streams


def _with_truth(
    streams: list[Stream], options: InputOptions, space: LabelSpace, problems: list[str]
) -> tuple[TruthMapping | None, list[Stream]]:
    """What is evaluated, and the streams with their truth."""
    label_map = options.label_map
    sources = [(stream.name, stream.path, stream.source.info) for stream in streams]
    folders, told = mask_folders(sources, options.labels, look=options.use_truth)
    problems += told
    stored, coding = space, label_map.coding if label_map is not None else space_coding(space)
    if label_map is None and hold_0_and_255(filter(None, folders)):
        stored, coding = load_label_space("binary"), binary_label_map().coding
    if any(folders) or label_map is not None:
        names = label_map.names if label_map is not None else stored.names
        streams = [
            dataclasses.replace(stream, classes=TruthClasses(names, coding.describe(), every=label_map is not None))
            for stream in streams
        ]
    if any(folders):
        streams = [
            dataclasses.replace(stream, truth=TruthFolder(folder, coding, stream.source.info)) if folder else stream
            for stream, folder in zip(streams, folders, strict=True)
        ]
        problems += [stream.truth.problem for stream in streams if stream.truth is not None and stream.truth.problem]
        if label_map is None:
            return mapping_of_spaces(space, stored), streams
    elif label_map is not None and not any(
        isinstance(stream.source, BagSource) and stream.source.has_labels for stream in streams
    ):
        raise SourceError(
            f"label map {label_map.source}: there are no labels in the input; name a folder of masks with --labels"
        )
    if label_map is not None:
        return mapping_of_label_map(space, label_map), streams
    spaces = [stream.source.info.label_space for stream in streams]
    known = [truth for truth in spaces if truth is not None]
    if not known:
        return None, streams
    if any(truth.names != known[0].names for truth in known):
        raise SourceError("the inputs' labels have different classes; give a label map that joins them")
    problems += [
        f"{stream.path}: {stream.topic or 'it'} has no ground truth; it is replayed without"
        for stream, truth in zip(streams, spaces, strict=True)
        if truth is None and not any("evaluated without truth" in line for line in stream.source.problems)
    ]
    return mapping_of_spaces(space, known[0]), streams


def _items(stream: Stream, told: set[str]) -> Iterator[Item]:
    source, seen, read_lines = stream.source, 0, 0

    def news() -> tuple[str, ...]:
        nonlocal read_lines
        lines = tuple(line for line in source.problems[read_lines:] if line not in told)
        read_lines = len(source.problems)
        told.update(lines)
        return lines

    classes = stream.classes
    frames = 0
    for frame in source:
        frames += 1
        while seen < len(source.left_out):
            yield Item(stream, source.left_out[seen], news())
            seen += 1
        problem: tuple[str, ...] = ()
        if stream.truth is not None:
            frame, problem = stream.truth.labelled(frame, stream.path)
        if stream.tags is not None:
            frame, told_of_tags = stream.tags.tagged(frame, stream.path)
            problem += told_of_tags
        try:
            frame = one_eye(frame, *stream.halves)
        except ImageError as error:
            line = f"{stream.path}: {frame.name}: {error}; left out"
            yield Item(stream, LeftOut(frame.index, frame.stamp_ns, str(error)), (*news(), *problem, line))
            continue
        if classes is not None and frame.labels is not None:
            classes.add(frame.labels)
        yield Item(stream, frame, (*news(), *problem))
    for item in source.left_out[seen:]:
        yield Item(stream, item, news())
    last = news()
    if classes is not None and classes.problem():
        last = (*last, f"{stream.path}: {classes.problem()}")
    if stream.truth is not None and (unpaired := stream.truth.unmatched(frames + len(source.left_out))):
        last = (*last, unpaired)
    if last:
        yield Item(stream, None, last)


def _time(item: Item) -> int:
    content = item.content
    if content is None:
        return 1 << 63
    if isinstance(content, Frame) and content.recorded_ns is not None:
        return content.recorded_ns
    return content.stamp_ns
