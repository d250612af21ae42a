"""Looks at a picture: their geometry there and back, their order, and what a budget leaves of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.protocol import EngineError, EngineOutput
from clip_rl_perception.looks.look import LOOKS_A_FRAME, MIRRORS, PLAIN, Look, looks_in_turn, take_looks
from color_engine import ColorEngine, text_for

TEXT = text_for([(170, 80, 75), (120, 125, 130), (210, 190, 40)])
STEPS = {"plain": (1, 1), "half turn": (-1, -1), "left-right": (1, -1), "up-down": (-1, 1)}


def noise(seed: int = 0) -> ByteArray:
    return np.random.default_rng(seed).integers(0, 256, (88, 112, 3), dtype=np.uint8)


def test_a_look_shows_the_picture_turned_and_its_result_turned_back() -> None:
    image = noise()
    for look in MIRRORS:
        down, across = STEPS[look.name]
        engine = ColorEngine()
        [output] = take_looks(engine, image, TEXT, [look])
        np.testing.assert_array_equal(engine.calls[0], image[::down, ::across])
        # This engine tells classes by colour: each node keeps what it shows, whichever side is up.
        plain = ColorEngine().infer(image, TEXT)
        np.testing.assert_allclose(output.log_probs, plain.log_probs, atol=1e-5)


def test_turning_there_and_back_is_no_turn() -> None:
    image = noise()
    for look in MIRRORS:
        maps = np.moveaxis(look.of(image).astype(np.float32), 2, 0)
        np.testing.assert_array_equal(look.to_plain(maps), np.moveaxis(image, 2, 0))
    np.testing.assert_array_equal(Look("x", -1, 1).of(image), image[::-1])


@pytest.mark.parametrize("count", LOOKS_A_FRAME)
def test_the_first_look_is_plain_and_each_gets_its_turn(count: int) -> None:
    names: list[str] = []
    while len(names) < 8:
        names += [look.name for look in looks_in_turn(len(names), count)]
    assert names == [look.name for look in MIRRORS] * 2 and names[0] == PLAIN.name


class SlowEngine(ColorEngine):
    """Takes `seconds` of a clock that only it moves."""

    def __init__(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now, self.seconds = 0.0, seconds
        monkeypatch.setattr("clip_rl_perception.looks.look.time.perf_counter", lambda: self.now)

    def infer(self, *arguments: object, **more: object) -> EngineOutput:
        output = super().infer(*arguments, **more)  # type: ignore[arg-type]
        self.now += self.seconds
        return dataclasses.replace(output, network_ms=self.seconds * 1e3)


def test_looks_that_do_not_fit_the_budget_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SlowEngine(0.040, monkeypatch)
    assert len(take_looks(engine, noise(), TEXT, MIRRORS, budget_ms=100.0)) == 2  # 20 ms are left then
    assert len(take_looks(engine, noise(), TEXT, MIRRORS, budget_ms=165.0)) == 4
    assert len(take_looks(engine, noise(), TEXT, MIRRORS, budget_ms=0.0)) == 1, "the first look is always there"
    assert len(engine.calls) == 7


def test_an_engine_that_breaks_the_protocol_is_told_by_name() -> None:
    class Broken(ColorEngine):
        def infer(self, *arguments: object, **more: object) -> EngineOutput:
            output = super().infer(*arguments, **more)  # type: ignore[arg-type]
            return dataclasses.replace(output, log_probs=output.log_probs.astype(np.float64))  # type: ignore[arg-type]

    with pytest.raises(EngineError, match=r"returned log_probs as float64 \(3, 22, 28\); expected float32"):
        take_looks(Broken(), noise(), TEXT, MIRRORS[:2])
