r"""Label maps: how a ground truth names its classes, and which predicted classes answer to them.

The ones that ship in ``label_maps/`` go by their names. A YAML file:

    truth: {0: background, 1: instrument}     # stored value -> class; or "r,g,b" or "#rrggbb" -> class for colours
    ignore: [255]                             # optional: stored values (or colours) that no metric counts
    merge: {instrument: all-instruments}      # optional: truth class <- predicted classes: names, or all-instruments
    sequence: '(seq_\d+)_'                     # optional: first group of this regular expression, searched in the
                                              # file name, names the frame's sequence in a flat folder

A predicted class that is merged counts as the class it is merged into; one that is named in `truth` counts as itself;
any other counts as background. The background is the truth class whose name begins with "background", else that of
value 0, else the first. A label space (a YAML file with `classes`, see `labels`) is a label map too: masks hold its
ids, 255 is ignored.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.labels import MAX_CLASSES, UNLABELLED, LabelError, LabelSpace, label_space_from_dict
from clip_rl_perception.sources.mask_coding import Color, ColorCoding, MaskCoding, ValueCoding
from clip_rl_perception.yaml_files import read_yaml

ALL_INSTRUMENTS = "all-instruments"
"""In `merge`: every class of the prediction's label space that is marked as an instrument."""

_KEYS = ("truth", "ignore", "merge", "sequence")
_SHIPPED = resources.files("clip_rl_perception") / "label_maps"


class LabelMapError(ClipRlError, ValueError):
    """A label map is not usable; the message says which entry, what was expected and what to do."""


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """The classes of a ground truth, their coding, and how predictions map onto them."""

    source: str
    """File that it was read from, for messages."""
    names: tuple[str, ...]
    """Truth classes in id order; id 0 is the background."""
    coding: MaskCoding
    """Stored masks to ids of `names`."""
    merge: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(truth class, predicted class names or `ALL_INSTRUMENTS`)."""
    sequence: re.Pattern[str] | None = None
    """Names the sequence of a file in a flat folder; None: the folder is one sequence."""
    space: LabelSpace | None = None
    """The classes with prompts and colours, where they were given as a label space."""

    def prediction_table(self, space: LabelSpace) -> ByteArray:
        """Truth id by predicted id, uint8 (256,); unlabelled (255) stays 255.

        Args:
            space: label space of the prediction.

        Raises:
            LabelMapError: a merged class that `space` lacks, or merged twice; no class answers to a foreground one.
        """
        table = np.zeros(256, np.uint8)
        table[UNLABELLED] = UNLABELLED
        taken: dict[str, str] = {}
        for target, sources in self.merge:
            named = [name for name in sources if name != ALL_INSTRUMENTS]
            if ALL_INSTRUMENTS in sources:
                named += [space.names[index] for index in space.instrument_ids if space.names[index] not in named]
            for name in named:
                if name not in space.names:
                    raise LabelMapError(
                        f"{self.source}: merge '{target}' names class '{name}', which the prediction lacks; "
                        f"label space '{space.name}' has: {', '.join(space.names)}. --classes gives the model others"
                    )
                if taken.setdefault(name, target) != target:
                    raise LabelMapError(f"{self.source}: class '{name}' is merged into '{taken[name]}' and '{target}'")
                table[space.id_of(name)] = self.names.index(target)
        for entry in space.classes:
            if entry.name not in taken and entry.name in self.names:
                table[entry.id] = self.names.index(entry.name)
        if len(self.names) > 1 and not table[: len(space)].any():
            raise LabelMapError(
                f"{self.source}: no predicted class answers to {', '.join(self.names[1:])}; label space "
                f"'{space.name}' has: {', '.join(space.names)}. Add a merge, for example "
                f"merge: {{{self.names[1]}: {ALL_INSTRUMENTS}}}, or give the model other classes with --classes"
            )
        return table

    def unanswered(self, space: LabelSpace) -> tuple[str, ...]:
        """Truth classes that no class of `space` maps to: they score 0 wherever they occur."""
        answered = set(self.prediction_table(space)[: len(space)].tolist())
        return tuple(name for index, name in enumerate(self.names) if index and index not in answered)


def binary_label_map() -> LabelMap:
    """How masks of 0 and 255 are read that nothing else is said about."""
    return label_map_from_dict(
        {"truth": {0: "background", 255: "instrument"}}, "masks of 0 and 255, as without a label map"
    )


def identity_label_map(space: LabelSpace) -> LabelMap:
    """The label map of a truth stored as ids of `space`; value 255 is ignored."""
    names = dict(enumerate(space.names))
    return LabelMap(
        source=f"label space '{space.name}'",
        names=space.names,
        coding=ValueCoding({index: index for index in names}, names, ignore=(UNLABELLED,)),
        space=space,
    )


def load_label_map(name_or_path: str | Path) -> LabelMap:
    """Read a label map: a YAML file, else a shipped one by name. Raises `LabelMapError` that names the entry."""
    path, data = _read(name_or_path)
    return label_map_from_dict(data, str(path))


def label_map_digest(name_or_path: str | Path) -> str:
    """Tells label maps apart by what they say, wherever they lie; comments say nothing. Raises `LabelMapError`."""
    return hashlib.sha256(repr(_read(name_or_path)[1]).encode()).hexdigest()[:12]


def _read(name_or_path: str | Path) -> tuple[Path, Any]:
    path = Path(name_or_path)
    if not path.is_file() and str(path) in label_map_names():
        path = Path(str(_SHIPPED / f"{path}.yaml"))
    elif not path.exists():
        known = ", ".join(label_map_names())
        raise LabelMapError(f"no label map '{name_or_path}': neither a file nor one of {known}")
    try:
        return path, read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelMapError(f"label map {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LabelMapError(f"{path}: not YAML: {one_line(error)}") from error


def label_map_names() -> list[str]:
    """Names of the shipped label maps, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".yaml"))


def label_map_from_dict(data: Any, source: str = "label map") -> LabelMap:
    """Build a `LabelMap` from plain data; `source` names the origin in errors. Raises `LabelMapError`."""
    if isinstance(data, dict) and "classes" in data and "truth" not in data:
        try:
            return dataclasses.replace(identity_label_map(label_space_from_dict(data, source)), source=source)
        except LabelError as error:
            raise LabelMapError(str(error)) from error
    if not isinstance(data, dict) or not isinstance(data.get("truth"), dict) or not data["truth"]:
        raise LabelMapError(
            f"{source}: expected a mapping with 'truth', for example truth: {{0: background, 1: instrument}}"
        )
    unknown = sorted(map(str, set(data) - set(_KEYS)))
    if unknown:
        raise LabelMapError(f"{source}: unknown keys {', '.join(unknown)}; known are {', '.join(_KEYS)}")
    truth = dict[int | Color, str]()
    for key, name in data["truth"].items():
        stored = _stored(key, source, "truth")
        if truth.setdefault(stored, str(name)) != str(name):  # a colour that is written in two ways
            raise LabelMapError(f"{source}: truth has {key!r} twice, as '{truth[stored]}' and as '{name}'; keep one")
    ignore = data.get("ignore") or []
    if not isinstance(ignore, list):
        raise LabelMapError(f"{source}: ignore is {ignore!r}; expected a list of stored values, for example [255]")
    ignored = [_stored(key, source, "ignore") for key in ignore]
    if len({isinstance(key, int) for key in [*truth, *ignored]}) > 1:
        raise LabelMapError(f"{source}: values and colours are mixed; a mask stores one or the other")
    both = [key for key in ignored if key in truth]
    if both:
        raise LabelMapError(f"{source}: {both[0]} is in truth ('{truth[both[0]]}') and in ignore; keep one")
    names = _ordered_names(truth)
    if len(names) > MAX_CLASSES - 1:
        raise LabelMapError(f"{source}: {len(names)} classes; at most {MAX_CLASSES - 1} are possible")
    ids = {key: names.index(name) for key, name in truth.items()}
    return LabelMap(
        source=source,
        names=names,
        coding=_coding(ids, dict(enumerate(names)), ignored),
        merge=_merge(data.get("merge"), names, source),
        sequence=_sequence(data.get("sequence"), source),
    )


def _coding(ids: dict[int | Color, int], names: dict[int, str], ignored: list[int | Color]) -> MaskCoding:
    values = {key: index for key, index in ids.items() if isinstance(key, int)}
    if values:
        return ValueCoding(values, names, [key for key in ignored if isinstance(key, int)])
    colors = {key: index for key, index in ids.items() if not isinstance(key, int)}
    return ColorCoding(colors, names, [key for key in ignored if not isinstance(key, int)])


def _stored(key: Any, source: str, where: str) -> int | Color:
    """A stored value 0..255, or a colour from "r,g,b" or "#rrggbb"."""
    if isinstance(key, int) and not isinstance(key, bool) and 0 <= key <= 255:
        return key
    if isinstance(key, str) and re.fullmatch(r"\s*\d+\s*,\s*\d+\s*,\s*\d+\s*", key):
        red, green, blue = (int(part) for part in key.split(","))
        if max(red, green, blue) <= 255:
            return red, green, blue
    if isinstance(key, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", key):
        return int(key[1:3], 16), int(key[3:5], 16), int(key[5:7], 16)
    raise LabelMapError(
        f'{source}: {where} has {key!r}; expected a stored value 0 to 255 or a colour "r,g,b" or "#rrggbb"'
    )


def _ordered_names(truth: dict[int | Color, str]) -> tuple[str, ...]:
    names = list(dict.fromkeys(truth.values()))
    background = next((name for name in names if name.startswith("background")), truth.get(0, names[0]))
    names.remove(background)
    return (background, *names)


def _merge(data: Any, names: tuple[str, ...], source: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if data is None:
        return ()
    if not isinstance(data, dict):
        raise LabelMapError(f"{source}: merge is {data!r}; expected a mapping from truth class to predicted classes")
    merged = []
    for target, sources in data.items():
        if target not in names:
            raise LabelMapError(f"{source}: merge into '{target}', which truth lacks; it has: {', '.join(names)}")
        if isinstance(sources, str):
            sources = [sources]
        if not isinstance(sources, list) or not sources or not all(isinstance(name, str) for name in sources):
            raise LabelMapError(
                f"{source}: merge '{target}' is {sources!r}; expected a list of class names or {ALL_INSTRUMENTS}"
            )
        merged.append((str(target), tuple(sources)))
    return tuple(merged)


def _sequence(data: Any, source: str) -> re.Pattern[str] | None:
    if data is None:
        return None
    try:
        pattern = re.compile(str(data))
    except re.error as error:
        raise LabelMapError(f"{source}: sequence {data!r} is not a regular expression: {error}") from error
    if pattern.groups < 1:
        raise LabelMapError(f"{source}: sequence {data!r} has no group; put the sequence name in parentheses")
    return pattern
