"""Peer networks: one interface, whatever library brings them."""

from __future__ import annotations

import sys

import pytest
import torch
from clip_rl_perception.model import peer_networks
from clip_rl_perception.model.peer_networks import PeerError, build_peer, peer_names
from torch.nn import functional

LIBRARY = {"segformer-b0": "transformers"}


def build(name: str, classes: int) -> peer_networks.Peer:
    pytest.importorskip(LIBRARY.get(name, "segmentation_models_pytorch"), reason="the extra `peers` is not installed")
    torch.manual_seed(0)
    return build_peer(name, classes).eval()


@pytest.mark.parametrize("name", peer_names())
@pytest.mark.parametrize("classes", [1, 7])
def test_logits_have_the_size_of_the_image(name: str, classes: int) -> None:
    peer = build(name, classes)
    images = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        logits, native = peer(images), peer.native(images)
    assert logits.shape == (2, classes, 64, 96)
    assert logits.dtype == torch.float32 and bool(logits.isfinite().all())
    stride = 64 // native.shape[2]
    assert stride == (4 if name == "segformer-b0" else 1)
    if stride > 1:
        assert torch.equal(logits, functional.interpolate(native, size=(64, 96), mode="bilinear"))


@pytest.mark.parametrize("name", peer_names())
def test_a_peer_learns(name: str) -> None:
    peer = build(name, 2).train()
    loss = functional.cross_entropy(peer(torch.rand(2, 3, 64, 64)), torch.ones(2, 64, 64, dtype=torch.long))
    loss.backward()
    missing = [key for key, value in peer.named_parameters() if value.grad is None]
    assert not missing


def test_images_are_normalised_inside() -> None:
    peer = build("unet-resnet18", 2)
    seen = []
    peer.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        peer(torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32))
    assert seen[0].abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 3, 33, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_sizes_that_a_peer_cannot_take_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(PeerError, match="multiples of 32"):
        build("unet-resnet18", 2)(torch.zeros(shape))


def test_unknown_and_missing_are_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerError, match="segformer-b0"):
        build_peer("unet", 2)
    with pytest.raises(PeerError, match="at least 1"):
        build_peer("unet-resnet18", 0)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(PeerError, match=r"install it with: pip install -e '\.\[peers\]'"):
        build_peer("unet-resnet18", 2)
