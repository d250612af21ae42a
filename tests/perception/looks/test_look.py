"""Looks at a picture: their geometry there and back, their order, and what a budget leaves of them."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.protocol import EngineError, EngineOutput
from clip_rl_perception.looks.look import (
    BRIGHTER,
    COARSER,
    DARKER,
    EXPOSED_MIRRORS,
    GRAY_WORLD,
    LOOKS_A_FRAME,
    MIRRORS,
    PARTS,
    PLAIN,
    WHOLE_LOOKS,
    Look,
    looks_in_turn,
    looks_named,
    part_view,
    take_looks,
)
from clip_rl_perception.scene.letterbox import (
    PAD_RGB,
    grid_content_mask,
    grid_to_frame,
    make_letterbox,
    to_network,
)
from clip_rl_perception.scene.types import Box, ContentArea
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
        [output] = take_looks(engine, image, TEXT, [look]).outputs
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


@pytest.mark.parametrize("content", [Box(0, 0, 400, 300), Box(61, 22, 297, 255)], ids=["whole frame", "content area"])
@pytest.mark.parametrize("look", PARTS, ids=lambda look: look.name)
def test_a_part_comes_back_to_where_it_was_taken_from(look: Look, content: Box) -> None:
    """Maps that say where in the frame each of their nodes lies say the same on the plain look's grid."""
    view = make_letterbox((300, 400), (288, 352), ContentArea(content))
    assert look.part is not None
    nodes = np.stack(np.meshgrid(np.arange(88), np.arange(72)), axis=-1)
    places = np.moveaxis(grid_to_frame(nodes, part_view(view, look.part)), 2, 0).astype(np.float32)
    shown = look.shows(view)
    assert shown is not None
    # The blur at the rim sees what lies beyond.
    inner = cv2.erode(shown.astype(np.uint8), np.ones((5, 5)), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    wanted = np.moveaxis(grid_to_frame(nodes, view), 2, 0)
    np.testing.assert_allclose(look.to_plain(places, view)[:, inner], wanted[:, inner], atol=0.05)
    left, top, right, bottom = look.part
    x, y = wanted[:, shown]
    assert x.min() >= content.x + left * content.width - 1 and x.max() <= content.x + right * content.width + 1
    assert y.min() >= content.y + top * content.height - 1 and y.max() <= content.y + bottom * content.height + 1
    assert shown.sum() == pytest.approx(
        (0.6 * content.width) * (0.6 * content.height) * (view.scale / 4) ** 2, rel=0.08
    )


def test_a_part_shows_the_frame_at_a_finer_scale() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    view = make_letterbox((600, 800), (288, 352))
    plain = to_network(frame, view)
    middle = PARTS[0]
    assert middle.part is not None
    finer = part_view(view, middle.part)
    assert finer.scale == pytest.approx(view.scale / 0.6, rel=0.01)
    np.testing.assert_array_equal(middle.of(plain, frame, view), to_network(frame, finer))
    turned = dataclasses.replace(middle, down=-1)
    np.testing.assert_array_equal(turned.of(plain, frame, view), to_network(frame, finer)[::-1])
    assert PLAIN.shows(view) is None


@pytest.mark.parametrize("part", [(0.5, 0.0, 0.5, 1.0), (-0.1, 0.0, 0.5, 1.0), (0.0, 0.2, 1.0, 1.2)])
def test_a_part_that_is_none_is_refused(part: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected left, top, right, bottom"):
        part_view(make_letterbox((300, 400), (288, 352)), part)


def test_exposures_keep_black_and_white_and_their_order() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2).reshape(16, 16, 3)
    for look, sign in ((DARKER, -1), (BRIGHTER, 1)):
        shown = look.of(ramp).astype(int).reshape(256, 3)
        assert (shown[0] == 0).all() and (shown[255] == 255).all() and (np.diff(shown, axis=0) >= 0).all()
        assert (sign * (shown[1:255] - np.arange(1, 255)[:, None]) >= 0).all() and abs(shown[128, 0] - 128) > 30
    assert len({look.name for look in EXPOSED_MIRRORS}) == len(EXPOSED_MIRRORS) == 12


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
    assert len(take_looks(engine, noise(), TEXT, MIRRORS, budget_ms=100.0).outputs) == 2  # 20 ms are left then
    assert len(take_looks(engine, noise(), TEXT, MIRRORS, budget_ms=165.0).outputs) == 4
    assert len(take_looks(engine, noise(), TEXT, MIRRORS, budget_ms=0.0).outputs) == 1, "the first look is always there"
    assert len(engine.calls) == 7


def test_an_engine_that_breaks_the_protocol_is_told_by_name() -> None:
    class Broken(ColorEngine):
        def infer(self, *arguments: object, **more: object) -> EngineOutput:
            output = super().infer(*arguments, **more)  # type: ignore[arg-type]
            return dataclasses.replace(output, log_probs=output.log_probs.astype(np.float64))  # type: ignore[arg-type]

    with pytest.raises(EngineError, match=r"returned log_probs as float64 \(3, 22, 28\); expected float32"):
        take_looks(Broken(), noise(), TEXT, MIRRORS[:2])


class Failing(ColorEngine):
    """A genuine engine that fails at its look number `at`, from 0, in the way that `error` says."""

    def __init__(self, at: int, error: Exception | None) -> None:
        super().__init__()
        self.at, self.error = at, error

    def infer(self, *arguments: object, **more: object) -> EngineOutput:
        failing = len(self.calls) == self.at
        output = super().infer(*arguments, **more)  # type: ignore[arg-type]
        if not failing:
            return output
        if self.error is not None:
            raise self.error
        return dataclasses.replace(output, log_probs=output.log_probs.astype(np.float64))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (EngineError("the device is gone; plug it in"), "the device is gone; plug it in"),
        (MemoryError("no room"), "MemoryError: no room"),
        (RuntimeError("first line\nsecond line"), "RuntimeError: first line"),
        (None, "returned log_probs as float64"),
    ],
)
@pytest.mark.parametrize("at", [1, 2])
def test_a_later_look_that_fails_leaves_those_before_it(at: int, error: Exception | None, told: str) -> None:
    taken = take_looks(Failing(at, error), noise(), TEXT, MIRRORS)
    whole = take_looks(ColorEngine(), noise(), TEXT, MIRRORS)
    assert len(taken.outputs) == at and not whole.failure
    for output, wanted in zip(taken.outputs, whole.outputs, strict=False):
        np.testing.assert_array_equal(output.log_probs, wanted.log_probs)
    assert taken.failure.startswith(f"look '{MIRRORS[at].name}' failed, {at} of 4 taken: ")
    assert told in taken.failure and "\n" not in taken.failure


def test_a_plain_look_that_fails_as_the_first_is_raised() -> None:
    with pytest.raises(MemoryError):
        take_looks(Failing(0, MemoryError("no room")), noise(), TEXT, MIRRORS)


def test_another_first_look_that_fails_gives_way_to_the_plain_one() -> None:
    taken = take_looks(Failing(0, MemoryError("no room")), noise(), TEXT, MIRRORS[1:])
    [plain] = take_looks(ColorEngine(), noise(), TEXT, [PLAIN]).outputs
    [output] = taken.outputs
    np.testing.assert_array_equal(output.log_probs, plain.log_probs)
    assert taken.looks == (PLAIN,) and taken.failure == "look 'up-down' failed, 0 of 3 taken: MemoryError: no room"

    class Gone(ColorEngine):
        def infer(self, *arguments: object, **more: object) -> EngineOutput:
            raise EngineError("the device is gone; plug it in")

    with pytest.raises(EngineError, match="the device is gone"):
        take_looks(Gone(), noise(), TEXT, MIRRORS[1:])


@pytest.mark.parametrize("content", [Box(0, 0, 400, 300), Box(61, 22, 297, 255)], ids=["whole frame", "content area"])
@pytest.mark.parametrize("look", [COARSER, dataclasses.replace(COARSER, across=-1, down=-1)], ids=["there", "turned"])
def test_a_coarser_look_shows_all_of_it_smaller_and_comes_back(look: Look, content: Box) -> None:
    frame = np.random.default_rng(2).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    view = make_letterbox((300, 400), (288, 352), ContentArea(content))
    smaller = look.view(view)
    assert smaller.scale == pytest.approx(0.6 * view.scale) and smaller.crop == view.crop
    shown = look.of(to_network(frame, view), frame, view)
    np.testing.assert_array_equal(shown[:: look.down, :: look.across], to_network(frame, smaller))
    assert (shown[:40] == PAD_RGB).all() and (shown[-40:] == PAD_RGB).all()
    # Maps that say where in the frame each of their nodes lies say the same on the plain look's grid.
    nodes = np.stack(np.meshgrid(np.arange(88), np.arange(72)), axis=-1)
    places = np.moveaxis(grid_to_frame(nodes, smaller), 2, 0).astype(np.float32)
    brought = look.to_plain(places[:, :: look.down, :: look.across], view)
    inside = grid_content_mask(view)
    np.testing.assert_allclose(brought[:, inside], np.moveaxis(grid_to_frame(nodes, view), 2, 0)[:, inside], atol=0.05)
    assert look.shows(view) is None


def test_a_scale_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scale 1\.5 of a look; expected a share"):
        Look("x", scale=1.5).view(make_letterbox((300, 400), (288, 352)))


def test_a_gray_world_has_no_cast_and_leaves_grey_frames_and_padding_alone() -> None:
    view = make_letterbox((300, 500), (288, 352))
    cast = np.random.default_rng(3).integers(60, 160, (300, 500, 3), dtype=np.uint8) // np.array([1, 2, 3], np.uint8)
    network = to_network(cast, view)
    balanced = GRAY_WORLD.of(network, None, view)
    rows = np.s_[view.pad_y : view.pad_y + 211]
    means = balanced[rows].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(means, network[rows].mean(), atol=1.0)
    np.testing.assert_array_equal(balanced[: view.pad_y], network[: view.pad_y])
    grey = to_network(np.repeat(cast[..., :1], 3, axis=2), view)
    np.testing.assert_array_equal(GRAY_WORLD.of(grey, None, view), grey)
    red = to_network(cast * np.array([1, 0, 0], np.uint8), view)
    assert not GRAY_WORLD.of(red, None, view)[rows][..., 1:].any()


def test_looks_are_found_by_name() -> None:
    assert looks_named(["coarser", "half turn, darker"]) == (COARSER, WHOLE_LOOKS[6])
    assert len({look.name for look in WHOLE_LOOKS}) == len(WHOLE_LOOKS) == 14
    with pytest.raises(ValueError, match=r"looks middle: expected some of plain; up-down; "):
        looks_named(["plain", "middle"])
    with pytest.raises(ValueError, match="looks none"):
        looks_named([])
