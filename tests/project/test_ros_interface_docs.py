"""docs/ros_interface.md says what the code does: its tables are those that the code gives now, and drift is seen."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from clip_rl_perception.nodes import parameters

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "ros_interface.md"
OUTPUTS = ROOT / "ros_ws" / "src" / "clip_rl_perception" / "clip_rl_perception" / "nodes" / "publishers.py"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ros_interface", ROOT / "scripts" / "ros_interface.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.modules["ros_interface"] = module  # its dataclasses look it up
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


@pytest.fixture
def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def test_document_is_current(generator: ModuleType, text: str) -> None:
    assert generator.render(text) == text, "run: python scripts/ros_interface.py"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("| `mask` | sensor_msgs/Image | reliable", "| `mask` | sensor_msgs/Image | best effort"),
        ("| 3 | `OUT_OF_BODY` |", "| 4 | `OUT_OF_BODY` |"),
        ("| `max_age_ms` | double | `500.0` |", "| `max_age_ms` | double | `400.0` |"),
        ("5 **ultrasound-probe**", "5 ultrasound-probe"),
        ("| `refine_steps` | uint8 |", "| `refine_steps` | uint16 |"),
    ],
)
def test_a_changed_document_is_seen(generator: ModuleType, text: str, old: str, new: str) -> None:
    assert text.count(old) >= 1, f"the document no longer says {old!r}"
    changed = text.replace(old, new, 1)
    assert generator.render(changed) != changed


def test_a_changed_parameter_is_seen(generator: ModuleType, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field = dataclasses.field(default=250.0, metadata=parameters.FIELDS["max_age_ms"].metadata)
    monkeypatch.setitem(generator.FIELDS, "max_age_ms", field)
    assert generator.render(text) != text


def test_a_new_or_lost_topic_is_seen(generator: ModuleType, tmp_path: Path) -> None:
    source = OUTPUTS.read_text(encoding="utf-8")
    mask = '        self.mask = self._publisher(Image, "mask", RESULT_QOS)\n'
    assert mask in source
    more, fewer, other = tmp_path / "more.py", tmp_path / "fewer.py", tmp_path / "other.py"
    more.write_text(source.replace(mask, mask + mask.replace('"mask"', '"depth"')))
    fewer.write_text(source.replace(mask, ""))
    other.write_text(source.replace(mask, mask.replace("RESULT_QOS", "LATCHED_QOS")))
    with pytest.raises(generator.DriftError, match=r"without a text.*\['depth'\]"):
        generator.outputs_table(more)
    with pytest.raises(generator.DriftError, match=r"texts of what is gone: \['mask'\]"):
        generator.outputs_table(fewer)
    assert generator.outputs_table(other) != generator.outputs_table()


def test_a_lost_table_is_seen(generator: ModuleType, text: str) -> None:
    with pytest.raises(generator.DriftError, match="labels"):
        generator.render(re.sub(r"<!-- table: labels -->.*?<!-- end -->", "", text, flags=re.DOTALL))


def test_links_and_pictures_exist(text: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (DOCUMENT.parent / target).exists(), target
