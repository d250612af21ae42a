"""The folder of a run's results: what is replaced, and what never is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.runs.output_folder import clear_outputs
from clip_rl_perception.runs.run_record import FORMAT

NAMES = ("report.json", "recording", "overlay-*.mp4")


def test_what_a_run_left_goes_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    clear_outputs(out, *NAMES)
    (out / "recording").mkdir()
    for name in ("report.json", "recording/0.mcap", "overlay-a.mp4", "overlay_mine.mp4", "notes.txt"):
        (out / name).write_text("x")
    clear_outputs(out, *NAMES)
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == ["notes.txt", "overlay_mine.mp4"]


def test_what_no_run_there_has_written_is_the_users(tmp_path: Path) -> None:
    clear_outputs(tmp_path, "report.json")  # as a replay of files, which records nothing
    (tmp_path / "report.json").write_text(json.dumps({"format": FORMAT}))
    (tmp_path / "recording").mkdir()
    with pytest.raises(ClipRlError, match="holds recording, which would be replaced"):
        clear_outputs(tmp_path, *NAMES)
    (tmp_path / "recording").rmdir()
    clear_outputs(tmp_path, *NAMES)
    (tmp_path / "recording").mkdir()
    clear_outputs(tmp_path, "report.json")
    clear_outputs(tmp_path, *NAMES)
    assert not (tmp_path / "recording").exists()


def test_a_report_of_a_replay_says_so_too(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps({"format": FORMAT}))
    (tmp_path / "recording").mkdir()
    clear_outputs(tmp_path, *NAMES)
    assert not (tmp_path / "recording").exists()


@pytest.mark.parametrize("report", [None, "[1]", '{"format": "another"}', "\xff{"])
def test_folders_that_no_run_wrote_stay(tmp_path: Path, report: str | None) -> None:
    (tmp_path / "recording").mkdir()
    (tmp_path / "recording" / "mine.mcap").write_text("x")
    if report is not None:
        (tmp_path / "report.json").write_text(report)
    with pytest.raises(ClipRlError, match=r"recording, which would be replaced, and no run.*name another folder"):
        clear_outputs(tmp_path, *NAMES)
    assert (tmp_path / "recording" / "mine.mcap").read_text() == "x"


@pytest.mark.parametrize("read", ["recording", "recording/part/0.mcap", "link"])
def test_what_is_read_stays(tmp_path: Path, read: str) -> None:
    clear_outputs(tmp_path, *NAMES)
    (tmp_path / "recording" / "part").mkdir(parents=True)
    (tmp_path / "recording" / "part" / "0.mcap").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "recording")
    with pytest.raises(ClipRlError, match="is read, and would be replaced by results; name another folder"):
        clear_outputs(tmp_path, *NAMES, read=[tmp_path / read])
    assert (tmp_path / "recording" / "part" / "0.mcap").read_text() == "x"
    clear_outputs(tmp_path, *NAMES, read=[tmp_path, tmp_path / "elsewhere"])
