"""The folder of a run's results: what an earlier run left in it goes, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.folder_files import MARK
from clip_rl_perception.runs.record_json import is_report

HEAD = "# What runs of clip-rl write here, and the next one replaces:"


def clear_outputs(out: Path, *patterns: str, read: Iterable[Path] = ()) -> None:
    """Remove what an earlier run left in `out`, so that nothing old can pass for this run's result; makes the folder.

    Args:
        out: the folder.
        patterns: of the files and folders that a run writes there.
        read: what is read meanwhile, and must not be removed.

    Raises:
        ClipRlError: something of that name is there that no run wrote, or is read; the folder cannot be written.
    """
    try:
        places = {place: pattern for pattern in patterns for place in sorted(out.glob(pattern))}
        written = _written(out, patterns)
        _check(out, places, written, read)
        out.mkdir(parents=True, exist_ok=True)
        lines = [HEAD, *sorted({*written, *patterns})]
        (out / MARK).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        for place in places:
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink()
    except OSError as error:
        raise ClipRlError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from error


def _written(out: Path, patterns: Iterable[str]) -> set[str]:
    """What runs have written there; `patterns`, where the report of one of before there were marks says so."""
    if (out / MARK).is_file():
        return {line for line in (out / MARK).read_text(encoding="utf-8", errors="replace").splitlines()[1:] if line}
    return set(patterns) if is_report(out / "report.json") else set()


def _check(out: Path, places: Mapping[Path, str], written: set[str], read: Iterable[Path]) -> None:
    gone = {place.resolve() for place in places}
    for path in read:
        whole = path.resolve()
        if gone & {whole, *whole.parents}:
            raise ClipRlError(f"{path} is read, and would be replaced by results; name another folder with --out")
    others = [place.name for place, pattern in places.items() if pattern not in written]
    if others:
        names = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise ClipRlError(
            f"{out} holds {names}, which would be replaced, and no run of clip-rl is known to have written that; "
            "name another folder with --out, or remove it"
        )
