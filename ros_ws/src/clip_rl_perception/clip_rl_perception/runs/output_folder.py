"""The folder of a run's results: what an earlier run left in it goes, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.runs.record_json import is_report

MARK = ".clip-rl"
"""File that says that a folder is one of results; hidden."""


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
        places = [place for pattern in patterns for place in sorted(out.glob(pattern))]
        _check(out, places, read)
        out.mkdir(parents=True, exist_ok=True)
        (out / MARK).write_text("Results of clip-rl: the next run into this folder replaces them.\n", encoding="utf-8")
        for place in places:
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink()
    except OSError as error:
        raise ClipRlError(f"cannot write to {out}: {error.strerror}; name another folder with --out") from error


def _check(out: Path, places: list[Path], read: Iterable[Path]) -> None:
    gone = {place.resolve() for place in places}
    for path in read:
        whole = path.resolve()
        if gone & {whole, *whole.parents}:
            raise ClipRlError(f"{path} is read, and would be replaced by results; name another folder with --out")
    if places and not (out / MARK).is_file() and not is_report(out / "report.json"):
        names = ", ".join(place.name for place in places[:3]) + (", ..." if len(places) > 3 else "")
        raise ClipRlError(
            f"{out} holds {names}, which would be replaced, and no run of clip-rl is known to have written that; "
            "name another folder with --out, or remove it"
        )
