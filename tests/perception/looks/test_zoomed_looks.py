"""Zoomed looks tell tips finer than the plain look does, go round among instruments, and are remembered with care."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from bar_engine import BAR, TISSUE, BarEngine, bars
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.looks.look import PLAIN
from clip_rl_perception.looks.zoomed_look import part_sides, zoomed_view
from clip_rl_perception.looks.zoomed_turns import Sharpened, SharpTips, ZoomConfig, ZoomFrame, sharpen
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.pipeline import PerceptionPipeline, PipelineConfig
from clip_rl_perception.scene.letterbox import make_letterbox
from clip_rl_perception.scene.types import Box, ContentArea, Instrument, Keypoint, Scene, Validity
from clip_rl_perception.scene.validity import ValidityConfig
from color_engine import EMBEDDING_DIM, text_for
from pipeline_runs import run

MS = 1_000_000
SPACE = label_space_from_names(["background", "instrument"])
PLACE = 16.0
"""Of the plain look, px of the frame."""


def pipeline(engine: BarEngine, **zoom: Any) -> PerceptionPipeline:
    config = PipelineConfig(turn=(PLAIN,), zoom=ZoomConfig(**zoom), validity=ValidityConfig(surgery_limit=0.0))
    calibration = Calibration.uncalibrated(EMBEDDING_DIM)
    return PerceptionPipeline(engine, SPACE, text_for([TISSUE, BAR]), calibration, config)  # type: ignore[arg-type]


def tips(scene: Scene) -> dict[int, Keypoint]:
    """By the row that the tip lies nearest to, in hundreds."""
    told = [point for tool in scene.instruments for point in tool.keypoints if point.name == "tip_1"]
    return {round(point.y / 100): point for point in told}


def worst(scene: Scene, *ends: tuple[int, int]) -> float:
    """Largest distance of a true tip from the nearest told one, px."""
    told = [tool.tip for tool in scene.instruments]
    return max(min(float(np.hypot(*np.subtract(tip, end))) for tip in told) for end in ends)


@pytest.mark.parametrize("column", [300, 303, 306, 309, 313])
def test_a_tip_is_told_as_fine_as_the_look_is(column: int) -> None:
    """A place of a look 2.5 times as large is 6.4 px of the frame, so a tip lies at most half of that off."""
    frame = bars((column, 240))
    [plain] = run(pipeline(BarEngine(), looks=0), [frame])
    [zoomed] = run(pipeline(BarEngine()), [frame])
    assert worst(zoomed, (column, 240)) <= PLACE / 2.5 / 2 * np.sqrt(2) + 0.5
    assert abs(plain.instruments[0].tip[0] - column) <= PLACE / 2 + 0.5
    np.testing.assert_array_equal(plain.label_map, zoomed.label_map)
    assert zoomed.basis == plain.basis, "masks rest on plain looks alone"
    assert zoomed.instruments[0].tip == (tips(zoomed)[2].x, tips(zoomed)[2].y)


def test_without_zoomed_looks_nothing_more_is_shown() -> None:
    for config in (PipelineConfig(zoom=ZoomConfig(looks=0)), PipelineConfig(refine_steps=0)):
        engine = BarEngine()
        made = pipeline(engine).with_config(dataclasses.replace(config, validity=ValidityConfig(surgery_limit=0.0)))
        run(made, [bars((300, 240))] * 2)
        assert len(engine.shown) == 2


FAR = ((310, 100), (400, 480))
"""Tips of two bars too far apart for one look."""
NEAR = ((310, 200), (340, 320))
"""Of two that one look shows."""


def test_one_look_a_frame_goes_round() -> None:
    engine = BarEngine()
    scenes = run(pipeline(engine), [bars(*FAR)] * 4)
    assert len(engine.shown) == 8
    fresh = [max(tips(scene).items(), key=lambda item: item[1].confidence)[0] for scene in scenes[1:]]
    assert fresh in ([1, 5, 1], [5, 1, 5]), "a look at one, then at the other"
    assert all(worst(scene, *FAR) < 5 for scene in scenes[1:]), "between its turns a tip is remembered"


def test_one_look_shows_two_that_are_near() -> None:
    engine = BarEngine()
    [scene] = run(pipeline(engine), [bars(*NEAR)])
    assert len(engine.shown) == 2 and worst(scene, *NEAR) < 5


def test_pictures_that_stand_alone_show_every_instrument_zoomed() -> None:
    engine = BarEngine()
    [scene] = run(pipeline(engine, every=True), [bars(*FAR)])
    assert len(engine.shown) == 3 and worst(scene, *FAR) < 5


def test_what_rests_is_shown_the_same_to_the_pixel() -> None:
    engine = BarEngine()
    run(pipeline(engine), [bars((300, 240))] * 3)
    np.testing.assert_array_equal(engine.shown[3], engine.shown[5])


def test_a_look_that_fails_leaves_the_frame_and_says_so() -> None:
    engine = BarEngine()
    made = pipeline(engine)
    shown = engine.infer

    def infer(rgb: ByteArray, text: Any) -> Any:
        engine.failing = len(engine.shown) % 2 == 1  # each frame's second look
        return shown(rgb, text)

    engine.infer = infer  # type: ignore[method-assign]
    [scene] = run(made, [bars((305, 240))])
    assert scene.validity is Validity.DEGRADED and scene.reason == "zoomed look failed: unplugged; plug it in"
    assert len(scene.instruments) == 1 and (scene.label_map == 1).any()


def test_a_look_without_tips_leaves_the_plain_ones() -> None:
    engine = BarEngine()
    [plain] = run(pipeline(BarEngine(), looks=0), [bars((305, 240))])
    shown = engine.infer

    def infer(rgb: ByteArray, text: Any) -> Any:
        engine.blind = len(engine.shown) % 2 == 1
        return shown(rgb, text)

    engine.infer = infer  # type: ignore[method-assign]
    [scene] = run(pipeline(engine), [bars((305, 240))])
    assert scene.instruments == plain.instruments and len(engine.shown) == 2


# ---------------------------------------------------------------- turns and memory, without a pipeline

VIEW = make_letterbox((576, 704), (288, 352))


def tool(track: int, tip: tuple[float, float], **more: Any) -> Instrument:
    footprint = np.zeros((72, 88), np.uint8)
    footprint[round(tip[1] / 8) - 2 : round(tip[1] / 8) + 3, : round(tip[0] / 8)] = 1
    points = (Keypoint("wrist", tip[0] - 40, tip[1], 0.5, True), Keypoint("tip_1", *tip, 0.6, True))
    given: dict[str, Any] = {"track_id": track, "confirmed": track > 0, "keypoints": points, "footprint": footprint}
    return Instrument(1, 0.9, Box(0, 0, 9, 9), tip, (1.0, 0.0), 5000.0, True, **{**given, **more})


def frame_at(engine: BarEngine, stamp_ms: float, *ends: tuple[int, int]) -> ZoomFrame:
    table = np.zeros(256, np.bool_)
    table[1] = True
    text = text_for([TISSUE, BAR])
    return ZoomFrame(engine, bars(*ends), VIEW, text, table, round(stamp_ms * MS), 1.0)  # type: ignore[arg-type]


def remembered(x: float = 290.0, y: float = 240.0, confidence: float = 0.8) -> dict[int, SharpTips]:
    """A tip of track 1, told at stamp 0 by the first look."""
    return {1: SharpTips((Keypoint("tip_1", x, y, confidence, True),), 0, 1)}


UNSURE = (Keypoint("tip_1", 310.0, 250.0, 0.2, True),)


def without_look(stamp_ms: float, tools: tuple[Instrument, ...], memory: Any, moved: dict[int, Any]) -> Sharpened:
    return sharpen(frame_at(BarEngine(), stamp_ms), tools, memory, ZoomConfig(memory_s=0.25), moved=moved, left_ms=0.0)


def test_points_move_with_their_track_and_count_less() -> None:
    result = without_look(50, (tool(1, (320, 240)),), remembered(), {1: (12.0, -3.0)})
    [tip] = [point for point in result.instruments[0].keypoints if point.name == "tip_1"]
    assert (tip.x, tip.y) == (302.0, 237.0) and tip.confidence == pytest.approx(0.8 * (1 - 0.2**2))
    assert result.instruments[0].tip == (302.0, 237.0) and result.network_ms == 0.0
    assert result.memory[1].told_ns == 0 and result.memory[1].tips[0].x == 302.0


@pytest.mark.parametrize(("second", "end"), [(0.45, (300.0, 240.0)), (0.6, (290.0, 250.0))], ids=["hardly one", "one"])
def test_a_second_tip_moves_the_working_end_where_it_is_sure(second: float, end: tuple[float, float]) -> None:
    points = tuple(
        Keypoint(name, x, y, sure, True)
        for name, x, y, sure in (("tip_1", 300.0, 240.0, 0.8), ("tip_2", 280.0, 260.0, second))
    )
    for stamp_ms in (50, 200):  # however old, and unsure by that, both are
        result = without_look(
            stamp_ms, (tool(1, (310, 250), keypoints=UNSURE),), {1: SharpTips(points, 0, 1)}, {1: (0.0, 0.0)}
        )
        assert result.instruments[0].tip == end
        assert [point.name for point in result.instruments[0].keypoints] == ["tip_1", "tip_2"]


@pytest.mark.parametrize(
    ("stamp_ms", "moved"), [(50, {1: None}), (50, {}), (50, {2: (0.0, 0.0)}), (250, {1: (0.0, 0.0)})],
    ids=["not seen to move", "no track", "another track", "too old"],
)  # fmt: skip
def test_points_that_cannot_be_moved_along_are_dropped(stamp_ms: int, moved: dict[int, Any]) -> None:
    tools = (tool(1, (320, 240)),)
    result = without_look(stamp_ms, tools, remembered(), moved)
    assert result.instruments == tools
    assert not any(sharp.tips for sharp in result.memory.values())
    assert set(result.memory) == ({1} if 1 in moved else set()), "when a track was looked at is known while it is alive"


@pytest.mark.parametrize(
    ("x", "y", "confidence"), [(150.0, 40.0, 0.8), (320.0, 420.0, 0.8), (715.0, 240.0, 0.8), (290.0, 240.0, 0.3)],
    ids=["far from it", "beside it", "outside the picture", "less sure than the plain one"],
)  # fmt: skip
def test_points_that_do_not_fit_this_frame_do_not_count(x: float, y: float, confidence: float) -> None:
    tools = (tool(1, (700 if x > 700 else 320, 240)),)
    assert without_look(50, tools, remembered(x, y, confidence), {1: (0.0, 0.0)}).instruments == tools


def test_a_look_that_tells_nothing_has_had_its_turn() -> None:
    engine = BarEngine()
    engine.blind = True
    tools = (tool(1, (310, 100)), tool(2, (400, 480)))
    memory: Any = {}
    places = []
    for _ in range(4):
        result = sharpen(frame_at(engine, 0, *FAR), tools, memory, ZoomConfig(), moved={1: (0.0, 0.0), 2: (0.0, 0.0)})
        memory = result.memory
        places.append(max(memory, key=lambda track: memory[track].turn))
        assert result.instruments == tools
    assert places in ([1, 2, 1, 2], [2, 1, 2, 1])


def test_a_look_that_tells_nothing_leaves_what_the_one_before_told() -> None:
    engine = BarEngine()
    engine.blind = True
    result = sharpen(
        frame_at(engine, 50, (320, 240)), (tool(1, (320, 240)),), remembered(), ZoomConfig(), moved={1: (0.0, 0.0)}
    )
    assert len(engine.shown) == 1 and result.instruments[0].tip == (290.0, 240.0)
    assert result.memory[1].told_ns == 0 and result.memory[1].turn == 2


def test_an_instrument_gets_no_point_of_another() -> None:
    """One whose footprint reaches into another's by some nodes."""
    footprint = np.zeros((72, 88), np.uint8)
    footprint[28:31, :40] = 1
    footprint[29:34, 38:40] = 1
    thin = tool(1, (320, 240), footprint=footprint)
    other = tool(2, (330, 300))
    shown = frame_at(BarEngine(), 0, (330, 300))
    result = sharpen(shown, (thin, other), {}, ZoomConfig(every=True), moved={})
    assert result.instruments[0].tip == thin.tip
    assert np.hypot(*np.subtract(result.instruments[1].tip, (330, 300))) < 5


def test_no_look_begins_that_does_not_fit() -> None:
    engine = BarEngine()
    tools = (tool(1, (310, 100)), tool(2, (400, 480)))
    shown = frame_at(engine, 0, (310, 100), (400, 480))
    slow = dataclasses.replace(shown, look_ms=30.0)
    assert not sharpen(slow, tools, {}, ZoomConfig(looks=2), moved={}, left_ms=29.0).memory and not engine.shown
    assert set(sharpen(slow, tools, {}, ZoomConfig(looks=2), moved={}, left_ms=31.0).memory) == {1}
    assert set(sharpen(slow, tools, {}, ZoomConfig(looks=2), moved={}).memory) == {1, 2}


def test_tentative_ones_and_those_without_tips_wait_for_nobody() -> None:
    engine = BarEngine()
    tools = (tool(0, (310, 100)), tool(3, (310, 300), keypoints=()), tool(4, (400, 480), footprint=None))
    result = sharpen(frame_at(engine, 0, (310, 100)), tools, {}, ZoomConfig(), moved={})
    assert result.instruments == tools and not engine.shown
    result = sharpen(frame_at(engine, 0, (310, 100)), tools, {}, ZoomConfig(every=True), moved={})
    assert len(engine.shown) == 1 and result.instruments[0].tip != tools[0].tip and not result.memory


def test_a_part_fills_the_network_and_stays_in_the_content() -> None:
    view = make_letterbox((1080, 1920), (288, 352), ContentArea(Box(200, 60, 1500, 960)))
    assert part_sides(view, 2.0).tolist() == [750.0, pytest.approx(614, abs=1)]
    for middle in ((200, 60), (1699, 1019), (900, 500)):
        part = zoomed_view(view, middle, 2.0).crop
        assert part.x >= 200 and part.y >= 60 and part.x + part.width <= 1700 and part.y + part.height <= 1020
        assert (part.width, part.height) == (750, 614)
    assert zoomed_view(view, (900, 500), 2.0).scale == pytest.approx(2 * view.scale, rel=0.01)
    assert zoomed_view(view, (900, 500), 0.5).crop == view.crop, "never more than there is"


@pytest.mark.parametrize(("radius", "scale"), [(16, 2.5), (60, 0.28 * 704 / 121), (130, 1.25)])
def test_near_instruments_are_shown_at_a_lower_scale(radius: int, scale: float) -> None:
    engine = BarEngine()
    run(pipeline(engine), [bars((350, 288), radius=radius)])
    plain, zoomed = ((shown[:, 20, 1] > shown[:, 20, 0]).sum() for shown in engine.shown)
    assert zoomed / plain == pytest.approx(scale, rel=0.12)


def test_of_two_instruments_on_one_footprint_neither_tells_its_points() -> None:
    """The plain look has taken both for one: whose tip it should tell is open."""
    ends = (310, 200), (340, 260)
    footprint = np.zeros((72, 88), np.uint8)
    footprint[22:36, :42] = 1
    both = tool(1, (320, 230), footprint=footprint)
    engine = BarEngine()
    result = sharpen(frame_at(engine, 0, *ends), (both,), {}, ZoomConfig(), moved={})
    assert len(engine.shown) == 1 and result.instruments == (both,)
    [one] = sharpen(frame_at(engine, 0, ends[0]), (both,), {}, ZoomConfig(), moved={}).instruments
    assert np.hypot(*np.subtract(one.tip, ends[0])) < PLACE / 2, "with one of them there it is clear"
