"""Paths that are given to make reach the commands as they were typed, whatever characters they have."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["operation.mp4", "it's.mp4", "a b.mp4", "a$b.mp4", "$(HOME).mp4", "a$$b.mp4", 'say "a".mp4', "a`id`;#.mp4"]
PATHS = ("VIDEO", "BAG", "LABELS", "LABEL_MAP", "OUT")
OUTER = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
"""What a make that runs these tests would tell another."""
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile, on scripts that set up nothing, and a clip-rl that tells its arguments."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "setup.sh").write_text("#!/bin/sh\n")
    (scripts / "setup.sh").chmod(0o755)
    (scripts / "env.sh").write_text("clip-rl() { printf '%s\\n' \"$@\"; }\n")
    return tmp_path


def run_make(project: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in (*PATHS, *OUTER)}
    command = ["make", *words]
    return subprocess.run(
        command, cwd=project, env=environment | variables, capture_output=True, text=True, check=False
    )


def make(project: Path, *words: str, **variables: str) -> list[str]:
    done = run_make(project, *words, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_without_paths(project: Path) -> None:
    assert make(project, "demo") == ["demo", "--out", "out/demo"]
    told = make(project, "replay", "BAG=operation")
    assert told == ["replay", "operation", "--online", "--speed", "1.0", "--out", "out/replay"]
    done = run_make(project, "replay", "BAG=")
    assert done.returncode == 2 and "make replay: name a recording" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_paths_come_as_they_were_typed(project: Path, name: str) -> None:
    demo = ["demo", "--video", name, "--bag", name, "--out", name]
    assert make(project, "demo", f"VIDEO={name}", f"BAG={name}", f"OUT={name}") == demo
    assert make(project, "demo", VIDEO=name, BAG=name, OUT=name) == demo, "from the environment"
    replay = ["replay", name, "--online", "--speed", "1.0", "--labels", name, "--label-map", name, "--out", name]
    assert make(project, "replay", f"BAG={name}", f"LABELS={name}", f"LABEL_MAP={name}", f"OUT={name}") == replay
