from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.protocol import Engine, EngineError, EngineOutput
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.labels import label_space_from_names
from clip_rl_perception.looks.evidence import EvidenceConfig
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.model.checkpoint_network import save_checkpoint
from clip_rl_perception.model.frame_classifier import ClassifierError, FrameClassifier
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import SegmenterConfig
from clip_rl_perception.pipeline import PerceptionPipeline, PipelineConfig, SceneMemory
from clip_rl_perception.scene.instances import InstanceConfig
from clip_rl_perception.scene.label_map import reference_maps
from clip_rl_perception.scene.letterbox import to_network
from clip_rl_perception.scene.picture_measures import MEASURES
from clip_rl_perception.scene.types import Box, Scene, Validity
from clip_rl_perception.scene.validity import ValidityConfig
from color_engine import EMBEDDING_DIM, ColorEngine, text_for
from compiled_loops import compiled_loops, words_of_another_process

MS = 1_000_000

TISSUE, STEEL, GOLD = (170, 80, 75), (120, 125, 130), (210, 190, 40)
COLORS = [TISSUE, STEEL, GOLD]
SPACE = label_space_from_names(["background", "forceps", "scissors"])
TEXT = text_for(COLORS)


def tissue(size: tuple[int, int] = (512, 640), seed: int = 0) -> ByteArray:
    rng = np.random.default_rng(seed)
    light = 1 + 0.12 * cv2.resize(rng.normal(size=(10, 12)), size[::-1]) + 0.1 * rng.normal(size=size)
    return np.clip(light[..., None] * np.array(TISSUE), 0, 255).astype(np.uint8)


def with_shaft(
    frame: ByteArray, tip: tuple[int, int], color: tuple[int, int, int] = STEEL, width: int = 50
) -> ByteArray:
    """A horizontal shaft from the left border to `tip`, drawn into the frame."""
    frame[tip[1] - width // 2 : tip[1] + width // 2, : tip[0]] = color
    return frame


def pipeline(
    engine: Engine | None = None, config: PipelineConfig | None = None, **calibration: object
) -> PerceptionPipeline:
    fitted = dataclasses.replace(Calibration.uncalibrated(EMBEDDING_DIM), **calibration)  # type: ignore[arg-type]
    return PerceptionPipeline(engine or ColorEngine(), SPACE, TEXT, fitted, config)


def run(frames: list[ByteArray], made: PerceptionPipeline, every_ms: float = 40) -> list[Scene]:
    memory: SceneMemory | None = None
    scenes = []
    for index, frame in enumerate(frames):
        scene, memory = made.process(frame, round(index * every_ms * MS), memory)
        scenes.append(scene)
    return scenes


def test_a_scene_by_hand() -> None:
    frame = with_shaft(tissue(), (400, 250))
    scene, memory = pipeline().process(frame, 0, None, want_confidence=True)
    assert scene.label_map.shape == (512, 640) and scene.label_map.dtype == np.uint8
    truth = np.zeros((512, 640), np.uint8)
    truth[225:275, :400] = 1
    assert (scene.label_map == truth).mean() > 0.98
    assert scene.confidence is not None and scene.confidence.shape == (512, 640)
    assert scene.confidence[250, 200] > 240
    [tag] = scene.instruments
    assert (tag.class_id, tag.track_id, tag.age, tag.touches_border) == (1, 1, 0, True)
    np.testing.assert_allclose(tag.tip, (400, 250), atol=8)
    np.testing.assert_allclose(tag.axis, (1, 0), atol=0.03)
    assert (scene.validity, scene.reason) == (Validity.OK, "")
    assert math.isnan(scene.novelty)  # nothing was calibrated
    assert list(scene.stage_ms) == ["preprocess", "network", "refine", "postprocess", "tags"]
    assert all(math.isfinite(value) and value >= 0 for value in scene.stage_ms.values())
    assert scene.stage_ms["postprocess"] > 0
    assert memory.evidence.log_belief is scene.refined and memory.view == scene.view


def test_label_map_is_that_of_the_refined_log_probabilities() -> None:
    scene, _ = pipeline().process(with_shaft(tissue(), (400, 250)), 0)
    assert scene.confidence is None
    labels, _ = reference_maps(scene.refined, scene.view)
    assert (labels == scene.label_map).mean() > 0.9999


def test_the_network_sees_the_frame_and_only_that_is_new_each_time() -> None:
    engine = ColorEngine()
    made = pipeline(engine)
    frames = [with_shaft(tissue(), (300 + 20 * i, 250)) for i in range(3)]
    scenes = run(frames, made)
    assert [scene.instruments[0].age for scene in scenes] == [0, 1, 2]
    assert [scene.instruments[0].track_id for scene in scenes] == [1, 1, 1]
    assert 200 < scenes[2].instruments[0].velocity[0] < 560  # 20 px in 40 ms; of a smooth shaft less is seen


def test_the_same_input_gives_the_same_scene() -> None:
    frames = [with_shaft(tissue(seed=i), (300 + 5 * i, 250)) for i in range(4)]
    one, two = run(frames, pipeline()), run(frames, pipeline())
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.label_map, second.label_map)
        assert first.instruments == second.instruments
        assert (first.validity, first.view) == (second.validity, second.view)


def test_a_memory_can_be_used_again() -> None:
    """A dropped result takes nothing with it: the next frame may go on from the frame before."""
    made = pipeline()
    _, memory = made.process(with_shaft(tissue(), (300, 250)), 0)
    once, _ = made.process(with_shaft(tissue(), (310, 250)), 40 * MS, memory)
    again, _ = made.process(with_shaft(tissue(), (310, 250)), 40 * MS, memory)
    assert once.instruments == again.instruments
    np.testing.assert_array_equal(once.refined, again.refined)


def test_a_stream_looks_at_its_frames_in_turn_and_earlier_looks_count() -> None:
    engine = ColorEngine()
    made = pipeline(engine)
    frame = with_shaft(tissue(), (300, 250))
    memory: SceneMemory | None = None
    for index in range(5):
        _, memory = made.process(frame, index * 40 * MS, memory)
    plain = engine.calls[0]
    for got, wanted in zip(engine.calls[1:], (plain[::-1], plain[::-1, ::-1], plain[:, ::-1], plain), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert memory is not None and memory.evidence.looks == 5
    np.testing.assert_allclose(np.median(memory.evidence.weight), 5, rtol=0.02)


@pytest.mark.parametrize(
    ("config", "stamp_ms"),
    [
        (PipelineConfig(use_previous_frame=False), 40),
        (PipelineConfig(refine_steps=0), 40),
        (PipelineConfig(refine_steps=0, views=4), 40),
        (PipelineConfig(evidence=EvidenceConfig(memory_s=0.5)), 600),
    ],
)
def test_without_memory_a_frame_gets_a_plain_look_alone(config: PipelineConfig, stamp_ms: int) -> None:
    engine = ColorEngine()
    made = pipeline(engine, config)
    _, memory = made.process(tissue(), 0)
    frame = with_shaft(tissue(), (300, 250))
    scene, memory = made.process(frame, stamp_ms * MS, memory)
    alone, _ = pipeline(ColorEngine(), config).process(frame, 0)
    np.testing.assert_array_equal(scene.refined, alone.refined)
    assert memory.evidence.looks == 1 and len(engine.calls) == 2
    np.testing.assert_array_equal(engine.calls[1][:, :10], to_network(frame, scene.view)[:, :10])


@pytest.mark.parametrize("views", [2, 4])
def test_so_many_looks_at_each_frame(views: int) -> None:
    engine = ColorEngine()
    made = pipeline(engine, PipelineConfig(views=views))
    _, memory = made.process(tissue(), 0)
    assert memory.evidence.looks == views == len(engine.calls)
    _, memory = made.process(tissue(), 40 * MS, memory)
    assert memory.evidence.looks == 2 * views == len(engine.calls)


@pytest.mark.parametrize("views", [0, 3, 8])
def test_other_numbers_of_looks_are_refused(views: int) -> None:
    with pytest.raises(EngineError, match=f"views is {views}; expected one of 1, 2, 4"):
        pipeline(config=PipelineConfig(views=views))


def test_a_cut_leaves_nothing_of_the_scene_before() -> None:
    engine = ColorEngine()
    made = pipeline(engine)
    _, memory = made.process(with_shaft(tissue(), (300, 250)), 0)
    spots = np.random.default_rng(1).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    other = np.asarray(cv2.resize(spots, (640, 512), interpolation=cv2.INTER_CUBIC), np.uint8)
    scene, memory = made.process(other, 40 * MS, memory)
    alone, _ = pipeline().process(other, 0)
    np.testing.assert_array_equal(scene.label_map, alone.label_map)
    assert memory.evidence.looks == 1
    np.testing.assert_array_equal(engine.calls[1], to_network(other, scene.view))  # a plain look


def test_another_size_or_content_drops_the_previous_frame_but_not_identities() -> None:
    engine = ColorEngine()
    made = pipeline(engine)
    scene, memory = made.process(with_shaft(tissue(), (300, 250)), 0)
    smaller = cv2.resize(with_shaft(tissue(), (300, 250)), (600, 480)).astype(np.uint8)
    scene, memory = made.process(smaller, 40 * MS, memory)
    assert memory.evidence.looks == 1
    assert scene.label_map.shape == (480, 600)
    assert [tag.track_id for tag in scene.instruments] == [1]


def test_other_classes_take_effect_and_keep_the_engine() -> None:
    engine = ColorEngine()
    made = pipeline(engine)
    frame = with_shaft(tissue(), (400, 250), GOLD)
    scene, memory = made.process(frame, 0)
    assert [tag.class_id for tag in scene.instruments] == [2]
    other = made.with_classes(label_space_from_names(["background", "probe"]), text_for([TISSUE, GOLD]))
    assert other.engine is engine and made.label_space is SPACE
    scene, memory = other.process(frame, 40 * MS, memory)
    assert memory.evidence.looks == 1  # another number of classes: what was seen does not count
    assert [(tag.track_id, tag.class_id) for tag in scene.instruments] == [(1, 1)]


def test_tissue_classes_make_no_tags() -> None:
    space = label_space_from_names(["background", "forceps", "fat"], instrument=[False, True, False])
    made = pipeline().with_classes(space, TEXT)
    scene, _ = made.process(with_shaft(tissue(), (400, 250), GOLD), 0)
    assert scene.instruments == () and (scene.label_map == 2).any()


def test_a_budget_leaves_out_looks_but_never_the_first() -> None:
    engine = ColorEngine()
    scene, _ = pipeline(engine, PipelineConfig(latency_budget_ms=1e-6)).process(tissue(), 0)
    assert len(engine.calls) == 1 and scene.validity == Validity.OK, "all looks asked for were taken"
    scene, memory = pipeline(engine, PipelineConfig(latency_budget_ms=1e-6, views=4)).process(tissue(), 0)
    assert len(engine.calls) == 2 and memory.evidence.looks == 1
    assert (scene.validity, scene.reason) == (
        Validity.DEGRADED,
        "looks left out: they did not fit the latency budget",
    )
    scene, _ = pipeline(engine, PipelineConfig(latency_budget_ms=1e9, views=4)).process(tissue(), 0)
    assert len(engine.calls) == 6 and scene.validity == Validity.OK


@pytest.mark.parametrize("steps", [None, 1, 64])
def test_any_number_of_steps_but_0_asks_for_looks_in_turn_with_memory(steps: int | None) -> None:
    frames = [with_shaft(tissue(seed=i), (300 + 5 * i, 250)) for i in range(3)]
    asked, plain = run(frames, pipeline(config=PipelineConfig(refine_steps=steps))), run(frames, pipeline())
    for one, other in zip(asked, plain, strict=True):
        np.testing.assert_array_equal(one.refined, other.refined)


def test_configuration_can_change_between_frames() -> None:
    made = pipeline()
    frame = with_shaft(tissue(), (60, 250))
    scene, memory = made.process(frame, 0)
    assert len(scene.instruments) == 1
    strict = made.with_config(PipelineConfig(instruments=InstanceConfig(min_area=0.2)))
    scene, _ = strict.process(frame, 40 * MS, memory)
    assert scene.instruments == () and made.config.instruments.min_area < 0.2


def test_the_classifier_is_asked_and_names_what_it_saw() -> None:
    inputs = EMBEDDING_DIM + len(MEASURES)
    always_room = FrameClassifier(
        MEASURES,
        np.zeros(inputs, np.float32),
        np.ones(inputs, np.float32),
        np.zeros((3, inputs + len(MEASURES)), np.float32),
        np.array([0.0, 5.0, 0.0], np.float32),
    )
    plain, _ = pipeline().process(tissue(), 0)
    scene, _ = pipeline(classifier=always_room).process(tissue(), 0)
    assert scene.validity == Validity.OUT_OF_BODY and "probability of surgery 0.01, expected" in scene.reason
    assert np.array_equal(scene.label_map, plain.label_map) and scene.instruments == plain.instruments
    off = PipelineConfig(validity=ValidityConfig(surgery_limit=0.0))
    assert pipeline(config=off, classifier=always_room).process(tissue(), 0)[0].validity == Validity.OK
    other = dataclasses.replace(always_room, measures=("light",))
    with pytest.raises(ClassifierError, match="takes the measures light; this version has"):
        pipeline(classifier=other)


def test_novelty_is_reported_and_judged() -> None:
    scene, _ = pipeline(novelty_limit=0.1).process(tissue(), 0)
    assert scene.novelty > 1 and scene.validity == Validity.OUT_OF_DISTRIBUTION
    relaxed = PipelineConfig(validity=ValidityConfig(novelty_limit=math.inf))
    scene, _ = pipeline(config=relaxed, novelty_limit=0.1).process(tissue(), 0)
    assert scene.novelty > 1 and scene.validity == Validity.OK


def test_temperature_calibrates_confidence_but_not_labels() -> None:
    frame = with_shaft(tissue(), (400, 250))
    sure, _ = pipeline().process(frame, 0, want_confidence=True)
    unsure, _ = pipeline(temperature=3.0).process(frame, 0, want_confidence=True)
    np.testing.assert_array_equal(sure.label_map, unsure.label_map)
    assert sure.confidence is not None and unsure.confidence is not None
    assert unsure.confidence.mean() < sure.confidence.mean()
    assert unsure.instruments[0].confidence < sure.instruments[0].confidence


def test_a_round_picture_is_cropped_and_its_surround_unlabelled() -> None:
    frame = with_shaft(tissue((480, 800)), (420, 240))
    y, x = np.mgrid[:480, :800]
    outside = np.hypot(x - 400, y - 240) > 230
    frame[outside] = 0
    scene, _ = pipeline().process(frame, 0, want_confidence=True)
    assert scene.view.circle is not None and abs(scene.view.crop.width - 461) < 12
    assert (scene.label_map[np.hypot(x - 400, y - 240) > 236] == 255).all()
    assert (scene.label_map[np.hypot(x - 400, y - 240) < 224] < 3).all()
    assert scene.confidence is not None and ((scene.confidence == 0) == (scene.label_map == 255)).all()
    [tag] = scene.instruments
    assert tag.touches_border and tag.box.x > 160
    np.testing.assert_allclose(tag.tip, (420, 240), atol=8)
    whole, _ = pipeline(config=PipelineConfig(crop_to_content=False)).process(frame, 0)
    assert whole.view.crop == Box(0, 0, 800, 480) and not (whole.label_map == 255).any()


@pytest.mark.parametrize("size", [(16, 16), (16, 400), (400, 16), (8192, 20), (20, 8192), (1, 1), (31, 97)])
def test_any_size(size: tuple[int, int]) -> None:
    frame = np.ascontiguousarray(np.broadcast_to(np.array(TISSUE, np.uint8), (*size, 3)))
    scene, memory = pipeline().process(frame, 0, want_confidence=True)
    scene, _ = pipeline().process(frame, 40 * MS, memory, want_confidence=True)
    assert scene.label_map.shape == size and scene.label_map.max() < 3
    if max(size) < 1000:  # of longer ones the network sees a line in the padding
        assert (scene.label_map == 0).all()
    assert scene.confidence is not None and scene.confidence.shape == size


def test_views_of_other_arrays_are_fine() -> None:
    """Frames come as views on message buffers: strided, reversed, read-only."""
    frame = with_shaft(tissue(), (400, 250))
    padded = np.zeros((512, 700, 3), np.uint8)
    padded[:, :640] = frame
    reversed_channels = np.ascontiguousarray(frame[..., ::-1])[..., ::-1]
    frozen = frame.copy()
    frozen.setflags(write=False)
    want, _ = pipeline().process(frame, 0)
    for view in (padded[:, :640], reversed_channels, frozen):
        before = view.copy()
        scene, _ = pipeline().process(view, 0)
        np.testing.assert_array_equal(scene.label_map, want.label_map)
        np.testing.assert_array_equal(view, before)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        None,
        [[1, 2, 3]],
    ],
)
def test_what_is_no_frame_is_refused_in_one_line(frame: object) -> None:
    with pytest.raises(EngineError, match=r"a frame is .*; expected .*uint8 \(height, width, 3\)"):
        pipeline().process(frame, 0)  # type: ignore[arg-type]


def test_a_failing_engine_leaves_the_memory_usable() -> None:
    engine = ColorEngine()
    made = pipeline(engine)
    _, memory = made.process(with_shaft(tissue(), (300, 250)), 0)
    engine.broken = True
    with pytest.raises(EngineError, match="unplugged"):
        made.process(with_shaft(tissue(), (305, 250)), 40 * MS, memory)
    engine.broken = False
    scene, _ = made.process(with_shaft(tissue(), (310, 250)), 80 * MS, memory)
    assert [(tag.track_id, tag.age) for tag in scene.instruments] == [(1, 1)]


def test_an_engine_that_breaks_its_protocol_is_named() -> None:
    class Wrong(ColorEngine):
        def infer(self, *args: object, **options: object) -> EngineOutput:
            output = super().infer(*args, **options)  # type: ignore[arg-type]
            return dataclasses.replace(output, log_probs=output.log_probs[:, :-1])

    with pytest.raises(
        EngineError, match=r"returned log_probs as float32 \(3, 21, 28\); expected float32 \(3, 22, 28\)"
    ):
        pipeline(Wrong()).process(tissue(), 0)

    class Broken(ColorEngine):
        def infer(self, *args: object, **options: object) -> EngineOutput:
            output = super().infer(*args, **options)  # type: ignore[arg-type]
            return dataclasses.replace(output, log_probs=output.log_probs * np.float32(np.nan))

    with pytest.raises(EngineError, match="not finite"):
        pipeline(Broken()).process(tissue(), 0)


def test_text_that_does_not_fit_is_refused() -> None:
    with pytest.raises(EngineError, match=r"text embeddings are float32 \(2, 4\); these classes need float32 \(3, 4\)"):
        PerceptionPipeline(ColorEngine(), SPACE, TEXT[:2], Calibration.uncalibrated(EMBEDDING_DIM))


def test_with_the_torch_engine(tmp_path: Path) -> None:
    """A real network with random weights: whatever it says, the scene is sound and repeatable."""
    torch.manual_seed(0)
    segmenter = ClipRlSegmenter(SegmenterConfig.tiny()).eval()
    calibration = Calibration.uncalibrated(segmenter.embedding_dim)
    text = segmenter.encode_text(SPACE)
    save_checkpoint(tmp_path / "random", segmenter, SPACE, text, calibration, {})
    checkpoint = load_checkpoint(tmp_path / "random")
    engine = TorchEngine(checkpoint, input_size=(96, 128))
    made = PerceptionPipeline.of_checkpoint(engine, checkpoint)
    assert made.label_space.names == SPACE.names and made.calibration is checkpoint.calibration
    made.warm_up()
    frames = [with_shaft(tissue((240, 320)), (150 + 10 * i, 120)) for i in range(2)]
    one, two = run(frames, made), run(frames, made)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.label_map, second.label_map)
        assert first.label_map.shape == (240, 320) and first.refined.shape == (3, 24, 32)
        labels, _ = reference_maps(first.refined, first.view)
        assert (labels == first.label_map).mean() > 0.9999
    others = label_space_from_names(["tissue", "needle"])
    renamed = PerceptionPipeline.of_checkpoint(engine, checkpoint, others, PipelineConfig(refine_steps=0))
    np.testing.assert_array_equal(renamed.text, checkpoint.encode_text(others).numpy())
    scene, _ = renamed.process(frames[0], 0)
    assert scene.refined.shape == (2, 24, 32)


@pytest.mark.parametrize("classes_first", [True, False])
def test_no_loop_is_compiled_while_frames_are_processed(classes_first: bool) -> None:
    """A frame that waits for a compiler comes seconds late, and the first one with an instrument is such a frame.

    Engines lay out their logits either way.
    """
    shown = words_of_another_process(__file__, f"count_compiled(classes_first={classes_first})")
    assert shown == ["1", "1", "1", "0"]


class _OtherLayout(ColorEngine):
    """Lays the classes of a pixel side by side in memory, as the engine on the CPU does."""

    def infer(self, *arguments: Any, **options: Any) -> EngineOutput:
        output = super().infer(*arguments, **options)
        by_pixel = np.ascontiguousarray(np.moveaxis(output.log_probs, 0, 2))
        return dataclasses.replace(output, log_probs=np.moveaxis(by_pixel, 2, 0))


def count_compiled(*, classes_first: bool) -> None:
    """Process frames, print how many instruments each shows; raises AssertionError where a loop was compiled anew."""

    made = pipeline(ColorEngine() if classes_first else _OtherLayout())
    made.warm_up()
    before = compiled_loops()
    assert len(before) > 10
    memory = None
    for index in range(4):
        frame = with_shaft(tissue(), (300 + 10 * index, 250)) if index < 3 else tissue()
        scene, memory = made.process(frame, index * 40 * MS, memory, want_confidence=index % 2 == 0)
        print(len(scene.instruments))
    after = compiled_loops()
    assert after == before, {name: count for name, count in after.items() if count != before.get(name)}
