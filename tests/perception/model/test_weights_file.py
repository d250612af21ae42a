"""Weights from files as people have them: every wrapping is undone, and the activation is found, told or asked for.

RN50 is the architecture, because its published weights use QuickGELU; its tensors are random and few, read and compared
without building the model wherever that suffices.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from clip_rl_perception.model.positions import resize_positions
from clip_rl_perception.model.segmenter_config import ConfigError, EncoderConfig
from clip_rl_perception.model.towers import build_towers, normalisation_of
from clip_rl_perception.model.weights_file import fill, read_weights
from safetensors.torch import save_file
from torch import Tensor, nn

import open_clip  # isort: skip  (after the package, which mends torchvision's import)

Tensors = dict[str, Tensor]
TENSORS = {
    "visual.conv1.weight": torch.rand(3, 4),
    "text_projection": torch.rand(4, 2),
    "logit_scale": torch.tensor(4.6),
}


@pytest.fixture(scope="module")
def rn50() -> nn.Module:
    torch.manual_seed(1)
    return open_clip.create_model("RN50")


@pytest.fixture(scope="module")
def rn50_file(rn50: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In CLIP's own layout, the text tower's tensors at the top, and nothing that tells the activation."""
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_file({name: value.half().contiguous() for name, value in rn50.state_dict().items()}, path)
    return path


def archive(tensors: Tensors, path: Path) -> None:
    """A TorchScript archive with these tensors, half of them buffers, as modules within modules."""
    root = nn.Module()
    for number, (name, value) in enumerate(tensors.items()):
        *parents, leaf = name.split(".")
        place = root
        for part in parents:
            if part not in dict(place.named_children()):
                place.add_module(part, nn.Module())
            place = place.get_submodule(part)
        if number % 2 and value.is_floating_point():
            place.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
        else:
            place.register_buffer(leaf, value)
    torch.jit.script(root).save(str(path))


def quick(towers: Any) -> bool:
    """Whether the built text tower computes with QuickGELU."""
    return any(type(module).__name__ == "QuickGELU" for module in towers.text.modules())


# ---------------------------------------------------------------- files and what wraps their tensors


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "epoch": 3, "name": "run"},
        lambda tensors: {"state_dict": {f"module.{name}": value for name, value in tensors.items()}},
        lambda tensors: {"model": {f"_orig_mod.module.{name}": value for name, value in tensors.items()}},
        lambda tensors: {"model_ema": {"module": {**tensors}}, "steps": 5},
        lambda tensors: {"n_averaged": torch.tensor(7), **{f"module.{name}": value for name, value in tensors.items()}},
    ],
)
def test_wrappers_are_taken_off(tmp_path: Path, wrap: Callable[[Tensors], Any]) -> None:
    path = tmp_path / "weights.pt"
    torch.save(wrap(TENSORS), path)
    weights = read_weights(path, {})
    assert weights.tensors.keys() == TENSORS.keys() and weights.facts == {}
    assert all(torch.equal(weights.tensors[name], value) for name, value in TENSORS.items())


def test_an_archive_of_openai_is_read_without_its_code(tmp_path: Path) -> None:
    numbers = {name: torch.tensor(value) for name, value in (("input_resolution", 224), ("context_length", 77))}
    tensors = {name: value.half() for name, value in TENSORS.items()}
    tensors["visual.part.transposed"] = torch.arange(6.0).reshape(2, 3).T
    tensors["visual.part.ids"] = torch.arange(4)
    path = tmp_path / "RN50.pt"
    archive({**tensors, **numbers}, path)
    weights = read_weights(path, {})
    assert weights.tensors.keys() == tensors.keys()
    for name, value in tensors.items():
        assert weights.tensors[name].dtype == value.dtype and torch.equal(weights.tensors[name], value), name
    assert weights.facts == {"quick_gelu": True} and "OpenAI" in weights.told_by


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"text_model.embeddings.weight": torch.zeros(2)}, "Hugging Face's transformers.*open_clip_model.safetensors"),
        ({"segmenter.decoder.embed": torch.zeros(2)}, "checkpoint of this project.*start_from"),
        ({"visual.conv1.weight": torch.tensor([1.0, float("nan")])}, "visual.conv1.weight holds values that are not"),
        ({"epoch": 3, "args": {}}, "no tensors by name, but epoch, args"),
        ([torch.zeros(2)], "no tensors by name, but list"),
    ],
)
def test_other_contents_are_refused_by_name(tmp_path: Path, tensors: Any, message: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save(tensors, path)
    with pytest.raises(ConfigError, match=message):
        read_weights(path, {})


@pytest.mark.parametrize("kind", ["safetensors", "torch", "archive", "empty", "text"])
def test_damaged_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pt")
    if kind == "safetensors":
        save_file(TENSORS, path)
    elif kind == "archive":
        archive(TENSORS, path)
    elif kind == "torch":
        torch.save(TENSORS, path)
    whole = path.read_bytes() if path.exists() else b"<html>not found</html>" if kind == "text" else b""
    path.write_bytes(whole[: len(whole) // 2] if kind not in ("empty", "text") else whole)
    with pytest.raises(ConfigError) as caught:
        read_weights(path, {})
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- who tells the activation


def test_what_lies_beside_the_file_tells_activation_and_normalisation(tmp_path: Path) -> None:
    path = tmp_path / "open_clip_model.safetensors"
    save_file(TENSORS, path)
    model, pixels = {"quick_gelu": True, "embed_dim": 8}, {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    description = path.with_name("open_clip_config.json")
    description.write_text(json.dumps({"model_cfg": model, "preprocess_cfg": pixels}))
    assert read_weights(path, {}).facts == {"quick_gelu": True, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    description.write_text(json.dumps({"model_cfg": {"embed_dim": 8}}))
    assert read_weights(path, {}).facts == {"quick_gelu": False}
    description.write_text("{")
    with pytest.raises(ConfigError, match=r"open_clip_config.json beside it cannot be read"):
        read_weights(path, {})


def test_published_files_are_known_by_their_hash_and_by_the_cache_they_lie_in(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(TENSORS, path)
    digest, mean, std = hashlib.sha256(path.read_bytes()).hexdigest(), (0.1,) * 3, (0.2,) * 3
    facts = {"quick_gelu": True, "mean": mean, "std": std}
    other = {"url": "https://x/y-00000000.pt", "hf_hub": "a/b/", "mean": mean, "std": std}
    for url in (f"https://example.org/models/{digest}/RN50.pt", f"https://example.org/rn50-{digest[:8]}.pt"):
        found = read_weights(path, {"other": other, "ours": {"url": url, "hf_hub": "", **facts}})
        assert found.facts == facts and "'ours'" in found.told_by
    cached = tmp_path / "models--timm--resnet50_clip.openai" / "snapshots" / "0" / "open_clip_model.safetensors"
    cached.parent.mkdir(parents=True)
    save_file(TENSORS, cached)
    tags = {"other": other, "openai": open_clip.get_pretrained_cfg("RN50", "openai")}
    assert read_weights(cached, tags).facts["quick_gelu"] is True
    assert read_weights(path, tags).facts == {}


def test_rn50_from_a_file(rn50: nn.Module, rn50_file: Path, tmp_path: Path) -> None:
    """The whole way with one large file: asked for, given, told beside it, named, and contradicted."""
    asked = EncoderConfig("RN50", pretrained=str(rn50_file))
    with pytest.raises(
        ConfigError, match=r"RN50.*do not tell.*QuickGELU.*openai.*model.encoder.quick_gelu to true or"
    ) as e:
        build_towers(asked)
    assert "\n" not in str(e.value)
    given = build_towers(EncoderConfig("RN50", pretrained=str(rn50_file), quick_gelu=False))
    assert not quick(given) and given.config.quick_gelu is False
    assert torch.equal(given.text.tower.token_embedding.weight, rn50.token_embedding.weight.half().float())
    assert given.notes == ("weights.safetensors: GELU, quick_gelu asks for it",)
    with pytest.raises(ConfigError, match="QuickGELU by name, quick_gelu is false"):
        build_towers(EncoderConfig("RN50-quickgelu", pretrained=str(rn50_file), quick_gelu=False))
    beside = Path(shutil.copy(rn50_file, tmp_path / "open_clip_model.safetensors"))
    beside.with_name("open_clip_config.json").write_text('{"model_cfg": {"quick_gelu": true}}')
    found = build_towers(EncoderConfig("RN50", pretrained=str(beside)))
    assert quick(found) and found.config.quick_gelu is True and "open_clip_config.json says so" in found.notes[0]
    against = build_towers(EncoderConfig("RN50", pretrained=str(beside), quick_gelu=False))
    assert not quick(against) and "but QuickGELU would be right" in against.notes[0]


def test_a_name_with_quickgelu_is_quick_without_weights_too() -> None:
    built = build_towers(EncoderConfig("RN50-quickgelu"))
    assert quick(built) and built.config.quick_gelu is True and built.notes == ()


def test_other_architectures_are_told_and_other_image_sizes_resized(rn50: nn.Module) -> None:
    model = open_clip.create_model("RN50", force_custom_text=True)
    tensors = dict(rn50.state_dict())
    positions = tensors["visual.attnpool.positional_embedding"]
    larger = resize_positions(positions, (9, 9))
    notes = fill(model, {**tensors, "visual.attnpool.positional_embedding": larger})
    assert notes == ["visual.attnpool.positional_embedding resized from 82 to 50 positions"]
    expected = resize_positions(larger, (7, 7))
    torch.testing.assert_close(model.visual.attnpool.positional_embedding.detach(), expected)
    longer = torch.cat([tensors["positional_embedding"]] * 2)
    assert fill(model, {**tensors, "positional_embedding": longer}) == [
        "text.positional_embedding resized from 154 to 77 positions"
    ]
    assert fill(model, {**tensors, "logit_scale": tensors["logit_scale"].reshape(1)}) == []
    wider = {**tensors, "token_embedding.weight": torch.zeros(49408, 640)}
    with pytest.raises(ConfigError, match=r"1 tensors are of another.*text.token_embedding.weight is \(49408, 640\)"):
        fill(model, wider)
    vit = {"visual.conv1.weight": torch.zeros(768, 3, 32, 32), "token_embedding.weight": torch.zeros(49408, 512)}
    vit |= {f"visual.transformer.resblocks.{n}.ln_1.weight": torch.zeros(768) for n in range(12)}
    with pytest.raises(ConfigError, match="they look like weights of ViT-B-32"):
        fill(model, vit)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("visual.attnpool.positional_embedding", torch.zeros(60, 2048)),
        ("visual.attnpool.positional_embedding", torch.zeros(1, 2048)),
        ("positional_embedding", torch.zeros(0, 512)),
        ("ln_final.bias", torch.zeros(1)),
    ],
)
def test_shapes_that_nothing_can_be_made_of_are_refused_by_name(rn50: nn.Module, name: str, tensor: Tensor) -> None:
    model = open_clip.create_model("RN50", force_custom_text=True)
    shape = re.escape(str(tuple(tensor.shape)))
    with pytest.raises(ConfigError, match=rf"1 tensors are of another architecture.*{re.escape(name)} is {shape}"):
        fill(model, {**rn50.state_dict(), name: tensor})


def test_names_that_would_reach_for_the_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="no encoder 'hf-hub:org/model'"):
        build_towers(EncoderConfig("hf-hub:org/model"))


def test_a_files_normalisation_is_that_of_all_that_is_published() -> None:
    def published(name: str) -> dict[str, Any]:
        return {tag: open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)}

    assert normalisation_of(published("MobileCLIP2-S0")) == {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    assert normalisation_of(published("RN50"))["mean"] == open_clip.OPENAI_DATASET_MEAN
    assert normalisation_of(published("ViT-L-14")) == {}  # they differ
    assert normalisation_of({}) == {}


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; name the file"):
        build_towers(EncoderConfig("RN50", pretrained=str(tmp_path)))
