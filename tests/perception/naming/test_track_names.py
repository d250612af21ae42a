"""Names in a stream: one close-up a frame, for whom it does most, remembered by track, the same every time."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.instrument_types import types_from_texts
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.naming.track_names import CloseUps, NamedTypes, name_instruments
from clip_rl_perception.naming.type_evidence import TURNS, TypeConfig
from clip_rl_perception.pipeline import PerceptionPipeline, PipelineConfig
from clip_rl_perception.scene.types import Scene, Validity
from color_engine import EMBEDDING_DIM, ColorEngine, text_for
from pipeline_runs import run

TISSUE, STEEL = (170, 80, 75), (120, 125, 130)
BRASS, BLUE = (190, 170, 60), (60, 80, 190)
SPACE = label_space_from_names(["background", "instrument"])
TYPES = NamedTypes(types_from_texts(["brass hook", "blue clip applier"]), text_for([BRASS, BLUE]), 120.0)
MS = 1_000_000
Tool = tuple[int, int, tuple[int, int, int]]


def frame(*tools: Tool, size: tuple[int, int] = (512, 640)) -> ByteArray:
    """Horizontal tools from the left border: row, column of the tip, colour of the working end."""
    noise = np.random.default_rng(0).normal(0, 6, (*size, 3))
    colors = np.full((*size, 3), TISSUE, float)
    for row, tip, color in tools:
        colors[row - 25 : row + 25, :tip] = STEEL
        colors[row - 25 : row + 25, tip - 100 : tip] = 0.3 * np.array(color) + 0.7 * np.array(STEEL)
    return np.clip(colors + noise, 0, 255).astype(np.uint8)


def pipeline(
    engine: ColorEngine, types: NamedTypes | None = TYPES, budget_ms: float | None = None, **config: object
) -> PerceptionPipeline:
    named = PipelineConfig(types=TypeConfig(**config), latency_budget_ms=budget_ms)  # type: ignore[arg-type]
    calibration = Calibration.uncalibrated(EMBEDDING_DIM)
    return PerceptionPipeline(engine, SPACE, text_for([TISSUE, STEEL]), calibration, named, types)


def engine() -> ColorEngine:
    return ColorEngine(close_up_side=48)


def names(scene: Scene) -> list[str]:
    return [item.type_name for item in sorted(scene.instruments, key=lambda item: item.tip[1])]


TWO = frame((120, 380, BRASS), (380, 420, BLUE))


def test_one_close_up_a_frame_and_all_are_named() -> None:
    looking = engine()
    scenes = run(pipeline(looking), [TWO] * 3)
    assert names(scenes[0]).count("") == 1
    assert names(scenes[1]) == names(scenes[2]) == ["brass hook", "blue clip applier"]
    assert all(item.type_probability >= 0.5 for item in scenes[1].instruments)
    assert len(looking.close_ups) == 2


def test_looks_come_when_there_is_doubt_and_turn() -> None:
    doubtful = dataclasses.replace(TYPES, scale=2.0)
    looking = engine()
    run(pipeline(looking, doubtful), [frame((250, 400, BRASS))] * 9, every_ms=50)
    assert len(looking.close_ups) == 5, "every 100 ms"
    assert len({shown.tobytes() for shown in looking.close_ups}) == 5, "each turned another way"
    sure = engine()
    run(pipeline(sure), [frame((250, 400, BRASS))] * 9, every_ms=50)
    assert len(sure.close_ups) == 1


def test_what_no_type_is_likely_for_is_unknown() -> None:
    [scene] = run(pipeline(engine(), dataclasses.replace(TYPES, scale=0.2), threshold=0.6), [frame((250, 400, BRASS))])
    [item] = scene.instruments
    assert item.type_name == "unknown" and 0.5 <= item.type_probability < 0.6


def test_without_types_or_branch_nothing_is_named_and_nothing_costs() -> None:
    for looking, types in ((engine(), None), (ColorEngine(), TYPES)):
        [scene] = run(pipeline(looking, types), [TWO])
        assert names(scene) == ["", ""] and not looking.close_ups
        assert all(item.type_probability == 0 for item in scene.instruments)


def test_other_types_forget_what_was_said() -> None:
    looking = engine()
    made = pipeline(looking)
    _, memory = made.process(frame((250, 400, BRASS)), 0)
    other = made.with_types(NamedTypes(types_from_texts(["stone", "sky"]), text_for([(90, 90, 90), BLUE]), 120.0))
    scene, memory = other.process(frame((250, 400, BRASS)), 40 * MS, memory)
    assert names(scene)[0] in ("stone", "sky") and len(looking.close_ups) == 2
    scene, memory = made.with_types(None).process(frame((250, 400, BRASS)), 80 * MS, memory)
    assert names(scene) == [""] and memory.tags.types is None


def test_pictures_that_stand_alone_are_named_by_all_turns_of_every_instrument() -> None:
    looking = engine()
    [scene] = run(pipeline(looking, every=True), [TWO])
    assert names(scene) == ["brass hook", "blue clip applier"]
    assert len(looking.close_ups) == 2 * TURNS


def test_tentative_instruments_of_a_still_do_not_share_what_close_ups_say() -> None:
    looking = engine()
    scene = run(pipeline(looking, types=None), [TWO])[0]
    unnumbered = tuple(dataclasses.replace(item, track_id=0, confirmed=False) for item in scene.instruments)
    shown = CloseUps(looking, TWO, scene.view, 0)  # type: ignore[arg-type]
    named = name_instruments(shown, unnumbered, [], TYPES, None, TypeConfig(every=True))
    told = sorted(named.instruments, key=lambda item: item.tip[1])
    assert [item.type_name for item in told] == ["brass hook", "blue clip applier"]
    assert named.memory is not None and named.memory.tracks == {}, "nobody can recall what has no number"


def test_a_close_up_that_does_not_fit_the_budget_is_left_out() -> None:
    slow = engine()
    slow.close_up_ms = math.inf
    [scene] = run(pipeline(slow, budget_ms=60_000.0), [TWO])
    assert names(scene) == ["", ""] and not slow.close_ups
    quick = engine()
    run(pipeline(quick, budget_ms=60_000.0), [TWO])
    assert len(quick.close_ups) == 1


def test_a_close_up_that_fails_leaves_the_frame() -> None:
    class Failing(ColorEngine):
        def embed_close_up(self, rgb: ByteArray) -> np.ndarray:
            raise RuntimeError("no\nmemory")

    [scene] = run(pipeline(Failing(close_up_side=48)), [TWO])
    assert names(scene) == ["", ""] and (scene.label_map == 1).any()
    assert scene.validity is Validity.DEGRADED and "close-up failed: RuntimeError: no memory" in scene.reason


def test_small_or_tentative_instruments_get_no_look() -> None:
    looking = engine()
    run(pipeline(looking, least_side=400), [TWO])
    assert not looking.close_ups


def test_the_same_frames_give_the_same_names_to_the_bit() -> None:
    frames = [frame((120, 380 + 4 * k, BRASS), (380, 420 - 3 * k, BLUE)) for k in range(12)]
    first, second = (run(pipeline(engine(), dataclasses.replace(TYPES, scale=6.0)), frames) for _ in range(2))
    assert [scene.instruments for scene in first] == [scene.instruments for scene in second]
    assert any(item.type_probability for item in first[-1].instruments)


def test_the_pipeline_needs_no_state_of_its_own() -> None:
    """A memory kept aside gives the same result again, whatever was processed since."""
    made = pipeline(engine())
    _, memory = made.process(TWO, 0)
    first, _ = made.process(TWO, 40 * MS, memory)
    made.process(frame((250, 400, BLUE)), 80 * MS, memory)
    again, _ = made.process(TWO, 40 * MS, memory)
    assert first.instruments == again.instruments


@pytest.mark.parametrize("words", ["", "hook, clip applier", "none"])
def test_a_real_network_names_what_it_is_asked_for(words: str, tmp_path: Path) -> None:
    from clip_rl_perception.stream import StreamRunner, load
    from clip_rl_perception.stream_options import ModelOptions
    from random_checkpoint import save_random_checkpoint

    path = save_random_checkpoint(tmp_path / "model", close_up=True)
    with load(ModelOptions(model=str(path), engine="torch", types=words, use_previous_frame=False)) as model:
        types = model.pipeline.types
        assert (types is None) == (words == "none")
        if types is not None:
            assert len(types.space) == (7 if not words else 2)
            assert types.text.shape == (len(types.space), 128)
            assert types.scale == pytest.approx(30.0, rel=1e-3)
        scene, _ = StreamRunner(model).process(frame((60, 200, BRASS), size=(192, 256)), 0)
        for item in scene.instruments:
            assert bool(item.type_name) == bool(item.type_probability)
