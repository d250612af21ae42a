"""A network that sees colours stronger than they are, by its first convolution alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bar_runs import config, trained
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import EncoderConfig, SegmenterConfig
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.loop.run_state import TrainError
from clip_rl_training.loop.stronger_colours import saturation_matrix, strengthen_colours_


def stem(segmenter: ClipRlSegmenter, images: torch.Tensor) -> torch.Tensor:
    """What the first convolution and its norm make of images (B, 3, H, W) in [0, 1], without the border."""
    seen: list[torch.Tensor] = []
    norm = next(part for part in segmenter.encoder.modules() if isinstance(part, torch.nn.BatchNorm2d))
    hook = norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        segmenter.encoder((images - segmenter.mean) / segmenter.std)
    hook.remove()
    return seen[0][..., 1:-1, 1:-1]


def network() -> ClipRlSegmenter:
    torch.manual_seed(1)
    return ClipRlSegmenter(SegmenterConfig(input_size=(96, 128))).eval()


def test_saturation_leaves_gray_alone_and_stretches_the_rest() -> None:
    matrix = saturation_matrix(2.0)
    assert torch.allclose(matrix @ torch.tensor([0.3, 0.3, 0.3]), torch.tensor([0.3, 0.3, 0.3]))
    # Gray of (1, 0, 0) is 0.299: twice as far from it is (1.701, -0.299, -0.299).
    assert torch.allclose(matrix @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.701, -0.299, -0.299]))
    assert torch.allclose(saturation_matrix(1.0), torch.eye(3))


def test_the_network_sees_what_it_saw_of_stronger_colours() -> None:
    plain, stronger = network(), network()
    strengthen_colours_(stronger, 1.75)
    images = torch.rand(2, 3, 96, 128)
    coloured = torch.einsum("ij,bjhw->bihw", saturation_matrix(1.75), images)
    assert torch.allclose(stem(stronger, images), stem(plain, coloured), atol=1e-4)
    assert not torch.allclose(stem(stronger, images), stem(plain, images), atol=1e-2)
    gray = images[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(stem(stronger, gray), stem(plain, gray), atol=1e-4)


def test_a_run_begins_with_it_and_says_so(tmp_path: Path) -> None:
    before = trained(config(tmp_path / "before"), stop_after=2)
    run = trained(config(tmp_path / "run", f"start_from={before.state_path}", "saturation=1.5", "steps=0"))
    assert run.started_from.endswith("colours 1.5 times as strong")
    run.finish()
    expected = ClipRlSegmenter(run.config.model)
    expected.load_state_dict(
        {name.removeprefix("segmenter."): value for name, value in before.average.values.items()}, strict=False
    )
    strengthen_colours_(expected, 1.5)
    written = load_checkpoint(tmp_path / "run/tiny/model").segmenter.state_dict()
    for name, value in expected.state_dict().items():
        if name.startswith("encoder.") and value.is_floating_point():
            assert torch.allclose(written[name], value, rtol=2e-3, atol=1e-4), name


def test_what_cannot_take_it_in_is_refused() -> None:
    transformer = ClipRlSegmenter(SegmenterConfig(EncoderConfig("ViT-B-16"), input_size=(96, 128)))
    before = {name: value.clone() for name, value in transformer.encoder.state_dict().items()}
    with pytest.raises(TrainError, match="ViT-B-16' does not begin with a convolution"):
        strengthen_colours_(transformer, 1.5)
    assert all(torch.equal(value, before[name]) for name, value in transformer.encoder.state_dict().items())
    with pytest.raises(TrainError, match=r"saturation is -1; expected at least 0"):
        strengthen_colours_(network(), -1)


def test_random_weights_have_no_colours_to_strengthen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="saturation goes with start_from"):
        config(tmp_path, "saturation=1.5")
