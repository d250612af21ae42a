"""What every engine must do, whatever compiled it: the same tests over all engines that this machine can run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine import golden
from clip_rl_perception.engine.load import engine_names, load_engine
from clip_rl_perception.engine.manifest import BOUNDS
from clip_rl_perception.engine.protocol import Engine, EngineError
from clip_rl_perception.engine.torch_engine import TorchEngine
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import Calibration, Checkpoint, load_checkpoint
from clip_rl_perception.model.checkpoint_network import save_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import CloseUpConfig, SegmenterConfig
from engine_cases import CASES, GRID, SIDE, SIZE, Case, close_up, image, save_random_checkpoint, text_rows

TOLERANCE = {"fp32": 2e-3, "fp16": 0.1, "bf16": 0.5, "int8": 3.0}
"""Largest difference of log-probabilities from the reference."""
SAID = {"fp32": 2e-3, "fp16": 0.05, "bf16": 0.3, "int8": 3.0}
"""Largest difference of what is said of instruments."""
AGREEMENT = {"fp32": 0.9999, "fp16": 0.99, "bf16": 0.95, "int8": 0.8}
"""Least share of pixels with the reference's label, of an untrained decoder, whose classes lie close together."""


def case_parameters() -> list[Any]:
    """Every engine; those of a GPU marked."""
    gpu = ("cuda", "tensorrt")
    return [pytest.param(name, marks=[pytest.mark.gpu] if case.backend in gpu else []) for name, case in CASES.items()]


def case_here(name: str) -> Case:
    case = CASES[name]
    if reason := case.missing():
        pytest.skip(reason)
    return case


@pytest.fixture(scope="module", params=case_parameters())
def engine(request: pytest.FixtureRequest, checkpoint: Checkpoint, folder: Path) -> Iterator[Engine]:
    made = case_here(str(request.param)).make(checkpoint, folder)
    yield made
    made.close()


def log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=0, keepdims=True)
    result: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=0, keepdims=True))
    return result


def test_it_says_what_it_is(engine: Engine, checkpoint: Checkpoint) -> None:
    assert isinstance(engine, Engine)
    assert engine.info.input_size == SIZE
    assert engine.info.stride == 4
    assert engine.info.embedding_dim == 128
    assert engine.info.model_id == checkpoint.model_id
    assert "64x96" in engine.info.describe()


@pytest.mark.parametrize("classes", [1, 2, 5, 12, 50])
def test_shapes_and_types_for_any_number_of_classes(engine: Engine, classes: int) -> None:
    output = engine.infer(image(), text_rows(classes))
    assert output.log_probs.shape == (classes, *GRID)
    assert output.log_probs.dtype == np.float32
    assert np.isfinite(output.log_probs).all()
    np.testing.assert_allclose(np.exp(output.log_probs).sum(axis=0), 1.0, atol=2e-3)
    assert output.embedding.shape == (128,)
    assert output.embedding.dtype == np.float32
    assert np.linalg.norm(output.embedding) == pytest.approx(1.0, abs=1e-2)
    assert output.network_ms > 0


def test_log_probabilities_are_the_reference_ones(engine: Engine, checkpoint: Checkpoint) -> None:
    rgb, text = image(1), text_rows()
    with torch.inference_mode():
        segmenter = checkpoint.segmenter
        decoded = segmenter.decode(segmenter.prepare(torch.from_numpy(rgb)[None]), torch.from_numpy(text))
    output = engine.infer(rgb, text)
    expected = log_softmax(decoded.logits[0].numpy())
    np.testing.assert_allclose(output.log_probs, expected, atol=TOLERANCE[engine.info.precision])
    np.testing.assert_allclose(output.embedding, decoded.embedding[0].numpy(), atol=0.05)
    assert output.instances is not None and decoded.instances is not None
    assert output.instances.dtype == np.float32
    expected = decoded.instances[0].numpy()
    assert output.instances.shape == expected.shape == (9, SIZE[0] // 8, SIZE[1] // 8)
    # Axes of an untrained head may be of any length before they are drawn out to 1: all but them.
    np.testing.assert_allclose(output.instances[2:], expected[2:], atol=SAID[engine.info.precision])


def test_a_checkpoint_without_an_instance_head_says_nothing_of_instruments(tmp_path: Path) -> None:
    torch.manual_seed(1)
    bare = ClipRlSegmenter(SegmenterConfig.tiny()).eval()
    space = load_label_space("binary")
    save_checkpoint(
        tmp_path / "bare", bare, space, bare.encode_text(space), Calibration.uncalibrated(bare.embedding_dim), {}
    )
    checkpoint = load_checkpoint(tmp_path / "bare")
    for name in ("torch-fp32", "openvino-fp32"):
        engine = case_here(name).make(checkpoint, tmp_path)
        assert engine.infer(image(), checkpoint.text_embeddings).instances is None
        engine.close()


def test_what_is_said_of_instruments_is_held_against_the_golden_frames(checkpoint: Checkpoint) -> None:
    reference = TorchEngine(checkpoint, input_size=SIZE)
    frames = golden.reference_outputs(reference, [image(1), image(2)], text_rows())
    assert frames.instances is not None
    moved = dataclasses.replace(frames, instances=frames.instances + np.float32(0.5))
    result = golden.measure(reference, moved)
    assert result.instance_error == pytest.approx(0.5, abs=1e-4)
    assert result.failure(BOUNDS["bf16"]) == "what is said of instruments differs by 0.5 RMS, at most 0.25 may"
    assert golden.measure(reference, frames).failure(BOUNDS["fp32"]) is None
    with pytest.raises(EngineError, match="differ in whether something is said of instruments"):
        golden.measure(reference, dataclasses.replace(frames, instances=None))


def test_golden_frames_agree(engine: Engine, checkpoint: Checkpoint) -> None:
    reference = TorchEngine(checkpoint, input_size=SIZE)
    frames = golden.reference_outputs(reference, [image(seed) for seed in range(4)], text_rows())
    result = golden.measure(engine, frames)
    assert result.label_agreement >= AGREEMENT[engine.info.precision]
    assert result.logit_error <= TOLERANCE[engine.info.precision] / 3


def test_same_input_same_output(engine: Engine) -> None:
    first, second = engine.infer(image(), text_rows()), engine.infer(image(), text_rows())
    np.testing.assert_array_equal(first.log_probs, second.log_probs)
    np.testing.assert_array_equal(first.embedding, second.embedding)


def test_results_outlive_the_next_frame_and_inputs_are_left_alone(engine: Engine) -> None:
    rgb, text = image(), text_rows()
    given = rgb.copy(), text.copy()
    output = engine.infer(rgb, text)
    kept = output.log_probs.copy(), output.embedding.copy()
    other = engine.infer(image(7), text_rows(seed=4))
    assert not np.array_equal(other.log_probs, output.log_probs)
    for values, before in zip((output.log_probs, output.embedding), kept, strict=True):
        np.testing.assert_array_equal(values, before)
    for argument, copied in zip((rgb, text), given, strict=True):
        np.testing.assert_array_equal(argument, copied)


def test_classes_change_by_text_alone(engine: Engine) -> None:
    text = text_rows(5)
    order = [3, 0, 4]
    whole, part = engine.infer(image(), text), engine.infer(image(), text[order])
    expected = log_softmax(whole.log_probs[order])
    np.testing.assert_allclose(part.log_probs, expected, atol=TOLERANCE[engine.info.precision])
    other = engine.infer(image(), text_rows(5, seed=1))
    assert np.abs(other.log_probs - whole.log_probs).max() > 1.0
    np.testing.assert_array_equal(other.embedding, whole.embedding)


def test_views_and_read_only_frames_are_taken(engine: Engine) -> None:
    rgb = image()
    expected = engine.infer(rgb, text_rows()).log_probs
    frozen = rgb.copy()
    frozen.setflags(write=False)
    padded = np.zeros((SIZE[0] + 4, SIZE[1] + 6, 3), np.uint8)
    padded[2:-2, 3:-3] = rgb
    for variant in (frozen, padded[2:-2, 3:-3], np.ascontiguousarray(rgb[::-1, ::-1])[::-1, ::-1]):
        np.testing.assert_array_equal(engine.infer(variant, text_rows()).log_probs, expected)


@torch.no_grad()
def reference_close_up(checkpoint: Checkpoint, rgb: ByteArray) -> FloatArray:
    segmenter = checkpoint.segmenter
    normalised = (segmenter.prepare(torch.from_numpy(rgb)[None]) - segmenter.mean) / segmenter.std
    assert segmenter.close_up is not None
    embedding: FloatArray = segmenter.close_up(segmenter.close_up_map(normalised)).embedding[0].numpy()
    return embedding


def test_close_ups_are_embedded_as_the_reference_does(engine: Engine, checkpoint: Checkpoint) -> None:
    assert engine.info.close_up_side == SIDE
    for seed in range(3):
        found = engine.embed_close_up(close_up(seed))
        assert found.shape == (128,) and found.dtype == np.float32
        assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-2)
        least = 0.9999 if engine.info.precision == "fp32" else 0.99
        assert float(found @ reference_close_up(checkpoint, close_up(seed))) >= least
    assert 0 < engine.close_up_ms < math.inf


def test_close_ups_and_frames_leave_each_other_alone(engine: Engine) -> None:
    rgb, before = close_up(), engine.infer(image(), text_rows())
    first = engine.embed_close_up(rgb)
    kept, logits = first.copy(), before.log_probs.copy()
    other = engine.embed_close_up(close_up(4))
    after = engine.infer(image(), text_rows())
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(engine.embed_close_up(rgb), kept)
    np.testing.assert_array_equal(rgb, close_up())
    assert not np.array_equal(other, kept)
    np.testing.assert_array_equal(before.log_probs, logits)
    np.testing.assert_array_equal(after.log_probs, logits)


def test_other_close_ups_are_refused(engine: Engine) -> None:
    for rgb in (np.zeros((32, 32, 3), np.uint8), np.zeros((SIDE, SIDE, 3), np.float32), None):
        with pytest.raises(EngineError, match=r"a close-up is .*; this engine takes uint8 \(64, 64, 3\)"):
            engine.embed_close_up(rgb)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["torch-fp32", "torch-bf16", "openvino-fp32"])
def test_a_branch_without_layers_of_its_own_reads_the_encoder(name: str, tmp_path: Path) -> None:
    shared = load_checkpoint(save_random_checkpoint(tmp_path / "model", 1, CloseUpConfig((16,), (2,), side=SIDE)))
    engine = case_here(name).make(shared, tmp_path)
    assert float(engine.embed_close_up(close_up()) @ reference_close_up(shared, close_up())) >= 0.99
    engine.close()


@pytest.mark.parametrize("name", ["torch-fp32", "openvino-fp32"])
def test_a_network_without_the_branch_says_so(name: str, tmp_path: Path) -> None:
    plain = load_checkpoint(save_random_checkpoint(tmp_path / "model", 1, CloseUpConfig()))
    engine = case_here(name).make(plain, tmp_path)
    assert engine.info.close_up_side is None and engine.types is None
    with pytest.raises(EngineError, match="no branch for close-ups"):
        engine.embed_close_up(close_up())
    engine.close()


@pytest.mark.parametrize(
    ("rgb", "message"),
    [
        (np.zeros((96, 64, 3), np.uint8), r"rgb is uint8 \(96, 64, 3\); this engine takes uint8 \(64, 96, 3\)"),
        (np.zeros((64, 96), np.uint8), "rgb is"),
        (np.zeros((64, 96, 3), np.float32), "rgb is float32"),
        (None, "rgb is NoneType"),
    ],
)
def test_other_images_are_refused(engine: Engine, rgb: ByteArray, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        engine.infer(rgb, text_rows())


@pytest.mark.parametrize(
    "text",
    [
        np.zeros((5, 64), np.float32),
        np.zeros((5, 128), np.float64),
        np.zeros((0, 128), np.float32),
        np.zeros((255, 128), np.float32),
        np.zeros(128, np.float32),
    ],
)
def test_other_text_is_refused(engine: Engine, text: FloatArray) -> None:
    with pytest.raises(EngineError, match=r"text is .*\(1\.\.254, 128\)"):
        engine.infer(image(), text)


@pytest.mark.parametrize("name", case_parameters())
def test_a_closed_engine_refuses(name: str, checkpoint: Checkpoint, folder: Path) -> None:
    engine = case_here(name).make(checkpoint, folder)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(image(), text_rows())


def test_weights_that_are_not_numbers_are_noticed(checkpoint: Checkpoint) -> None:
    broken = ClipRlSegmenter(checkpoint.segmenter.config)
    broken.load_state_dict(checkpoint.segmenter.state_dict())
    with torch.no_grad():
        broken.decoder.embed[0, 0] = float("nan")
    engine = TorchEngine(dataclasses.replace(checkpoint, network=lambda: broken), input_size=SIZE)
    with pytest.raises(EngineError, match="logits are not finite"):
        engine.infer(image(), text_rows())


def test_unknown_engines_and_impossible_options(checkpoint: Checkpoint) -> None:
    with pytest.raises(EngineError) as caught:
        load_engine("tensorfloat", checkpoint)
    assert "no engine 'tensorfloat'" in str(caught.value)
    assert all(name in str(caught.value) for name in engine_names())
    for options, message in (
        ({"input_size": (60, 96)}, "multiples of 32"),
        ({"precision": "fp8"}, "no precision 'fp8'"),
        ({"threads": 0}, "at least 1"),
        ({"device": "cuda:7"}, "device 'cuda:7' is not usable"),
        ({"colour": "blue"}, "colour"),
    ):
        with pytest.raises(EngineError, match=message):
            load_engine("torch", checkpoint, **options)


def test_no_size_given_takes_the_checkpoints(checkpoint: Checkpoint) -> None:
    assert load_engine("torch", checkpoint).info.input_size == SegmenterConfig.tiny().input_size
