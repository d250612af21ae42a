"""Draws frames on a Rerun recording: image, mask as segmentation layer, tags, confidence, disagreement, times, log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from clip_rl_perception.arrays import ByteArray, DoubleArray
from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.scene.overlay import spoken
from clip_rl_perception.scene.types import Instrument, Validity
from clip_rl_perception.stereo.space_types import SpaceScene
from clip_rl_perception.viewer import layout
from clip_rl_perception.viewer.frame_view import FrameView
from clip_rl_perception.viewer.space_text import space_text

OPACITY = 0.5
SIDE = 800
"""Longer side that pictures are shrunk to, px. They go uncompressed: a browser decodes JPEG whenever it finds time, and
until then shows the last image under the new mask."""
TIMES = {
    "total": (255, 255, 255),
    "age": (130, 130, 140),
    "network": (90, 160, 255),
    "refine": (255, 170, 60),
    "rest": (80, 200, 160),
}
"""Times that are plotted, and their colours; ``rest`` is what total leaves beside network and refine."""
_VALIDITY_COLORS = {
    Validity.OK: (60, 170, 90),
    Validity.DEGRADED: (230, 180, 40),
    Validity.STALE: (230, 130, 40),
    Validity.OUT_OF_BODY: (200, 60, 60),
    Validity.OUT_OF_DISTRIBUTION: (190, 70, 160),
    Validity.INVALID_INPUT: (120, 120, 120),
}
_LEVELS = {Validity.OK: "INFO", Validity.DEGRADED: "WARN", Validity.STALE: "WARN"}


class RerunScene:
    """One page's content. Not thread-safe: one thread at a time calls it.

    Args:
        rerun: the module, as `viewer.sdk.rerun` gives it.
        stream: rerun RecordingStream to log to.
        live: see `layout.layout`.
    """

    def __init__(self, rerun: Any, stream: Any, *, live: bool) -> None:
        self._rerun, self._live, self._spoke_of_space = rerun, live, False
        self._stream = stream
        self._labels: LabelSpace | None = None
        self._told: tuple[Validity, str] | None = None
        self._shown_ns = 0
        stream.send_blueprint(layout.layout(rerun, live=live))
        self._style()

    def classes(self, labels: LabelSpace) -> None:
        """Names and colours of the classes from now on."""
        if labels == self._labels:
            return
        self._labels = labels
        infos = [(entry.id, entry.name, (*entry.color, 0 if entry.id == 0 else 255)) for entry in labels.classes]
        infos.append((UNLABELLED, "unlabelled", (0, 0, 0, 0)))
        self._static(layout.CAMERA, self._rerun.AnnotationContext(infos))
        for entry in labels.classes:
            if entry.instrument:
                style = self._rerun.SeriesPoints(colors=[entry.color], names=[entry.name], marker_sizes=[2.5])
                self._static(f"{layout.CLASS_CONFIDENCE}/{_path_part(entry.name)}", style)
        self.log(f"{len(labels)} classes of '{labels.name}'")

    def log(self, text: str, level: str = "INFO") -> None:
        """A line in the page's log; `level` is one of Rerun's (INFO, WARN, ERROR, DEBUG)."""
        self._stream.set_time(layout.SHOWN, timestamp=self._now())
        self._stream.log(layout.LOG, self._rerun.TextLog(text, level=level))

    def show(self, frame: FrameView) -> None:
        """Show a frame: every part under the frame's stamp, and nothing of an older frame beside it."""
        self._stream.set_time(layout.STAMP, timestamp=np.datetime64(frame.stamp_ns, "ns"))
        self._stream.set_time(layout.SHOWN, timestamp=self._now())
        self._picture(frame)
        self._state(frame)

    def measure(self, frame: FrameView) -> None:
        """Only what is cheap: times, validity, and confidence of the tags, for frames between those shown."""
        self._stream.set_time(layout.STAMP, timestamp=np.datetime64(frame.stamp_ns, "ns"))
        self._stream.set_time(layout.SHOWN, timestamp=self._now())
        self._state(frame)

    def space(self, stamp_ns: int, scene: SpaceScene) -> None:
        """Instruments in space as a table, which the page shows from the first one on."""
        if not self._spoke_of_space:
            self._stream.send_blueprint(layout.layout(self._rerun, live=self._live, space=True))
            self._spoke_of_space = True
        self._stream.set_time(layout.STAMP, timestamp=np.datetime64(stamp_ns, "ns"))
        self._stream.set_time(layout.SHOWN, timestamp=self._now())
        self._stream.log(layout.SPACE, self._rerun.TextDocument(space_text(scene), media_type="text/markdown"))

    def _picture(self, frame: FrameView) -> None:
        """Image, mask and tags as one row of one entity: a browser has all of them or none, never two frames mixed."""
        rr = self._rerun
        full = _size(frame)
        if full is None:
            self._stream.log(layout.CAMERA, rr.Clear(recursive=False))
            for path in (layout.CONFIDENCE, layout.DISAGREEMENT):
                self._stream.log(path, rr.Clear(recursive=False))
            return
        size, scale = _shrunk(full)
        parts = [rr.Transform3D(scale=[scale, scale, 1.0])]
        parts.append(rr.Image.from_fields(clear_unset=True) if frame.image is None else self._image(frame.image, size))
        if frame.mask is None:
            parts.append(rr.SegmentationImage.from_fields(clear_unset=True))
        else:
            parts.append(rr.SegmentationImage(_nearest(frame.mask, size), opacity=OPACITY, draw_order=1.0))
        self._stream.log(layout.CAMERA, *parts, *self._tags(frame.tags or (), scale))
        for path, share in ((layout.CONFIDENCE, frame.confidence), (layout.DISAGREEMENT, frame.disagreement)):
            if share is None:
                self._stream.log(path, rr.Clear(recursive=False))
                continue
            depth = rr.DepthImage(_nearest(share, size), meter=255.0, colormap="Viridis", depth_range=(0, 255))
            self._stream.log(path, rr.Transform3D(scale=[scale, scale, 1.0]), depth)

    def _image(self, rgb: ByteArray, size: tuple[int, int]) -> Any:
        """Planes of luma and chroma, half as many bytes as RGB."""
        small = rgb if size == rgb.shape[1::-1] else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        planes = cv2.cvtColor(small, cv2.COLOR_RGB2YUV_I420).tobytes()
        form = self._rerun.PixelFormat.Y_U_V12_LimitedRange
        return self._rerun.Image(bytes=planes, width=size[0], height=size[1], pixel_format=form)

    def _tags(self, tags: Sequence[Instrument], scale: float) -> tuple[Any, Any, Any]:
        """Boxes with track ids and names, tips, axes, in pixels of the shrunk picture."""
        rr = self._rerun
        ids = [tag.class_id for tag in tags]
        boxes = rr.Boxes2D(
            mins=_vectors([(tag.box.x, tag.box.y) for tag in tags], scale),
            sizes=_vectors([(tag.box.width, tag.box.height) for tag in tags], scale),
            labels=[self._label(tag) for tag in tags],
            class_ids=ids,
            show_labels=True,
            draw_order=3.0,
        )
        # Rerun's pixel (0, 0) reaches from 0 to 1, ours has its centre at 0.
        tips = _vectors([(tag.tip[0] + 0.5, tag.tip[1] + 0.5) for tag in tags], scale)
        lengths = np.array([[0.35 * max(tag.box.width, tag.box.height)] for tag in tags]).reshape(-1, 1)
        vectors = _vectors([tag.axis for tag in tags], scale) * lengths
        seen = [(tag, point) for tag in tags for point in tag.keypoints if point.visible]
        beside = _vectors([(point.x + 0.5, point.y + 0.5) for _, point in seen], scale)
        marked = [*tags, *(tag for tag, _ in seen)]
        points = rr.Points2D(
            np.concatenate([tips, beside]),
            radii=[*[rr.Radius.ui_points(5.0)] * len(tags), *[rr.Radius.ui_points(2.5)] * len(seen)],
            class_ids=[tag.class_id for tag in marked],
            keypoint_ids=[tag.track_id % 65536 for tag in marked],
            show_labels=False,
            draw_order=5.0,
        )
        white = [(255, 255, 255)] * len(ids)
        return boxes, points, rr.Arrows2D(vectors=vectors, origins=tips - vectors, colors=white, draw_order=4.0)

    def _state(self, frame: FrameView) -> None:
        self._stream.log(layout.VALIDITY, self._rerun.StateChange(state=frame.validity.name))
        self._stream.log(layout.TIMES, self._rerun.Scalars(_times(frame)))
        best: dict[str, float] = {}
        for tag in frame.tags or ():
            name = self._name(tag.class_id)
            best[name] = max(best.get(name, 0.0), tag.confidence)
        for name, value in best.items():
            self._stream.log(f"{layout.CLASS_CONFIDENCE}/{_path_part(name)}", self._rerun.Scalars(value))
        self._tell(frame.validity, frame.reason)

    def _tell(self, validity: Validity, reason: str) -> None:
        """A log line when the validity changes, or its reason but for the numbers in it."""
        kind = (validity, "".join(letter for letter in reason if not letter.isdigit()))
        told, self._told = self._told, kind
        if kind == told or (told is None and validity is Validity.OK):
            return
        text = f"{validity.name}: {reason}" if reason else validity.name
        self._stream.log(layout.LOG, self._rerun.TextLog(text, level=_LEVELS.get(validity, "ERROR")))

    def _style(self) -> None:
        rr = self._rerun
        self._static(layout.TIMES, rr.SeriesLines(names=list(TIMES), colors=list(TIMES.values())))
        states = rr.StateConfiguration(
            values=[kind.name for kind in Validity],
            labels=[kind.name.replace("_", " ").lower() for kind in Validity],
            colors=[_VALIDITY_COLORS[kind] for kind in Validity],
        )
        self._static(layout.VALIDITY, states)

    def _static(self, path: str, made: Any) -> None:
        self._stream.log(path, made, static=True)

    def _name(self, class_id: int) -> str:
        labels = self._labels
        return labels.names[class_id] if labels is not None and class_id < len(labels) else f"class {class_id}"

    def _label(self, tag: Instrument) -> str:
        return spoken(tag, self._name(tag.class_id), " %")

    def _now(self) -> np.datetime64:
        self._shown_ns = max(self._shown_ns + 1, time.time_ns())
        return np.datetime64(self._shown_ns, "ns")


def _size(frame: FrameView) -> tuple[int, int] | None:
    """(height, width) of the frame: the image's, or without one the mask's; None where there is neither."""
    for pixels in (frame.image, frame.mask, frame.confidence):
        if pixels is not None:
            return int(pixels.shape[0]), int(pixels.shape[1])
    return None


def _shrunk(full: tuple[int, int]) -> tuple[tuple[int, int], float]:
    """(width, height) of what is sent, both even as halved chroma needs them, and full-size px per px of it."""
    height, width = full
    factor = min(1.0, SIDE / max(full))
    size = (max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2))
    return size, width / size[0]


def _nearest(pixels: ByteArray, size: tuple[int, int]) -> ByteArray:
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _vectors(values: Sequence[tuple[float, float]], scale: float) -> DoubleArray:
    """(n, 2), divided by `scale`."""
    return np.asarray(values, np.float64).reshape(-1, 2) / scale


def _times(frame: FrameView) -> list[float]:
    """In the order of `TIMES`; NaN where unknown."""
    times = dict(frame.times_ms)
    if "total" in times:
        times["rest"] = times["total"] - times.get("network", 0.0) - times.get("refine", 0.0)
    return [times.get(name, float("nan")) for name in TIMES]


def _path_part(name: str) -> str:
    """A class name as a part of an entity path."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
