"""Label spaces: which class ids a mask may hold, what they are called, how they are prompted and drawn.

The ground floor of the package: imports nothing of ours but the error base and how YAML is read. A label space is a
YAML file; the ones of the field ship in ``label_spaces/`` and any path to a file of the same form works wherever a name
does.
"""

from __future__ import annotations

import colorsys
import dataclasses
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from clip_rl_perception.errors import ClipRlError, one_line
from clip_rl_perception.yaml_files import read_yaml

UNLABELLED = 255
"""Mask value of pixels without a class (vision_msgs convention); never a class id."""

MAX_CLASSES = 254
"""Largest number of classes in a label space: ids are bytes, 255 is `UNLABELLED`, and one value stays spare."""

DEFAULT_PROMPTS = ("a photo of a {name} in surgery",)
"""Prompt templates for a class that names none."""


class LabelError(ClipRlError, ValueError):
    """A label space is not usable; the message says which entry, what was expected and what to do."""


@dataclasses.dataclass(frozen=True)
class LabelClass:
    """One class of a label space."""

    id: int
    """Pixel value in masks; ids run from 0 without gaps, 0 is the background or tissue class."""
    name: str
    """Unique name, lower case with hyphens, for example ``bipolar-forceps``."""
    prompts: tuple[str, ...] = DEFAULT_PROMPTS
    """Texts for the text encoder; ``{name}`` stands for the name with spaces. Their embeddings are averaged."""
    color: tuple[int, int, int] = (0, 0, 0)
    """Overlay colour and, for colour-coded datasets, the coding itself: R, G, B, 0 to 255."""
    instrument: bool = False
    """True for an instrument or a part of one: such pixels form instrument tags."""
    part: bool = False
    """True for a part of an instrument (shaft, wrist, clasper): touching parts join into one instrument."""

    def texts(self) -> tuple[str, ...]:
        """Prompts with ``{name}`` filled in, in order."""
        spoken = self.name.replace("-", " ").replace("_", " ")
        return tuple(prompt.replace("{name}", spoken) for prompt in self.prompts)


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """An ordered set of classes; ``classes[i].id == i``."""

    name: str
    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= MAX_CLASSES:
            raise LabelError(f"label space '{self.name}' has {len(self.classes)} classes; 1 to {MAX_CLASSES} can be")
        seen: set[str] = set()
        for index, entry in enumerate(self.classes):
            if entry.id != index:
                raise LabelError(
                    f"label space '{self.name}': class '{entry.name}' has id {entry.id} at position {index}; "
                    "ids must run from 0 without gaps"
                )
            if not entry.name.strip():
                raise LabelError(f"label space '{self.name}': class {index} has an empty name")
            if entry.name in seen:
                raise LabelError(f"label space '{self.name}': class '{entry.name}' appears twice; names must be unique")
            seen.add(entry.name)
            if not entry.prompts or not all(prompt.strip() for prompt in entry.prompts):
                raise LabelError(f"label space '{self.name}': class '{entry.name}' has an empty prompt")
            if len(entry.color) != 3 or not all(0 <= value <= 255 for value in entry.color):
                raise LabelError(
                    f"label space '{self.name}': colour {entry.color} of '{entry.name}' is not 3 values in 0..255"
                )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in id order."""
        return tuple(entry.name for entry in self.classes)

    @property
    def instrument_ids(self) -> tuple[int, ...]:
        """Ids whose pixels belong to instruments."""
        return tuple(entry.id for entry in self.classes if entry.instrument)

    @property
    def palette(self) -> npt.NDArray[np.uint8]:
        """Colours by mask value, uint8 RGB, shape (256, 3); values without a class are black, 255 is grey."""
        table = np.zeros((256, 3), np.uint8)
        for entry in self.classes:
            table[entry.id] = entry.color
        table[UNLABELLED] = (96, 96, 96)
        return table

    def id_of(self, name: str) -> int:
        """Id of the class called `name`; raises `LabelError` that lists the known names."""
        for entry in self.classes:
            if entry.name == name:
                return entry.id
        raise LabelError(f"label space '{self.name}' has no class '{name}'; it has: {', '.join(self.names)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the form of the YAML files and of checkpoint metadata."""
        return {
            "name": self.name,
            "classes": [
                {
                    "id": entry.id,
                    "name": entry.name,
                    "prompts": list(entry.prompts),
                    "color": list(entry.color),
                    "instrument": entry.instrument,
                    "part": entry.part,
                }
                for entry in self.classes
            ],
        }


def label_space_from_dict(data: Any, source: str = "label space") -> LabelSpace:
    """Build a `LabelSpace` from plain data; `source` names the origin in errors. Raises `LabelError`."""
    if not isinstance(data, dict) or not isinstance(data.get("classes"), list):
        raise LabelError(f"{source}: expected a mapping with 'name' and a list 'classes'")
    known = {field.name for field in dataclasses.fields(LabelClass)}
    classes = []
    for index, entry in enumerate(data["classes"]):
        if not isinstance(entry, dict) or "name" not in entry:
            raise LabelError(f"{source}: class {index} is not a mapping with a 'name'")
        unknown = sorted(set(entry) - known)
        if unknown:
            raise LabelError(f"{source}: class '{entry['name']}' has unknown keys {unknown}; known are {sorted(known)}")
        prompts = entry.get("prompts", DEFAULT_PROMPTS)
        for flag in ("instrument", "part"):
            if entry.get(flag, False) not in (True, False):  # "no" in quotes would count as yes
                raise LabelError(
                    f"{source}: class '{entry['name']}': {flag} is {entry[flag]!r}; expected true or false"
                )
        try:
            classes.append(
                LabelClass(
                    id=int(entry.get("id", index)),
                    name=str(entry["name"]),
                    prompts=tuple(str(prompt) for prompt in ([prompts] if isinstance(prompts, str) else prompts)),
                    color=tuple(int(value) for value in entry.get("color", distinct_color(index))),  # type: ignore[arg-type]
                    instrument=bool(entry.get("instrument", False)),
                    part=bool(entry.get("part", False)),
                )
            )
        except (TypeError, ValueError) as error:
            raise LabelError(f"{source}: class '{entry['name']}': {error}") from error
    return LabelSpace(name=str(data.get("name", "custom")), classes=tuple(classes))


def label_space_from_names(
    names: Sequence[str], prompts: Sequence[str] = (), instrument: Sequence[bool] = (), name: str = "custom"
) -> LabelSpace:
    """Label space for a list of names, as `set_classes` gets it.

    `prompts` and `instrument` run parallel to `names` or are empty; empty means the default prompt, and every class
    but the first being an instrument. Raises `LabelError` on wrong lengths, empty or duplicate names, too many classes.
    """
    for label, values in (("prompts", prompts), ("instrument", instrument)):
        if len(values) not in (0, len(names)):
            raise LabelError(f"{len(values)} {label} for {len(names)} names; give one per name or none")
    return LabelSpace(
        name=name,
        classes=tuple(
            LabelClass(
                id=index,
                name=class_name,
                prompts=(prompts[index],) if len(prompts) else DEFAULT_PROMPTS,
                color=distinct_color(index),
                instrument=bool(instrument[index]) if len(instrument) else index > 0,
            )
            for index, class_name in enumerate(names)
        ),
    )


def load_label_space(name_or_path: str | Path) -> LabelSpace:
    """Load a shipped label space by name, or any YAML file by path. Raises `LabelError` that lists what exists."""
    shipped = resources.files(__package__) / "label_spaces"
    candidate = shipped / f"{name_or_path}.yaml"
    if candidate.is_file():
        text, source = candidate.read_bytes(), f"label space '{name_or_path}'"
    elif Path(name_or_path).is_file():
        try:
            text, source = Path(name_or_path).read_bytes(), str(name_or_path)
        except OSError as error:
            raise LabelError(f"label space {name_or_path} cannot be read: {error.strerror}") from error
    else:
        raise LabelError(f"no label space '{name_or_path}': neither a file nor one of {', '.join(label_space_names())}")
    try:
        data = read_yaml(text.decode())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LabelError(f"{source}: not YAML: {one_line(error)}") from error
    return label_space_from_dict(data, source)


def label_space_names() -> list[str]:
    """Names of the shipped label spaces, sorted."""
    shipped = resources.files(__package__) / "label_spaces"
    return sorted(entry.name.removesuffix(".yaml") for entry in shipped.iterdir() if entry.name.endswith(".yaml"))


def distinct_color(index: int) -> tuple[int, int, int]:
    """A colour for class `index` unlike its neighbours': golden-angle steps round the hue circle; 0 is black."""
    if index == 0:
        return (0, 0, 0)
    red, green, blue = colorsys.hsv_to_rgb((index * 0.381966) % 1.0, 0.85, 1.0 if index % 2 else 0.75)
    return (round(red * 255), round(green * 255), round(blue * 255))
