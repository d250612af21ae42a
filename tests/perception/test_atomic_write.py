"""Writing whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from clip_rl_perception.atomic_write import write_json, write_text
from clip_rl_perception.errors import ClipRlError


def test_folders_are_made_and_what_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.txt"
    write_text(path, "one")
    write_text(path, "zwölf")
    assert path.read_bytes() == "zwölf".encode()
    assert list(path.parent.iterdir()) == [path]


def test_json_ends_with_a_line_end_and_holds_finite_numbers_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"b": [1, None], "a": "ä"})
    before = path.read_text()
    assert json.loads(before) == {"b": [1, None], "a": "ä"} and before.endswith("}\n")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": math.nan})
    assert path.read_text() == before and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ClipRlError, match=r"cannot write .*file/a.txt: "):
        write_text(tmp_path / "file" / "a.txt", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ClipRlError, match=r"cannot write .*folder: "):
        write_text(tmp_path / "folder", "text")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]
