"""Plain data (YAML, JSON) to typed dataclasses and back, by pydantic; errors name key, value and what was expected."""

from __future__ import annotations

import difflib
import functools
import json
import types
from collections.abc import Callable
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from clip_rl_perception.errors import ClipRlError

T = TypeVar("T")

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dataclass_type": "a mapping",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "too_long": "{max_length} values",
    "literal_error": "one of {expected}",
}
"""What is said of some of pydantic's kinds of errors in place of its own words."""


class ConfigError(ClipRlError, ValueError):
    """A configuration is not usable; the message names the key and says what was expected."""


def from_data(kind: Callable[..., T], data: Any, source: str) -> T:
    """Build the dataclass `kind` from a mapping; absent fields keep their defaults.

    An int is taken where a float is expected, a list for a tuple, text for a path; nothing else is converted.

    Args:
        kind: a dataclass of numbers, texts, paths, tuples, mappings, Literals and dataclasses.
        data: mapping of field names.
        source: what errors call it, for example the file's name.

    Raises:
        ConfigError: unknown or missing keys, wrong types, or what a ``__post_init__`` refuses.
    """
    try:
        (value,) = _adapter(kind).validate_json(json.dumps([data], default=str))
    except ValidationError as error:
        raise ConfigError(f"{source}: {_spoken(kind, error.errors(include_url=False)[0])}") from error
    return value  # type: ignore[no-any-return]


def to_data(value: Any) -> Any:
    """Plain data (mappings, lists, numbers, strings, None) for a configuration value; the reverse of `from_data`."""
    return to_jsonable_python(value)


@functools.lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # In a list, since pydantic lets no one but a dataclass itself say how strictly it is read.
    return TypeAdapter(list[kind], config=ConfigDict(extra="forbid", strict=True))


def _spoken(kind: Any, fault: ErrorDetails) -> str:
    """One line for one of pydantic's errors."""
    path, value, context = list(fault["loc"][1:]), fault["input"], fault.get("ctx", {})
    expected = _EXPECTED.get(fault["type"], fault["msg"].removeprefix("Input should be ")).format(**context)
    if fault["type"] == "literal_error":
        expected = expected.replace("'", "").replace(" or ", ", ")
    if fault["type"] == "value_error":
        return _place(path) + str(context["error"])
    if fault["type"] == "missing":
        name = path.pop()
        if isinstance(name, str):
            return f"{_place(path)}key '{name}' is missing"
        expected = f"{name + 1} values or more"
    if fault["type"] == "unexpected_keyword_argument":
        name, known = path.pop(), list(get_type_hints(_kind_at(kind, path)))
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{_place(path)}unknown key {name}; {hint}known: {', '.join(known)}"
    return f"{_place(path)}expected {expected}, got {'nothing' if value is None else repr(value)}"


def _place(path: list[int | str]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    return f"{text}: " if text else ""


def _kind_at(kind: Any, path: list[int | str]) -> Any:
    """The dataclass that lies at `path` of the dataclass `kind`."""
    for step in path:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            kind = get_type_hints(kind)[step] if isinstance(step, str) else get_args(kind)[0]
        if get_origin(kind) in (Union, types.UnionType):
            kind = get_args(kind)[0]
    return kind
