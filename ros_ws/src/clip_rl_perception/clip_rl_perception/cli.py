"""`clip-rl`: one command whose subcommands come from whatever is installed.

A subcommand is a module named in the entry-point group ``clip_rl.commands``. Its docstring's first line is its help,
its ``run(options)`` declares them by the dataclass it takes (see `options`) and returns the exit status. A robot
without the training package so has demo, info, bench and replay, and a training server also has synth, train, eval and
compare.

Only the subcommand that runs is imported: `clip-rl --help` reads the others' docstrings from their source.

Exit status: the subcommand's; 2 for what the user can mend, in one line; 130 after Ctrl-C.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from clip_rl_perception import __version__
from clip_rl_perception.errors import ClipRlError, no_temporary_folder, one_line
from clip_rl_perception.options import options_of, parser_for

GROUP = "clip_rl.commands"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `clip-rl` with `argv` (the process's arguments if None) and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # names of files are any bytes, and terminals know few letters
    commands = find_commands()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview(commands))
        return 0
    if arguments[0] == "--version":
        print(f"clip-rl {__version__}")
        return 0
    name, *rest = arguments
    if name not in commands:
        return _fail("clip-rl", _unknown(name, commands))
    program = f"clip-rl {name}"
    try:
        module = commands[name].load()
        parser = parser_for(module, program)
    except Exception as error:  # whatever is wrong with one command, it is told in one line and the others work
        return _fail(program, f"this command cannot be loaded: {one_line(error)}")
    try:
        return int(module.run(options_of(parser.parse_args(rest))))
    except ClipRlError as error:
        return _fail(program, one_line(error))
    except FileNotFoundError as error:
        if no_temporary_folder(error):
            return _fail(program, one_line(error))
        raise
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output is gone (`clip-rl ... | head`); nothing more can be said, and Python must not try to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def find_commands() -> dict[str, EntryPoint]:
    """Subcommands by name, sorted; a name that several installations bring (pip and colcon) is taken from the first."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry)
    return dict(sorted(found.items()))


def overview(commands: dict[str, EntryPoint]) -> str:
    """The text of `clip-rl --help`."""
    lines = [
        "usage: clip-rl COMMAND [ARGUMENTS]     clip-rl COMMAND --help     clip-rl --version",
        "",
        "Surgical perception for ROS 2: segmentation masks and instrument tags from endoscope video.",
        "",
    ]
    width = max((len(name) for name in commands), default=0)
    lines += [f"  {name:{width}}  {help_line(entry)}" for name, entry in commands.items()]
    if not commands:
        lines.append("No commands found. They come with the installed package: pip install -e .")
    return "\n".join(lines)


def help_line(entry: EntryPoint) -> str:
    """First line of the docstring of a subcommand's module, read without importing the module."""
    try:
        spec = importlib.util.find_spec(entry.module)
        if spec is None or spec.origin is None:
            return f"(not available: module {entry.module} not found)"
        text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "(no description)"
    except (ImportError, OSError, SyntaxError, ValueError) as error:
        return f"(not available: {one_line(error)})"
    return text.splitlines()[0].removeprefix(f"`clip-rl {entry.name}`: ")


def _unknown(name: str, commands: dict[str, EntryPoint]) -> str:
    if name.startswith("-"):
        return f"unknown option '{name}'; see clip-rl --help"
    if not commands:
        return f"unknown command '{name}': no commands are installed here; run: pip install -e ."
    close = difflib.get_close_matches(name, commands, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return f"unknown command '{name}'{hint} Known: {', '.join(commands)}"


def _fail(program: str, message: str) -> int:
    print(f"{program}: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
