"""Options of commands as frozen dataclasses: a field is an option, the string under it its help.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Options:
        source: Annotated[Path, Positional()]
        'Video or bag.'
        rate: PositiveNumber | None = None
        'Frames per second; None: as the source has.'
        novelty: bool = True
        'Tell of strange frames; False: never call a frame strange.'

reads ``SOURCE --rate RATE --no-novelty``. A bool is a flag; a tuple may be repeated, or takes several words where it is
positional or has ``nargs``; a Literal has choices; the fields of a dataclass in it are options like its own.

Ours, over argparse, because libraries that read dataclasses change what users know: tyro, jsonargparse, cyclopts and
pydantic-settings call nested options ``--how.field-of-view`` and take no abbreviation of it, tyro and cyclopts draw
boxes round errors, simple-parsing writes ``--field_of_view`` and ``--novelty bool``.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import inspect
import itertools
import re
import textwrap
import types
from collections.abc import Sequence
from dataclasses import MISSING, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from clip_rl_perception.errors import ClipRlError

_KIND = "kind of options"
"""Where a parser notes the dataclass that it reads; no field has such a name."""
_OURS = ("group", "one_of", "least", "most", "read")


class Option:
    """Annotation of a field: what its name, type and default do not say of an option."""

    def __init__(self, *names: str, **words: Any) -> None:
        """Say it.

        Args:
            names: if not ``--like-the-field``.
            words: ``group``: title of the group in which help shows it; ``one_of``: name of a set of options that
                exclude each other; ``least``: smallest number, ``most`` with it: largest; ``read``: what makes the
                value of its text, once everything is parsed; any other: as of argparse's `add_argument`.
        """
        self.names, self.words = names, words


class Positional(Option):
    """Annotation of a field that is given without a name; the name of `Option` is what help calls it."""


class NotAnOption(Option):
    """Annotation of a field that keeps its default on the command line."""


def parse(command: types.ModuleType, words: Sequence[str], program: str | None = None) -> Any:
    """The options that `words` give to a command; raises `SystemExit` where argparse does, `ClipRlError` after it."""
    return options_of(parser_for(command, program).parse_args(words))


def parser_for(command: types.ModuleType, program: str | None = None) -> argparse.ArgumentParser:
    """Parser of what a command's ``run(options)`` is annotated with, or its ``options()`` returns.

    A union of dataclasses has one subcommand for each, called as the class in lower case.
    """
    plain: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(prog=program, description=command.__doc__, **plain)
    kind = command.options() if hasattr(command, "options") else get_type_hints(command.run)["options"]
    parts = {parser: kind}
    if not is_dataclass(kind):
        texts = {part.__name__.lower(): inspect.getdoc(part) or "" for part in get_args(kind)}
        commands = parser.add_subparsers(required=True, metavar="|".join(texts))
        made = (
            commands.add_parser(name, help=_phrase(text.partition("\n")[0]), description=text, **plain)
            for name, text in texts.items()
        )
        parts = dict(zip(made, get_args(kind), strict=True))
    for part, each in parts.items():
        part.set_defaults(**{_KIND: each})
        _declare(part, each, {"": part})
    return parser


def options_of(found: argparse.Namespace) -> Any:
    """The dataclass of what a parser has found.

    Raises:
        ClipRlError: a number below the least or above the most; further what a `read` or a ``__post_init__`` raises.
    """
    return _built(getattr(found, _KIND), vars(found))


def _built(kind: Any, found: dict[str, Any], path: str = "") -> Any:
    hints, values = get_type_hints(kind, include_extras=True), {}
    for field in dataclasses.fields(kind):
        hint, option = _read(hints[field.name])
        place = path + field.name
        if _is_nested(hint, option) and not isinstance(option, NotAnOption):
            values[field.name] = _built(hint, found, f"{place}.")
        elif found.get(place, MISSING) is not MISSING:
            values[field.name] = _value(field.name, option, found[place])
    return kind(**values)


def _is_nested(hint: Any, option: Option) -> bool:
    """Whether a field's own fields are options; not so where it is read from its text."""
    return is_dataclass(hint) and "read" not in option.words


def _value(name: str, option: Option, value: Any) -> Any:
    least, most, read = (option.words.get(word) for word in ("least", "most", "read"))
    if (least is not None and not value >= least) or (most is not None and not value <= most):
        expected = f"{least} or more" if most is None else f"{least} to {most}"
        raise ClipRlError(f"{_names(name, option)[0]} is {value}; expected {expected}")
    if read is not None:
        return read(value)
    return tuple(value) if isinstance(value, list) else value


def _declare(
    parser: argparse.ArgumentParser, kind: Any, places: dict[str, Any], path: str = "", group: str = ""
) -> None:
    """Declare the fields of `kind` in `places`: the parser, its groups and sets of one by name."""
    hints, texts = get_type_hints(kind, include_extras=True), _texts(kind)
    for field in dataclasses.fields(kind):
        hint, option = _read(hints[field.name])
        if isinstance(option, NotAnOption):
            continue
        title, one_of = option.words.get("group", group), option.words.get("one_of")
        if _is_nested(hint, option):
            _declare(parser, hint, places, f"{path}{field.name}.", title)
            continue
        if title not in places:
            places[title] = parser.add_argument_group(title)
        place = places[title]
        if one_of is not None:
            if one_of not in places:
                places[one_of] = place.add_mutually_exclusive_group()
            place = places[one_of]
        words = {"help": _help(texts.get(field.name, ""), field.default), **_words(hint, option, field.default)}
        if isinstance(option, Positional):
            place.add_argument(path + field.name, **{"metavar": (option.names or (field.name,))[0], **words})
            continue
        names = _names(field.name, option, negated=field.default is True)
        if hint is not bool and "choices" not in words:
            words = {"metavar": names[0].lstrip("-").replace("-", "_").upper(), **words}
        required = field.default is MISSING
        place.add_argument(*names, dest=path + field.name, required=required, default=argparse.SUPPRESS, **words)


def _names(name: str, option: Option, *, negated: bool = False) -> tuple[str, ...]:
    return option.names or (f"--{'no-' if negated else ''}{name.replace('_', '-')}",)


def _words(hint: Any, option: Option, default: Any) -> dict[str, Any]:
    """How argparse reads a field."""
    positional, required = isinstance(option, Positional), default is MISSING
    said = {name: word for name, word in option.words.items() if name not in _OURS}
    words: dict[str, Any] = {"default": MISSING} if positional and not required else {}
    if hint is bool:
        return {"action": "store_false" if default else "store_true", **said}
    if "read" in option.words:
        hint = str
    elif get_origin(hint) is tuple and "type" not in said:
        hint, inner = _read(get_args(hint)[0])
        words |= inner.words
        if positional or "nargs" in said:
            words |= {"nargs": "+" if required else "*"}
        else:
            words |= {"action": "append"}
    elif positional and not required:
        words |= {"nargs": "?"}
    if get_origin(hint) is Literal:
        words |= {"choices": get_args(hint)}
        hint = type(get_args(hint)[0])
    return {"type": hint, **words, **said}


def _read(hint: Any) -> tuple[Any, Option]:
    """A type without its annotations and without None, and what the annotations say of it as an option."""
    if get_origin(hint) in (Union, types.UnionType):
        return _read(get_args(hint)[0])  # X | None
    if get_origin(hint) is not Annotated:
        return hint, Option()
    inner, option = _read(hint.__origin__)
    for found in hint.__metadata__:
        if isinstance(found, Option):
            option = type(found)(*(found.names or option.names), **{**option.words, **found.words})
    return inner, option


def _texts(kind: type) -> dict[str, str]:
    """The string under each field, by its name."""
    texts = {}
    for base in reversed(kind.__mro__):
        with contextlib.suppress(OSError, TypeError):  # `object`, and what is made while running, have no source
            for node in ast.parse(textwrap.dedent(inspect.getsource(base))).body:
                for pair in itertools.pairwise(getattr(node, "body", ())):
                    match pair:
                        case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text)))):
                            texts[name] = text
    return texts


def _help(text: str, default: Any) -> str:
    text = _phrase(text)
    if default is True:
        text = text.rpartition("False: ")[2]
    elif default is None:
        text = re.sub(r"[;.] None: (.*)$", r" (default: \1)", text)
    elif default not in (MISSING, "", ()) and default is not False and "default" not in text:
        values = default if isinstance(default, tuple) else (default,)
        shown = (f"{value:g}" if isinstance(value, float) else str(value) for value in values)
        text += f" (default: {' '.join(shown)})"
    return text.replace("%", "%%")


def _phrase(text: str) -> str:
    """A sentence as part of a list: no capital, unless of an abbreviation, and no full stop."""
    text = " ".join(text.split()).rstrip(".")
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
