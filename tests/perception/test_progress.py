"""Progress: a line that is rewritten on a terminal, whole lines now and then elsewhere."""

from __future__ import annotations

import fcntl
import io
import os
import struct
import termios

import pytest
from clip_rl_perception import progress
from clip_rl_perception.progress import Progress, Stage, shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_one_line_rewritten() -> None:
    stream = Terminal()
    with Stage(2, 5, "playing", stream) as stage:
        stage.update(5, 10, "3 masks")
        stage.result("10 frames")
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.rstrip().endswith("10 frames")
    assert "[2/5] playing  " + "#" * 12 + "." * 12 + " 5/10  3 masks" in text


def test_progress_elsewhere_is_whole_lines() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError, match="x"), Stage(1, 1, "work", stream):
        raise ValueError("x")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[1/1] work"
    assert "failed" in lines[1]
    assert "\r" not in stream.getvalue()


def test_lines_elsewhere_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with Progress("replaying", stream=stream) as bar:
        for done in range(100):
            bar.update(done, 100)
        bar.say("note: something")
    assert stream.getvalue() == "note: something\n", "all of it took less than the time between two lines"
    monkeypatch.setattr(progress, "PLAIN_PERIOD_S", 1e-9)
    with Progress("replaying", unit="steps", stream=stream) as bar:
        bar.update(5, 10, "well")
        bar.update(6)
    first, second = stream.getvalue().splitlines()[1:]
    assert first.startswith("replaying  5/10  well  ") and " steps/s, " in first and first.endswith(" left")
    assert second == "replaying  6"


def test_on_a_terminal_notes_stand_above_the_bar() -> None:
    stream = Terminal()
    with Progress("replaying", stream=stream) as bar:
        bar.update(5, 10)
        bar.say("note: something")
    before, _, after = stream.getvalue().partition("note: something\n")
    assert before.endswith("\r") and "replaying  " + "#" * 12 + "." * 12 + " 5/10" in after and after.endswith("\n")


def test_items_pass_unchanged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_PERIOD_S", 1e-9)
    assert list(shown("abc", "reading", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err.splitlines()[-1].startswith("reading  3/3  ")


@pytest.mark.parametrize("size", [(0, 0), (0, 100), (30, 0), (30, 100)])
@pytest.mark.parametrize("total", [None, 3])
def test_a_terminal_shows_a_count_whatever_size_it_says_it_has(size: tuple[int, int], total: int | None) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with open(theirs, "w") as stream, Progress("replaying", stream=stream) as bar:  # noqa: PTH123
        for done in (1, 2, 3):
            bar.update(done, total)
        stream.flush()
        bar.__exit__(None, None, None)
        shown = ""
        while not shown.endswith("\n"):
            shown += os.read(ours, 10000).decode()
    os.close(ours)
    assert "replaying" in shown and ("3/3" in shown if total else "replaying  3" in shown)
