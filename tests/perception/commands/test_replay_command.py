"""`clip-rl replay` as its user meets it: files, exit status, lines, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clip_rl_perception import options
from clip_rl_perception.commands import replay
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.replay.recording import Recording
from clip_rl_perception.report.requirements import RequirementError
from clip_rl_perception.runs.record_json import read_run
from replay_inputs import write_bag

FAST = ("--model", "demo", "--engine", "torch", "--refine-steps", "0", "--threads", "1")
LIMIT_S = 180
LONG = 400
PROGRAM = """
import sys
from clip_rl_perception import options
from clip_rl_perception.commands import replay
sys.exit(replay.run(options.parse(replay, sys.argv[1:])))
"""


def command(*arguments: object) -> int:
    return replay.run(options.parse(replay, [*map(str, arguments), *FAST]))


def test_files_status_and_requirements(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, out = write_bag(tmp_path / "bag", 4), tmp_path / "out"
    assert command(bag, "--out", out, "--require", "masks_share>=1,fps>0") == 0
    text = capsys.readouterr().out
    assert "4 of 4 frames gave a mask" in text and "ok      masks_share>=1: 1" in text
    report = json.loads((out / "report.json").read_text())
    assert f"SHA-256 {report['output_sha256']}" in text and len(report["frames"]) == 4
    assert report["model_id"] and report["parameters"]["refine_steps"] == 0 and report["host"]["cpu"]
    assert (out / "report.html").read_text().count("data:image/jpeg") >= 4
    assert (out / "overlay.mp4").stat().st_size > 1000
    assert len(list(Recording(out / "perception").masks())) == 4
    # Again, with a requirement that fails, into the same folder; and with nothing but a report.
    assert command(bag, "--out", out, "--require", "miou>=1.5", "--no-bag", "--no-video") == 1
    assert "FAILED  miou>=1.5" in capsys.readouterr().out
    assert not (out / "overlay.mp4").exists()
    assert read_run(out / "report.json").output_sha256 == report["output_sha256"]


def test_what_is_wrong_with_the_arguments_is_said_first(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 2)
    with pytest.raises(ClipRlError, match=r"none: no such file or folder"):
        command(tmp_path / "none")
    with pytest.raises(RequirementError, match="not of the form"):
        command(bag, "--require", "miou")
    with pytest.raises(RequirementError, match="no metric 'mlou'; did you mean 'miou'"):
        command(bag, "--require", "mlou>=0.5", "--out", tmp_path / "out")
    with pytest.raises(ClipRlError, match="--frames is 0; expected 1 or more"):
        command(bag, "--frames", 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(ClipRlError, match="cannot write to"):
        command(bag, "--out", tmp_path / "file" / "out")


def test_what_is_refused_costs_no_earlier_result(tmp_path: Path) -> None:
    bag, out = write_bag(tmp_path / "bag", 2), tmp_path / "out"
    assert command(bag, "--out", out, "--no-bag", "--no-video") == 0
    report = (out / "report.json").read_bytes()
    (tmp_path / "empty").mkdir()
    for refused in (
        (bag, "--require", "mioo>=0.5"),
        (tmp_path / "empty",),
        (bag, "--classes", "nowhere"),
        (bag, "--no-truth", "--labels", tmp_path),
        (bag, "--eye", "right"),
    ):
        with pytest.raises(ClipRlError):
            command(*refused, "--out", out)
        assert (out / "report.json").read_bytes() == report


def test_an_input_that_results_would_replace_stays(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "perception", 2)
    with pytest.raises(ClipRlError, match=r"perception is read, and would be replaced"):
        command(bag, "--out", tmp_path)
    assert (bag / "metadata.yaml").is_file()


@pytest.mark.parametrize("given", [["--lockstep"], ["--seconds", "2"], ["--speed", "3"], ["--transport", "raw"]])
def test_what_is_of_the_node_alone_is_refused_offline(tmp_path: Path, given: list[str]) -> None:
    with pytest.raises(ClipRlError, match=rf"^{given[0]} goes with --online alone: it is of how the node is run"):
        command(write_bag(tmp_path / "bag", 2), "--out", tmp_path / "out", *given)


@pytest.mark.parametrize("given", [["--true-tags"], ["--shaft-mm", "8"], ["--frames", "3"], ["--classes", "binary"]])
def test_what_is_of_files_alone_is_refused_online(tmp_path: Path, given: list[str]) -> None:
    with pytest.raises(ClipRlError, match=rf"^{given[0]} does not go with --online: "):
        command(write_bag(tmp_path / "bag", 2), "--online", "--out", tmp_path / "out", *given)


def test_a_misspelt_requirement_is_told_before_the_node_is_started(tmp_path: Path) -> None:
    bag, out = write_bag(tmp_path / "bag", 2), tmp_path / "out"
    with pytest.raises(RequirementError, match="no metric 'mioo'; did you mean 'miou'"):
        command(bag, "--online", "--require", "mioo>=0.5", "--out", out)
    assert not out.exists()


def test_only_the_frames_of_an_online_run(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", 5)
    assert command(bag, "--out", tmp_path / "first", "--frames", 2, "--no-video", "--no-bag") == 0
    same = ("--same-frames-as", tmp_path / "first" / "report.json")
    assert command(bag, "--out", tmp_path / "again", *same, "--no-video", "--no-bag") == 0
    runs = [read_run(tmp_path / name / "report.json") for name in ("first", "again")]
    assert runs[0].output_sha256 == runs[1].output_sha256 and len(runs[1].frames) == 2


@pytest.fixture(scope="module")
def long_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("long") / "bag", LONG, encoding="jpeg")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_report_and_a_bag_that_can_be_read(
    long_bag: Path, tmp_path: Path, number: signal.Signals
) -> None:
    bag, out = long_bag, tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(bag), "--out", str(out), *FAST],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        stored = out / "perception" / "perception.mcap"
        while not stored.exists() or stored.stat().st_size < 20_000:  # some frames are through
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        text, errors = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 128 + number, errors
    assert "interrupted after" in errors and "Traceback" not in errors
    run = read_run(out / "report.json")
    assert not run.complete and 1 <= len(run.frames) < LONG
    assert "Interrupted:" in text and "Interrupted:" in (out / "report.html").read_text()
    assert len(list(Recording(out / "perception").masks())) == len(run.frames)
