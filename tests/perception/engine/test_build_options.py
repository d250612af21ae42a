"""What `clip-rl build-engine` makes of its options before anything is built."""

from __future__ import annotations

import dataclasses

import pytest
from clip_rl_perception.commands import build_engine
from clip_rl_perception.engine.manifest import BOUNDS


@pytest.mark.parametrize("precision", BOUNDS)
def test_bounds_not_named_are_those_of_the_precision(precision: str) -> None:
    usual = BOUNDS[precision]
    assert build_engine._bounds(build_engine.Options(), usual) == usual
    asked = build_engine.Options(min_agreement=0.5, max_logit_error=2.0)
    expected = dataclasses.replace(usual, label_agreement=0.5, logit_error=2.0)
    assert build_engine._bounds(asked, usual) == expected
