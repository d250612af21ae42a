"""The ROS package alone, as a release takes it: the folder without the repository around it."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "ros_ws" / "src"
READ = (
    "from clip_rl_perception.messages.message_types import STATUS, typestore; import clip_rl_perception as package; "
    "print(package.__file__, STATUS in typestore().types)"
)


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """The package's folder; links stay links, and lead nowhere where they led out of it."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "models")
    return Path(shutil.copytree(PACKAGES / "clip_rl_perception", tmp_path / "release", symlinks=True, ignore=ignored))


def test_what_is_installed_is_in_the_package(alone: Path) -> None:
    for folder, pattern in (("launch", "*.launch.py"), ("examples", "*.py"), ("config", "*"), ("rviz", "*")):
        there = {file.name for file in (alone / folder).glob(pattern)}
        assert there and there == {file.name for file in (PACKAGES / "clip_rl_perception" / folder).glob(pattern)}
    broken = [path.relative_to(alone).as_posix() for path in alone.rglob("*") if path.is_symlink()]
    assert broken == ["clip_rl_perception/interfaces"], "of clip_rl_interfaces, which is installed beside it"


def test_every_shipped_file_is_installed_where_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `--symlink-install` share/ has what setup.py names, folders within folders as in the sources."""
    package, told = PACKAGES / "clip_rl_perception", {}
    monkeypatch.chdir(package)
    monkeypatch.setattr(setuptools, "setup", lambda **words: told.update(words))
    runpy.run_path("setup.py")
    installed = {
        f"{target}/{Path(file).name}": file
        for target, files in told["data_files"]
        for file in files
        if target.startswith("share/clip_rl_perception")
    }
    shipped = {
        f"share/clip_rl_perception/{path.relative_to(package)}": str(path.relative_to(package))
        for folder in ("config", "launch", "models", "rviz", "security")
        for path in (package / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "share/clip_rl_perception/models/golden/synthetic_0.jpg" in shipped
    assert installed == shipped | {"share/clip_rl_perception/package.xml": "package.xml"}


@pytest.mark.parametrize("folder", ["launch", "examples"])
def test_the_top_links_to_the_same_files(folder: str) -> None:
    assert (ROOT / folder).resolve() == PACKAGES / "clip_rl_perception" / folder


def read(alone: Path, prefix: Path) -> subprocess.CompletedProcess[str]:
    # Not measured: this copy is gone when coverage is reported.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment |= {"PYTHONPATH": str(alone), "AMENT_PREFIX_PATH": str(prefix)}
    command = [sys.executable, "-c", READ]
    return subprocess.run(command, cwd=alone, env=environment, capture_output=True, text=True, check=False)


def test_messages_of_bags_are_those_that_ros_has_installed(alone: Path, tmp_path: Path) -> None:
    shutil.copytree(PACKAGES / "clip_rl_interfaces" / "msg", tmp_path / "ros" / "share" / "clip_rl_interfaces" / "msg")
    done = read(alone, tmp_path / "ros")
    assert done.stdout.split() == [str(alone / "clip_rl_perception" / "__init__.py"), "True"], done.stderr
    done = read(alone, tmp_path / "nothing")
    assert done.returncode and "no prefix of AMENT_PREFIX_PATH has clip_rl_interfaces" in done.stderr.splitlines()[-1]
