"""`clip-rl fuzz` finds what it should find, and of the project's own readers nothing."""

from __future__ import annotations

import collections
import json
import os
from pathlib import Path

import pytest
from clip_rl_perception import cli
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.stress.fuzz_run import FuzzOptions, fuzz
from clip_rl_perception.stress.fuzz_subject import Done, Reading, judge
from clip_rl_perception.stress.fuzz_worker import Bench, Case, find_subjects

SWEPT = 120
NAUGHTY = '''
import collections, os, random, signal, time
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.stress.fuzz_subject import Done, Reading

class Naughty:
    """Case n behaves in its own bad way."""
    name = "naughty"

    def write(self, folder):
        (folder / "files").mkdir(parents=True)
        (folder / "files" / "a").write_text("whole")

    def damage(self, folder, draw):
        first = draw.random()
        number = next(each for each in range(99) if random.Random(f"fuzz 1 naughty {each}").random() == first)
        (folder / "files" / "a").write_text(str(number))
        return "files", Done("bad way")

    def readers(self, folder, variant):
        return {"reader": lambda: self.read((folder / variant / "a").read_text())}

    def read(self, text):
        if text == "0":
            raise ZeroDivisionError("ours")
        if text == "1":
            time.sleep(600)
        if text == "2":
            os.kill(os.getpid(), signal.SIGSEGV)
        if text == "3":
            raise ClipRlError("two\\nlines")
        if text == "4":
            return Reading(collections.Counter(["a"]))
        if text == "5":
            return Reading(collections.Counter(["a", "b"]), ("note: b is late",))
        return Reading(collections.Counter(["a", "b"]))

    def command(self, folder, variant):
        return ["info"]
'''


def test_the_rule() -> None:
    whole = Reading(collections.Counter("abc"), ("a note of old",))
    lost, other = collections.Counter("ab"), collections.Counter("abx")
    note = (*whole.told, "c is damaged")
    done, blind, harmless = Done(""), Done("", knowable=False), Done("", harmless=True)
    assert judge(whole, whole, done) == ([], False)
    assert judge(whole, Reading(lost, whole.told), done) == (["1 of 3 are lost without a word: c"], False)
    assert judge(whole, Reading(lost, whole.told), blind)[0] == ["1 of 3 are lost without a word: c"]
    assert judge(whole, Reading(lost, note), done) == ([], False)
    assert judge(whole, Reading(other, whole.told), done) == (
        ["1 are given as good and are not what was written: x"],
        False,
    )
    assert judge(whole, Reading(other, whole.told), blind) == ([], True)
    assert judge(whole, Reading(other, note), done) == ([], False)
    assert judge(whole, Reading(lost, note), harmless)[0] == ["1 of 3 are not read though all are there: c"]
    assert judge(whole, Reading(whole.items, ("two\nlines",)), done)[0] == ["not one line: 'two\\nlines'"]


def test_bad_ways_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "package"
    (package / "naughty-1.dist-info").mkdir(parents=True)
    (package / "naughty.py").write_text(NAUGHTY)
    (package / "naughty-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: naughty\nVersion: 1\n")
    (package / "naughty-1.dist-info" / "entry_points.txt").write_text(
        "[clip_rl.fuzz_subjects]\nnaughty = naughty:Naughty\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(package))
    out = tmp_path / "out"
    words = ["fuzz", "--out", str(out), "--kinds", "naughty", "--count", "7", "--processes", "1", "--commands", "0"]
    assert cli.main([*words, "--limit", "15"]) == 1
    report = json.loads((out / "report.json").read_text())
    found = {each["finding"]: each["cases"] for each in report["findings"]}
    assert found == {
        "naughty: reader: traceback: ZeroDivisionError in naughty.py read: ours": ["naughty:0"],
        "naughty: crash: the reading process ended by SIGSEGV": ["naughty:2"],
        "naughty: hangs: not read in N s": ["naughty:1"],
        "naughty: reader: not one line: 'two\\nlines'": ["naughty:3"],
        "naughty: reader: N of N are lost without a word: b": ["naughty:4"],
    }
    assert report["kinds"] == {"naughty": {"as written": 1, "finding": 5, "told": 1}}
    assert "ZeroDivisionError" in (out / "findings" / "naughty-0" / "finding.txt").read_text()
    assert (
        "clip-rl fuzz --seed 1 --only naughty:0 --out DIR"
        in (out / "findings" / "naughty-0" / "finding.txt").read_text()
    )
    assert "5 kinds of findings" in capsys.readouterr().out


def test_a_case_is_the_same_again(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        bench = Bench(tmp_path / name)
        variant, done, folder = bench.damaged(Case("mcap", 5, seed=7))
        files = {path.name: path.read_bytes() for path in (folder / variant).iterdir()}
        texts.append((variant, done, files))
    assert texts[0] == texts[1]


def test_whole_files_are_read_without_a_word_about_damage(tmp_path: Path) -> None:
    for subject in find_subjects().values():
        subject.write(tmp_path / subject.name)
        for folder in (tmp_path / subject.name).iterdir():
            for name, reader in subject.readers(tmp_path / subject.name, folder.name).items():
                reading = reader()
                assert reading.items.total() >= 1, (subject.name, folder.name, name)
                assert not any("damaged" in line or "truncated" in line for line in reading.told)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kinds": ("tar",)}, "no kind of files 'tar'; known are a, b"),
        ({"only": ("tar:1",)}, "no kind of files 'tar'"),
        ({"only": ("a:x",)}, "--only a:x: expected KIND:NUMBER, for example a:17"),
    ],
)
def test_what_cannot_be_asked_for(changes: dict, text: str) -> None:
    with pytest.raises(ClipRlError, match=text):
        FuzzOptions(Path("out"), **changes).cases(["a", "b"])


def test_what_cannot_be_asked_for_takes_no_earlier_report_away(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(ClipRlError, match="no kind of files 'tar'"):
        fuzz(FuzzOptions(tmp_path, only=("tar:1",)))
    assert (tmp_path / "report.json").is_file()


def test_cases_go_on_where_a_run_ended() -> None:
    one, more = (FuzzOptions(Path("out"), count=5, first=first, commands=1).cases(["a", "b"]) for first in (0, 3))
    assert [case.name for case in one] == ["a:0", "b:0", "a:1", "b:1", "a:2"]
    assert [case.name for case in more] == ["a:3", "b:3", "a:4", "b:4", "a:5"]
    assert [case.command for case in one] == [True, True, False, False, False]


def test_a_small_sweep_finds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--count", str(SWEPT), "--commands", "1", "--limit", "120"]
    assert cli.main(["fuzz", "--out", str(tmp_path), *words]) == 0, capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["cases"] == SWEPT and set(report["kinds"]) == set(find_subjects())
    assert all(sum(counts.values()) == SWEPT / 6 for counts in report["kinds"].values())
    assert all(counts.get("told", 0) + counts.get("refused", 0) > 10 for counts in report["kinds"].values())
