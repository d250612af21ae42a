"""A network that sees pictures stronger and sharper than they are by its first convolution, and louder branches."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from bar_runs import config, trained
from clip_rl_perception.model.checkpoint import load_checkpoint
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import EncoderConfig, SegmenterConfig
from clip_rl_perception.typed_data import ConfigError
from clip_rl_training.loop.input_filters import saturation_matrix, sharpen_, strengthen_colours_
from clip_rl_training.loop.norm_gains import apply_gains_
from clip_rl_training.loop.retuning import retune_
from clip_rl_training.loop.run_state import TrainError


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


def test_the_network_sees_nearly_what_it_saw_of_sharper_pictures() -> None:
    plain, sharper = network(), network()
    sharpen_(sharper, 1.0)
    # Detail of every size, as pictures have it: neighbours alike, what is far apart less so.
    rng, layers = np.random.default_rng(0), []
    for size in (1, 2, 4, 8, 16):
        layer = cv2.resize(rng.standard_normal((96 // size, 128 // size, 3)).astype(np.float32), (128, 96))
        layers.append(layer * size**0.5)
    picture = sum(layers)
    assert isinstance(picture, np.ndarray)
    picture = 0.5 + 0.15 * picture / picture.std()
    luma = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    detail = luma - cv2.GaussianBlur(luma, (3, 3), 0)  # of OpenCV's 3x3 kernel: 1, 2, 1 by 1, 2, 1
    as_it_is, sharpened = (
        torch.from_numpy(np.ascontiguousarray(each.transpose(2, 0, 1)))[None]
        for each in (picture, picture + detail[..., None])
    )
    wanted, before = stem(plain, sharpened), stem(plain, as_it_is)
    assert (stem(sharper, as_it_is) - wanted).square().mean() < 0.5 * (before - wanted).square().mean()
    even = torch.full((1, 3, 96, 128), 0.3)
    assert torch.allclose(stem(sharper, even), stem(plain, even), atol=2e-2)


def test_louder_norms_and_no_others() -> None:
    plain, louder = network(), network()
    apply_gains_(louder, {"stages/0/1/conv1_kxk": 0.5, "laterals/2": 2.0})
    changed = {name for name, value in louder.state_dict().items() if not torch.equal(value, plain.state_dict()[name])}
    trunk = "encoder.tower.visual.trunk.stages.0.1.conv1_kxk.bn"
    assert {f"{trunk}.weight", "decoder.laterals.2.1.weight"} <= changed
    assert {name.rpartition(".")[0] for name in changed} <= {trunk, "decoder.laterals.2.1"}
    assert torch.equal(louder.state_dict()[f"{trunk}.weight"], 0.5 * plain.state_dict()[f"{trunk}.weight"])


def test_a_gain_must_mean_one_norm() -> None:
    segmenter = network()
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    with pytest.raises(TrainError, match=r"'stages/0' is in the names of 5 batch norms, expected one"):
        apply_gains_(segmenter, {"laterals/2": 2.0, "stages/0": 0.5})
    with pytest.raises(TrainError, match=r"'nowhere' is in the names of 0 batch norms, expected one: among encoder/"):
        apply_gains_(segmenter, {"nowhere": 0.5})
    with pytest.raises(TrainError, match=r"laterals/2 is 0.0; expected a number above 0"):
        apply_gains_(segmenter, {"laterals/2": 0.0})
    assert all(torch.equal(value, before[name]) for name, value in segmenter.state_dict().items())


TUNED = ("saturation=1.5", "sharpness=0.5", "gains={laterals/2: 0.8}")


def test_a_run_begins_with_it_and_says_so(tmp_path: Path) -> None:
    before = trained(config(tmp_path / "before"), stop_after=2)
    run = trained(config(tmp_path / "run", f"start_from={before.state_path}", "steps=0", *TUNED))
    assert run.started_from.endswith(", retuned")
    run.finish()
    expected = ClipRlSegmenter(run.config.model)
    expected.load_state_dict(
        {name.removeprefix("segmenter."): value for name, value in before.average.values.items()}, strict=False
    )
    began = expected.encoder.tower.state_dict()["visual.trunk.stem.conv.weight"].clone()
    retune_(expected, run.config)
    assert not torch.allclose(expected.encoder.tower.state_dict()["visual.trunk.stem.conv.weight"], began, atol=1e-3)
    written = load_checkpoint(tmp_path / "run/tiny/model").segmenter.state_dict()
    for name, value in expected.state_dict().items():
        if name.startswith(("encoder.", "decoder.")) and value.is_floating_point():
            assert torch.allclose(written[name], value, rtol=2e-3, atol=1e-4), name


def test_what_cannot_take_it_in_is_refused() -> None:
    transformer = ClipRlSegmenter(SegmenterConfig(EncoderConfig("ViT-B-16"), input_size=(96, 128)))
    before = {name: value.clone() for name, value in transformer.encoder.state_dict().items()}
    with pytest.raises(TrainError, match="ViT-B-16' does not begin with a convolution"):
        strengthen_colours_(transformer, 1.5)
    assert all(torch.equal(value, before[name]) for name, value in transformer.encoder.state_dict().items())
    with pytest.raises(TrainError, match=r"sharpness is 0.5; expected 0, since encoder"):
        sharpen_(transformer, 0.5)
    with pytest.raises(TrainError, match=r"saturation is -1; expected at least 0"):
        strengthen_colours_(network(), -1)
    with pytest.raises(TrainError, match=r"sharpness is -1; expected at least 0"):
        sharpen_(network(), -1)


@pytest.mark.parametrize("tuned", TUNED)
def test_random_weights_have_nothing_to_tune(tmp_path: Path, tuned: str) -> None:
    with pytest.raises(ConfigError, match="saturation, sharpness and gains go with start_from"):
        config(tmp_path, tuned)
