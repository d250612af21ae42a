"""Tags at their edges: drawn operations, and parts of them, through the shipped model and the runner.

What is held is what a robot relies on, whatever the network sees: tags that are possible, the same for the same frames,
identities that are not shared, pixels that belong to tags of the frame. What votes make of such masks when the network
is right is in scene/test_voted_instances.py.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.instance_channels import INSTANCE_STRIDE
from clip_rl_perception.instrument_types import types_from_texts
from clip_rl_perception.runs.scene_tags import frame_tags
from clip_rl_perception.scene.instance_masks import instrument_owners, track_numbers
from clip_rl_perception.scene.types import KEYPOINTS, Instrument, Scene
from clip_rl_perception.stream import LoadedModel, StreamRunner, load
from clip_rl_perception.stream_options import ModelOptions
from clip_rl_training.synthetic.drawing.rendered_frame import SyntheticFrame
from clip_rl_training.synthetic.operation import SyntheticOperation, showcase

MS = 1_000_000
SIZE = (288, 352)
Video = list[ByteArray]


@pytest.fixture(scope="module")
def model() -> Iterator[LoadedModel]:
    with load(ModelOptions("demo", "torch", threads=1)) as loaded:
        yield loaded


def operation(seed: int, instruments: int, frames: int, **changes: object) -> list[SyntheticFrame]:
    counts = tuple(float(number == instruments) for number in range(instruments + 1))
    config = dataclasses.replace(showcase(*SIZE, 25.0), instrument_counts=counts, **changes)
    video = SyntheticOperation(config, seed, frames)
    return [video.frame(index) for index in range(frames)]


def followed(model: LoadedModel, frames: Video, period_ms: int = 40) -> list[Scene]:
    runner = StreamRunner(model)
    return [runner.process(rgb, index * period_ms * MS)[0] for index, rgb in enumerate(frames)]


def check(scenes: list[Scene], model: LoadedModel) -> list[tuple[Instrument, ...]]:
    """Hold what is promised of every tag; returns the tags."""
    for scene in scenes:
        height, width = scene.label_map.shape
        place = INSTANCE_STRIDE / scene.view.scale  # points are no finer than what the head speaks of
        numbers = [tag.track_id for tag in scene.instruments if tag.confirmed]
        assert len(set(numbers)) == len(numbers) and all(number > 0 for number in numbers)
        for tag in scene.instruments:
            assert tag.confirmed or tag.track_id == 0
            assert tag.box.width > 0 and tag.box.x >= 0 and tag.box.x + tag.box.width <= width
            assert tag.box.height > 0 and tag.box.y >= 0 and tag.box.y + tag.box.height <= height
            assert math.hypot(*tag.axis) == pytest.approx(1, abs=1e-5)
            values = [*tag.tip, *tag.velocity, tag.confidence, tag.area, tag.visibility, tag.type_probability]
            assert all(map(math.isfinite, values)) and tag.area > 0
            assert all(0 <= value <= 1 for value in (tag.confidence, tag.visibility, tag.type_probability))
            assert tag.unseen_s >= 0 and tag.age >= 0
            names = [point.name for point in tag.keypoints]
            assert names == [name for name in KEYPOINTS if name in names]
            for point in tag.keypoints:
                assert all(map(math.isfinite, (point.x, point.y))) and 0 <= point.confidence <= 1
                inside = -place <= point.x <= width + place and -place <= point.y <= height + place
                assert inside or not point.visible, "what is seen lies in the picture"
        owners = instrument_owners(scene, model.space)
        assert set(np.unique(owners)) <= set(range(len(scene.instruments) + 1))
        assert set(np.unique(track_numbers(scene, model.space))) <= {0, *numbers}
        assert len(frame_tags(scene.instruments, model.space, tentative=True).boxes) == len(scene.instruments)
    return [scene.instruments for scene in scenes]


def test_no_instrument(model: LoadedModel) -> None:
    scenes = followed(model, [frame.rgb for frame in operation(3, 0, 8)])
    assert not any(tag.confirmed for tags in check(scenes, model) for tag in tags)
    black = followed(model, [np.zeros((*SIZE, 3), np.uint8)] * 2)
    assert check(black, model) == [(), ()]


def test_eight_instruments(model: LoadedModel) -> None:
    drawn = operation(2, 8, 6, radius=(0.03, 0.05))
    assert len(drawn[-1].instruments) >= 6, "so many are in sight"
    tags = check(followed(model, [frame.rgb for frame in drawn]), model)
    assert 3 <= len(tags[-1]) <= 12


def part(frame: SyntheticFrame, of: str) -> ByteArray:
    """A part of a frame at its size: nothing but instrument, a stretch of the shaft, the working end."""
    truth = max(frame.instruments, key=lambda each: int((frame.instance_map == each.instance).sum()))
    mask = np.asarray(frame.instance_map == truth.instance, np.uint8)
    if of == "inside":
        distance = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
        row, column = np.unravel_index(int(distance.argmax()), distance.shape)
        reach = max(4, int(distance.max() / math.sqrt(2)))
    else:
        rows, columns = np.nonzero(mask)
        along = columns * truth.axis[0] + rows * truth.axis[1]
        middle = np.quantile(along, 0.3 if of == "shaft" else 0.97)
        near = np.abs(along - middle) < 3
        row, column = int(rows[near].mean()), int(columns[near].mean())
        reach = int(2.2 * truth.radius) + 4
    top, left = max(0, int(row) - reach), max(0, int(column) - reach)
    cut = frame.rgb[top : int(row) + reach, left : int(column) + reach]
    return np.asarray(cv2.resize(cut, (SIZE[1], SIZE[0]), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.parametrize("of", ["inside", "shaft", "tip"])
def test_one_that_fills_the_picture_only_a_shaft_and_only_a_tip(model: LoadedModel, of: str) -> None:
    frames = [part(frame, of) for frame in operation(4, 2, 6, radius=(0.08, 0.12))]
    tags = check(followed(model, frames), model)
    assert all(len(seen) <= 4 for seen in tags)


def test_two_of_the_same_type_that_cross(model: LoadedModel) -> None:
    weights = tuple(float(kind == 2) for kind in range(7))
    drawn = operation(6, 2, 12, type_weights=weights, laparoscopic=0.0)
    tags = check(followed(model, [frame.rgb for frame in drawn]), model)
    assert len({tag.track_id for seen in tags for tag in seen if tag.confirmed}) <= 4


def test_smoke_that_cuts_one_in_two(model: LoadedModel) -> None:
    def veiled(frame: SyntheticFrame) -> ByteArray:
        columns = np.arange(SIZE[1])
        veil = 0.95 * np.exp(-(((columns - SIZE[1] / 2) / 30) ** 2))[None, :, None]
        return np.asarray(frame.rgb * (1 - veil) + 205 * veil, np.uint8)

    check(followed(model, [veiled(frame) for frame in operation(4, 2, 8)]), model)


@pytest.mark.parametrize("period_ms", [200, 1000])
def test_slow_cameras_confirm_and_keep_identities(model: LoadedModel, period_ms: int) -> None:
    still = [operation(4, 2, 1)[0].rgb] * 8
    tags = check(followed(model, still, period_ms), model)
    numbers = [{tag.track_id for tag in seen if tag.confirmed} for seen in tags]
    assert numbers[-1] and numbers[-1] == numbers[-2], "what stands still keeps its identity at any rate"


def test_a_cut_begins_no_tag_of_the_scene_before(model: LoadedModel) -> None:
    before, after = operation(4, 2, 6), operation(9, 0, 6)
    tags = check(followed(model, [frame.rgb for frame in (*before, *after)]), model)
    assert any(tag.confirmed for tag in tags[5])
    assert not tags[-1], "nothing is seen, so nothing is told"


@pytest.mark.parametrize("turn", [np.fliplr, np.flipud])
def test_mirrored_streams(model: LoadedModel, turn: Callable[[ByteArray], ByteArray]) -> None:
    drawn = [frame.rgb for frame in operation(4, 2, 8)]
    plain = check(followed(model, drawn), model)[-1]
    mirrored = check(followed(model, [np.ascontiguousarray(turn(rgb)) for rgb in drawn]), model)[-1]
    assert {tag.confirmed for tag in mirrored} and abs(len(mirrored) - len(plain)) <= 1


def test_the_same_frames_give_the_same_tags(model: LoadedModel) -> None:
    frames = [frame.rgb for frame in operation(4, 3, 5)]
    assert [scene.instruments for scene in followed(model, frames)] == [
        scene.instruments for scene in followed(model, frames)
    ]


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["hook"],
        ["鑷子", "Nadelhalter mit Hartmetalleinsatz", "pince à préhension 🔧", "щипцы", "ملقط"],
        [f"instrument of kind {number}" for number in range(100)],
        ["x" * 200, "\u0301", "a\nb"],
    ],
    ids=["none", "one", "other languages", "a hundred", "odd"],
)
def test_types_of_any_kind(model: LoadedModel, texts: list[str]) -> None:
    usual = model.pipeline.types
    assert usual is not None
    try:
        model.use_types(types_from_texts(texts) if texts else None)
        tags = check(followed(model, [frame.rgb for frame in operation(4, 2, 10)]), model)
        told = {tag.type_name for seen in tags for tag in seen}
        assert told <= {"", "unknown", *(" ".join(text.split()) for text in texts)}
        assert (told == {""}) is not bool(texts), "named as soon as there is anything to call it"
        if len(texts) == 1:
            assert "hook" in told, "of one type there is no doubt"
    finally:
        model.use_types(usual.space)
