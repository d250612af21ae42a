"""Labelled scenes by number; `label_batch` has the batches that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError

from clip_rl_training.synthetic.drawing.rendered_frame import PART_SHAFT, SUCTION, SyntheticFrame

TRAINING, VALIDATION, TEST, CLOSE_UP = range(4)
"""Scenes never cross these: they enter the seed of every scene. The last are scenes for training on close-ups."""

_SCENE = 0
"""What is drawn: part of the seed, apart from what `loop.batches` draws of a sample."""


class DataError(ClipRlError, ValueError):
    """Training data is not usable; the message names what and what was expected."""


class DatasetFrame(NamedTuple):
    """A labelled frame of a dataset."""

    rgb: ByteArray
    """uint8 (H, W, 3)."""
    ids: ByteArray
    """The dataset's own ids, uint8 (H, W), 255 = ignored."""
    tables: Mapping[str, ByteArray]
    """By label space: its ids by the dataset's, uint8 (256,)."""
    content: npt.NDArray[np.bool_]
    """Where the camera shows the patient, (H, W)."""
    caption: str
    """What the frame shows, in words."""


class Stills(Protocol):
    """A source of labelled scenes."""

    def frame(self, split: int, index: int) -> SyntheticFrame | DatasetFrame:
        """Scene number `index`, any int >= 0, of `TRAINING`, `VALIDATION` or `TEST`."""
        ...

    def available(self, split: int) -> int | None:
        """How many different scenes the split has; None: as many as are asked for."""
        ...


@runtime_checkable
class CloseUpStills(Protocol):
    """Stills of which close-ups can be had."""

    def close_up(self, index: int) -> SyntheticFrame:
        """Close-up number `index` for training, any int >= 0; its caption names the type alone."""
        ...


def labels_in(frame: SyntheticFrame | DatasetFrame, space: str) -> ByteArray:
    """A scene's labels in the named label space, uint8 (H, W).

    Raises:
        DataError: a label space in which the scene is not labelled; lists those that exist.
    """
    if isinstance(frame, DatasetFrame):
        if space not in frame.tables:
            raise DataError(f"frames have no labels in '{space}'; they have: {', '.join(frame.tables)}")
        return np.asarray(frame.tables[space][frame.ids], np.uint8)
    if space == "endovis2018-type":
        return frame.type_map
    if space == "endovis2018":
        return frame.scene_map
    if space == "endovis2017-parts":
        return frame.part_map
    if space in ("binary", "endovis2017-binary"):
        return (frame.type_map > 0).astype(np.uint8)
    known = "endovis2018-type, endovis2018, endovis2017-parts, endovis2017-binary, binary"
    raise DataError(f"synthetic scenes have no labels in '{space}'; they have: {known}")


def tip_labels(frame: SyntheticFrame) -> ByteArray:
    """Types where a look tells them, uint8 (H, W): shafts look alike and are left out, 255, but for suction tubes."""
    shafts = (frame.part_map == PART_SHAFT) & (frame.type_map != SUCTION)
    return np.where(shafts, np.uint8(255), frame.type_map)


def scene_generator(seed: int, split: int, index: int) -> np.random.Generator:
    """The random numbers of one scene."""
    return np.random.default_rng([seed, split, _SCENE, index])
