"""Checkpoints: equal to the bit after a round trip, and every kind of damage named in one line."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_rl_perception.errors import ClipRlError
from clip_rl_perception.labels import LabelSpace, label_space_from_names, load_label_space
from clip_rl_perception.model.checkpoint import Calibration, CheckpointError, load_checkpoint, resolve_checkpoint
from clip_rl_perception.model.checkpoint_network import round_to_half_, save_checkpoint
from clip_rl_perception.model.frame_classifier import FrameClassifier
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import EncoderConfig, SegmenterConfig
from safetensors.torch import load_file, save_file

DIM = 128


@pytest.fixture(scope="module")
def segmenter() -> ClipRlSegmenter:
    torch.manual_seed(0)
    network = ClipRlSegmenter(SegmenterConfig.tiny()).eval()
    # Running statistics as training leaves them, not the ones and zeros of a new network.
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                tensor.add_(torch.rand(tensor.shape))
            elif name.endswith("num_batches_tracked"):
                tensor.add_(12345)
    return network


@pytest.fixture(scope="module")
def space() -> LabelSpace:
    return load_label_space("endovis2018-type")


def calibration() -> Calibration:
    generator = np.random.default_rng(0)
    mean, std = generator.normal(size=DIM), generator.uniform(0.1, 1.0, DIM)
    return Calibration(1.37, mean.astype(np.float32), std.astype(np.float32), 2.5)


@pytest.fixture(scope="module")
def saved(segmenter: ClipRlSegmenter, space: LabelSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stem of a whole checkpoint; tests that damage one copy it first."""
    stem = tmp_path_factory.mktemp("checkpoint") / "model.v1"
    save_checkpoint(stem, segmenter, space, segmenter.encode_text(space), calibration(), {"steps": 3})
    return stem


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    for suffix in (".safetensors", ".json"):
        shutil.copy(f"{saved}{suffix}", tmp_path)
    return tmp_path / saved.name


def edit(stem: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = Path(f"{stem}.json")
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def rewrite(stem: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors and make the hash fit again: damage that a hash cannot find."""
    import hashlib

    weights = Path(f"{stem}.safetensors")
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights)
    edit(stem, lambda data: data.update(sha256=hashlib.sha256(weights.read_bytes()).hexdigest()))


def refused(stem: str | Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(stem)
    message = str(caught.value)
    assert "\n" not in message
    assert isinstance(caught.value, ClipRlError)
    return message


@pytest.mark.parametrize("half", [False, True])
def test_round_trip_is_equal_to_the_bit(
    half: bool, segmenter: ClipRlSegmenter, space: LabelSpace, tmp_path: Path
) -> None:
    network = ClipRlSegmenter(segmenter.config)
    network.load_state_dict(segmenter.state_dict())
    if half:
        round_to_half_(network)
    network.eval()
    text = network.encode_text(space)
    stem = tmp_path / "new folder" / "model"
    provenance = {"data": ["synthetic"], "seed": 1, "score": 0.5, "note": "naïve"}
    model_id = save_checkpoint(stem, network, space, text, calibration(), provenance)
    state = torch.random.get_rng_state()
    loaded = load_checkpoint(stem)
    assert torch.equal(torch.random.get_rng_state(), state)

    assert loaded.model_id == model_id
    assert len(model_id) == 12
    assert loaded.path == Path(f"{stem}.safetensors")
    assert loaded.segmenter.config == network.config
    assert not loaded.segmenter.training
    assert loaded.label_space == space
    assert loaded.provenance == provenance
    expected, found = network.state_dict(), loaded.segmenter.state_dict()
    assert list(expected) == list(found)
    for name, tensor in expected.items():
        assert tensor.dtype == found[name].dtype, name
        assert torch.equal(tensor, found[name]), name
    assert torch.equal(loaded.text, text)
    assert loaded.calibration.temperature == 1.37
    assert loaded.calibration.novelty_limit == 2.5
    np.testing.assert_array_equal(loaded.calibration.novelty_mean, calibration().novelty_mean)
    np.testing.assert_array_equal(loaded.calibration.novelty_std, calibration().novelty_std)
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(network.decode(images, text).logits, loaded.segmenter.decode(images, text).logits)
    size = loaded.path.stat().st_size
    assert size < 20_000_000 if half else size > 25_000_000


def test_the_refiner_of_an_earlier_version_is_left_out_and_told(copy: Path, segmenter: ClipRlSegmenter) -> None:
    assert load_checkpoint(copy).left_out == ""
    refiner = {"segmenter.refiner.join.weight": torch.ones(16, 16, 1, 1), "segmenter.refiner.from_flag": torch.ones(16)}
    rewrite(copy, lambda tensors: tensors.update(refiner))
    edit(copy, lambda data: data["architecture"].update(refiner={"max_steps": 4, "width": 16, "dilations": [1, 2]}))
    loaded = load_checkpoint(copy)
    assert loaded.left_out == f"{copy}.safetensors: its refiner, of an earlier version, is left out"
    assert loaded.config == segmenter.config
    found = loaded.segmenter.state_dict()
    assert list(found) == list(segmenter.state_dict())
    assert all(torch.equal(found[name], value) for name, value in segmenter.state_dict().items())


def test_rounding_to_half_changes_little_and_only_once(segmenter: ClipRlSegmenter) -> None:
    network = ClipRlSegmenter(segmenter.config)
    network.load_state_dict(segmenter.state_dict())
    with torch.no_grad():
        network.decoder.log_scale.fill_(1.0e6)  # beyond half precision: kept as it is
    round_to_half_(network)
    once = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert once["decoder.log_scale"].item() == 1.0e6
    for name, tensor in segmenter.state_dict().items():
        if tensor.is_floating_point() and name != "decoder.log_scale":
            assert torch.equal(once[name], tensor.half().float()), name
            assert (once[name] - tensor).abs().max() <= tensor.abs().max() * 2**-11 + 2**-24, name
        elif name != "decoder.log_scale":
            assert torch.equal(once[name], tensor), name
    round_to_half_(network)
    assert all(torch.equal(once[name], tensor) for name, tensor in network.state_dict().items())


def test_all_ways_to_name_a_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {load_checkpoint(f"{saved}{suffix}").model_id for suffix in ("", ".safetensors", ".json")}
    monkeypatch.chdir(saved.parent)
    ids.add(load_checkpoint(saved.name).model_id)
    assert len(ids) == 1


def test_shipped_checkpoints_are_found_by_name(
    saved: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "prefix" / "share" / "clip_rl_perception" / "models"
    models.mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        shutil.copy(f"{saved}{suffix}", models / f"only-here{suffix}")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
    monkeypatch.chdir(tmp_path)
    assert load_checkpoint("only-here").path == models / "only-here.safetensors"


def test_missing_files_are_named_with_the_places(copy: Path) -> None:
    message = refused("no-such-model")
    assert "no checkpoint 'no-such-model'" in message
    assert "models/no-such-model.safetensors" in message
    elsewhere = copy.parent / "elsewhere" / "model"
    assert f"{elsewhere}.safetensors does not exist" in refused(elsewhere)
    message = refused("runs/mine")  # from another folder than the one it was meant from
    assert f"{Path.cwd()}/runs/mine.safetensors does not exist, nor a folder {Path.cwd()}/runs/mine;" in message
    assert message.endswith(f"relative paths begin at the current folder, {Path.cwd()}")
    Path(f"{copy}.json").unlink()
    assert f"{copy}.json is missing" in refused(copy)


def test_truncated_and_exchanged_weights_are_found_by_their_hash(copy: Path) -> None:
    weights = Path(f"{copy}.safetensors")
    expected = json.loads(Path(f"{copy}.json").read_text())["sha256"][:12]
    data = weights.read_bytes()
    for damaged in (data[: len(data) // 2], b"", data[:-1] + bytes([data[-1] ^ 1])):
        weights.write_bytes(damaged)
        message = refused(copy)
        assert str(weights) in message
        assert f"expects {expected}" in message
        assert "SHA-256 is " in message


def test_a_kind_of_number_that_is_not_read_is_named(copy: Path) -> None:
    def shorten(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update({name: tensor.bfloat16() for name, tensor in tensors.items() if tensor.is_floating_point()})

    rewrite(copy, shorten)
    assert "is stored as BF16, which is not read here; expected F16 or F32" in refused(copy)


def test_a_file_that_is_no_safetensors_is_refused_even_if_its_hash_fits(copy: Path) -> None:
    import hashlib

    weights = Path(f"{copy}.safetensors")
    weights.write_bytes(weights.read_bytes()[:5000])
    edit(copy, lambda data: data.update(sha256=hashlib.sha256(weights.read_bytes()).hexdigest()))
    assert "is not a whole safetensors file" in refused(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not readable JSON"),
        ("[]", "does not describe a checkpoint"),
        ('{"format": "other"}', "does not describe a checkpoint"),
        ('{"format": "clip-rl-checkpoint", "format_version": 99}', "has format version 99"),
        ('{"format": "clip-rl-checkpoint", "format_version": 1}', "'sha256' is missing"),
    ],
)
def test_unusable_descriptions(copy: Path, text: str, message: str) -> None:
    Path(f"{copy}.json").write_text(text)
    found = refused(copy)
    assert message in found
    assert f"{copy}.json" in found


def drop_class(data: dict[str, Any]) -> None:
    data["label_space"]["classes"].pop()


def rename_class(data: dict[str, Any]) -> None:
    data["label_space"]["classes"][1]["prompts"] = ["a bowl of fruit on a sunny beach"]


def repeat_class(data: dict[str, Any]) -> None:
    classes = data["label_space"]["classes"]
    classes[2]["name"] = classes[1]["name"]


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (drop_class, ["text embeddings have shape (8, 128)", "7 classes need (7, 128)"]),
        (rename_class, ["the text embedding of class 'bipolar-forceps' is not what its prompts give"]),
        (repeat_class, ["appears twice"]),
        (lambda data: data.pop("label_space"), ["'label_space' is missing"]),
        (lambda data: data["architecture"]["encoder"].update(name="RN999"), ["no encoder 'RN999'"]),
        (lambda data: data["architecture"].update(extra=1), ["unknown key extra"]),
        (lambda data: data["architecture"].update(input_size=[100, 100]), ["multiples of 32"]),
        (
            lambda data: data["architecture"]["decoder"].update(channels=64),
            ["does not fit its architecture", "decoder.embed is (128, 96), expected (128, 64)", "more"],
        ),
        (lambda data: data["calibration"].update(temperature=0), ["temperature is 0"]),
        (lambda data: data["calibration"].update(novelty_limit="far"), ["novelty_limit is 'far'"]),
        (lambda data: data.update(templates=["no place"]), ["lacks {prompt}"]),
        (lambda data: data.update(provenance="me"), ["'provenance' is missing or not a dict"]),
        (
            lambda data: data["architecture"]["encoder"].update(mean=[0.1, 0.2, 0.3]),
            ["normalisation", "contradicts"],
        ),
        (lambda data: data.update(input_size=[64, 64]), ["input_size", "contradicts"]),
    ],
)
def test_descriptions_that_do_not_fit(
    copy: Path, change: Callable[[dict[str, Any]], None], messages: list[str]
) -> None:
    edit(copy, change)
    found = refused(copy)
    for message in messages:
        assert message in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("segmenter.decoder.log_scale"), "decoder.log_scale is missing"),
        (lambda tensors: tensors.update(surplus=torch.zeros(2)), "surplus is unknown"),
        (lambda tensors: tensors.pop("text_embeddings"), "lacks the tensor text_embeddings"),
        (lambda tensors: tensors["calibration.novelty_std"].zero_(), "novelty_std must be positive"),
        (lambda tensors: tensors.update({"calibration.novelty_mean": torch.zeros(3)}), "calibration has shapes (3,)"),
        (
            lambda tensors: tensors["segmenter.decoder.embed"].fill_(math.nan),
            "decoder.embed holds values that are not finite",
        ),
    ],
)
def test_tensors_that_do_not_fit(copy: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str) -> None:
    rewrite(copy, lambda tensors: (change(tensors), None)[1])
    assert message in refused(copy)


def test_saving_refuses_what_would_not_load(segmenter: ClipRlSegmenter, space: LabelSpace, tmp_path: Path) -> None:
    text = segmenter.encode_text(space)
    other = label_space_from_names([f"thing-{index}" for index in range(len(space))])
    stem = tmp_path / "model"
    for arguments, message in (
        ((space, text[:3], calibration(), {}), r"shape \(3, 128\)"),
        ((other, text, calibration(), {}), "class 'thing-0' is not what its prompts give"),
        ((space, text, calibration(), {"when": object()}), "not plain finite data"),
        ((space, text, calibration(), {"loss": math.nan}), "not plain finite data"),
    ):
        with pytest.raises(CheckpointError, match=message):
            save_checkpoint(stem, segmenter, *arguments)
    broken = ClipRlSegmenter(segmenter.config)
    broken.load_state_dict(segmenter.state_dict())
    with torch.no_grad():
        broken.decoder.embed[0, 0] = math.inf
    with pytest.raises(CheckpointError, match=r"decoder.embed holds values that are not finite"):
        save_checkpoint(stem, broken, space, text, calibration(), {})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_checkpoint_whole(
    copy: Path, segmenter: ClipRlSegmenter, space: LabelSpace
) -> None:
    before = {path.name: path.read_bytes() for path in copy.parent.iterdir()}
    with pytest.raises(CheckpointError):
        save_checkpoint(copy, segmenter, space, segmenter.encode_text(space), calibration(), {"x": {1, 2}})
    assert {path.name: path.read_bytes() for path in copy.parent.iterdir()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(segmenter: ClipRlSegmenter, space: LabelSpace, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        save_checkpoint(tmp_path / "m", segmenter, space, segmenter.encode_text(space), calibration(), {})


def test_a_file_where_a_folder_should_be(segmenter: ClipRlSegmenter, space: LabelSpace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        save_checkpoint(tmp_path / "file" / "model", segmenter, space, segmenter.encode_text(space), calibration(), {})


def test_saving_over_an_old_one_replaces_it(copy: Path, segmenter: ClipRlSegmenter) -> None:
    space = label_space_from_names(["tissue", "clip"])
    old = load_checkpoint(copy).model_id
    model_id = save_checkpoint(copy, segmenter, space, segmenter.encode_text(space), calibration(), {})
    loaded = load_checkpoint(copy)
    assert loaded.model_id == model_id != old
    assert loaded.label_space == space
    assert sorted(path.name for path in copy.parent.iterdir()) == [f"{copy.name}.json", f"{copy.name}.safetensors"]


def test_where_weights_came_from_is_kept_but_never_fetched(
    segmenter: ClipRlSegmenter, space: LabelSpace, tmp_path: Path
) -> None:
    source = tmp_path / "clip.safetensors"
    save_file({name: tensor.clone() for name, tensor in _clip_tensors(segmenter).items()}, source)
    config = SegmenterConfig(encoder=EncoderConfig(pretrained=str(source)))
    network = ClipRlSegmenter(config).eval()
    stem = tmp_path / "model"
    save_checkpoint(stem, network, space, network.encode_text(space), Calibration.uncalibrated(DIM), {})
    source.unlink()
    loaded = load_checkpoint(stem)
    assert loaded.segmenter.config.encoder.pretrained == str(source)
    assert loaded.calibration.novelty_limit == math.inf
    assert loaded.calibration.novelty(np.ones(DIM, np.float32)) == 0.0


def _clip_tensors(segmenter: ClipRlSegmenter) -> dict[str, torch.Tensor]:
    visual = {f"visual.{name}": t for name, t in segmenter.encoder.tower.visual.state_dict().items()}
    text = {f"text.{name}": t for name, t in segmenter.text.tower.state_dict().items()}
    return {**visual, **text, "logit_scale": segmenter.logit_scale.detach()}


def test_templates_travel_with_the_checkpoint(segmenter: ClipRlSegmenter, space: LabelSpace, tmp_path: Path) -> None:
    templates = ("{prompt}", "an endoscopic picture of {prompt}")
    text = segmenter.encode_text(space, templates)
    save_checkpoint(tmp_path / "m", segmenter, space, text, calibration(), {}, templates=templates)
    loaded = load_checkpoint(tmp_path / "m")
    other = label_space_from_names(["tissue", "stapler"])
    assert loaded.templates == templates
    assert torch.equal(loaded.encode_text(other), segmenter.encode_text(other, templates))
    assert not torch.equal(loaded.encode_text(other), segmenter.encode_text(other))


def classifier() -> FrameClassifier:
    generator = np.random.default_rng(1)
    inputs, measures = DIM + 2, ("light", "colour")
    return FrameClassifier(
        measures,
        *(generator.uniform(0.5, 1, size).astype(np.float32) for size in (inputs, inputs, (3, inputs + 2), 3)),
    )


def test_a_classifier_lies_in_the_description(segmenter: ClipRlSegmenter, space: LabelSpace, tmp_path: Path) -> None:
    fitted = dataclasses.replace(calibration(), classifier=classifier())
    text = segmenter.encode_text(space)
    with_it = save_checkpoint(tmp_path / "with", segmenter, space, text, fitted, {})
    without = save_checkpoint(tmp_path / "without", segmenter, space, text, calibration(), {})
    assert with_it == without, "the model is its weights"
    found = load_checkpoint(tmp_path / "with").calibration.classifier
    assert found is not None and found.measures == ("light", "colour")
    np.testing.assert_allclose(found.weights, classifier().weights, rtol=1e-4)
    assert load_checkpoint(tmp_path / "without").calibration.classifier is None


@pytest.mark.parametrize("value", [{}, [], {"kinds": ["surgery"]}, "yes", 1])
def test_a_bad_classifier_is_refused(copy: Path, value: object) -> None:
    edit(copy, lambda data: data["calibration"].update(classifier=value))
    message = refused(copy)
    assert "calibration.classifier cannot be used" in message and "clip-rl validity fit" in message


def test_novelty_by_hand() -> None:
    calibration = Calibration(1.0, np.array([1.0, 2.0], np.float32), np.array([0.5, 2.0], np.float32), 2.0)
    # Standardised: (4, 3); root mean square sqrt(12.5); over the limit 2.
    assert calibration.novelty(np.array([3.0, 8.0], np.float32)) == pytest.approx(math.sqrt(12.5) / 2)
    assert calibration.novelty(np.array([1.0, 2.0], np.float32)) == 0.0


def test_a_runs_folder_stands_for_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, told = tmp_path / "my run", list[str]()

    def there(name: str) -> Path:
        file = run / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
        file.with_suffix(".json").write_text("{}")
        return file

    run.mkdir()
    with pytest.raises(CheckpointError, match=r"my run: no checkpoint in this folder; expected a run's"):
        resolve_checkpoint(run)
    (run / "state.pt").write_bytes(b"")
    for given in (run, run / "state.pt"):
        with pytest.raises(CheckpointError, match=r"state\.pt is what a run goes on from.*clip-rl train --.*--resume"):
            resolve_checkpoint(given)
    odd = there("odd")
    assert resolve_checkpoint(run, told.append) == odd
    there("another")
    with pytest.raises(CheckpointError, match=r"holds several checkpoints; name one: .*another.safetensors, .*odd"):
        resolve_checkpoint(run)
    last = there("model")
    assert resolve_checkpoint(f"{run}/", told.append) == last
    best = there("best/model")
    assert resolve_checkpoint(str(run), told.append) == best
    assert resolve_checkpoint(run / "model") == resolve_checkpoint(run / "model.json") == last
    assert resolve_checkpoint(run / "best", told.append) == best
    assert told == [
        f"{run}: its checkpoint odd.safetensors is taken, the only one",
        f"{run}: its checkpoint model.safetensors is taken",
        f"{run}: its checkpoint best/model.safetensors is taken, the best by validation",
        f"{run}/best: its checkpoint model.safetensors is taken",
    ]
    # A shipped name stays the shipped one, whatever folder is called alike.
    monkeypatch.chdir(tmp_path)
    run.rename(tmp_path / "demo")
    assert resolve_checkpoint("demo", told.append).parent.name == "models" and len(told) == 4
    assert resolve_checkpoint("./demo") == Path("demo/best/model.safetensors")
