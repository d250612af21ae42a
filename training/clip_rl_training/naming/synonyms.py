"""Other names for classes: drawn in training, so that texts and not labels are learned; held out for evaluation.

A YAML file maps class names to lists of other names. Each becomes a prompt by `TEMPLATES`. Classes keep their own name
in reports; only what the text tower reads changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import torch
from clip_rl_perception.labels import LabelSpace
from clip_rl_perception.typed_data import ConfigError

from clip_rl_training.shipped_configs import find_config
from clip_rl_training.typed_config import load_yaml

TEMPLATES = ("a photo of {name} in endoscopic surgery", "{name}")
"""A name becomes these prompts, with an article before it unless it has one."""

Synonyms = Mapping[str, tuple[str, ...]]


def load_synonyms(name_or_path: str) -> Synonyms:
    """Other names by class name, from a shipped file by name or any file.

    Raises:
        ConfigError: no such file, or not a mapping to lists; says which.
    """
    path = find_config(name_or_path, "synonyms", what="synonyms")
    data = load_yaml(path)
    if not isinstance(data, dict) or not data:
        raise ConfigError(f"{path.name}: expected a mapping from class names to lists of other names")
    found = {}
    for name, others in data.items():
        if not isinstance(others, list) or not others or not all(isinstance(o, str) and o.strip() for o in others):
            raise ConfigError(f"{path.name}: '{name}' has {others!r}; expected a list of other names")
        found[str(name)] = tuple(others)
    return found


def prompts_of(name: str) -> tuple[str, ...]:
    """The prompts of a name."""
    if not name.startswith(("a ", "an ", "the ")):
        name = f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
    return tuple(template.replace("{name}", name) for template in TEMPLATES)


def renamed(space: LabelSpace, synonyms: Synonyms) -> LabelSpace:
    """`space` with the prompts of `synonyms` in place of its own; classes keep their names.

    Raises:
        ConfigError: a class without synonym: all are to be renamed, or the result says little.
    """
    missing = [entry.name for entry in space.classes if entry.name not in synonyms]
    if missing:
        raise ConfigError(f"synonyms lack {', '.join(missing)} of label space '{space.name}'; give each another name")
    classes = tuple(
        dataclasses.replace(entry, prompts=tuple(p for name in synonyms[entry.name] for p in prompts_of(name)))
        for entry in space.classes
    )
    return LabelSpace(space.name, classes)


def wordings(spaces: Iterable[LabelSpace], synonyms: Synonyms) -> dict[str, tuple[str, ...]]:
    """For every prompt of every class all that may be said in its place: the class's own prompts and its synonyms'."""
    found: dict[str, tuple[str, ...]] = {}
    for space in spaces:
        for entry in space.classes:
            texts = (*entry.texts(), *(p for name in synonyms.get(entry.name, ()) for p in prompts_of(name)))
            found |= {prompt: texts for prompt in entry.texts()}
    return found


def drawn(space: LabelSpace, synonyms: Synonyms, generator: torch.Generator) -> LabelSpace:
    """`space` with one prompt per class, drawn from its own and those of its synonyms."""
    classes = []
    for entry in space.classes:
        texts = [*entry.texts(), *(p for name in synonyms.get(entry.name, ()) for p in prompts_of(name))]
        index = int(torch.randint(len(texts), (), generator=generator))
        classes.append(dataclasses.replace(entry, prompts=(texts[index],)))
    return LabelSpace(space.name, tuple(classes))
