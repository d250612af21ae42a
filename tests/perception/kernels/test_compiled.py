"""Machine code of loops is kept for exactly the sources that it was made of, where there is a place for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from clip_rl_perception.kernels import compiled

LOAD = """
from clip_rl_perception.kernels import block_mean, compiled
before = compiled.is_warm()
block_mean.warm_up()
print(compiled.CACHE, before, compiled.is_warm())
"""


def test_any_change_of_any_source_is_another_place(tmp_path: Path) -> None:
    one, other = tmp_path / "loops.py", tmp_path / "vector_math.py"
    one.write_text("calls = 1")
    other.write_text("called = 1")
    first = compiled.source_hash([one, other])
    assert first == compiled.source_hash([other, one])
    other.write_text("called = 2")
    assert compiled.source_hash([one, other]) != first
    other.write_text("called = 1")
    assert compiled.source_hash([one, other]) == first


def test_every_file_with_loops_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(compiled, "source_hash", lambda files: seen.extend(path.name for path in files) or "x")
    compiled._folder()
    package = Path(compiled.__file__).parents[1]
    loops = {path for path in package.rglob("*.py") if "kernels.compiled import" in path.read_text()}
    assert loops and {path.parent for path in loops} == {Path(compiled.__file__).parent}
    assert {path.name for path in loops} <= set(seen)


def test_the_first_base_that_can_be_written_to_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    assert compiled.choose_folder([taken, tmp_path / "free"], "x") == (tmp_path / "free" / "x", "")
    folder, reason = compiled.choose_folder([taken], "x")
    assert folder is None and reason == f"{taken}: Not a directory"
    monkeypatch.setattr(compiled, "_LEAST_FREE", 1 << 62)
    folder, reason = compiled.choose_folder([tmp_path / "full"], "x")
    assert folder is None and reason.startswith(f"{tmp_path / 'full'}: ") and reason.endswith(" needed")


def test_only_old_code_of_other_sources_is_removed(tmp_path: Path) -> None:
    ours, new, old = (tmp_path / f"clip_rl-loops-{name}" for name in ("ours", "new", "old"))
    for folder in (ours, new, old, tmp_path / "other"):
        folder.mkdir()
    for folder in (ours, old, tmp_path / "other"):
        os.utime(folder, (0, 0))
    compiled._clear(tmp_path, ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip_rl-loops-new", "clip_rl-loops-ours", "other"]


def test_loops_are_kept_where_numba_is_told_to(tmp_path: Path) -> None:
    def kept(base: Path) -> tuple[str, list[Path]]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_CACHE_DIR": str(base)}
        done = subprocess.run(
            [sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        return done.stdout.strip(), sorted(base.rglob("*.nbc")) if base.is_dir() else []

    told, files = kept(tmp_path)
    place, *warm = told.rsplit(" ", 2)
    assert warm == ["False", "True"], "only the first start is told that it compiles"
    assert files and all(Path(place) in path.parents for path in files)
    assert kept(tmp_path) == (f"{place} True True", files), "the second process compiles nothing anew"
    (tmp_path / "file").write_text("")
    assert kept(tmp_path / "file") == ("None False False", []), "without a place it works all the same"
