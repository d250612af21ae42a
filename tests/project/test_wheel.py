"""What pip makes of the project: a wheel, a source archive, and the files in share/ of both."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PERCEPTION = Path("ros_ws/src/clip_rl_perception")
SHARE = "share/clip_rl_perception"
TABLE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["data-files"]
SHIPPED = {
    f"{SHARE}/{path.relative_to(ROOT / PERCEPTION)}"
    for folder in ("config", "models")
    for path in (ROOT / PERCEPTION / folder).rglob("*")
    if path.is_file()
}


def test_patterns_of_shipped_files_match_each_file_and_no_folder() -> None:
    matched = {target: [path for glob in globs for path in ROOT.glob(glob)] for target, globs in TABLE.items()}
    assert [str(path) for paths in matched.values() for path in paths if not path.is_file()] == []
    assert {f"{target}/{path.name}" for target, paths in matched.items() for path in paths} == SHIPPED
    assert f"{SHARE}/models/golden/synthetic_0.jpg" in SHIPPED


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, as building leaves folders beside the sources; links stay links."""
    place = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for folder in ("ros_ws/src", "training"):
        shutil.copytree(ROOT / folder, place / folder, symlinks=True, ignore=ignored)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, place)
    return place


def made(sources: Path, step: str, out: Path) -> Path:
    """What setuptools makes in `step` of the copy, as pip asks it to."""
    code = f"from setuptools import build_meta; print(build_meta.build_{step}({str(out)!r}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


def test_a_wheel_is_made_and_has_what_is_shipped(sources: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(made(sources, "wheel", tmp_path)) as wheel:
        names = wheel.namelist()
    assert {name.partition(".data/data/")[2] for name in names if ".data/data/" in name} == SHIPPED
    assert {"clip_rl_perception/interfaces/SceneStatus.msg", "clip_rl_training/__init__.py"} <= set(names)


def test_a_source_archive_has_what_is_shipped(sources: Path, tmp_path: Path) -> None:
    with tarfile.open(made(sources, "sdist", tmp_path)) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    shipped = {path.replace(SHARE, str(PERCEPTION), 1) for path in SHIPPED}
    assert shipped <= names and f"{PERCEPTION}/clip_rl_perception/interfaces/SceneStatus.msg" in names
