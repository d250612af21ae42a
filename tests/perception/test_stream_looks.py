"""Looks in a stream at its edges: real frames of a synthetic operation through the shipped model and the runner."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.protocol import Engine, EngineError, EngineOutput
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.looks.look import PLAIN
from clip_rl_perception.looks.zoomed_turns import ZoomConfig
from clip_rl_perception.pipeline import PipelineConfig
from clip_rl_perception.scene.types import Basis, Instrument, Scene, Validity
from clip_rl_perception.scene.validity import ValidityConfig
from clip_rl_perception.sources.frames import Frame
from clip_rl_perception.sources.golden_frames import golden_images
from clip_rl_perception.stream import LoadedModel, StreamRunner, load
from clip_rl_perception.stream_options import ModelOptions
from clip_rl_training.synthetic.render_jobs import operation_of
from clip_rl_training.synthetic.scene_config import SceneConfig

MS, SECOND = 1_000_000, 1_000_000_000
PERIOD = 40 * MS
COUNT = 10
SCENES = SceneConfig(height=288, width=352, rate=25.0, content_shapes=(1.0, 0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def shipped() -> Iterator[LoadedModel]:
    with load(ModelOptions("demo", "torch", threads=1)) as model:
        yield model


@pytest.fixture(scope="module")
def video() -> list[ByteArray]:
    """Frames of an operation, (288, 352), of which each resembles the one before."""
    operation = operation_of(SCENES, 5, COUNT)
    return [operation.frame(index).rgb for index in range(COUNT)]


class Wrapped:
    """The engine that it is made of, but for the calls, counted from 0, that fail."""

    def __init__(self, engine: Engine, failing: set[int]) -> None:
        self._engine, self._failing = engine, failing
        self.info = engine.info
        self.calls = 0

    def infer(self, *arguments: Any, **more: Any) -> EngineOutput:
        number, self.calls = self.calls, self.calls + 1
        if number in self._failing:
            raise EngineError(f"call {number} found no device; plug it in")
        return self._engine.infer(*arguments, **more)

    def embed_close_up(self, rgb: ByteArray) -> Any:
        return self._engine.embed_close_up(rgb)

    def close(self) -> None:
        self._engine.close()


def stream(shipped: LoadedModel, failing: set[int] | None = None, **config: Any) -> StreamRunner:
    """A stream of its own, through the model with another configuration; what a frame shows is not judged."""
    config.setdefault("validity", ValidityConfig(surgery_limit=0.0))
    if failing is not None:  # calls are counted
        config.setdefault("zoom", ZoomConfig(looks=0))
    pipeline = shipped.pipeline.with_config(PipelineConfig(**config))
    if failing is not None:
        pipeline.engine = Wrapped(pipeline.engine, failing)
    return StreamRunner(LoadedModel(pipeline))


def run(runner: StreamRunner, frames: list[ByteArray], period_ns: int = PERIOD) -> list[Scene]:
    return [runner.process(rgb, index * period_ns)[0] for index, rgb in enumerate(frames)]


def same(one: Scene, two: Scene) -> None:
    np.testing.assert_array_equal(one.label_map, two.label_map)
    np.testing.assert_array_equal(one.disagreement, two.disagreement)
    assert one.basis == two.basis


ALONE = Basis((PLAIN.name,), 0.0, 0.0, None)


def test_a_first_frame_rests_on_one_plain_look(shipped: LoadedModel, video: list[ByteArray]) -> None:
    [scene] = run(stream(shipped), video[:1])
    assert scene.basis == ALONE and scene.validity is Validity.OK
    assert scene.disagreement.shape == scene.refined.shape[1:] and not scene.disagreement.any()
    [plain] = run(stream(shipped, refine_steps=0), video[:1])
    assert plain.basis == ALONE


def test_memory_grows_and_ages_over_a_stream(shipped: LoadedModel, video: list[ByteArray]) -> None:
    told = [scene.basis for scene in run(stream(shipped), video)]
    assert all(len(basis.looks) == 1 for basis in told)
    assert len({basis.looks for basis in told}) > 1, "looks differ from frame to frame"
    assert told[1].memory_age_ms == pytest.approx(40, rel=1e-4)
    ages = [basis.memory_age_ms for basis in told[:5]]
    assert ages == sorted(ages) and len(set(ages)) == 5
    for basis in told[1:]:
        assert 0.1 < basis.memory_share < 6 / 7 + 1e-6, "all earlier looks count at most as six"
        assert basis.disagreement is not None and 0 < basis.disagreement < 0.2


def test_two_looks_a_frame_are_named_and_disagree(shipped: LoadedModel, video: list[ByteArray]) -> None:
    first, second = run(stream(shipped, views=2), video[:2])
    assert first.basis.looks[0] == PLAIN.name and len({*first.basis.looks, *second.basis.looks}) == 4
    assert first.basis.memory_share == 0 and first.basis.disagreement is not None
    assert first.disagreement.max() > 0.01


def test_confidence_is_lower_where_looks_disagree(shipped: LoadedModel, video: list[ByteArray]) -> None:
    """Of nodes that one plain look is as sure of, those that the looks disagree about have become less sure."""
    plain = run(stream(shipped, refine_steps=0), video)
    looked = run(stream(shipped), video)
    before = np.concatenate([np.exp(scene.refined).max(axis=0).ravel() for scene in plain[4:]])
    after = np.concatenate([np.exp(scene.refined).max(axis=0).ravel() for scene in looked[4:]])
    disagreement = np.concatenate([scene.disagreement.ravel() for scene in looked[4:]])
    sure = (before > 0.9) & (before < 0.99)
    torn = sure & (disagreement > 0.1)
    agreed = sure & (disagreement < 0.01)
    assert torn.sum() > 20 and agreed.sum() > 20
    assert after[torn].mean() < after[agreed].mean() - 0.1


@pytest.mark.parametrize("views", [2, 4])
def test_a_second_look_that_fails_leaves_the_first(shipped: LoadedModel, video: list[ByteArray], views: int) -> None:
    [scene] = run(stream(shipped, {1}, views=views), video[:1])
    [alone] = run(stream(shipped), video[:1])
    np.testing.assert_array_equal(scene.label_map, alone.label_map)
    assert scene.basis == ALONE and scene.validity is Validity.DEGRADED
    assert scene.reason.endswith("call 1 found no device; plug it in") and "\n" not in scene.reason
    assert f"failed, 1 of {views} taken" in scene.reason


def test_after_a_look_that_failed_memory_still_counts(shipped: LoadedModel, video: list[ByteArray]) -> None:
    runner = stream(shipped, {3}, views=2)
    scenes = run(runner, video[:3])  # the second look at the second frame fails
    assert [len(scene.basis.looks) for scene in scenes] == [2, 1, 2]
    assert [scene.validity for scene in scenes] == [Validity.OK, Validity.DEGRADED, Validity.OK]
    assert scenes[1].basis.memory_share > 0.1 and scenes[2].basis.memory_share > 0.1


def test_a_first_look_that_fails_gives_no_mask_and_keeps_the_memory(
    shipped: LoadedModel, video: list[ByteArray]
) -> None:
    runner = stream(shipped, {2, 3})  # the third frame's look, and the plain one in its place
    told = [
        runner.process_file_frame(Frame(rgb, index * PERIOD, str(index)), want_confidence=False)
        for index, rgb in enumerate(video[:4])
    ]
    assert [result.validity for result in told] == [Validity.OK, Validity.OK, Validity.INVALID_INPUT, Validity.OK]
    assert told[2].scene is None and told[2].reason == "processing failed: call 3 found no device; plug it in"
    after, before = told[3].scene, told[1].scene
    assert after is not None and before is not None
    assert after.basis.memory_age_ms > 80, "memory of two frames ago"


def test_a_look_that_always_fails_gives_way_to_the_plain_one(shipped: LoadedModel, video: list[ByteArray]) -> None:
    class NoHalfTurn(Wrapped):
        def infer(self, rgb: ByteArray, *arguments: Any, **more: Any) -> EngineOutput:
            if np.array_equal(rgb, self.refused[::-1, ::-1]):
                raise EngineError("it is upside down; turn it")
            return super().infer(rgb, *arguments, **more)

    runner = stream(shipped)
    pipeline = runner._model.pipeline
    engine = NoHalfTurn(pipeline.engine, set())
    pipeline.engine = engine
    told = []
    for index, rgb in enumerate(video[:8]):
        prepared = runner.prepare(rgb)
        engine.refused = prepared.frame.network_rgb
        told.append(runner.process(prepared, index * PERIOD)[0])
    degraded = [scene.validity is Validity.DEGRADED for scene in told]
    assert degraded == [index % 4 == 2 for index in range(8)]
    assert [scene.basis.looks[0] for scene in told[:4]] == ["plain", "up-down", "plain", "left-right"]
    assert told[2].reason.endswith("look 'half turn' failed, 0 of 1 taken: it is upside down; turn it")
    assert all(scene.basis.memory_share > 0.1 for scene in told[1:])


def test_a_budget_of_nothing_still_gives_a_plain_look(shipped: LoadedModel, video: list[ByteArray]) -> None:
    scenes = run(stream(shipped, views=4, latency_budget_ms=0.0), video[:3])
    assert [len(scene.basis.looks) for scene in scenes] == [1, 1, 1]
    assert all(scene.validity is Validity.DEGRADED and "budget" in scene.reason for scene in scenes)
    assert scenes[1].basis.memory_share > 0.1


def test_at_one_frame_a_second_memory_has_ended(shipped: LoadedModel, video: list[ByteArray]) -> None:
    scenes = run(stream(shipped), video[:4], SECOND)
    for scene, rgb in zip(scenes, video, strict=False):
        assert scene.basis == ALONE
        same(scene, run(stream(shipped), [rgb])[0])


def test_frames_lost_between_make_memory_older(shipped: LoadedModel, video: list[ByteArray]) -> None:
    runner = stream(shipped)
    runner.process(video[0], 0)
    scene, _ = runner.process(video[5], 5 * PERIOD)
    assert scene.basis.memory_age_ms == pytest.approx(200, rel=1e-4) and scene.basis.memory_share > 0
    beyond, _ = runner.process(video[9], 5 * PERIOD + 501 * MS)
    assert beyond.basis == ALONE


def test_repeated_and_earlier_stamps_make_memory_no_younger_than_now(
    shipped: LoadedModel, video: list[ByteArray]
) -> None:
    runner = stream(shipped)
    stamps = [0, PERIOD, PERIOD, PERIOD // 2, 2 * PERIOD]
    scenes = [runner.process(rgb, stamp)[0] for rgb, stamp in zip(video, stamps, strict=False)]
    ages = [scene.basis.memory_age_ms for scene in scenes]
    assert min(ages) >= 0 and all(np.isfinite(ages))
    assert scenes[2].basis.memory_age_ms < scenes[1].basis.memory_age_ms, "no time has passed, and one look is new"
    assert all(scene.basis.memory_share > 0.1 for scene in scenes[1:])
    later, _ = runner.process(video[5], 3 * PERIOD)
    assert later.basis.memory_age_ms > 0


def test_a_clock_that_jumps_back_begins_anew(shipped: LoadedModel, video: list[ByteArray]) -> None:
    runner = stream(shipped)
    told = [
        runner.process_file_frame(Frame(rgb, stamp, str(index)), want_confidence=False)
        for index, (rgb, stamp) in enumerate(zip(video, (20 * SECOND, 20 * SECOND + PERIOD, 0, PERIOD), strict=False))
    ]
    scenes = [result.scene for result in told]
    assert [result.forgot for result in told] == [False, False, True, False]
    assert scenes[2] is not None and scenes[2].basis == ALONE
    assert scenes[3] is not None and scenes[3].basis.memory_age_ms == pytest.approx(40, rel=1e-4)


def test_a_still_camera_has_memory_of_bounded_weight_and_age(shipped: LoadedModel, video: list[ByteArray]) -> None:
    scenes = run(stream(shipped), [video[0]] * 40)
    share = [scene.basis.memory_share for scene in scenes]
    assert max(share) == pytest.approx(6 / 7, rel=0.01)
    # Six old looks of seven, each frame a period older: their mean age cannot exceed seven periods.
    assert scenes[-1].basis.memory_age_ms == pytest.approx(7 * 40, rel=0.1)
    assert scenes[-1].basis.memory_age_ms == pytest.approx(scenes[-5].basis.memory_age_ms, rel=0.02)


def of_what_does_not_move(shipped: LoadedModel, zoomed_looks: int) -> list[list[Instrument]]:
    """The last tags of each track of still pictures, frame by frame, of those seen in all of them."""
    found = []
    for picture in golden_images((512, 640), None, 6):
        scenes = run(stream(shipped, zoom=ZoomConfig(looks=zoomed_looks)), [picture] * 14)[8:]
        for number in set.intersection(*({tag.track_id for tag in scene.instruments} for scene in scenes)) - {0}:
            found.append([next(tag for tag in scene.instruments if tag.track_id == number) for scene in scenes])
    return found


def test_what_does_not_move_has_points_that_mostly_do_not_move(shipped: LoadedModel) -> None:
    """Looks go round in turn; what they say of instruments went round with them, 73 px at the median."""
    tracks = of_what_does_not_move(shipped, 0)
    moved = [np.hypot(*np.ptp([tag.tip for tag in tags], axis=0)) for tags in tracks]
    assert len(moved) > 8 and np.median(moved) < 20, "px"


def test_tips_that_zoomed_looks_tell_of_what_does_not_move_stay(shipped: LoadedModel) -> None:
    """Where no look tells a tip, the farthest place of the mask is told, with 0.1; masks go on changing."""
    moved = []
    for tags in of_what_does_not_move(shipped, 1):
        tips = [[point for point in tag.keypoints if point.name == "tip_1"] for tag in tags]
        if all(tip and tip[0].confidence > 0.3 for tip in tips):
            moved.append(np.hypot(*np.ptp([tag.tip for tag in tags], axis=0)))
    assert len(moved) > 4 and np.median(moved) < 20, "px"


def test_a_flash_leaves_nothing_behind_and_takes_nothing_along(shipped: LoadedModel, video: list[ByteArray]) -> None:
    white = np.full_like(video[0], 255)
    scenes = run(stream(shipped), [*video[:3], white, *video[3:6]])
    assert scenes[3].basis == ALONE and scenes[3].validity is not Validity.OK
    same(scenes[3], run(stream(shipped), [white])[0])
    assert scenes[4].basis == ALONE, "a white picture tells nothing of what comes after it"
    same(scenes[4], run(stream(shipped), [video[3]])[0])
    assert scenes[5].basis.memory_share > 0.1


def test_a_content_area_found_late_begins_anew(shipped: LoadedModel, video: list[ByteArray]) -> None:
    y, x = np.mgrid[:288, :352]
    inside = (np.hypot(x - 175.5, y - 143.5) < 130)[..., None]
    dark = [np.full_like(rgb, 3) for rgb in video[:2]]  # before the light is on nothing shows where the content is
    frames = [*dark, *(np.where(inside, rgb, 0).astype(np.uint8) for rgb in video)]
    scenes = run(stream(shipped), frames)
    views = [scene.view for scene in scenes]
    changed = [index for index in range(1, len(views)) if views[index] != views[index - 1]]
    assert changed and views[-1].circle is not None
    for index in changed:
        assert scenes[index].basis == ALONE
    assert scenes[-1].basis.memory_share > 0.1
    assert (scenes[-1].label_map[0, 0], scenes[-1].label_map[144, 176] < 255) == (255, True)


def test_other_classes_in_mid_stream_begin_anew(video: list[ByteArray]) -> None:
    with load(ModelOptions("demo", "torch", threads=1)) as model:
        runner = StreamRunner(model)
        run(runner, video[:3])
        model.use_classes(label_space_from_names(["tissue", "needle driver", "scissors"]))
        scene, space = runner.process(video[3], 3 * PERIOD)
        assert len(space) == 3 and scene.basis == ALONE
        after, _ = runner.process(video[4], 4 * PERIOD)
        assert after.basis.memory_share > 0.1 and after.refined.shape[0] == 3


def test_the_same_stream_twice_gives_the_same_bytes(shipped: LoadedModel, video: list[ByteArray]) -> None:
    for one, two in zip(run(stream(shipped, views=2), video), run(stream(shipped, views=2), video), strict=True):
        same(one, two)
        np.testing.assert_array_equal(one.refined, two.refined)
        strip = {"stage_ms": {}, "instruments": (), "label_map": None, "refined": None, "disagreement": None}
        assert dataclasses.replace(one, **strip) == dataclasses.replace(two, **strip)


def test_a_cut_leaves_no_memory(shipped: LoadedModel, video: list[ByteArray]) -> None:
    other = operation_of(SCENES, 11, COUNT).frame(0).rgb
    scenes = run(stream(shipped), [*video[:4], other])
    assert scenes[-1].basis == ALONE
    same(scenes[-1], run(stream(shipped), [other])[0])
    half = np.asarray(cv2.addWeighted(video[3], 0.5, other, 0.5, 0), np.uint8)
    blended = run(stream(shipped), [*video[:4], half])[-1]
    assert blended.basis.memory_share < scenes[3].basis.memory_share


@pytest.mark.parametrize(("refine_steps", "views", "told"), [(0, 2, True), (0, 1, False), (None, 2, False)])
def test_looks_that_count_for_nothing_are_told(refine_steps: int | None, views: int, told: bool) -> None:
    said: list[str] = []
    with load(ModelOptions("demo", "torch", threads=1, refine_steps=refine_steps, views=views), said.append):
        pass
    assert any(f"views {views} counts for nothing" in line for line in said) == told
