"""A fuzz run: cases handed to worker processes, which are killed when they hang and replaced when they crash."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import multiprocessing
import queue
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from clip_rl_perception.cli_types import Count, NaturalNumber, PositiveNumber
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.options import Option
from clip_rl_perception.progress import Progress
from clip_rl_perception.runs.output_folder import clear_outputs
from clip_rl_perception.stress.fuzz_worker import COMMAND_LIMIT_S, ERRORS, Bench, Case, Outcome, find_subjects, work

LAST_WORDS = 40
"""Lines of a crashed worker's standard error that are kept."""
START_S = 120.0
"""Time that a worker has for its first case: it imports, and writes whole files; s."""


@dataclasses.dataclass(frozen=True)
class FuzzOptions:
    """What is damaged, how often, and what is kept."""

    out: Annotated[Path, Option("--out", "-o")]
    """Folder for report.json and the files of findings; those of an earlier run are replaced."""
    count: Count = 2000
    """Cases, shared evenly by the kinds."""
    seed: NaturalNumber = 1
    """Case n of a kind is the same for the same seed."""
    kinds: Annotated[tuple[str, ...], Option(nargs="+")] = ()
    """Kinds of files: mcap, sqlite3, ros1, jpeg, png, masks (default: all)."""
    first: NaturalNumber = 0
    """Number of the first case of each kind: an earlier run goes on where it ended."""
    only: tuple[str, ...] = ()
    """One case, as KIND:NUMBER; may be given again."""
    limit_s: Annotated[PositiveNumber, Option("--limit")] = 20.0
    """Longest time for one case, s; what takes longer hangs."""
    processes: Count = 2
    """Workers."""
    commands: NaturalNumber = 3
    """Cases of each kind that are read by a clip-rl command too, each in a process of its own."""

    def cases(self, known: list[str]) -> list[Case]:
        """What is to be done; raises `ClipRlError` for a kind that is not `known`."""
        chosen = [text.partition(":") for text in self.only]
        for kind in (*self.kinds, *(kind for kind, _, _ in chosen)):
            if kind not in known:
                raise ClipRlError(f"no kind of files '{kind}'; known are {', '.join(known)}")
        if chosen:
            if bad := ["".join(parts) for parts in chosen if not parts[2].isdecimal()]:
                raise ClipRlError(f"--only {bad[0]}: expected KIND:NUMBER, for example {known[0]}:17")
            return [Case(kind, int(number), self.seed, command=True) for kind, _, number in chosen]
        kinds = self.kinds or tuple(known)
        numbers = range(self.first, self.first + -(-self.count // len(kinds)))
        every = [Case(kind, number, self.seed, number < self.commands) for number in numbers for kind in kinds]
        return every[: self.count]


def fuzz(options: FuzzOptions) -> dict[str, Any]:
    """Run all cases; returns the report. Ctrl-C ends it early, and the report says so.

    Raises:
        ClipRlError: an option is not possible.
    """
    cases = options.cases(list(find_subjects()))
    clear_outputs(options.out, "report.json", "findings")
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    outcomes: list[Outcome] = []
    begun, interrupted = time.monotonic(), False
    with (
        tempfile.TemporaryDirectory(prefix="clip_rl_fuzz_") as scratch,
        Progress("fuzzing", unit="cases") as progress,
        concurrent.futures.ThreadPoolExecutor(options.processes) as pool,
    ):
        done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        places = [Path(scratch) / str(index) for index in range(options.processes)]
        kept = Bench(Path(scratch) / "kept")
        running = [pool.submit(_serve, waiting, done, place, options.limit_s) for place in places]
        try:
            while len(outcomes) < len(cases):
                try:
                    outcome = done.get(timeout=0.5)
                except queue.Empty:
                    for each in running:
                        if each.done():
                            each.result()  # what ended a thread of ours is raised here
                    continue
                outcomes.append(outcome)
                if outcome.findings:
                    _keep(outcome, options.out, kept)
                found = sum(bool(each.findings) for each in outcomes)
                progress.update(len(outcomes), len(cases), f"{found} with findings")
        except KeyboardInterrupt:
            interrupted = True
            while not waiting.empty():
                waiting.get()
    return _report(options, outcomes, time.monotonic() - begun, interrupted)


def _serve(waiting: queue.SimpleQueue[Case], done: queue.SimpleQueue[Outcome], place: Path, limit_s: float) -> None:
    """Hand cases to a worker process, and to another one after each that is lost."""
    spawn, worker = multiprocessing.get_context("spawn"), None
    while not waiting.empty():
        try:
            case = waiting.get_nowait()
        except queue.Empty:
            break
        patience = limit_s + (COMMAND_LIMIT_S if case.command else 0.0)
        if worker is None:
            shutil.rmtree(place, ignore_errors=True)
            ours, theirs = spawn.Pipe()
            worker = spawn.Process(target=work, args=(theirs, place), daemon=True)
            worker.start()
            theirs.close()
            patience += START_S
        ours.send(case)
        finding = ""
        try:
            if ours.poll(patience):
                done.put(ours.recv())
                continue
            finding = f"hangs: not read in {limit_s:g} s"
        except EOFError:
            worker.join()
            code = worker.exitcode or 0
            finding = (
                f"crash: the reading process ended by {signal.Signals(-code).name if code < 0 else f'status {code}'}"
            )
        worker.kill()
        worker.join()
        worker, words = None, (place / ERRORS).read_text(encoding="utf-8", errors="replace")
        done.put(Outcome(case, findings=(finding,), details="\n".join(words.splitlines()[-LAST_WORDS:])))
    if worker is not None:
        ours.close()
        worker.join(5.0)
        worker.kill()


def _keep(outcome: Outcome, out: Path, bench: Bench) -> None:
    """The damaged files, and how to have them again."""
    folder = out / "findings" / outcome.case.name.replace(":", "-")
    variant, done, files = bench.damaged(outcome.case)
    shutil.copytree(files, folder, dirs_exist_ok=True)
    text = "\n".join((f"{variant}: {done.text}", *outcome.findings, "", outcome.details, "", repeat(outcome.case), ""))
    (folder / "finding.txt").write_text(text, encoding="utf-8")


def repeat(case: Case) -> str:
    """The command that repeats a case."""
    return f"clip-rl fuzz --seed {case.seed} --only {case.name} --out DIR"


def _report(options: FuzzOptions, outcomes: list[Outcome], seconds: float, interrupted: bool) -> dict[str, Any]:
    kinds: dict[str, collections.Counter[str]] = {}
    alike: dict[str, list[str]] = {}
    for outcome in outcomes:
        kinds.setdefault(outcome.case.kind, collections.Counter())[outcome.result or "finding"] += 1
        for finding in outcome.findings:
            alike.setdefault(f"{outcome.case.kind}: {_shape(finding)}", []).append(outcome.case.name)
    return {
        "seed": options.seed,
        "first": options.first,
        "cases": len(outcomes),
        "seconds": round(seconds, 1),
        "interrupted": interrupted,
        "kinds": {kind: dict(sorted(counts.items())) for kind, counts in sorted(kinds.items())},
        "findings": [
            {"finding": text, "cases": names} for text, names in sorted(alike.items(), key=lambda pair: -len(pair[1]))
        ],
    }


def _shape(finding: str) -> str:
    """A finding without what differs from case to case."""
    return re.sub(r"\d+|/tmp/\S+", "N", finding.partition(": (")[0])[:160]


def describe(report: dict[str, Any]) -> Iterator[str]:
    """The report for the terminal, line by line."""
    yield f"{report['cases']} cases in {report['seconds']:g} s{', interrupted' if report['interrupted'] else ''}"
    for kind, counts in report["kinds"].items():
        yield f"  {kind:8} {', '.join(f'{count} {result}' for result, count in counts.items())}"
    for each in report["findings"]:
        yield f"{len(each['cases'])} x {each['finding']}  ({', '.join(each['cases'][:3])})"
    yield "no findings" if not report["findings"] else f"{len(report['findings'])} kinds of findings"
