"""What a replay writes beside its report: the output bag and the overlay video. Both are readable however it ends."""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.bags.bag_writer import BagWriter, qos
from clip_rl_perception.folder_files import unused_name
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.messages import message_types, scene_messages
from clip_rl_perception.messages.class_messages import class_list
from clip_rl_perception.messages.image_messages import image
from clip_rl_perception.messages.transports import base_topic
from clip_rl_perception.replay.run_builder import StreamKey, key_of
from clip_rl_perception.replay.video_writer import VideoWriter
from clip_rl_perception.runs.observer import SeenFrame
from clip_rl_perception.runs.overlay_picture import overlay_at
from clip_rl_perception.runs.run_record import FrameRecord
from clip_rl_perception.scene.overlay import draw_banner, draw_caption
from clip_rl_perception.scene.types import Basis, Validity
from clip_rl_perception.sources.frames import Frame

VIDEO_WIDTH = 720
"""Widest overlay video, px: drawing and encoding full-size frames would take longer than inferring them."""
FRAME_ID = "endoscope_optical"
"""Of the headers that frames of videos and folders get."""


def namespaces(streams: Sequence[StreamKey]) -> dict[StreamKey, str]:
    """Namespace of the outputs by stream: the image topic's own, as a launched node has; the topic where these clash.

    Of several inputs with one topic (or none, as videos have) each has its outputs below a name of its own.
    """
    counts = collections.Counter(topic for _, topic in streams)
    parents = {topic: base_topic(topic).rpartition("/")[0] for topic in counts}
    taken = list(parents.values())
    found: dict[StreamKey, str] = {}
    for place, (sequence, topic) in enumerate(streams):
        namespace = parents[topic] if taken.count(parents[topic]) == 1 else base_topic(topic)
        if counts[topic] > 1:
            name = re.sub(r"[^A-Za-z0-9]+", "_", sequence.removesuffix(f":{topic}")).strip("_")
            name = name if name[:1].isalpha() else f"input_{name}"
            names = (f"/{name}{suffix}{namespace}" for suffix in ("", f"_{place}"))
            namespace = next(each for each in names if each not in found.values())
        found[sequence, topic] = namespace
    return found


class OutputBag:
    """A bag of mask, confidence, instruments and status per stream, and the classes, as the node publishes them.

    Every message has the header of its image, untouched, and the image's time in the bag: both bags play in step.
    """

    def __init__(self, path: Path, streams: Sequence[StreamKey], space: LabelSpace, model_id: str, engine: str) -> None:
        """Create the bag; one left by an earlier replay is replaced. Raises `BagError`."""
        self._bag = BagWriter(path, overwrite=True, compress=True)
        self._namespaces = namespaces(streams)
        self._space, self._model_id, self._engine = space, model_id, engine
        self._counts: dict[StreamKey, list[int]] = {key: [0, 0] for key in streams}
        self._started: set[StreamKey] = set()

    def write(self, record: FrameRecord, seen: SeenFrame, frame: Frame | None) -> None:
        """Write what there is of a frame; `frame` is None where it could not be decoded. Raises `BagError`."""
        stamp = record.stamp_ns
        time = frame.recorded_ns if frame is not None and frame.recorded_ns is not None else stamp
        header_stamp = stamp if frame is None or frame.stamped else 0
        header = message_types.header(header_stamp, (frame.frame_id if frame is not None else "") or FRAME_ID)
        key = key_of(record)
        namespace = self._namespaces[key]
        if key not in self._started:
            self._started.add(key)
            classes = class_list(self._space, stamp)
            profile = qos(transient_local=True, depth=1)
            self._bag.write_message(f"{namespace}/classes", message_types.CLASS_LIST, classes, time, profile)
        self._counts[key][record.kind != "mask"] += 1
        told: list[tuple[str, str, Any]] = []
        if seen.mask is not None:
            tags = scene_messages.tags(header, seen.instruments, self._space, self._model_id)
            told.append(("mask", message_types.IMAGE, image(header, seen.mask)))
            told.append(("instruments", message_types.INSTRUMENTS, tags))
        if seen.confidence is not None:
            told.append(("confidence", message_types.IMAGE, image(header, seen.confidence)))
        told.append(("status", message_types.STATUS, scene_messages.status(header, self._status(record))))
        for name, kind, message in told:
            self._bag.write_message(f"{namespace}/{name}", kind, message, time)

    def close(self) -> None:
        """Write the index."""
        self._bag.close()

    def _status(self, record: FrameRecord) -> scene_messages.Status:
        processed, invalid = self._counts[key_of(record)]
        return scene_messages.Status(
            validity=Validity[record.validity.upper()] if record.validity else Validity.INVALID_INPUT,
            reason=record.reason,
            novelty=record.novelty,
            stage_ms=record.stage_ms,
            age_ms=record.age_ms,
            basis=record.basis or Basis(),
            received=processed + invalid,
            processed=processed,
            invalid=invalid,
            model_id=self._model_id,
            engine=self._engine,
        )


class OverlayVideos:
    """One overlay video per stream: ``overlay.mp4``, or ``overlay-<topic>.mp4`` where there are several.

    A `FrameObserver`. A picture stays until the next one, as who watched the overlay saw it; a mask is never drawn on
    another frame.
    """

    def __init__(
        self, folder: Path, rates: Mapping[StreamKey, float], *, width: int = VIDEO_WIDTH, frames: int = 0
    ) -> None:
        """Prepare it.

        Args:
            folder: where the videos go.
            rates: frames per second by stream.
            width: widest video, px.
            frames: of each video at least, where it has any: its last picture is repeated.
        """
        self._rates, self._width, self._frames = rates, width, frames
        self._paths = {stream: folder / name for stream, name in _file_names(list(rates)).items()}
        self._writers: dict[StreamKey, VideoWriter] = {}
        self._last: dict[StreamKey, ByteArray] = {}
        self.files: dict[StreamKey, Path] = {}
        """By stream."""

    def on_frame(self, seen: SeenFrame) -> None:
        """Append a frame; one without a mask is shown as it came, with its reason. Raises `VideoError`."""
        if seen.rgb is None:
            return
        record, stream = seen.record, key_of(seen.record)
        picture = overlay_at(seen, self._width)
        if record.validity not in (None, "ok"):
            draw_banner(picture, Validity[str(record.validity).upper()], record.reason)
        texts = [f"frame {record.index}"]
        if record.latency_ms is not None:
            texts.append(f"{record.latency_ms:.0f} ms")
        if record.measures is not None and record.measures.iou == record.measures.iou:
            texts.append(f"IoU {record.measures.iou:.2f}")
        draw_caption(picture, "   ".join(texts))
        writer = self._writers.get(stream)
        if writer is None:
            path = self._paths[stream]
            writer = self._writers[stream] = VideoWriter(path, picture.shape[:2], self._rates[stream])
            self.files[stream] = path
        else:
            self._repeat(stream, record.index)
        self._last[stream] = picture
        writer.write(picture)

    @property
    def frames(self) -> int:
        """Pictures written, in all videos."""
        return sum(writer.frames for writer in self._writers.values())

    @property
    def codec(self) -> str:
        """Of the videos; empty before the first frame."""
        return next((writer.codec for writer in self._writers.values()), "")

    def close(self) -> None:
        """Finish the files."""
        for stream, writer in self._writers.items():
            self._repeat(stream, self._frames)
            writer.close()

    def _repeat(self, stream: StreamKey, frames: int) -> None:
        """Repeat the last picture of a video until it has so many frames."""
        writer = self._writers[stream]
        while writer.frames < frames:
            writer.write(self._last[stream])


def _file_names(streams: Sequence[StreamKey]) -> dict[StreamKey, str]:
    """Of each stream its own, whatever signs its name loses."""
    if len(streams) == 1:
        return {streams[0]: "overlay.mp4"}
    found: dict[StreamKey, str] = {}
    for stream in streams:
        name = re.sub(r"[^\w.-]", "_", "_".join(stream)).strip("_")
        found[stream] = unused_name(f"overlay-{name}", found.values(), "_")
    return {stream: f"{name}.mp4" for stream, name in found.items()}
