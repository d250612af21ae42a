"""Bounds, reasons and moments of the node's parameters, and the YAML file that repeats their defaults."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from clip_rl_perception.nodes.parameters import FIELDS, NodeParameters
from clip_rl_perception.ros.parameter_fields import ParameterError, When, check_change, check_value, fields_of
from clip_rl_perception.viewer.viewer_parameters import ViewerParameters

CONFIG = Path(__file__).resolve().parents[3] / "ros_ws/src/clip_rl_perception/config/perception.yaml"


def test_yaml_repeats_every_default_with_its_type_and_a_comment() -> None:
    given = yaml.safe_load(CONFIG.read_text())["/**"]["ros__parameters"]
    expected = dataclasses.asdict(NodeParameters())
    assert given == expected
    assert {name: type(value) for name, value in given.items()} == {n: type(v) for n, v in expected.items()}
    for name in expected:
        line = next(line for line in CONFIG.read_text().splitlines() if line.strip().startswith(f"{name}:"))
        assert "# " in line, f"{name} has no comment"


def test_every_parameter_has_a_meaning_that_ends_its_sentence() -> None:
    for name, field in {**fields_of(ViewerParameters), **FIELDS}.items():
        assert field.metadata["meaning"].endswith("."), name
        assert isinstance(field.metadata["when"], When), name
        assert (field.metadata["low"] is None) == (field.metadata["high"] is None), name
        if type(field.default) in (int, float):
            assert field.metadata["low"] is not None, f"{name} has no range"


@pytest.mark.parametrize("kind", [NodeParameters, ViewerParameters])
def test_defaults_are_possible(kind: Any) -> None:
    for field in fields_of(kind).values():
        check_value(field, field.default)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("jpeg_quality", 0, "jpeg_quality: 0 is out of range; 1 to 100"),
        ("jpeg_quality", 101, "out of range"),
        ("jpeg_quality", 80.0, "is float; expected int"),
        ("max_age_ms", 100, "is int; expected float; write 100.0"),
        ("max_age_ms", -0.1, "out of range"),
        ("max_age_ms", math.nan, "not a finite number"),
        ("max_age_ms", math.inf, "not a finite number"),
        ("overlay_opacity", 1.01, "0.0 to 1.0"),
        ("autostart", 1, "is int; expected bool"),
        ("threads", True, "is bool; expected int"),
        ("stamp_policy", "drop", "'drop' is none of process, reject"),
        ("image_transport", "theora", "none of raw, compressed"),
        ("status_deadline_s", 0.001, "status_deadline_s: 0.001 is too short; 0 or 0.01 and more is possible"),
        ("status_lease_s", 1e-9, "1e-09 is too short"),
        ("bond_heartbeat_period", 0.009, "0.009 is too short"),
        ("network_size", "352", "HEIGHTxWIDTH"),
        ("network_size", "0x448", "HEIGHTxWIDTH"),
        ("network_size", "352x448x3", "HEIGHTxWIDTH"),
        ("views", 3, "views: 3 is none of 1, 2, 4"),
        ("model", " ", "model: is empty; the default is 'demo'"),
        ("model", None, "expected str"),
    ],
)
def test_refusals_say_why(name: str, value: Any, reason: str) -> None:
    with pytest.raises(ParameterError) as caught:
        check_value(FIELDS[name], value)
    assert reason in str(caught.value) and str(caught.value).startswith(f"{name}:")


def test_moments_of_change() -> None:
    check_change(FIELDS["model"], "other.safetensors", configured=False)
    with pytest.raises(ParameterError, match="deactivate and clean up first"):
        check_change(FIELDS["model"], "other.safetensors", configured=True)
    check_change(FIELDS["max_age_ms"], 10.0, configured=True)
    with pytest.raises(ParameterError, match="out of range"):
        check_change(FIELDS["max_age_ms"], -1.0, configured=True)
    with pytest.raises(ParameterError, match="at start only"):
        check_change(FIELDS["autostart"], True, configured=False)


def test_network_size() -> None:
    assert NodeParameters().size() is None
    assert NodeParameters(network_size="352x448").size() == (352, 448)
