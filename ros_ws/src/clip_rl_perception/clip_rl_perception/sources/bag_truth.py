"""Ground truth in a bag: which topic holds it, how it is stored, and what its ids mean.

To labels on ``<labels>`` belongs, where the instruments themselves are known, the truth of tags:

    <labels>/instances/compressed   sensor_msgs/CompressedImage, PNG of 8 or 16 bits: instrument numbers, 0 is none
    <labels>/instruments            std_msgs/String, optional: {"stamp_ns": of the image, "instruments": [...]} in JSON,
                                    the list as in `tag_truth`
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError, named_line
from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.messages import message_types
from clip_rl_perception.messages.class_messages import label_space_of
from clip_rl_perception.messages.transports import COMPRESSED, base_topic, topic_of
from clip_rl_perception.metrics.tag_measures import TagTruth, TrueInstrument
from clip_rl_perception.pictures import encodings
from clip_rl_perception.pictures.picture_files import PNG, PictureError
from clip_rl_perception.sources.frames import SourceError
from clip_rl_perception.sources.mask_coding import CodingError, ColorCoding, MaskCoding, StoredMask, ValueCoding
from clip_rl_perception.sources.mask_files import decode_mask
from clip_rl_perception.sources.tag_truth import TagTruthError, check_size, decode_numbers, instruments_from_plain


def is_label_topic(topic: str) -> bool:
    """True for topics that hold ground truth by their name: the last part is ``labels``."""
    return base_topic(topic).rsplit("/", 1)[-1] == "labels"


def labels_beside(image_topic: str, label_topics: Sequence[str], image_topics: Sequence[str]) -> str | None:
    """The label topic that belongs to an image topic; None where there is none.

    One of the same namespace (``/left/labels`` to ``/left/image_raw``). Only where the bag has a single image topic is
    one of another namespace taken: stereo images share their stamps, and the left truth must not judge the right eye.
    """
    namespace = base_topic(image_topic).rpartition("/")[0]
    near = [name for name in label_topics if base_topic(name).rpartition("/")[0] == namespace]
    if near:
        return near[0]
    alone = len({base_topic(name) for name in image_topics}) == 1
    return label_topics[0] if label_topics and alone else None


def not_beside(label_topic: str | None, image_topics: Sequence[str]) -> list[str]:
    """Of several image topics those that a label topic, named by the user, is not beside; of one none.

    Raises:
        SourceError: it is beside none of them.
    """
    if label_topic is None or len(image_topics) == 1:
        return []
    others = [topic for topic in image_topics if labels_beside(topic, [label_topic], image_topics) is None]
    if len(others) == len(image_topics):
        raise SourceError(
            f"{label_topic} is beside none of {', '.join(image_topics)}; name with --topic the one it is the truth of"
        )
    return others


def tag_topics(label_topic: str) -> tuple[str, str]:
    """Topics of instances and of what is told of instruments, beside labels on `label_topic`."""
    base = base_topic(label_topic)
    return topic_of(f"{base}/instances", COMPRESSED), f"{base}/instruments"


def holds_instances(topic: str) -> bool:
    """True for topics that hold instrument numbers by their name: ``.../labels/instances``."""
    return base_topic(topic).endswith("/labels/instances")


class StoredLabels:
    """Labels as stored in messages, decoded by a coding given or by the class list of the topic."""

    def __init__(self, space: LabelSpace | None, coding: MaskCoding | None) -> None:
        """`space`: of the class list, if there is one; `coding`: of a label map, which goes before it."""
        self._coding = coding
        self._space = space
        self._by_value = space_coding(space) if space is not None else None
        self._by_color: ColorCoding | None = None

    def decode(self, message: Any, place: str) -> ByteArray:
        """uint8 (H, W) class ids of an Image (mono8, or colours as rgb8/bgr8) or of a PNG of 8-bit channels.

        Raises:
            SourceError: not such an image. CodingError: values or colours without a class. ImageError: broken fields.
        """
        stored = stored_mask(message)
        if self._coding is not None:
            return self._coding.decode(stored, place)
        if stored.pixels.ndim == 2 and stored.indices is None and self._by_value is None:
            return np.asarray(stored.pixels, np.uint8)
        if stored.pixels.ndim == 3:
            if self._by_color is None:
                self._by_color = _color_coding(self._space)
            try:
                return self._by_color.decode(stored, place)
            except CodingError:
                if stored.indices is None:
                    raise
        if self._by_value is None:
            raise SourceError("labels with a palette need a label map, or a class list")
        return self._by_value.decode(stored, place)


def stored_mask(message: Any) -> StoredMask:
    """Pixels of a label message, 8-bit ids or RGB; raises `SourceError` or `ImageError`."""
    if hasattr(message, "encoding"):
        if message.encoding not in ("mono8", "8UC1", "rgb8", "bgr8", "rgba8", "bgra8"):
            raise SourceError(f"encoding is {message.encoding}; expected mono8 class ids, or rgb8 or bgr8 colours")
        view = encodings.image_view(
            height=message.height,
            width=message.width,
            encoding="mono8" if message.encoding == "8UC1" else message.encoding,
            step=message.step,
            is_bigendian=False,
            data=message.data,
        )
        pixels = np.asarray(view, np.uint8)
        return StoredMask(pixels if pixels.ndim == 2 else _rgb(pixels, message.encoding.startswith("bgr")))
    content = bytes(message.data)
    if not content.startswith(PNG):
        raise SourceError(f"labels of format '{message.format}'; expected PNG: other compressions change class ids")
    try:
        stored = decode_mask(content)
    except PictureError as error:
        raise SourceError(f"labels: the PNG {error}") from error
    if stored.pixels.dtype != np.uint8:
        raise SourceError("not a PNG of 8-bit class ids or colours")
    return stored


def class_list(reader: Any, topic: str) -> LabelSpace | None:
    """What the labels on `topic` mean, from ``<topic>/classes``; None where there is none; raises `SourceError`."""
    name = f"{base_topic(topic)}/classes"
    stored = reader.topics.get(name)
    if stored is None or stored.msgtype != message_types.CLASS_LIST or stored.left_out:
        return None
    for connection, _, data in reader.messages(stored.connections):
        try:
            return label_space_of(reader.deserialize(data, connection.msgtype))
        except ClipRlError as error:
            raise SourceError(f"{name}: {error}") from error
    return None


def space_coding(space: LabelSpace) -> ValueCoding:
    """The coding of masks that store ids of `space`; 255 is ignored."""
    names = dict(enumerate(space.names))
    return ValueCoding({index: index for index in names}, names, ignore=(UNLABELLED,))


def _color_coding(space: LabelSpace | None) -> ColorCoding:
    colors = [entry.color for entry in space.classes] if space is not None else []
    if space is None or len(set(colors)) != len(colors):
        raise SourceError("colour-coded labels need a label map, or a class list whose colours differ")
    return ColorCoding({entry.color: entry.id for entry in space.classes}, dict(enumerate(space.names)))


def _rgb(pixels: ByteArray, bgr: bool) -> ByteArray:
    return pixels[..., 2::-1] if bgr else pixels[..., :3]


@dataclasses.dataclass(frozen=True)
class StoredMessage:
    """A message of a bag, not deserialised."""

    index: int
    """Among the images of the topic; -1 of a label."""
    time: int
    """In the bag, ns."""
    stamp: int
    """Header stamp, ns; 0 where the driver set none."""
    data: bytes

    @property
    def key(self) -> int:
        """Header stamp, or the time in the bag where that is zero, ns."""
        return self.stamp or self.time


class LabelQueue:
    """Labels by stamp, those that may still be asked for, and how many were asked for."""

    def __init__(self) -> None:
        self._waiting: dict[int, StoredMessage] = {}
        self._used: set[int] = set()
        """Stamps of those waiting that a frame had."""
        self._count = self._paired = self._frames = 0

    def add(self, label: StoredMessage) -> None:
        """Take the next one."""
        self._waiting[label.key] = label
        self._used.discard(label.key)
        self._count += 1

    def has(self, stamp: int) -> bool:
        """Whether the label of a frame is there."""
        return stamp in self._waiting

    def of(self, stamp: int) -> StoredMessage | None:
        """The label of a frame."""
        label = self._waiting.get(stamp)
        if label is not None:
            self._frames += 1
            self._paired += stamp not in self._used
            self._used.add(stamp)
        return label

    def forget(self, before: int) -> None:
        """Drop those recorded before a time in the bag, ns."""
        for old in [stamp for stamp, label in self._waiting.items() if label.time < before]:
            del self._waiting[old]
            self._used.discard(old)

    def unpaired(self, frames: int) -> str:
        """How many labels and how many of so many frames stayed alone, in words; empty where none did."""
        alone, bare = self._count - self._paired, frames - self._frames
        said = [f"{alone} of {self._count} labels have the stamp of no frame"] if alone else []
        said += [f"{bare} of {frames} frames have no label and so no truth"] if bare else []
        return ", ".join(said)


class TagQueue:
    """Truth of tags by stamp, that which may still be asked for."""

    def __init__(self, reader: Any, label_topic: str | None) -> None:
        """Those of `tag_topics` that an open `BagReader` has with messages of their type."""
        kinds = (message_types.COMPRESSED_IMAGE, message_types.STRING)
        self.topics: dict[str, bool] = {}
        """Whether each holds instances."""
        for name, kind in zip(tag_topics(label_topic) if label_topic else (), kinds, strict=False):
            stored = reader.topics.get(name)
            if stored is not None and stored.msgtype == kind and not stored.left_out:
                self.topics[name] = kind == message_types.COMPRESSED_IMAGE
        self._instances: dict[int, tuple[int, Any]] = {}
        self._told: dict[int, tuple[int, dict[int, TrueInstrument]]] = {}

    def add(self, topic: str, recorded: int, message: Any) -> None:
        """Take a message of one of `topics`; raises `SourceError` for what is told and not as described."""
        if self.topics[topic]:
            self._instances[message_types.stamp_of(message) or recorded] = recorded, message
            return
        try:
            told = json.loads(message.data)
            self._told[int(told["stamp_ns"])] = recorded, instruments_from_plain(told["instruments"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise SourceError(f"{named_line(error)}; expected stamp_ns and instruments in JSON") from error

    def has(self, stamp: int) -> bool:
        """Whether all there can be is there."""
        held = {True: self._instances, False: self._told}
        return all(stamp in held[instances] for instances in self.topics.values())

    def of(self, stamp: int, shape: tuple[int, ...]) -> TagTruth | None:
        """The truth of a frame, (H, W) or more; None where it has none. Raises `SourceError`."""
        if stamp not in self._instances:
            return None
        try:
            numbers = decode_numbers(bytes(self._instances[stamp][1].data))
            truth = TagTruth(numbers, self._told[stamp][1] if stamp in self._told else {})
            check_size(truth, shape, "labels")
        except PictureError as error:
            raise SourceError(f"instances: the PNG {error}") from error
        except TagTruthError as error:
            raise SourceError(str(error)) from error
        return truth

    def forget(self, before: int) -> None:
        """Drop what was recorded before a time in the bag, ns."""
        for held in (self._instances, self._told):
            for old in [stamp for stamp, (recorded, _) in held.items() if recorded < before]:
                del held[old]
