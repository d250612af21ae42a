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
positional or has ``nargs``; a Literal has choices; a dataclass is a group titled by its docstring.
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

_KIND = "kind of options"
"""Where a parser notes the dataclass that it reads; no field has such a name."""


class Option:
    """Annotation of a field: its names, if not ``--like-the-field``, and more words for argparse's `add_argument`."""

    def __init__(self, *names: str, **words: Any) -> None:
        self.names, self.words = names, words


class Positional(Option):
    """Annotation of a field that is given without a name."""


def parse(command: types.ModuleType, words: Sequence[str], program: str | None = None) -> Any:
    """The options that `words` give to a command; raises `SystemExit` where argparse does."""
    return options_of(parser_for(command, program).parse_args(words))


def parser_for(command: types.ModuleType, program: str | None = None) -> argparse.ArgumentParser:
    """Parser of what a command's ``run(options)`` is annotated with, or its ``options()`` returns.

    A union of dataclasses has one subcommand for each, called as the class in lower case.
    """
    plain: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(prog=program, description=command.__doc__, **plain)
    if hasattr(command, "add_arguments"):  # not converted yet
        command.add_arguments(parser)
        return parser
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
        _declare(part, part, each)
    return parser


def options_of(found: argparse.Namespace) -> Any:
    """The dataclass of what a parser has found; what its ``__post_init__`` raises is passed on."""
    kind = getattr(found, _KIND, None)
    return _built(kind, vars(found)) if kind else found


def _built(kind: Any, found: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    values = {name: _built(hints[name], found) if is_dataclass(hints[name]) else found[name] for name in names}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _declare(parser: argparse.ArgumentParser, place: Any, kind: Any) -> None:
    """Declare the fields of `kind` in `place`, the parser or one of its groups."""
    hints, texts = get_type_hints(kind, include_extras=True), _texts(kind)
    for field in dataclasses.fields(kind):
        hint, option = _read(hints[field.name])
        if is_dataclass(hint):
            _declare(parser, parser.add_argument_group(_phrase(hint.__doc__ or "")), hint)
            continue
        words = {"help": _help(texts.get(field.name, ""), field.default), **_words(hint, option, field.default)}
        if isinstance(option, Positional):
            place.add_argument(field.name, **words)
            continue
        name = f"--{'no-' if field.default is True else ''}{field.name.replace('_', '-')}"
        place.add_argument(*(option.names or [name]), dest=field.name, required=field.default is MISSING, **words)


def _words(hint: Any, option: Option, default: Any) -> dict[str, Any]:
    """How argparse reads a field."""
    positional, required = isinstance(option, Positional), default is MISSING
    words: dict[str, Any] = {} if required else {"default": default}
    if hint is bool:
        return {"action": "store_false" if default else "store_true", **option.words}
    if get_origin(hint) is tuple and "type" not in option.words:
        hint, inner = _read(get_args(hint)[0])
        words |= inner.words
        if positional or "nargs" in option.words:
            words |= {"nargs": "+" if required else "*"}
        else:
            words |= {"action": "append", "default": list(words.get("default") or ())}
    elif positional and not required:
        words |= {"nargs": "?"}
    if get_origin(hint) is Literal:
        words |= {"choices": get_args(hint)}
        hint = type(get_args(hint)[0])
    return {"type": hint, **words, **option.words}


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
