"""metrics.csv: every value that a run logs, a row whenever any is logged of a step, a column for each name."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from clip_rl_perception.atomic_write import write_text


class MetricsFile:
    """Appends rows; a value of a new name adds a column, and a resumed run drops the rows beyond its step."""

    def __init__(self, path: Path, *, after: int) -> None:
        """Go on with `path` behind step `after`; 0 begins anew."""
        self._path = path
        self._names = ["step"]
        rows: list[dict[str, str]] = []
        if after and path.is_file():
            with path.open(encoding="utf-8", newline="") as stream:
                reader = csv.DictReader(stream)
                rows = [row for row in reader if (row["step"] or "").isdigit() and int(row["step"]) <= after]
                self._names = list(reader.fieldnames or self._names)
        self._write(rows)

    def add(self, step: int, values: dict[str, float]) -> None:
        """One row. Raises `ClipRlError` or `OSError` where it cannot be written."""
        new = [name for name in values if name not in self._names]
        if new:
            with self._path.open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
            self._names += new
            self._write(rows)
        with self._path.open("a", encoding="utf-8", newline="") as stream:
            csv.DictWriter(stream, self._names).writerow({"step": step, **{n: f"{v:.6g}" for n, v in values.items()}})

    def _write(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._names)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._path, text.getvalue())
