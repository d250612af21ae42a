"""Instances in the format of COCO: annotations go to the disk frame by frame, so that a long video fits the memory.

One annotation for each instrument, and one for all pixels of each other class but the background; ``category_id`` is
the class id. ``segmentation`` is run-length encoded as whole numbers, which pycocotools reads as exactly these pixels,
or polygons, which lose holes and half a pixel at borders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.scene.instance_masks import instrument_owners
from clip_rl_perception.scene.types import KEYPOINTS, Instrument, Scene

Segmentation = Literal["rle", "polygons"]
_SKELETON = [[1, 2], [2, 3], [2, 4]]
"""Which of `KEYPOINTS`, from 1, are joined by lines."""


class CocoFile:
    """Written beside its place, and renamed by `close`, when it is whole."""

    def __init__(self, path: Path, space: LabelSpace, segmentation: Segmentation, description: str) -> None:
        """Begin the file; raises `ClipRlError` where it cannot be written."""
        self._path, self._space, self._segmentation = path, space, segmentation
        self._aside = path.with_name(f".{path.name}.part")
        self._images: list[dict[str, Any]] = []
        self._count = 0
        categories = [
            {
                "id": entry.id,
                "name": entry.name,
                "supercategory": "instrument" if entry.instrument else "scene",
                "color": list(entry.color),
                **({"keypoints": list(KEYPOINTS), "skeleton": _SKELETON} if entry.instrument else {}),
            }
            for entry in space.classes[1:]
        ]
        try:
            self._file = self._aside.open("w", encoding="utf-8")
        except OSError as error:
            raise ClipRlError(f"cannot write {path}: {error.strerror}") from error
        info = json.dumps({"description": description})
        self._file.write(f'{{"info": {info}, "categories": {json.dumps(categories)}, "annotations": [')

    def add(self, name: str, scene: Scene) -> None:
        """Add a frame called `name`. Raises OSError where the disk refuses."""
        height, width = scene.label_map.shape
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": name, "width": width, "height": height})
        for mask, fields in _segments(scene, self._space):
            segmentation = run_lengths(mask) if self._segmentation == "rle" else polygons(mask)
            if not segmentation:
                continue
            comma, self._count = "," if self._count else "", self._count + 1
            x, y, across, down = cv2.boundingRect(mask)
            annotation = {
                "id": self._count,
                "image_id": number,
                **fields,
                "bbox": [x, y, across, down],
                "area": int(cv2.countNonZero(mask)),
                "iscrowd": 0,
                "segmentation": segmentation,
            }
            self._file.write(f"{comma}\n{json.dumps(annotation)}")

    def close(self) -> None:
        """Finish the file. Raises OSError where the disk refuses."""
        with self._file:
            self._file.write(f'\n], "images": {json.dumps(self._images)}}}\n')
        self._aside.replace(self._path)


def _segments(scene: Scene, space: LabelSpace) -> Iterator[tuple[ByteArray, dict[str, Any]]]:
    """Masks, uint8 0 or 1 (height, width), none of them empty, and what an annotation says of them."""
    owners = instrument_owners(scene, space)
    for place, tag in enumerate(scene.instruments, start=1):
        mask = np.asarray(owners == place, np.uint8)
        if mask.any():
            yield mask, {"category_id": tag.class_id, **_said(tag)}
    there = np.bincount(scene.label_map.ravel(), minlength=256)
    for entry in space.classes[1:]:
        if not entry.instrument and there[entry.id]:
            yield np.asarray(scene.label_map == entry.id, np.uint8), {"category_id": entry.id}


def _said(tag: Instrument) -> dict[str, Any]:
    """What else an annotation says of an instrument; without keypoints none are named: nothing looked for them."""
    said: dict[str, Any] = {"score": round(tag.confidence, 4), "track_id": tag.track_id, "confirmed": tag.confirmed}
    if tag.type_name:
        said |= {"type_name": tag.type_name, "type_probability": round(tag.type_probability, 4)}
    if tag.keypoints:
        known = {point.name: point for point in tag.keypoints}
        said["num_keypoints"] = len(known)
        said["keypoints"] = []
        for name in KEYPOINTS:
            point = known.get(name)
            said["keypoints"] += [round(point.x, 2), round(point.y, 2), 1 + point.visible] if point else [0, 0, 0]
    return said


def run_lengths(mask: npt.NDArray[Any]) -> dict[str, Any]:
    """Lengths of runs down the columns, of 0 and 1 in turn, beginning with 0: uncompressed RLE of COCO."""
    flat = np.asarray(mask, np.bool_).ravel(order="F")
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0] * (1 + bool(flat[0])), ends, [flat.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def polygons(mask: ByteArray) -> list[list[float]]:
    """Outlines of the pieces of a mask, [x, y, x, y, ...] each; pieces of fewer than three points have none."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [outline.ravel().tolist() for outline in outlines if len(outline) >= 3]
