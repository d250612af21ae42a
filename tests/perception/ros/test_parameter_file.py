"""What is read from a ROS parameter file without ROS."""

from __future__ import annotations

from pathlib import Path

import pytest
from clip_rl_perception.ros.parameter_fields import ParameterError
from clip_rl_perception.ros.parameter_file import told_in

SAID = "/**:\n  ros__parameters:\n    eye: {}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own.yaml"


def test_a_value_is_found_in_any_namespace(file: Path) -> None:
    file.write_text(SAID.format("right"))
    assert (told_in(file, "eye"), told_in(file, "stereo_layout")) == ("right", "")
    file.write_text("davinci:\n  left:\n    node:\n      ros__parameters:\n        eye: left\n")
    assert told_in(file, "eye") == "left"
    file.write_text("")
    assert told_in(file, "eye") == ""


def test_several_values_are_refused(file: Path) -> None:
    file.write_text(SAID.format("right") + SAID.format("right").replace("/**", "/one"))
    assert told_in(file, "eye") == "right"
    file.write_text(SAID.format("right") + SAID.format("left").replace("/**", "/one"))
    with pytest.raises(ParameterError, match="has eye as left and right; expected one for all nodes"):
        told_in(file, "eye")


@pytest.mark.parametrize("text", ["a: [", "\x00", None])
def test_a_file_that_cannot_be_read_is_one_line(file: Path, text: str | None) -> None:
    if text is not None:
        file.write_text(text)
    with pytest.raises(ParameterError, match=r"own\.yaml cannot be read as a ROS parameter file") as caught:
        told_in(file, "eye")
    assert "\n" not in str(caught.value)
