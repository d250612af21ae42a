"""Are values of options, given in a program and not on a command line, of their types and within their bounds?"""

from __future__ import annotations

import dataclasses
import numbers
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.options import Option

_KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "text"),
}


def check_values(options: Any) -> None:
    """Check each field of a dataclass of options.

    Raises:
        ClipRlError: the first that is of another type, or out of its bounds or choices, and what is expected.
    """
    hints = get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        kinds, words = _read(hints[field.name])
        expected = _expected(kinds, words)
        if not any(_is_of(value, kind) for kind in kinds) or not _within(value, words):
            raise ClipRlError(f"{field.name} is {value!r}; expected {expected}")


def _read(hint: Any) -> tuple[list[Any], dict[str, Any]]:
    """The types of a union, and the words of all options that annotate it."""
    if get_origin(hint) is Annotated:
        kinds, words = _read(hint.__origin__)
        for found in hint.__metadata__:
            words |= found.words if isinstance(found, Option) else {}
        return kinds, words
    if get_origin(hint) in (Union, types.UnionType):
        parts = [_read(part) for part in get_args(hint)]
        return [kind for kinds, _ in parts for kind in kinds], {k: v for _, words in parts for k, v in words.items()}
    return [hint], {}


def _is_of(value: Any, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_is_of, value, inner))
    accepted = _KINDS.get(kind, (kind, ""))[0]
    return isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))


def _within(value: Any, words: dict[str, Any]) -> bool:
    if value is None:
        return True
    numbers_of = value if isinstance(value, tuple) else (value,)
    least, most = words.get("least"), words.get("most")
    return (
        ("choices" not in words or value in words["choices"])
        and (least is None or all(number >= least for number in numbers_of))
        and (most is None or all(number <= most for number in numbers_of))
    )


def _expected(kinds: list[Any], words: dict[str, Any]) -> str:
    if "choices" in words:
        return f"one of {', '.join(map(str, words['choices']))}"
    told = " or ".join(_named(kind, words) for kind in kinds if kind is not types.NoneType)
    if "least" in words:
        told += f" of {words['least']} " + (f"to {words['most']}" if "most" in words else "or more")
    return f"{told}, or None" if types.NoneType in kinds else told


def _named(kind: Any, words: dict[str, Any]) -> str:
    return f"a tuple {words['metavar']}" if get_origin(kind) is tuple else _KINDS[kind][1]
