"""The runner: loading, what a stream keeps from frame to frame, and when it begins anew."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from clip_rl_perception.arrays import ByteArray
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.engine.manifest import MANIFEST_FILE
from clip_rl_perception.engine.protocol import EngineError, EngineOutput
from clip_rl_perception.labels import LabelError, label_space_from_names
from clip_rl_perception.model.calibration import Calibration
from clip_rl_perception.model.checkpoint import Checkpoint, load_checkpoint
from clip_rl_perception.model.checkpoint_files import sha256
from clip_rl_perception.model.checkpoint_network import save_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import SegmenterConfig
from clip_rl_perception.nodes.model_options import model_options
from clip_rl_perception.nodes.parameters import NodeParameters
from clip_rl_perception.pipeline import PerceptionPipeline, PipelineConfig
from clip_rl_perception.scene.stamps import StampKind
from clip_rl_perception.scene.types import Validity
from clip_rl_perception.sources.frames import Frame
from clip_rl_perception.sources.golden_frames import golden_images
from clip_rl_perception.stream import LoadedModel, StreamRunner, load
from clip_rl_perception.stream_options import ModelOptions
from color_engine import EMBEDDING_DIM, ColorEngine, text_for
from replay_inputs import SPACE, STEEL, TISSUE, image

MS, SECOND = 1_000_000, 1_000_000_000
SIZE = (96, 128)


def model(engine: ColorEngine | None = None, config: PipelineConfig | None = None) -> LoadedModel:
    calibration = Calibration.uncalibrated(EMBEDDING_DIM)
    return LoadedModel(
        PerceptionPipeline(engine or ColorEngine(), SPACE, text_for([TISSUE, STEEL]), calibration, config)
    )


def round_picture(frame: ByteArray) -> ByteArray:
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    return np.where((np.hypot(x - 112, y - 88) < 84)[..., None], frame, 0).astype(np.uint8)


def file_frame(index: int, stamp_ns: int, **options: Any) -> Frame:
    return Frame(image(index), stamp_ns, str(index), **options)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with random weights."""
    torch.manual_seed(0)
    segmenter = ClipRlSegmenter(SegmenterConfig(input_size=SIZE)).eval()
    stem = tmp_path_factory.mktemp("model") / "tiny"
    calibration = Calibration.uncalibrated(segmenter.embedding_dim)
    save_checkpoint(stem, segmenter, SPACE, segmenter.encode_text(SPACE), calibration, {})
    return stem


@pytest.fixture
def library_threads() -> Iterator[None]:
    before = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


# ---------------------------------------------------------------- loading


@pytest.mark.parametrize("compiled_before", [False, True])
def test_a_loaded_model_says_what_it_is(
    checkpoint: Path, compiled_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clip_rl_perception.kernels.compiled.is_warm", lambda: compiled_before)
    told: list[str] = []
    with load(ModelOptions(model=str(checkpoint), engine="torch", refine_steps=1), told.append) as loaded:
        weights = checkpoint.with_suffix(".safetensors")
        assert loaded.model_id == sha256(weights)[:12]
        assert (loaded.engine_name, loaded.space.names) == ("torch fp32 96x128", SPACE.names)
        assert loaded.manifest is None
        assert loaded.parameters == {
            "model": str(checkpoint), "engine": "torch", "classes": None, "types": "",
            "input_size": None, "threads": None,
            "device": None, "refine_steps": 1, "latency_budget_ms": None, "views": 1, "zoomed_looks": 1,
            "use_previous_frame": True,
            "novelty_check": True, "weights_sha256": sha256(weights),
        }  # fmt: skip
        assert any("first start compiles" in line for line in told) is not compiled_before
        scene, space = StreamRunner(loaded).process(image(0), 0)
        assert space is loaded.space and scene.label_map.shape == image(0).shape[:2]


def test_a_built_engine_brings_its_manifest(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    loaded = load_checkpoint(checkpoint)
    out = tmp_path / "engine"
    build_engine(loaded, "openvino", out, images=golden_images(SIZE, count=2), precision="fp32")
    with load(ModelOptions(model=str(checkpoint), engine=str(out))) as made:
        assert made.manifest == json.loads((out / MANIFEST_FILE).read_text())
        assert made.engine_name == "openvino fp32 96x128"


def test_other_classes_by_name(checkpoint: Path) -> None:
    with load(ModelOptions(model=str(checkpoint), engine="torch", classes="binary")) as loaded:
        assert loaded.space.names == ("background", "instrument")
        expected = load_checkpoint(checkpoint).encode_text(loaded.space).numpy()
        np.testing.assert_array_equal(loaded.pipeline.text, expected)
    with pytest.raises(LabelError, match="no label space 'nope'"):
        load(ModelOptions(model=str(checkpoint), engine="torch", classes="nope"))


def test_threads_of_libraries_are_left_alone_unless_asked(checkpoint: Path, library_threads: None) -> None:
    cv2.setNumThreads(2)
    torch.set_num_threads(2)
    load(ModelOptions(model=str(checkpoint), engine="torch")).close()
    assert (cv2.getNumThreads(), torch.get_num_threads()) == (2, 2)
    load(model_options(NodeParameters(model=str(checkpoint), engine="torch"))).close()
    assert (cv2.getNumThreads(), torch.get_num_threads()) == (1, 2), "torch is the engine"


def test_what_the_node_asks_for() -> None:
    assert model_options(NodeParameters()) == ModelOptions(library_threads=1, keep_rate=True)
    asked = model_options(
        NodeParameters(
            network_size="96x128", threads=3, refine_steps=0, latency_budget_ms=5.0, views=2, use_previous_frame=False,
            novelty_check=False, min_instrument_area=0.25, build_if_missing=True,
        )
    )  # fmt: skip
    assert (asked.input_size, asked.threads, asked.build_if_missing) == (SIZE, 3, True)
    config = asked.pipeline_config()
    assert (config.refine_steps, config.latency_budget_ms, config.views) == (0, 5.0, 2)
    assert not config.use_previous_frame and config.instruments.min_area == 0.25
    assert config.validity.novelty_limit == math.inf
    assert ModelOptions().pipeline_config() == PipelineConfig()


def test_leaving_a_model_frees_its_engine() -> None:
    engine = ColorEngine()
    with model(engine):
        assert not engine.closed
    assert engine.closed


# ---------------------------------------------------------------- a model's classes and configuration


def test_classes_hold_from_the_next_frame_on(checkpoint: Path) -> None:
    engine, loaded = ColorEngine(), load_checkpoint(checkpoint)

    class Texts(Checkpoint):
        def encode_text(self, label_space: Any) -> torch.Tensor:
            return torch.from_numpy(text_for([TISSUE, STEEL]))

    texts = Texts(**{field.name: getattr(loaded, field.name) for field in dataclasses.fields(loaded)})
    shared = LoadedModel(model(engine).pipeline, texts)
    runner = StreamRunner(shared)
    before, space = runner.process(image(3), 0)
    assert space is SPACE
    other = label_space_from_names(["tissue", "probe"])
    shared.use_classes(other)
    assert shared.space is other and shared.pipeline.engine is engine
    after, space = runner.process(image(4), 40 * MS)
    assert space is other
    assert [tag.track_id for tag in after.instruments] == [tag.track_id for tag in before.instruments]


def test_a_configuration_holds_from_the_next_frame_on() -> None:
    engine = ColorEngine()
    shared = model(engine)
    pipeline = shared.pipeline
    shared.use_config(PipelineConfig())
    assert shared.pipeline is pipeline, "nothing changed"
    runner = StreamRunner(shared)
    first, _ = runner.process(image(0), 0)
    shared.use_config(PipelineConfig(refine_steps=0))
    second, _ = runner.process(image(1), 40 * MS)
    assert len(engine.calls) == 2 and second.label_map.shape == first.label_map.shape
    np.testing.assert_array_equal(engine.calls[1], runner.prepare(image(1)).frame.network_rgb)  # a plain look
    assert second.instruments[0].age == 1, "the stream goes on"


# ---------------------------------------------------------------- a stream


def test_the_same_scenes_as_the_pipeline_whether_prepared_or_not() -> None:
    frames = [round_picture(image(index)) for index in range(4)]
    ready, plain = StreamRunner(model()), StreamRunner(model())
    pipeline, memory = model().pipeline, None
    ahead = ready.prepare(frames[0])
    for index, frame in enumerate(frames):
        wanted, memory = pipeline.process(frame, index * 40 * MS, memory, want_confidence=True)
        prepared, ahead = ahead, ready.prepare(frames[(index + 1) % 4])
        for scene, _ in (
            ready.process(prepared, index * 40 * MS, want_confidence=True),
            plain.process(frame, index * 40 * MS, want_confidence=True),
        ):
            np.testing.assert_array_equal(scene.label_map, wanted.label_map)
            np.testing.assert_array_equal(scene.confidence, wanted.confidence)
            assert scene.instruments == wanted.instruments and scene.view == wanted.view


def test_a_frame_is_prepared_while_another_is_processed() -> None:
    ahead: list[Any] = []

    class Busy(ColorEngine):
        def infer(self, *arguments: Any, **options: Any) -> EngineOutput:
            thread = threading.Thread(target=lambda: ahead.append(runner.prepare(image(1))), daemon=True)
            thread.start()
            thread.join(60)
            return super().infer(*arguments, **options)

    runner = StreamRunner(model(Busy()))
    runner.process(image(0), 0)
    assert len(ahead) == 1
    scene, _ = runner.process(ahead[0], 40 * MS)
    assert scene.instruments[0].age == 1


def test_streams_of_one_model_know_nothing_of_each_other() -> None:
    engine = ColorEngine()
    shared = model(engine)
    left, right = StreamRunner(shared), StreamRunner(shared)
    for index in range(3):
        left.process(image(index), index * 40 * MS)
    scene, _ = right.process(image(3), 0)
    np.testing.assert_array_equal(engine.calls[-1], right.prepare(image(3)).frame.network_rgb)  # a plain look
    assert [(tag.track_id, tag.age) for tag in scene.instruments] == [(1, 0)]
    scene, _ = left.process(image(3), 120 * MS)
    assert [(tag.track_id, tag.age) for tag in scene.instruments] == [(1, 3)]


def test_a_reset_begins_a_stream() -> None:
    engine = ColorEngine()
    runner = StreamRunner(model(engine))
    runner.process(round_picture(image(0)), 5 * SECOND)
    assert runner.check_stamp(5 * SECOND, 5 * SECOND).good
    runner.reset()
    assert runner.check_stamp(5 * SECOND, 5 * SECOND).good, "stamps are forgotten too"
    scene, _ = runner.process(image(1), 5 * SECOND)
    np.testing.assert_array_equal(engine.calls[-1], runner.prepare(image(1)).frame.network_rgb)  # a plain look
    assert [(tag.track_id, tag.age) for tag in scene.instruments] == [(1, 0)]


def test_what_was_prepared_before_a_reset_is_prepared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = StreamRunner(model())
    known: list[Any] = []
    prepare = PerceptionPipeline.prepare

    def seen(self: PerceptionPipeline, rgb: ByteArray, content: Any = None) -> Any:
        known.append(content)
        return prepare(self, rgb, content)

    monkeypatch.setattr(PerceptionPipeline, "prepare", seen)
    runner.process(image(0), 0)
    waiting = runner.prepare(image(1))
    runner.reset()
    runner.process(waiting, 40 * MS)
    assert [content is None for content in known] == [True, False, True]
    runner.process(runner.prepare(image(2)), 80 * MS)
    assert len(known) == 4, "what is of this stream is not prepared twice"


def test_an_older_stamp_counts_as_the_last_one() -> None:
    engine = ColorEngine()
    runner = StreamRunner(model(engine))
    runner.process(image(0), 2 * SECOND)
    scene, _ = runner.process(image(1), SECOND)
    # The frame before counted: this one was looked at as the second of a stream, upside down.
    np.testing.assert_array_equal(engine.calls[-1], runner.prepare(image(1)).frame.network_rgb[::-1])
    assert [(tag.track_id, tag.age) for tag in scene.instruments] == [(1, 1)]


def test_a_frame_that_fails_leaves_the_stream_as_it_was() -> None:
    engine = ColorEngine()
    runner = StreamRunner(model(engine))
    runner.process(image(0), 0)
    engine.broken = True
    with pytest.raises(EngineError, match="unplugged"):
        runner.process(image(1), 40 * MS)
    engine.broken = False
    with pytest.raises(EngineError, match="a frame is a NoneType"):
        runner.process(None, 60 * MS)  # type: ignore[arg-type]
    scene, _ = runner.process(image(2), 80 * MS)
    assert [(tag.track_id, tag.age) for tag in scene.instruments] == [(1, 1)]


def test_a_jump_of_the_clock_begins_a_stream_but_disorder_does_not() -> None:
    runner = StreamRunner(model())
    assert runner.check_stamp(9 * SECOND, 9 * SECOND).good
    runner.process(image(0), 9 * SECOND)
    assert runner.check_stamp(9 * SECOND - 40 * MS, 9 * SECOND).kind is StampKind.OLDER
    scene, _ = runner.process(image(1), 9 * SECOND - 40 * MS)
    assert scene.instruments[0].age == 1
    assert runner.check_stamp(2 * SECOND, 9 * SECOND).reset
    scene, _ = runner.process(image(2), 2 * SECOND)
    assert [(tag.track_id, tag.age) for tag in scene.instruments] == [(1, 0)]
    # The new timeline is known: its own stamp again is a repetition.
    assert runner.check_stamp(2 * SECOND, 9 * SECOND).kind is StampKind.REPEATED
    assert runner.check_stamp(12 * SECOND, 9 * SECOND, reject_future=True).kind is StampKind.FUTURE


# ---------------------------------------------------------------- frames of files


def test_a_video_begins_at_zero_and_is_never_late() -> None:
    runner = StreamRunner(model())
    found = [runner.process_file_frame(file_frame(index, index * 40 * MS), want_confidence=False) for index in range(3)]
    assert [(item.validity, item.reason, item.forgot) for item in found] == [(Validity.OK, "", False)] * 3
    assert found[2].scene is not None and found[2].scene.instruments[0].age == 2
    assert found[2].scene.confidence is None


def test_stamps_of_a_file_are_judged_as_the_nodes() -> None:
    runner = StreamRunner(model())
    start = 100 * SECOND
    stamps = [start, start, start - 40 * MS, start - 2 * SECOND]
    found = [
        runner.process_file_frame(file_frame(index, stamp), want_confidence=True) for index, stamp in enumerate(stamps)
    ]
    unset = runner.process_file_frame(file_frame(4, start, stamped=False), want_confidence=True)
    assert found[0].validity is Validity.OK
    for item, words in zip([*found[1:], unset], ("same as", "older than", "jumped back", "stamp is zero"), strict=True):
        assert item.validity is Validity.DEGRADED and words in item.reason
        assert item.scene is not None and item.scene.confidence is not None
        assert item.forgot == (words == "jumped back")
    last = found[3].scene
    assert last is not None and last.instruments[0].age == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EngineError("out of memory"), "processing failed: out of memory"),
        (RuntimeError("two\nlines"), "processing failed: RuntimeError: two lines"),
    ],
)
def test_a_frame_of_a_file_that_fails_is_told(error: Exception, reason: str) -> None:
    class Flaky(ColorEngine):
        fault: Exception | None = None

        def infer(self, *arguments: Any, **options: Any) -> EngineOutput:
            if self.fault is not None:
                raise self.fault
            return super().infer(*arguments, **options)

    engine = Flaky()
    runner = StreamRunner(model(engine))
    runner.process_file_frame(file_frame(0, 0), want_confidence=False)
    engine.fault = error
    failed = runner.process_file_frame(file_frame(1, 40 * MS), want_confidence=False)
    assert (failed.scene, failed.validity, failed.reason) == (None, Validity.INVALID_INPUT, reason)
    engine.fault = None
    after = runner.process_file_frame(file_frame(2, 80 * MS), want_confidence=False)
    assert after.scene is not None and after.scene.instruments[0].age == 1
