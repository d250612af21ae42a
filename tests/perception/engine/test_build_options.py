"""What `clip-rl build-engine` makes of its options before anything is built."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from clip_rl_perception import options
from clip_rl_perception.commands import build_engine
from clip_rl_perception.engine.manifest import BOUNDS
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.errors import ClipRlError


@pytest.mark.parametrize("precision", BOUNDS)
def test_bounds_not_named_are_those_of_the_precision(precision: str) -> None:
    usual = BOUNDS[precision]
    assert build_engine._bounds(build_engine.Options(), usual) == usual
    asked = build_engine.Options(min_agreement=0.5, max_logit_error=2.0)
    expected = dataclasses.replace(usual, label_agreement=0.5, logit_error=2.0)
    assert build_engine._bounds(asked, usual) == expected


@pytest.mark.parametrize("precision", [None, "fp32", "bf16"])
def test_frames_for_int8_are_refused_with_another_precision(precision: str | None) -> None:
    asked = build_engine.Options(precision=precision, calibration=Path("frames"))
    with pytest.raises(EngineError, match=r"^--calibration is for --precision int8"):
        build_engine.run(asked)


@pytest.mark.parametrize("size", ["0x0", "0x352", "288x0", "288", "-32x32"])
def test_a_size_of_nothing_is_refused(size: str) -> None:
    with pytest.raises(EngineError, match="expected HEIGHTxWIDTH"):
        build_engine.run(build_engine.Options(size=size))


@pytest.mark.parametrize("word", ["--min-agreement", "--max-logit-error"])
@pytest.mark.parametrize("value", ["nan", "-0.5"])
def test_bounds_are_numbers(word: str, value: str) -> None:
    with pytest.raises(ClipRlError, match=f"{word} is .*; expected"):
        options.parse(build_engine, [f"{word}={value}"])
