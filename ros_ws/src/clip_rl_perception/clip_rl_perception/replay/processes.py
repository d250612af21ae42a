"""Child processes that never outlive their parent, and the events they report."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

PR_SET_PDEATHSIG = 1
"""prctl(2): send a signal to the child when its parent dies."""

GRACE_S = {signal.SIGINT: 8.0, signal.SIGTERM: 3.0}
"""How long a child may take to end after each signal, s; SIGKILL follows."""


@dataclasses.dataclass
class Child:
    """One running process: its events (JSON lines on standard output) and its log (everything else)."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    events: collections.deque[dict[str, Any]]
    reader: threading.Thread

    def running(self) -> bool:
        """True until it ends. An ended child stays a zombie until `Children.stop`, so that its id is not reused."""
        if self.process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def last(self, event: str) -> dict[str, Any] | None:
        """The newest event of that name; None before the first."""
        return next((item for item in reversed(self.events) if item["event"] == event), None)

    def log_lines(self, *marks: str) -> list[str]:
        """Lines of the log that contain one of `marks`; all lines without marks."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if line.strip() and (not marks or any(mark in line for mark in marks))]


class Children:
    """Starts processes in groups of their own and ends every one of them, however the `with` block is left.

    Each child gets SIGINT, then SIGTERM, then SIGKILL, its whole process group at once; the kernel ends children whose
    parent was killed outright.
    """

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        """`environment` is the children's whole environment; `logs` a folder for their logs, created if missing."""
        self._environment = dict(environment)
        self._logs = logs
        self._children: list[Child] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A second Ctrl-C must not leave children behind.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for child in reversed(self._children):
                _signal_group(child, signal.SIGINT)
            for child in reversed(self._children):
                self.stop(child)
        finally:
            signal.signal(signal.SIGINT, previous)

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start `command`; its standard error and what is no event on its standard output go to logs/`name`.log."""
        log = self._logs / f"{name}.log"
        log.write_text("", encoding="utf-8")
        # Appending, as the reader does: with an offset of its own, the child would write over the reader's lines.
        with log.open("a", encoding="utf-8") as errors:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._environment,
                text=True,
                errors="replace",
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        events: collections.deque[dict[str, Any]] = collections.deque(maxlen=4096)
        reader = threading.Thread(target=_read_events, args=(process, events, log), daemon=True)
        child = Child(name, process, log, events, reader)
        reader.start()
        self._children.append(child)
        return child

    def stop(self, child: Child, *, patience_s: float = 0.0, kill: bool = False) -> int:
        """End a child and its group, by SIGKILL at once with `kill`; returns its exit status.

        `patience_s` is added to the time SIGINT may take.
        """
        for number, grace in GRACE_S.items():
            if kill or not child.running():
                break
            _signal_group(child, number)
            _wait(child, grace + (patience_s if number == signal.SIGINT else 0.0))
        # Also what the child itself may have started and left.
        _signal_group(child, signal.SIGKILL)
        status = child.process.wait()
        child.reader.join(timeout=2.0)
        return status


def _read_events(process: subprocess.Popen[str], events: collections.deque[dict[str, Any]], log: Path) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        try:
            event = json.loads(line)
            if not isinstance(event, dict) or "event" not in event:
                raise ValueError(line)
            events.append(event)
        except ValueError:
            with log.open("a", encoding="utf-8") as file:
                file.write(line)


def _signal_group(child: Child, number: signal.Signals) -> None:
    if child.process.returncode is None:  # else its group's id may be somebody else's by now
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, number)


def _wait(child: Child, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while child.running() and time.monotonic() < deadline:
        time.sleep(0.02)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """In the child, before it runs: the kernel ends it when the parent dies."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
