"""What the generator hands out: one rendered frame with its exact ground truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from clip_rl_perception.arrays import BoolArray, ByteArray, FloatArray


def as_bytes(array: Any) -> ByteArray:
    """The array as uint8, without a copy where it is already; OpenCV's results carry no element type."""
    return np.asarray(array, np.uint8)


def as_floats(array: Any) -> FloatArray:
    """The array as float32, without a copy where it is already."""
    return np.asarray(array, np.float32)


TYPE_NAMES = (
    "bipolar forceps",
    "prograsp forceps",
    "large needle driver",
    "monopolar curved scissors",
    "ultrasound probe",
    "suction instrument",
    "clip applier",
)
"""Spoken names of the instrument types; index i is class id i + 1 of the label space endovis2018-type."""

BIPOLAR, PROGRASP, NEEDLE_DRIVER, SCISSORS, PROBE, SUCTION, CLIP_APPLIER = range(1, 8)

PART_NONE, PART_SHAFT, PART_WRIST, PART_CLASPER = range(4)
"""Ids of the label space endovis2017-parts."""

(
    SCENE_TISSUE,
    SCENE_SHAFT,
    SCENE_CLASPER,
    SCENE_WRIST,
    SCENE_KIDNEY,
    SCENE_COVERED_KIDNEY,
    SCENE_THREAD,
    SCENE_CLAMPS,
    SCENE_NEEDLE,
    SCENE_SUCTION,
    SCENE_INTESTINE,
    SCENE_PROBE,
) = range(12)
"""Ids of the label space endovis2018 (12 scene classes)."""


def scene_class(type_id: int, part_id: int) -> int:
    """Scene class of a part of an instrument type: suction and ultrasound probe are one class as a whole."""
    if type_id == SUCTION:
        return SCENE_SUCTION
    if type_id == PROBE:
        return SCENE_PROBE
    return {PART_SHAFT: SCENE_SHAFT, PART_WRIST: SCENE_WRIST, PART_CLASPER: SCENE_CLASPER}[part_id]


@dataclasses.dataclass(frozen=True)
class KeypointTruth:
    """A named point of an instrument, (x, y) px; names as of `clip_rl_perception.scene.types.KEYPOINTS`."""

    name: str
    x: float
    y: float
    visible: bool
    """False: outside the content area, or covered by something."""
    nearness: float = 0.0
    """One over its depth, 1/mm, for a scene that a stereo endoscope sees; 0 otherwise."""


@dataclasses.dataclass(frozen=True)
class InstrumentTruth:
    """One instrument of a frame that shows some of it."""

    instance: int
    """Its number in `SyntheticFrame.instance_map`."""
    type_id: int
    """Id of the label space endovis2018-type."""
    keypoints: tuple[KeypointTruth, ...]
    """Those that are known; none of a cut-out."""
    axis: tuple[float, float]
    """Unit vector along the shaft, from the entry towards the tip."""
    end: tuple[float, float]
    """Where the shaft ends, (x, y) px, in the picture or not."""
    radius: float
    """Half the shaft's width there, px."""
    shaft: tuple[tuple[tuple[float, float], float], ...] = ()
    """Two points of its axis, towards the end, each (x, y) px and one over its depth, 1/mm; empty without depths."""


@dataclasses.dataclass(frozen=True)
class SyntheticFrame:
    """One synthetic endoscope image and its labels, all of size (H, W).

    Labels are those of the pixel's visible surface at the middle of the exposure: thin blood, smoke or blur over an
    instrument leave its label. Outside the content area every label is 0.
    """

    rgb: ByteArray
    """Image, uint8 (H, W, 3), R, G, B."""
    type_map: ByteArray
    """Instrument types, ids of label space endovis2018-type; 255 for a cut-out instrument of unknown type."""
    scene_map: ByteArray
    """Scene classes, ids of label space endovis2018; 255 where an instrument's parts are not known."""
    part_map: ByteArray
    """Instrument parts, ids of label space endovis2017-parts; non-zero exactly where `type_map` is, 255 if not known.

    Suction instrument: the whole tube is shaft. Ultrasound probe: rod shaft, joint wrist, transducer head clasper.
    """
    instance_map: ByteArray
    """1..n per instrument, the same number for the same instrument throughout a video; 0 elsewhere."""
    content: BoolArray
    """True where the camera shows the patient, False in the black surround."""
    caption: str
    """Plain English description of what is visible."""
    stamp: float
    """Time of the frame, s from the start of the video."""
    instruments: tuple[InstrumentTruth, ...] = ()
    """The drawn instruments of which at least one pixel is seen, by number."""

    def mapped(
        self, image: Callable[[ByteArray], ByteArray], labels: Callable[[ByteArray], ByteArray]
    ) -> SyntheticFrame:
        """The frame with `image` done to its picture and `labels` to its label maps, uint8 (H, W).

        Where its `instruments` come to lie is not known: they are left out.
        """
        return dataclasses.replace(
            self,
            rgb=image(self.rgb),
            type_map=labels(self.type_map),
            scene_map=labels(self.scene_map),
            part_map=labels(self.part_map),
            instance_map=labels(self.instance_map),
            content=labels(self.content.astype(np.uint8)) > 0,
            instruments=(),
        )
