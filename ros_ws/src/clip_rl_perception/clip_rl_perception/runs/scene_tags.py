"""The tags of a scene as the arrays that measures of tags take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import UNLABELLED, LabelSpace
from clip_rl_perception.metrics.tag_measures import FrameTags, Point
from clip_rl_perception.scene.instance_masks import MOST, instrument_owners
from clip_rl_perception.scene.types import Instrument, Scene


def scene_tags(scene: Scene, space: LabelSpace, *, tentative: bool) -> FrameTags:
    """Tags with their pixels; see `frame_tags`."""
    owners = instrument_owners(scene, space)
    chosen = [place for place, tag in enumerate(scene.instruments) if tentative or tag.confirmed]
    numbered = [place + 1 for place in chosen if place < MOST]
    place_of = np.zeros(MOST + 1, np.uint8)
    place_of[numbered] = range(1, len(numbered) + 1)
    return frame_tags(scene.instruments, space, tentative=tentative, owners=place_of[owners])


def frame_tags(
    instruments: Sequence[Instrument], space: LabelSpace, *, tentative: bool, owners: ByteArray | None = None
) -> FrameTags:
    """Tags as arrays.

    A tag without a type is called as its class is, unless that is a part; one without tips among its keypoints has its
    `tip` as one.

    Args:
        instruments: of a frame.
        space: their classes.
        tentative: those not confirmed count too.
        owners: whose pixels are whose, see `FrameTags`.
    """
    told = [tag for tag in instruments if tentative or tag.confirmed]
    boxes = [(tag.box.x, tag.box.y, tag.box.width, tag.box.height) for tag in told]
    return FrameTags(
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        confidences=np.array([tag.confidence for tag in told], np.float64),
        tracks=np.array([tag.track_id for tag in told], np.int64),
        types=tuple(_type(tag, space) for tag in told),
        points=tuple(_points(tag) for tag in told),
        owners=owners,
    )


def content_pixels(label_map: ByteArray) -> int:
    """Pixels of the frame that show the patient."""
    return int((label_map != UNLABELLED).sum())


def _type(tag: Instrument, space: LabelSpace) -> str:
    entry = space.classes[tag.class_id]
    return tag.type_name or ("" if entry.part else entry.name)


def _points(tag: Instrument) -> dict[str, Point]:
    points = {point.name: (point.x, point.y) for point in tag.keypoints}
    return points if any(name.startswith("tip") for name in points) else {**points, "tip_1": tag.tip}
