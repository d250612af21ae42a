"""Engine directories: written whole or not at all, and refused in one line that says what differs and what to do."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import safetensors.numpy
import torch
from clip_rl_perception import options
from clip_rl_perception.arrays import FloatArray
from clip_rl_perception.commands import build_engine as command
from clip_rl_perception.engine import build, build_progress, load, openvino_engine
from clip_rl_perception.engine.build import build_engine
from clip_rl_perception.engine.embedded_types import TYPES_FILE
from clip_rl_perception.engine.golden import GOLDEN_FILE
from clip_rl_perception.engine.load import load_engine, open_engine
from clip_rl_perception.engine.manifest import MANIFEST_FILE, Bounds
from clip_rl_perception.engine.protocol import EngineError, EngineInfo
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import Checkpoint, CheckpointError, load_checkpoint, open_checkpoint
from clip_rl_perception.model.checkpoint_files import sha256
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from engine_cases import ANYTHING, SIZE, image, save_random_checkpoint, text_rows

pytest.importorskip("openvino", reason="the openvino package is not installed")

NETWORK_WEIGHTS = openvino_engine.NETWORK_FILE.replace(".xml", ".bin")


def make(checkpoint: Checkpoint, out: Path, **options: Any) -> list[str]:
    """Build an FP32 OpenVINO engine; returns its progress lines."""
    lines: list[str] = []
    given = {"images": [image(9)], "input_size": SIZE, "precision": "fp32", "threads": 1, "progress": lines.append}
    build_engine(checkpoint, "openvino", out, **{**given, **options})
    return lines


@pytest.fixture(scope="module")
def whole(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "engine"
    make(checkpoint, directory)
    return directory


@pytest.fixture
def engine(whole: Path, tmp_path: Path) -> Path:
    """A copy of a good engine, to be spoiled."""
    return Path(shutil.copytree(whole, tmp_path / "engine"))


def edit_manifest(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = directory / MANIFEST_FILE
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def forge_hash(directory: Path, name: str) -> None:
    """Let the manifest agree with a file that was changed, so that only the golden frames can tell."""
    edit_manifest(directory, lambda data: data["files"].update({name: sha256(directory / name)}))


def spoil_weights(
    directory: Path,
    change: Callable[[FloatArray], FloatArray],
    shape: str = "",
    graph: str = openvino_engine.NETWORK_FILE,
) -> None:
    """Change tensors of a compiled graph (of one shape) and forge the hash, as a compiler's fault would."""
    layers = list(ElementTree.parse(directory / graph).iter("data"))
    weights = [layer.attrib for layer in layers if layer.get("element_type") == "f32" and "offset" in layer.attrib]
    chosen = [weight for weight in weights if (weight["shape"] == shape if shape else int(weight["size"]) > 10_000)]
    assert chosen
    path = (directory / graph).with_suffix(".bin")
    content = bytearray(path.read_bytes())
    for weight in chosen:
        start, end = int(weight["offset"]), int(weight["offset"]) + int(weight["size"])
        content[start:end] = change(np.frombuffer(bytes(content[start:end]), np.float32)).tobytes()
    path.write_bytes(content)
    forge_hash(directory, path.name)


def refusal(directory: Path, checkpoint: Checkpoint, **given: Any) -> str:
    """Message of the refusal; it is one line and ends with a command that this program takes."""
    with pytest.raises(EngineError) as caught:
        open_engine(directory, checkpoint, threads=1, **given)
    message = str(caught.value)
    assert "\n" not in message
    words = shlex.split(message[message.index("clip-rl build-engine") :])
    parsed = options.parse(command, words[2:])
    assert parsed.out == directory.absolute()
    assert load_checkpoint(parsed.checkpoint).model_id == checkpoint.model_id
    return message


def test_what_is_built_is_loaded_and_private(whole: Path, checkpoint: Checkpoint) -> None:
    assert stat.S_IMODE(whole.stat().st_mode) == 0o700
    assert [path.name for path in whole.parent.iterdir()] == ["engine"]
    told: list[str] = []
    engine = open_engine(whole, checkpoint, threads=1, log=told.append)
    assert engine.info.describe() == "openvino fp32 64x96"
    engine.close()
    assert re.search(r"verified: .* labels agree on 100\.0000% of pixels", told[-1])
    measured = json.loads((whole / MANIFEST_FILE).read_text())["measured"]
    assert measured["label_agreement"] == 1.0 and 0 <= measured["logit_error"] < 1e-3


def test_the_network_is_loaded_only_where_the_description_is_another(
    engine: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    """The engine vouches for the JSON file that was verified when it was built, for no other."""
    for suffix in (".safetensors", ".json"):
        shutil.copy(checkpoint.path.with_suffix(suffix), tmp_path / f"model{suffix}")
    told: list[str] = []
    same = open_checkpoint(tmp_path / "model")
    open_engine(engine, same, threads=1, log=told.append).close()
    assert "segmenter" not in vars(same) and len(told) == 1

    description = tmp_path / "model.json"
    content = json.loads(description.read_text())
    description.write_text(json.dumps({**content, "provenance": {"note": "another"}}))
    other = open_checkpoint(tmp_path / "model")
    open_engine(engine, other, threads=1, log=told.append).close()
    assert "segmenter" in vars(other)
    assert re.search(r"built of another model.json or by an earlier version.*clip-rl build-engine", told[1])

    content["label_space"]["classes"][1]["prompts"] = ["a bowl of fruit on a sunny beach"]
    description.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="is not what its prompts give"):
        open_engine(engine, open_checkpoint(tmp_path / "model"), threads=1)


def test_an_engine_of_before_the_hash_was_kept_runs_as_it_did(engine: Path, checkpoint: Checkpoint) -> None:
    edit_manifest(engine, lambda data: data.pop("description_sha256"))
    opened = open_checkpoint(checkpoint.path)
    open_engine(engine, opened, threads=1).close()
    assert "segmenter" in vars(opened)


def test_no_directory(tmp_path: Path, checkpoint: Checkpoint) -> None:
    assert "no engine directory at" in refusal(tmp_path / "engine", checkpoint)
    with pytest.raises(EngineError, match=r"no engine directory at .*; build it with: clip-rl build-engine"):
        load_engine(tmp_path / "engine", checkpoint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no manifest.json: not a finished engine"),
        ("", "is damaged"),
        ('{"format_version": 2, "back', "is damaged"),
        ("[]", "is of format None"),
        ('{"format_version": 4}', "is of format 4, this version reads 6"),  # with the graphs of a refiner
        ('{"format_version": 99}', "is of format 99, this version reads 6"),
        ('{"format_version": 6}', r"lacks or garbles a field \('backend'\)"),
    ],
)
def test_a_manifest_that_is_no_manifest(engine: Path, checkpoint: Checkpoint, text: str | None, message: str) -> None:
    path = engine / MANIFEST_FILE
    path.unlink() if text is None else path.write_text(text)
    assert re.search(message, refusal(engine, checkpoint))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("versions", None),
        ("input_size", 64),
        ("input_size", [64, 96, 3]),
        ("bounds", {"tolerance": 1}),
        ("bounds", {"label_agreement": "0.99"}),
        ("bounds", {"logit_error": None}),
        ("files", []),
        ("close_up_side", "64"),
    ],
)
def test_a_manifest_with_a_garbled_field(engine: Path, checkpoint: Checkpoint, field: str, value: Any) -> None:
    edit_manifest(engine, lambda data: data.update({field: value}))
    assert "lacks or garbles a field" in refusal(engine, checkpoint)


@pytest.mark.parametrize("name", [openvino_engine.NETWORK_FILE, NETWORK_WEIGHTS, GOLDEN_FILE])
def test_files_missing_truncated_or_changed(engine: Path, checkpoint: Checkpoint, name: str) -> None:
    path = engine / name
    content = path.read_bytes()
    for spoiled in (content[: len(content) // 2], content[:-1] + bytes([content[-1] ^ 1]), b""):
        path.write_bytes(spoiled)
        assert f"file {name} is damaged" in refusal(engine, checkpoint)
    path.unlink()
    assert f"file {name} is missing" in refusal(engine, checkpoint)


def test_weights_of_another_checkpoint(engine: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    other = load_checkpoint(save_random_checkpoint(tmp_path / "other", seed=1))
    assert f"built of weights {checkpoint.model_id}, the checkpoint has {other.model_id}" in refusal(engine, other)


@pytest.mark.parametrize(
    ("part", "built", "message"),
    [
        ("versions", {"openvino": "2019.1"}, "built with openvino 2019.1, here is 20"),
        ("versions", {"openvino": "2019.1", "oneapi": "3"}, "built with oneapi 3, here is none"),
        ("device", {"cpu": "riscv64", "instructions": ""}, "built for cpu riscv64, here is "),
        ("device", {"instructions": "amx_fp64"}, "built for instructions amx_fp64, here is "),
    ],
)
def test_another_library_or_machine(
    engine: Path, checkpoint: Checkpoint, part: str, built: dict[str, str], message: str
) -> None:
    edit_manifest(engine, lambda data: data.update({part: built}))
    assert message in refusal(engine, checkpoint)


def test_all_differences_are_told_at_once(engine: Path, checkpoint: Checkpoint) -> None:
    edit_manifest(engine, lambda data: data.update(versions={"openvino": "1"}, device={"cpu": "mips"}))
    (engine / GOLDEN_FILE).unlink()
    message = refusal(engine, checkpoint)
    assert all(part in message for part in ("openvino 1", "cpu mips", f"file {GOLDEN_FILE} is missing"))


def test_an_engine_of_an_nvidia_gpu(engine: Path, checkpoint: Checkpoint) -> None:
    if torch.cuda.is_available():
        pytest.skip("tells what happens where no GPU is")
    edit_manifest(engine, lambda data: data.update(backend="tensorrt", device={"gpu": "NVIDIA H200", "sm": "9.0"}))
    with pytest.raises(EngineError, match=r"needs an NVIDIA GPU|cannot be imported"):
        open_engine(engine, checkpoint)


def test_an_unknown_backend(engine: Path, checkpoint: Checkpoint) -> None:
    edit_manifest(engine, lambda data: data.update(backend="abacus"))
    with pytest.raises(EngineError, match="no compiled backend 'abacus'; there are: openvino, tensorrt"):
        open_engine(engine, checkpoint)


def test_another_size_or_precision_than_asked_for(engine: Path, checkpoint: Checkpoint) -> None:
    message = refusal(engine, checkpoint, input_size=(96, 96))
    assert "has input size (64, 96), asked for is (96, 96)" in message and "--size 96x96" in message
    message = refusal(engine, checkpoint, precision="bf16")
    assert "has precision fp32, asked for is bf16" in message and "--precision bf16" in message


def test_a_wrong_weight_is_found_by_the_golden_frames(engine: Path, checkpoint: Checkpoint) -> None:
    spoil_weights(engine, np.negative, shape="96, 96, 3, 3")  # of the pyramid
    assert "fails its golden frames: " in refusal(engine, checkpoint)


def test_weights_that_are_not_numbers(engine: Path, checkpoint: Checkpoint) -> None:
    spoil_weights(engine, lambda weight: np.full_like(weight, np.nan))
    assert re.search("fails on its golden frames: .*logits are not finite", refusal(engine, checkpoint))


def test_a_truncated_graph_with_a_forged_hash(engine: Path, checkpoint: Checkpoint) -> None:
    path = engine / openvino_engine.NETWORK_FILE
    path.write_text(path.read_text()[:500])
    forge_hash(engine, path.name)
    assert "cannot be read" in refusal(engine, checkpoint)


def test_a_wrong_branch_for_close_ups_is_found_by_the_golden_frames(engine: Path, checkpoint: Checkpoint) -> None:
    spoil_weights(engine, np.negative, shape="128, 24, 1, 1", graph=openvino_engine.CLOSE_UP_FILE)
    assert "fails its golden frames: the embedding of a golden close-up has cosine" in refusal(engine, checkpoint)


def test_types_are_embedded_when_the_engine_is_built(engine: Path, checkpoint: Checkpoint) -> None:
    opened = open_engine(engine, checkpoint)
    assert opened.types is not None
    assert opened.types.space.names == load_label_space("endovis2018-type").names[1:]
    expected = checkpoint.encode_text(opened.types.space).numpy()
    np.testing.assert_allclose(opened.types.text, expected, atol=1e-6)
    opened.close()
    path = engine / TYPES_FILE
    for content in (b"no types", safetensors.numpy.save({"text": opened.types.text[:2]}, {"space": "{}"})):
        path.write_bytes(content)
        forge_hash(engine, path.name)
        assert re.search(r"types .* cannot be read", refusal(engine, checkpoint))


def test_golden_frames_of_another_shape(engine: Path, checkpoint: Checkpoint) -> None:
    path = engine / GOLDEN_FILE
    arrays = safetensors.numpy.load_file(path)
    for change, message in (
        ({"images": np.zeros((1, 32, 32, 3), np.uint8)}, "fails on its golden frames: rgb is uint8"),
        ({"images": np.zeros((0, *SIZE, 3), np.uint8)}, "contradict themselves"),
        ({"log_probs": arrays["log_probs"][:, :2]}, "contradict themselves"),
        ({"close_up_embeddings": arrays["close_up_embeddings"][:0]}, "contradict themselves"),
        ({"close_ups": np.zeros((1, 32, 32, 3), np.uint8)}, "fails on its golden frames: a close-up is uint8"),
    ):
        safetensors.numpy.save_file({**arrays, **change}, path)
        forge_hash(engine, path.name)
        assert message in refusal(engine, checkpoint)
    safetensors.numpy.save_file({"images": arrays["images"]}, path)
    forge_hash(engine, path.name)
    assert "cannot be read" in refusal(engine, checkpoint)


def test_the_command_of_a_refusal_mends_it(
    engine: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    repeated = ["--min-agreement", "0.0", "--max-logit-error", "9.0"]
    edit_manifest(engine, lambda data: data.update(build_options=repeated))
    (engine / NETWORK_WEIGHTS).unlink()
    message = refusal(engine, checkpoint)
    words = shlex.split(message[message.index("clip-rl build-engine") :])
    assert command.run(options.parse(command, words[2:])) == 0
    said = capsys.readouterr()
    assert f"{engine}: openvino fp32 64x96" in said.out
    assert "golden frames: labels agree on" in said.err
    manifest = json.loads((engine / MANIFEST_FILE).read_text())
    assert manifest["build_options"] == repeated
    open_engine(engine, checkpoint, threads=1).close()


# ---------------------------------------------------------------- building


def test_a_build_that_fails_leaves_the_old_engine(engine: Path, checkpoint: Checkpoint) -> None:
    before = {path.name: sha256(path) for path in engine.iterdir()}
    with pytest.raises(EngineError, match=r"does not reproduce this model: .*at most -1 may\. Use another --precision"):
        make(checkpoint, engine, bounds=Bounds(0.0, -1.0))
    assert {path.name: sha256(path) for path in engine.iterdir()} == before
    assert [path.name for path in engine.parent.iterdir()] == ["engine"]


@pytest.mark.parametrize("when", ["compile for", "golden frames on"])
def test_a_build_that_is_interrupted_leaves_nothing(tmp_path: Path, checkpoint: Checkpoint, when: str) -> None:
    def interrupt(line: str) -> None:
        if line.startswith(when):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(checkpoint, tmp_path / "engine", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_build_replaces_an_engine_whole(engine: Path, checkpoint: Checkpoint) -> None:
    (engine / NETWORK_WEIGHTS).write_bytes(b"")
    make(checkpoint, engine)
    open_engine(engine, checkpoint, threads=1).close()
    assert [path.name for path in engine.parent.iterdir()] == ["engine"]


def test_an_engine_of_an_older_format_is_replaced(engine: Path, checkpoint: Checkpoint) -> None:
    edit_manifest(engine, lambda data: [data.pop(name) for name in ("bounds", "build_options", "close_up_side")])
    edit_manifest(engine, lambda data: data.update(format_version=1))
    make(checkpoint, engine)
    open_engine(engine, checkpoint, threads=1).close()


@pytest.mark.parametrize("manifest", ["{", "[]", '{"name": "a web page"}', None])
def test_what_is_no_engine_is_not_replaced(engine: Path, checkpoint: Checkpoint, manifest: str | None) -> None:
    if manifest is not None:
        (engine / MANIFEST_FILE).write_text(manifest)
    else:
        (engine / "thesis").mkdir()
    before = sorted(path.name for path in engine.iterdir())
    with pytest.raises(EngineError, match="exists and is not an engine directory"):
        make(checkpoint, engine)
    assert sorted(path.name for path in engine.iterdir()) == before


def test_what_cannot_be_built(tmp_path: Path, checkpoint: Checkpoint) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "file").write_text("")
    for out, given, message in (
        (precious, {}, "exists and is not an engine directory; choose another --out"),
        (tmp_path / "file" / "engine", {}, "cannot write beside"),
        (tmp_path / "a", {"precision": "fp8"}, "no precision 'fp8'; it has fp32, bf16, int8"),
        (tmp_path / "a", {"input_size": (60, 96)}, "multiples of 32"),
        (tmp_path / "a", {"images": []}, "no golden frames"),
        (tmp_path / "a", {"precision": "int8"}, "int8 needs at least 4 frames to calibrate on, got 0"),
    ):
        with pytest.raises(EngineError, match=re.escape(message)):
            make(checkpoint, out, **given)
    with pytest.raises(EngineError, match="no compiled backend 'abacus'"):
        build_engine(checkpoint, "abacus", tmp_path / "a", images=[image()])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "precious"]


def test_weights_that_are_not_numbers_are_not_built(tmp_path: Path, checkpoint: Checkpoint) -> None:
    broken = ClipRlSegmenter(checkpoint.segmenter.config)
    broken.load_state_dict(checkpoint.segmenter.state_dict())
    with torch.no_grad():
        broken.decoder.embed[0, 0] = float("nan")
    with pytest.raises(EngineError, match="logits are not finite"):
        make(dataclasses.replace(checkpoint, network=lambda: broken), tmp_path / "engine")
    assert list(tmp_path.iterdir()) == []


def test_tensorrt_without_a_gpu_is_refused_before_any_work(tmp_path: Path, checkpoint: Checkpoint) -> None:
    if torch.cuda.is_available():
        pytest.skip("tells what happens where no GPU is")
    with pytest.raises(EngineError, match=r"needs an NVIDIA GPU.*--check"):
        build_engine(checkpoint, "tensorrt", tmp_path / "engine", images=[image()], input_size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_int8_says_what_it_costs(tmp_path: Path, checkpoint: Checkpoint) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed (extra int8)")
    frames = [image(seed) for seed in range(9)]
    lines = make(checkpoint, tmp_path / "engine", precision="int8", calibration=frames, bounds=ANYTHING)
    told = next(line for line in lines if "held out" in line)
    assert re.match(r"int8 against FP32 on 2 frames held out of 9 calibration frames: labels agree on \d", told)
    measured = json.loads((tmp_path / "engine" / MANIFEST_FILE).read_text())["measured"]
    assert measured["held_out_label_agreement"] < 1.0
    assert 0 < measured["held_out_label_iou"] <= 1.0


def test_int8_without_its_library(tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(EngineError, match=r"int8 needs the nncf package .*pip install nncf onnx"):
        make(checkpoint, tmp_path / "engine", precision="int8", calibration=[image(seed) for seed in range(4)])
    assert list(tmp_path.iterdir()) == []


def test_long_stages_tell_that_they_are_at_work() -> None:
    assert build_progress.HEARTBEAT_S < 5.0
    lines: list[str] = []
    enough = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        if sum("so far" in line for line in lines) == 3:
            enough.set()

    with build_progress.stage("work", say, heartbeat_s=0.01):
        assert enough.wait(60)
    assert lines[0] == "work"
    assert re.match(r"  work: \d+ s so far", lines[1])
    assert lines[-1].startswith("  work: done in ")


# ---------------------------------------------------------------- by name


def test_auto_without_an_engine_runs_torch_and_says_how_to_build(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_RL_ENGINES", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told: list[str] = []
    engine = load_engine("auto", checkpoint, input_size=SIZE, log=told.append)
    assert engine.info.describe() == "torch fp32 64x96"
    assert re.search(r"running torch\. Build one with: clip-rl build-engine .*--size 64x96", told[0])


def test_build_if_missing_builds_once_and_never_instead_of_refusing(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_RL_ENGINES", str(tmp_path))
    told: list[str] = []

    def opened() -> str:
        engine = load_engine(
            "auto",
            checkpoint,
            input_size=SIZE,
            threads=1,
            build_if_missing=True,
            golden_images=lambda size: [image(9)] if size == SIZE else [],
            log=told.append,
        )
        engine.close()
        return engine.info.backend

    monkeypatch.setitem(build.BOUNDS, "bf16", ANYTHING)  # an untrained network's labels hang on the last bit
    assert opened() == "openvino"
    assert "building one, as build_if_missing asks" in told[0]
    assert any(line.startswith("compile for openvino") for line in told)
    built = load.default_engine_dir(checkpoint.model_id, SIZE)
    stamp = (built / MANIFEST_FILE).stat().st_mtime_ns
    told.clear()
    assert opened() == "openvino"
    assert (built / MANIFEST_FILE).stat().st_mtime_ns == stamp
    assert len(told) == 1 and "verified" in told[0]
    (built / NETWORK_WEIGHTS).unlink()
    with pytest.raises(EngineError, match="is missing"):
        opened()


def test_cuda_is_held_to_fp32_before_it_starts(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate is the same on any device; here the CPU stands for the GPU."""
    told: list[str] = []

    def opened(**options: Any) -> EngineInfo:
        engine = load_engine(
            "cuda",
            checkpoint,
            input_size=SIZE,
            golden_images=lambda size: [image(9)],
            log=told.append,
            device="cpu",
            **options,
        )
        engine.close()
        return engine.info

    assert opened(precision="fp32").precision == "fp32"
    assert re.match("torch fp32 64x96 verified: on 1 golden frames, labels agree on 100", told[-1])
    monkeypatch.setitem(load.BOUNDS, "bf16", Bounds(0.0, 1e-6))
    with pytest.raises(EngineError, match=r"engine torch bf16 64x96 strays from FP32: .* Use engine torch instead"):
        opened(precision="bf16")


def test_an_engine_serves_classes_that_it_was_not_built_with(whole: Path, checkpoint: Checkpoint) -> None:
    engine = open_engine(whole, checkpoint, threads=1)
    for classes in (2, 12, 50, 3, 4, 12):
        assert engine.infer(image(), text_rows(classes)).log_probs.shape[0] == classes
    engine.close()
