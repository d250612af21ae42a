"""Options as dataclasses: what words make of them, what --help says, what is refused."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from clip_rl_perception.cli_types import Count, PositiveNumber, Share, WidthByHeight
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.options import NotAnOption, Option, Positional, parse

THIS = sys.modules[__name__]


@dataclasses.dataclass(frozen=True)
class Group:
    """Some."""

    labels: Annotated[Path | None, Option(metavar="DIR")] = None
    """Masks; None: beside images."""
    size: WidthByHeight = (640, 480)
    """Of pictures (default: 640x480)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Make:
    """Make it.

    Whole.
    """

    source: Annotated[tuple[Path, ...], Positional()]
    """Videos."""
    out: Annotated[Path, Option("--out", "-o")]
    """Where to."""
    topic: tuple[str, ...] = ()
    """May be repeated."""
    rates: Annotated[tuple[PositiveNumber, ...], Option(nargs="+")] = (10.0, 30.0)
    """JPEGs per second."""
    views: Literal[1, 2, 4] = 1
    """How many."""
    quick: bool = False
    """Little."""
    previous_frame: bool = True
    """Recall; False: recall nothing."""
    tau: float = 10.0
    """Tolerance,
    px."""
    group: Annotated[Group, Option(group="some of 100 %")]

    def __post_init__(self) -> None:
        if self.tau < 0:
            raise ClipRlError("--tau is negative")


def unmade(text: str) -> frozenset[str]:
    if text == "-":
        raise ClipRlError("nothing is named")
    return frozenset(text.split(","))


@dataclasses.dataclass(frozen=True)
class Shown:
    """Also used where there is no command line."""

    labels: int = 3
    """Named as in another group."""
    max_frames: Annotated[Count | None, Option("--most", metavar="N")] = None
    """End after N."""
    names: Annotated[frozenset[str], Option(read=unmade)] = frozenset()
    """Told of."""
    title: Annotated[str, NotAnOption()] = "a title"
    """Heading."""


@dataclasses.dataclass(frozen=True)
class Info:
    """Tell of it."""

    bag: Annotated[Path | None, Positional("BAG")] = None
    """The bag."""
    shown: Shown = Shown()
    near: Annotated[bool, Option(one_of="distance")] = False
    """Near."""
    far: Annotated[bool, Option(one_of="distance")] = False
    """Far."""
    share: Share = 0.5
    """Of all."""


def run(options: Make | Info) -> int:
    return int(isinstance(options, Make))


def test_words_become_typed_fields() -> None:
    words = "make a b -o c --topic x --topic y --rates 1 2.5 --views 4 --quick --no-previous-frame --size 32x24"
    assert parse(THIS, words.split()) == Make(
        source=(Path("a"), Path("b")), out=Path("c"), topic=("x", "y"), rates=(1.0, 2.5), views=4, quick=True,
        previous_frame=False, group=Group(size=(32, 24)),
    )  # fmt: skip
    assert parse(THIS, ["make", "a", "--out=c"]) == Make(source=(Path("a"),), out=Path("c"), group=Group())
    assert parse(THIS, ["info"]) == Info()
    assert parse(THIS, ["info", "--most", "2", "--names", "a,b", "--labels", "4", "--far"]) == Info(
        shown=Shown(labels=4, max_frames=2, names=frozenset("ab")), far=True
    )
    assert parse(THIS, ["info", "x"]) == Info(Path("x"))


def test_help_is_the_strings_under_the_fields(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as caught:
        parse(THIS, ["make", "--help"], "clip-rl bag")
    text = capsys.readouterr().out
    assert caught.value.code == 0 and text.startswith("usage: clip-rl bag make [-h] --out OUT")
    for line in (
        "Make it.\n\nWhole.\n", "  source                videos\n", " where to\n",
        "  --rates RATES [RATES ...]\n                        JPEGs per second (default: 10 30)\n",
        "  --views {1,2,4}       how many (default: 1)\n", "  --no-previous-frame   recall nothing\n",
        "  --quick               little\n", "  --tau TAU             tolerance, px (default: 10)\n",
        "some of 100 %:\n  --labels DIR          masks (default: beside images)\n",
        "  --size SIZE           of pictures (default: 640x480)\n",
    ):  # fmt: skip
        assert line in text, text
    with pytest.raises(SystemExit):
        parse(THIS, ["info", "--help"], "clip-rl bag")
    text = capsys.readouterr().out
    assert "[--labels LABELS] [--most N] [--names NAMES] [--near | --far] [--share SHARE] [BAG]" in " ".join(
        text.split()
    )
    assert "title" not in text and "  BAG              the bag\n" in text
    with pytest.raises(SystemExit):
        parse(THIS, ["--help"])
    assert "    info      tell of it\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("", "the following arguments are required: make|info"),
        ("make a", "the following arguments are required: --out/-o"),
        ("make -o c", "the following arguments are required: source"),
        ("make a -o c --views 3", "argument --views: invalid choice: "),
        ("make a -o c --tau x", "argument --tau: invalid float value: 'x'"),
        ("make a -o c --rates 0", "argument --rates: 0 is not above 0"),
        ("make a -o c --size 3", "argument --size: '3' is not WIDTHxHEIGHT"),
        ("info --strange", "unrecognized arguments: --strange"),
        ("info --title x", "unrecognized arguments: --title"),
        ("info --near --far", "argument --far: not allowed with argument --near"),
    ],
)
def test_what_is_wrong_is_one_line_after_the_usage(words: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(THIS, words.split(), "clip-rl bag")
    text = capsys.readouterr().err
    assert caught.value.code == 2 and text.startswith("usage: clip-rl bag")
    assert text.splitlines()[-1].startswith("clip-rl bag") and f"error: {error}" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("make a -o c --tau -1", "--tau is negative"),
        ("info --most 0", "--most is 0; expected 1 or more"),
        ("info --share 1.5", "--share is 1.5; expected 0 to 1"),
        ("info --share nan", "--share is nan; expected 0 to 1"),
        ("info --names -", "nothing is named"),
    ],
)
def test_what_is_parsed_may_still_be_refused(words: str, error: str) -> None:
    with pytest.raises(ClipRlError) as caught:
        parse(THIS, words.split())
    assert str(caught.value) == error
