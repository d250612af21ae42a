"""The label map of a folder whose masks say themselves what they hold: 0 and 255, or 0 and 1. Others must be named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from clip_rl_perception.sources.mask_coding import ValueCoding
from clip_rl_perception.sources.truth_label_map import LabelMap, label_map_from_dict, load_label_map

from clip_rl_training.datasets.dataset import DatasetError, read_mask
from clip_rl_training.datasets.folder import open_folder

LOOKED_AT = 64
"""Masks whose values are looked at, spread over the folder; what others hold beyond is told when they are read."""

_MOST_CLASSES = 32
"""More values than that are no classes: such masks were saved with loss, or are no masks."""
_SHOWN = 12
_UNKNOWN = LabelMap("no label map", ("background",), ValueCoding({0: 0}, {0: "background"}))


def label_map_of(dataset: str, root: Path, named: str | None) -> LabelMap | None:
    """The label map with which a dataset is to be opened.

    Args:
        dataset: as in `open_dataset`.
        root: folder that holds it.
        named: what the user said, a shipped name or a file; None: nothing, and of a "folder" the masks are asked.

    Raises:
        LabelMapError: there is no such label map.
        DatasetError: masks that do not say what they hold; tells what to write.
    """
    if named:
        return load_label_map(named)
    return guessed_label_map(root) if dataset == "folder" and root.is_dir() else None


def guessed_label_map(root: Path) -> LabelMap:
    """Instrument against background for masks of 0 and 255, or of 0 and 1.

    Raises:
        DatasetError: any other masks; says what they hold and how to name it.
    """
    listed = open_folder(root, _UNKNOWN)
    values: set[int] = set()
    colors: set[tuple[int, ...]] = set()
    for item in listed.spread(LOOKED_AT).items:
        try:
            mask = read_mask(item.masks[0])
        except DatasetError:
            continue  # told where the frame is read
        pixels = mask.pixels if mask.indices is None else mask.indices
        if pixels.ndim == 2 or (pixels[..., :1] == pixels[..., 1:3]).all():
            values |= set(np.unique(pixels if pixels.ndim == 2 else pixels[..., 0]).tolist())
        else:
            red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
            codes = np.unique(red << 16 | green << 8 | blue)  # rows of three take 40 times as long
            colors |= {(code >> 16, code >> 8 & 255, code & 255) for code in codes.tolist()}
    if not listed.items:
        return _UNKNOWN  # what is wrong with the tree is told when it is opened
    if not colors and values in ({0, 255}, {0, 1}):
        truth = {0: "background", max(values): "instrument"}
        return label_map_from_dict({"truth": truth, "merge": {"instrument": "all-instruments"}}, "masks' own values")
    lossy = next((item.masks[0] for item in listed.items if item.masks[0].suffix.lower() in (".jpg", ".jpeg")), None)
    if lossy is not None:
        raise DatasetError(f"{lossy}: is a JPEG, which blurs the values of a mask; save masks as PNG")
    raise DatasetError(f"{root}: {_asked(values, colors)}")


def _asked(values: set[int], colors: set[tuple[int, ...]]) -> str:
    """What the masks hold, and what the user can do to have them read."""
    if values and values <= {0} and not colors:
        return "every mask that was looked at is 0 everywhere: no instrument is labelled; are these the masks?"
    if values == {0, 1, 255}:
        return (
            "masks hold 0, 1 and 255: where 255 is what is not to count, --label-map binary takes 1 as instrument and "
            "leaves it out; where some masks hold 0 and 1 and others 0 and 255, write one of the two into all"
        )
    if values and max(values) > 255:
        return f"masks hold values up to {max(values)}, of 16 bits; save them with 8 bits, one value for each class"
    named = [str(value) for value in sorted(values)] if not colors else [_spoken(color) for color in sorted(colors)]
    if len(named) > _MOST_CLASSES:
        what = "colours" if colors else "values"
        return (
            f"masks hold {len(named)} different {what}, more than classes would: were they resized "
            "with interpolation, or are they no masks? Save them as PNG with one value or colour for each class"
        )
    if values and colors:
        return f"some masks are coloured ({', '.join(named[:_SHOWN])}), others hold single values; use one of the two"
    draft = ", ".join(f"{name}: {'background' if place == 0 else 'NAME'}" for place, name in enumerate(named))
    shown = ", ".join(named[:_SHOWN]) + (", ..." if len(named) > _SHOWN else "")
    return (
        f"masks hold {shown}: name them in a file labels.yaml, `truth: {{{draft}}}`, and give it with "
        "--label-map labels.yaml"
    )


def _spoken(color: tuple[int, ...]) -> str:
    return '"{},{},{}"'.format(*color)
