"""Types of instruments that close-ups are named by: those of a model, of a label space, or free texts.

A list of types is a `LabelSpace` without background, whose ids count the types.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from clip_rl_perception.labels import LabelClass, LabelError, LabelSpace, label_space_names, load_label_space

USUAL_SPACE = "endovis2018-type"
"""Gives the types of models whose own classes name none."""
NO_TYPES = "none"
"""What asks for no types."""
UNKNOWN = "unknown"
"""Type of an instrument that no type is likely enough for."""
LONGEST = 200
"""Characters of a type: the text encoder reads no more."""
_PROMPT = "a photo of a {name} in endoscopic surgery"


def usual_types(space: LabelSpace) -> LabelSpace:
    """The types that a model's own classes name, where these are two or more; else those of `USUAL_SPACE`."""
    named = _whole(space)
    return _listed(named if len(named) > 1 else _whole(load_label_space(USUAL_SPACE)))


def types_from_texts(texts: Sequence[str]) -> LabelSpace:
    """Types by free texts, for example ``needle driver``; one that `USUAL_SPACE` has keeps its prompts.

    Raises:
        LabelError: none or too many, an empty, repeated or overlong one, or "unknown"; says which.
    """
    usual = {_spoken(entry.name): entry for entry in _whole(load_label_space(USUAL_SPACE))}
    types: dict[str, LabelClass] = {}
    for index, given in enumerate(texts):
        text = " ".join(given.split())  # names stand in lines of text
        spoken = _spoken(text)
        if not spoken:
            raise LabelError(f"types: text {index} is empty; give each type a name, for example 'needle driver'")
        if len(text) > LONGEST:
            raise LabelError(f"types: text {index} has {len(text)} characters; at most {LONGEST} can be")
        if spoken in types:
            raise LabelError(f"types: '{text}' is there twice; each type is named once")
        if spoken == UNKNOWN:
            raise LabelError(f"types: '{text}' is what an instrument is called that no type fits; leave it out")
        own = LabelClass(0, text, (_PROMPT.replace("{name}", text),))
        types[spoken] = dataclasses.replace(usual.get(spoken, own), name=text)
    if not types:
        raise LabelError("types: the list is empty; give at least one text")
    return _listed(types.values())


def types_asked_for(words: str, space: LabelSpace) -> LabelSpace | None:
    """The types that an option or parameter asks for; None for no types.

    Args:
        words: empty: the model's usual ones; ``none``; a label space by name or file; texts with commas between them.
        space: of the model.

    Raises:
        LabelError: no such list.
    """
    if not words.strip():
        return usual_types(space)
    if words.strip() == NO_TYPES:
        return None
    if words in label_space_names() or Path(words).is_file():
        types = _whole(load_label_space(words))
        if not types:
            raise LabelError(f"types: label space '{words}' has no whole instruments, only tissue or parts")
        return _listed(types)
    return types_from_texts(words.split(","))


def _whole(space: LabelSpace) -> list[LabelClass]:
    return [entry for entry in space.classes if entry.instrument and not entry.part]


def _listed(types: Iterable[LabelClass]) -> LabelSpace:
    return LabelSpace("types", tuple(dataclasses.replace(entry, id=index) for index, entry in enumerate(types)))


def _spoken(name: str) -> str:
    return name.replace("-", " ").replace("_", " ").strip().lower()
