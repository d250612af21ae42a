"""One case of a fuzz run: whole files copied, damaged, read and judged, in a process that may hang or crash."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import faulthandler
import os
import random
import resource
import shutil
import subprocess
import sys
import traceback
from importlib.metadata import entry_points
from multiprocessing.connection import Connection
from pathlib import Path

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.stress.bag_subject import BagSubject
from clip_rl_perception.stress.fuzz_subject import Done, Reading, Subject, judge
from clip_rl_perception.stress.picture_subject import JpegSubject, PngSubject
from clip_rl_perception.stress.ros1_subject import Ros1Subject

GROUP = "clip_rl.fuzz_subjects"
"""Entry points of other packages: functions without arguments that return a `Subject`."""
MOST_BYTES = 6 << 30
"""Address space of a worker: damage that makes a reader ask for more is a finding, not the end of the machine."""
ERRORS = "errors.txt"
"""What a worker and its libraries have written to their standard error."""
COMMAND_LIMIT_S = 300.0
"""Time that one command may take, s."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One damage to one kind of files."""

    kind: str
    number: int
    """The damage is a function of seed, kind and number."""
    seed: int = 1
    command: bool = False
    """Read the files by a `clip-rl` command too."""

    @property
    def name(self) -> str:
        """As `clip-rl fuzz --only` takes it."""
        return f"{self.kind}:{self.number}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of it."""

    case: Case
    damage: str = ""
    """What was done to which variant, in words."""
    findings: tuple[str, ...] = ()
    details: str = ""
    """Tracebacks, and what was told."""
    result: str = ""
    """``as written``, ``told``, ``refused`` or ``unknowable``; empty where there are findings."""


def work(pipe: Connection, scratch: Path) -> None:
    """Serve cases until the pipe closes; whole files are written once."""
    scratch.mkdir(parents=True)
    with (scratch / ERRORS).open("wb") as errors:
        os.dup2(errors.fileno(), 2)  # what libraries say of damage is nobody's business; last words of a crash are
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    bench = Bench(scratch)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(bench.run(pipe.recv()))


class Bench:
    """Whole files of each kind, and what their readers make of them."""

    def __init__(self, scratch: Path) -> None:
        """`scratch`: a folder that is this bench's alone."""
        self._scratch = scratch
        self._subjects = find_subjects()
        self._whole: dict[str, dict[tuple[str, str], Reading]] = {}
        """By kind: readings by variant and reader."""

    def run(self, case: Case) -> Outcome:
        """Damage, read, judge."""
        subject = self._subjects[case.kind]
        whole = self._readings_of_whole(subject)
        variant, done, folder = self.damaged(case)
        findings, details, results = [], [], set()
        for name, reader in subject.readers(folder, variant).items():
            try:
                reading, refused = _without_paths(reader(), folder), False
            except ClipRlError as error:
                reading, refused = Reading(collections.Counter(), (str(error),)), True
            except Exception as error:
                findings.append(f"{name}: traceback: {type(error).__name__} in {_place(error)}")
                details.append(traceback.format_exc())
                continue
            found, unknowable = judge(whole[variant, name], reading, done)
            findings += [f"{name}: {line}" for line in found]
            details += [f"{name} told: {line}" for line in reading.told]
            news = set(reading.told) - set(whole[variant, name].told)
            kind = "refused" if refused else "unknowable" if unknowable else "told" if news else "as written"
            results.add(kind)
        if case.command:
            findings += _by_command(subject.command(folder, variant), details)
        told = next((name for name in ("unknowable", "refused", "told") if name in results), "as written")
        return Outcome(case, f"{variant}: {done.text}", tuple(findings), "\n".join(details), "" if findings else told)

    def damaged(self, case: Case) -> tuple[str, Done, Path]:
        """The files of a case: name of the variant, what was done, and the folder that they are in."""
        folder, subject = self._scratch / "damaged", self._subjects[case.kind]
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._whole_files(subject), folder)
        draw = random.Random(f"fuzz {case.seed} {case.kind} {case.number}")
        return (*subject.damage(folder, draw), folder)

    def _whole_files(self, subject: Subject) -> Path:
        folder = self._scratch / "whole" / subject.name
        if not folder.exists():
            subject.write(folder)
        return folder

    def _readings_of_whole(self, subject: Subject) -> dict[tuple[str, str], Reading]:
        if subject.name not in self._whole:
            folder = self._whole_files(subject)
            self._whole[subject.name] = {
                (variant.name, name): _without_paths(reader(), folder)
                for variant in sorted(folder.iterdir())
                for name, reader in subject.readers(folder, variant.name).items()
            }
        return self._whole[subject.name]


def find_subjects() -> dict[str, Subject]:
    """Kinds of files by name, those of other installed packages too."""
    found: list[Subject] = [BagSubject("mcap"), BagSubject("sqlite3"), Ros1Subject(), JpegSubject(), PngSubject()]
    found += [entry.load()() for entry in entry_points(group=GROUP)]
    return {subject.name: subject for subject in found}


def _without_paths(reading: Reading, folder: Path) -> Reading:
    """What is told names files, which do not always lie in the same folder."""
    return dataclasses.replace(reading, told=tuple(line.replace(str(folder), "") for line in reading.told))


def _by_command(words: list[str], details: list[str]) -> list[str]:
    """Findings of a command, which must end by itself, with a status of its own and without a traceback."""
    command = [sys.executable, "-m", "clip_rl_perception.cli", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=COMMAND_LIMIT_S)
    except subprocess.TimeoutExpired:
        return [f"clip-rl {words[0]} {words[1]}: did not end in {COMMAND_LIMIT_S:.0f} s"]
    details.append(f"clip-rl {' '.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    if done.returncode not in (0, 1, 2) or "Traceback" in done.stderr:
        return [f"clip-rl {words[0]} {words[1]}: status {done.returncode}, {(done.stderr.splitlines() or ['?'])[-1]}"]
    return []


def _place(error: Exception) -> str:
    """Where an error came out of our code: file and function."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "clip_rl" in frame.filename and "stress" not in frame.filename] or frames
    return f"{Path(ours[-1].filename).name} {ours[-1].name}: {error}"
