"""Towers against open_clip itself, pyramids at several sizes, pretrained weights from files, and no network."""

from __future__ import annotations

import functools
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from clip_rl_perception.labels import label_space_from_names, load_label_space
from clip_rl_perception.model.encoder import STRIDES, resize_positions
from clip_rl_perception.model.prompts import class_texts, encode_classes, encode_prompts
from clip_rl_perception.model.segmenter_config import ConfigError, EncoderConfig
from clip_rl_perception.model.towers import ClipTowers, build_towers
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

import open_clip  # isort: skip  (after the package, which mends torchvision's import)

NAMES = ("clip-rl-tiny", "RN50", "ViT-B-16", "MobileCLIP2-S0")
DIMS = {"clip-rl-tiny": 128, "RN50": 1024, "ViT-B-16": 512, "MobileCLIP2-S0": 512}


@functools.lru_cache(maxsize=1)
def towers(name: str) -> ClipTowers:
    torch.manual_seed(0)
    built = build_towers(EncoderConfig(name))
    built.encoder.eval()
    built.text.eval()
    return built


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def normalised(encoder: torch.nn.Module, images: Tensor) -> Tensor:
    mean, std = torch.tensor(encoder.mean), torch.tensor(encoder.std)
    return (images - mean.reshape(1, 3, 1, 1)) / std.reshape(1, 3, 1, 1)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_every_tower_yields_pyramid_and_embedding_and_equals_open_clip(name: str, no_network: None) -> None:
    built = towers(name)
    encoder = built.encoder
    for height, width in ((64, 96), (128, 64)) if name == "clip-rl-tiny" else ((64, 96),):
        output = encoder(torch.rand(2, 3, height, width))
        for stride, channels, level in zip(STRIDES, encoder.channels, output.pyramid, strict=True):
            assert level.shape == (2, channels, height // stride, width // stride)
            assert level.isfinite().all()
        assert output.embedding.shape == (2, DIMS[name]) == (2, encoder.embedding_dim)
        torch.testing.assert_close(output.embedding.norm(dim=1), torch.ones(2))
    # At the tower's own size the embedding is open_clip's.
    visual = encoder.tower.visual
    size = visual.image_size if isinstance(visual.image_size, tuple) else (visual.image_size, visual.image_size)
    images = torch.rand(1, 3, *size)
    expected = functional.normalize(visual(images), dim=-1)
    torch.testing.assert_close(encoder(images).embedding, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["RN50", "ViT-B-16"])
@torch.inference_mode()
def test_fixing_the_size_changes_nothing_at_that_size_and_nothing_at_others(name: str) -> None:
    encoder = towers(name).encoder
    first, second = torch.rand(1, 3, 64, 96), torch.rand(1, 3, 96, 64)
    before = encoder(first).embedding, encoder(second).embedding
    names = list(encoder.state_dict())
    encoder.fix_size((64, 96))
    after = encoder(first).embedding, encoder(second).embedding
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert list(encoder.state_dict()) == names


def test_positions_are_interpolated_over_the_plane() -> None:
    ramp = torch.arange(8.0)
    plane = torch.stack([ramp[:, None].expand(8, 8), ramp[None, :].expand(8, 8)], dim=-1).reshape(64, 2)
    embedding = torch.cat([torch.tensor([[9.0, 9.0]]), plane])
    assert resize_positions(embedding, (8, 8)) is embedding
    resized = resize_positions(embedding, (8, 16))
    assert resized.shape == (1 + 8 * 16, 2)
    assert resized[0].tolist() == [9.0, 9.0]
    rows = resized[1:].reshape(8, 16, 2)
    torch.testing.assert_close(rows[..., 0], ramp[:, None].expand(8, 16), atol=1e-5, rtol=0.0)
    # Half-pixel centres: column j of 16 lies at (j + 0.5) / 2 - 0.5 of 8; cubic weights reach two columns to each side.
    inner = (torch.arange(5, 11) + 0.5) / 2 - 0.5
    torch.testing.assert_close(rows[3, 5:11, 1], inner, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize(
    ("size", "parts"),
    [((100, 96), ["(100, 96)", "32", "(96, 96)", "(128, 96)"]), ((16, 40), ["(16, 40)", "(32, 32)", "(32, 64)"])],
)
def test_other_sizes_are_refused_with_the_nearest_allowed_ones(size: tuple[int, int], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        towers("clip-rl-tiny").encoder(torch.rand(1, 3, *size))
    for part in parts:
        assert part in str(caught.value)


def test_unknown_names_tags_and_files_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no encoder 'RN51'.*RN50"):
        build_towers(EncoderConfig("RN51"))
    with pytest.raises(ConfigError, match=r"'nowhere.safetensors' is neither a file nor one of its tags \(.*openai"):
        build_towers(EncoderConfig("RN50", pretrained="nowhere.safetensors"))
    with pytest.raises(ConfigError, match="patches of 16x16"):
        build_towers(EncoderConfig("ViT-B-32"))


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_pretrained_weights_come_from_a_file(tmp_path: Path, suffix: str, no_network: None) -> None:
    torch.manual_seed(3)
    source = open_clip.create_model("clip-rl-tiny")
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pt":
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in source.state_dict().items()}}, path)
    else:
        save_file(source.state_dict(), path)
    built = build_towers(EncoderConfig("clip-rl-tiny", pretrained=str(path)))
    for name, tensor in source.visual.state_dict().items():
        assert torch.equal(built.encoder.tower.visual.state_dict()[name], tensor), name
    for name, tensor in source.text.state_dict().items():
        assert torch.equal(built.text.tower.state_dict()[name], tensor), name
    assert built.config.pretrained == str(path)


def test_weights_in_openai_layout_fill_both_towers(tmp_path: Path) -> None:
    # The published CLIP files keep the text tower's tensors at the top level.
    source = open_clip.create_model("RN50")
    assert "positional_embedding" in source.state_dict()
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in source.state_dict().items()}, path)
    built = build_towers(EncoderConfig("RN50", pretrained=str(path), quick_gelu=True))
    assert torch.equal(built.text.tower.token_embedding.weight, source.token_embedding.weight)
    assert torch.equal(built.encoder.tower.visual.attnpool.c_proj.weight, source.visual.attnpool.c_proj.weight)
    assert built.config.quick_gelu is True
    assert any(type(module).__name__ == "QuickGELU" for module in built.text.modules())


def test_weights_of_another_architecture_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"visual.trunk.stem.conv.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(ConfigError, match=r"encoder 'clip-rl-tiny': weights '.*weights.safetensors' cannot be loaded"):
        build_towers(EncoderConfig("clip-rl-tiny", pretrained=str(path)))


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(self.target),))

    def __init__(self, target: Path) -> None:
        self.target = str(target)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    path, mark = tmp_path / "weights.pt", tmp_path / "ran"
    torch.save({"state_dict": {"x": Bomb(mark)}}, path)
    plain = tmp_path / "plain.bin"
    plain.write_bytes(pickle.dumps(Bomb(mark)))
    for weights in (path, plain):
        with pytest.raises(ConfigError, match="cannot be loaded"):
            build_towers(EncoderConfig("clip-rl-tiny", pretrained=str(weights)))
    assert not mark.exists()


def test_numpy_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="convert it to safetensors"):
        build_towers(EncoderConfig("clip-rl-tiny", pretrained=str(path)))


def test_prompts_give_unit_rows_and_are_repeatable(no_network: None) -> None:
    tower = towers("clip-rl-tiny").text
    space = load_label_space("endovis2018-type")
    text = encode_prompts(tower, space)
    assert text.shape == (len(space), 128)
    assert text.dtype == torch.float32
    assert not text.requires_grad
    torch.testing.assert_close(text.norm(dim=1), torch.ones(len(space)))
    assert torch.equal(text, encode_prompts(tower, space))


def test_several_prompts_are_averaged_and_renormalised() -> None:
    tower = towers("clip-rl-tiny").text
    space = label_space_from_names(["tissue", "needle-driver"], prompts=["tissue", "a {name} in surgery"])
    templates = ("{prompt}", "an endoscopic view of {prompt}")
    assert class_texts(space, templates)[1] == [
        "a needle driver in surgery",
        "an endoscopic view of a needle driver in surgery",
    ]
    both = tower.encode(class_texts(space, templates)[1])
    expected = functional.normalize(both.mean(dim=0), dim=0)
    torch.testing.assert_close(encode_prompts(tower, space, templates)[1], expected)


def test_text_can_be_trained_and_encoding_leaves_the_mode_alone() -> None:
    tower = towers("clip-rl-tiny").text
    space = label_space_from_names(["tissue", "clip"])
    assert encode_classes(tower, space).requires_grad
    for training in (True, False):
        tower.train(training)
        encode_prompts(tower, space)
        assert tower.training is training


@pytest.mark.parametrize("templates", [(), ("no place",)])
def test_unusable_templates_are_refused(templates: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="template"):
        encode_prompts(towers("clip-rl-tiny").text, label_space_from_names(["tissue"]), templates)
