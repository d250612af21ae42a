"""What is damaged, read and judged: kinds of files, and the rule for what a reader may make of a damaged one."""

from __future__ import annotations

import collections
import dataclasses
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a reader made of files."""

    items: collections.Counter[Any]
    """What it gave as good: pictures, truth; by everything that makes them what they are."""
    told: tuple[str, ...] = ()
    """What it said is wrong, a line each; where it refused, why."""


@dataclasses.dataclass(frozen=True)
class Done:
    """What was done to the files of a case."""

    text: str
    """In words."""
    harmless: bool = False
    """Everything that is wanted is still in the files: all of it has to be read."""
    knowable: bool = True
    """Checksums, or the structure, show when what is given as good is not what was written. False: parts of the format
    have none; what lies there may change into something else that is as good."""


class Subject(Protocol):
    """One kind of files."""

    name: str

    def write(self, folder: Path) -> None:
        """Write whole files, the same each time, with something to read in every variant."""
        ...

    def damage(self, folder: Path, draw: random.Random) -> tuple[str, Done]:
        """Damage the files in `folder`; returns the name of the variant that is left in it, and what was done."""
        ...

    def readers(self, folder: Path, variant: str) -> dict[str, Callable[[], Reading]]:
        """The project's own readers of them; they may raise `ClipRlError`."""
        ...

    def command(self, folder: Path, variant: str) -> list[str]:
        """Words for `clip-rl` that read them."""
        ...


def judge(whole: Reading, damaged: Reading, done: Done) -> tuple[list[str], bool]:
    """What is wrong with a reading of damaged files.

    Returns:
        Findings, a line each; and whether something other than was written was given as good where nobody can know.
    """
    lost, strange = whole.items - damaged.items, damaged.items - whole.items
    told = collections.Counter(damaged.told) - collections.Counter(whole.told)
    findings = [f"not one line: {line!r}" for line in damaged.told if "\n" in line or not line.strip()]
    if done.harmless and (lost or strange):
        findings.append(f"{lost.total()} of {whole.items.total()} are not read though all are there: {_some(lost)}")
    elif not told and lost.total() > strange.total():
        findings.append(f"{lost.total()} of {whole.items.total()} are lost without a word: {_some(lost)}")
    elif not told and strange and done.knowable:
        findings.append(f"{strange.total()} are given as good and are not what was written: {_some(strange)}")
    return findings, bool(strange and not told and not findings)


def keep_only(folder: Path, variant: str) -> Path:
    """Remove the other variants of a subject; returns the path of the one that is left."""
    for path in folder.iterdir():
        if path.name != variant:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder / variant


def _some(items: collections.Counter[Any]) -> str:
    shown = [str(item) for item in list(items)[:2]]
    return ", ".join(shown) + (" ..." if len(items) > 2 else "")
