"""Means over mirror images, of a real network and of an engine whose results can be worked out by hand."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.protocol import EngineError, EngineOutput
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.engine.tta import VIEWS, infer_tta
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.pipeline import PerceptionPipeline, PipelineConfig
from clip_rl_perception.scene.letterbox import make_letterbox, to_network
from clip_rl_perception.scene.types import Box, ContentArea
from color_engine import EMBEDDING_DIM, ColorEngine, text_for

COLORS = [(170, 80, 75), (120, 125, 130), (210, 190, 40)]
TEXT = text_for(COLORS)
SPACE = label_space_from_names(["background", "forceps", "scissors"])


def noise(size: tuple[int, int], seed: int = 0) -> ByteArray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def previous(seed: int = 1) -> FloatArray:
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(3), (22, 28))
    return np.ascontiguousarray(np.log(probabilities).transpose(2, 0, 1), np.float32)


class LopsidedEngine(ColorEngine):
    """Adds to one class along the columns and to another along the rows: results depend on which side is up."""

    def infer(self, *arguments: object, **more: object) -> EngineOutput:
        output = super().infer(*arguments, **more)  # type: ignore[arg-type]
        logits = output.logits.copy()
        logits[0] += np.linspace(0, 3, logits.shape[2], dtype=np.float32)
        logits[1] += np.linspace(0, 2, logits.shape[1], dtype=np.float32)[:, None]
        refined = logits - np.log(np.exp(logits).sum(axis=0))
        return dataclasses.replace(output, logits=logits, refined=np.asarray(refined, np.float32))


def softmax(logits: FloatArray) -> FloatArray:
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(axis=0), np.float32)


@pytest.mark.parametrize("views", [2, 4])
def test_the_mean_is_that_of_the_probabilities_turned_back(views: int) -> None:
    engine, image = LopsidedEngine(), noise((88, 112))
    output = infer_tta(engine, image, TEXT, views=views)
    assert len(engine.calls) == views
    flips = [(1, 1), (1, -1), (-1, 1), (-1, -1)][:views]
    each = [engine.infer(np.ascontiguousarray(image[::y, ::x]), TEXT) for y, x in flips]
    for name in ("refined", "logits"):
        wanted = np.mean(
            [softmax(getattr(e, name))[:, ::y, ::x] for e, (y, x) in zip(each, flips, strict=True)], axis=0
        )
        got = getattr(output, name)
        assert got.dtype == np.float32 and got.flags.c_contiguous
        np.testing.assert_allclose(np.exp(got), wanted, atol=1e-6)
    assert not np.allclose(np.exp(output.refined), softmax(each[0].logits), atol=0.01), "one view alone says otherwise"
    np.testing.assert_allclose(np.linalg.norm(output.embedding), 1, atol=1e-6)
    np.testing.assert_allclose(output.embedding, each[0].embedding, atol=1e-5)  # a mean colour has no sides


def test_one_view_is_the_engines_own_result() -> None:
    engine, image = LopsidedEngine(), noise((88, 112))
    np.testing.assert_array_equal(infer_tta(engine, image, TEXT).refined, engine.infer(image, TEXT).refined)


def test_mirror_images_get_the_previous_result_as_they_see_it() -> None:
    engine, image, before = ColorEngine(), noise((88, 112)), previous()
    output = infer_tta(engine, image, TEXT, views=4, previous=before)
    shown = [call["previous"] for call in engine.calls]
    for got, wanted in zip(shown, (before, before[:, :, ::-1], before[:, ::-1], before[:, ::-1, ::-1]), strict=True):
        np.testing.assert_array_equal(got, wanted)
    # This engine treats all sides alike: what it says with the memory of the previous frame stays as it is.
    np.testing.assert_allclose(output.refined, engine.infer(image, TEXT, previous=before).refined, atol=1e-5)


class SlowEngine(ColorEngine):
    """Takes `seconds` of a clock that only it moves."""

    def __init__(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.now, self.seconds = 0.0, seconds
        monkeypatch.setattr("clip_rl_perception.engine.tta.time.perf_counter", lambda: self.now)

    def infer(self, *arguments: object, **more: object) -> EngineOutput:
        output = super().infer(*arguments, **more)  # type: ignore[arg-type]
        self.now += self.seconds
        return dataclasses.replace(output, network_ms=self.seconds * 1e3, refine_ms=0.0)

    def budgets(self) -> list[float]:
        return [float(str(call["budget_ms"])) for call in self.calls]


def test_a_budget_is_shared_among_the_views_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SlowEngine(0.010, monkeypatch)
    output = infer_tta(engine, noise((88, 112)), TEXT, views=4, budget_ms=100.0)
    assert engine.budgets() == pytest.approx([100 / 4, 90 / 3, 80 / 2, 70])
    assert not output.truncated and output.network_ms == pytest.approx(40.0)


def test_views_that_do_not_fit_the_budget_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, image = SlowEngine(0.040, monkeypatch), noise((88, 112))
    output = infer_tta(engine, image, TEXT, views=4, budget_ms=100.0)
    assert engine.budgets() == pytest.approx([100 / 4, 60 / 3])  # 20 ms are left then
    assert output.truncated and output.network_ms == pytest.approx(80.0)
    np.testing.assert_allclose(
        output.refined, infer_tta(ColorEngine(), image, TEXT, views=2).refined, atol=1e-5
    )  # this engine treats all sides alike, and two views are a mean of two
    spent = infer_tta(engine, image, TEXT, views=2, budget_ms=0.0)
    assert len(engine.calls) == 3 and spent.truncated and spent.steps == 0, "the first view is always there"
    free = infer_tta(engine, image, TEXT, views=2)
    assert len(engine.calls) == 5 and not free.truncated and free.steps == 2


@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("part", ["refined", "logits"])
def test_an_engine_that_breaks_the_protocol_is_told_by_name(views: int, part: str) -> None:
    class Broken(ColorEngine):
        def infer(self, *arguments: object, **more: object) -> EngineOutput:
            output = super().infer(*arguments, **more)  # type: ignore[arg-type]
            return dataclasses.replace(output, **{part: getattr(output, part).astype(np.float64)})

    with pytest.raises(EngineError, match=rf"returned {part} as float64 \(3, 22, 28\); expected float32"):
        infer_tta(Broken(), noise((88, 112)), TEXT, views=views)


def test_very_sure_results_stay_finite_and_in_order() -> None:
    engine = ColorEngine(softness=0.05)  # logits of thousands
    output = infer_tta(engine, noise((88, 112)), TEXT, views=2)
    assert np.isfinite(output.refined).all()
    np.testing.assert_array_equal(
        output.refined.argmax(axis=0), engine.infer(noise((88, 112)), TEXT).refined.argmax(axis=0)
    )


@pytest.mark.parametrize("views", [0, 3, 8])
def test_other_numbers_are_refused(views: int) -> None:
    with pytest.raises(EngineError, match=f"views is {views}; expected one of 1, 2, 4"):
        infer_tta(ColorEngine(), noise((88, 112)), TEXT, views=views)


@functools.cache
def network() -> tuple[TorchEngine, FloatArray]:
    checkpoint = load_checkpoint("demo")
    return TorchEngine(checkpoint, input_size=(96, 128)), np.ascontiguousarray(checkpoint.text.numpy(), np.float32)


@pytest.mark.parametrize(("views", "flip"), [(2, (1, -1)), (4, (1, -1)), (4, (-1, 1)), (4, (-1, -1))])
def test_a_mirrored_picture_gives_the_mirrored_mask(views: int, flip: tuple[int, int]) -> None:
    engine, text = network()
    image = noise((96, 128))
    image[20:60, :90] = (120, 125, 130)
    mirrored = np.ascontiguousarray(image[:: flip[0], :: flip[1]])
    straight, turned = (infer_tta(engine, each, text, views=views).refined for each in (image, mirrored))
    np.testing.assert_allclose(np.exp(turned[:, :: flip[0], :: flip[1]]), np.exp(straight), atol=1e-4)
    alone = [engine.infer(each, text).refined for each in (image, mirrored)]
    assert np.abs(np.exp(alone[1][:, :: flip[0], :: flip[1]]) - np.exp(alone[0])).max() > 0.01  # else nothing is shown


@pytest.mark.parametrize("views", VIEWS)
def test_the_pipeline_shows_so_many_views_and_remembers_their_mean(views: int) -> None:
    engine = LopsidedEngine()
    calibration = Calibration.uncalibrated(EMBEDDING_DIM)
    made = PerceptionPipeline(engine, SPACE, TEXT, calibration, PipelineConfig(views=views))
    frame = noise((512, 640))
    scene, memory = made.process(frame, 0)
    assert len(engine.calls) == views and scene.label_map.shape == (512, 640)
    seen = make_letterbox((512, 640), (88, 112), ContentArea(Box(0, 0, 640, 512)))
    assert memory.view == seen
    wanted = infer_tta(LopsidedEngine(), to_network(frame, seen), TEXT, views=views)
    np.testing.assert_array_equal(memory.refined, wanted.refined)
    made.process(frame, 40_000_000, memory)
    shown = [call["previous"] for call in engine.calls[views:]]
    assert len(shown) == views
    for previous_shown, (down, across) in zip(shown, [(1, 1), (1, -1), (-1, 1), (-1, -1)], strict=False):
        np.testing.assert_array_equal(previous_shown, memory.refined[:, ::down, ::across])
