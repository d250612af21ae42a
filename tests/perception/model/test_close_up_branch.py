"""The branch that names close-ups: what it computes, that masks do not know of it, and how it alone is trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bar_runs import Bars, assert_same_weights, config, trained
from clip_rl_perception.labels import load_label_space
from clip_rl_perception.model.checkpoint import Calibration, load_checkpoint
from clip_rl_perception.model.checkpoint_network import save_checkpoint
from clip_rl_perception.model.close_up import CloseUpBranch, orientations
from clip_rl_perception.model.segmenter import ClipRlSegmenter
from clip_rl_perception.model.segmenter_config import CloseUpConfig, ConfigError, EncoderConfig, SegmenterConfig
from clip_rl_perception.model.towers import build_towers
from clip_rl_training.data.label_batch import Batch
from clip_rl_training.data.samples import tip_labels
from clip_rl_training.loop.optimizer import hold_norms, part_of
from clip_rl_training.loop.run_state import TrainError
from clip_rl_training.loop.trainer import Trainer
from clip_rl_training.loop.training_module import TrainingModule
from clip_rl_training.losses import contrastive_losses as losses
from clip_rl_training.synthetic.drawing.rendered_frame import PART_CLASPER, PART_SHAFT, SUCTION, SyntheticFrame
from torch import nn

SPACE = load_label_space("endovis2018-type")
BRANCH = {"widths": [16, 24], "strides": [2, 2]}
CLOSE_UPS = (
    "model.close_up.widths=[16,24]",
    "model.close_up.strides=[2,2]",
    "data.close_up_batch=8",
    "data.close_up_size=[64,64]",
    "curriculum.close_up_steps=1",
    "validation.every=0",
)
OWN_LAYERS = ("model.close_up.own_layers=true",)


def small(**branch: Any) -> ClipRlSegmenter:
    torch.manual_seed(0)
    return ClipRlSegmenter(SegmenterConfig.from_dict({"input_size": [64, 64], "close_up": branch})).eval()


def test_a_close_up_and_each_of_its_places_lie_in_the_text_space() -> None:
    torch.manual_seed(0)
    branch = CloseUpBranch(6, 10, CloseUpConfig((8, 12), (2, 1))).eval()
    nn.init.normal_(branch.attention.weight)
    found = branch(torch.randn(3, 6, 8, 12))
    assert (
        found.embedding.shape == (3, 10) and found.places.shape == (3, 10, 4, 6) and found.attention.shape == (3, 4, 6)
    )
    torch.testing.assert_close(found.embedding.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(found.places.norm(dim=1), torch.ones(3, 4, 6))
    torch.testing.assert_close(found.attention.sum(dim=(1, 2)), torch.ones(3))
    assert found.attention.std() > 1e-4 and bool((found.attention >= 0).all())
    assert branch.scale().item() == pytest.approx(30.0)


def test_only_places_that_it_attends_to_count() -> None:
    torch.manual_seed(0)
    branch = CloseUpBranch(4, 5, CloseUpConfig((4,), (1,))).eval()
    branch.blocks = nn.Identity()
    branch.attention.weight.data[:] = torch.tensor([40.0, 0, 0, 0]).reshape(1, 4, 1, 1)
    features = torch.randn(1, 4, 3, 3)
    features[:, 0] = 0
    features[0, 0, 1, 2] = 1  # e^40 times as much attention as anywhere else
    found = branch(features)
    torch.testing.assert_close(found.embedding[0], found.places[0, :, 1, 2])


def test_masks_do_not_know_of_it() -> None:
    plain, branched = small(), small(**BRANCH)
    missing, surplus = branched.load_state_dict(plain.state_dict(), strict=False)
    assert surplus == [] and missing and all(name.startswith("close_up.") for name in missing)
    images, text = torch.rand(2, 3, 64, 64), plain.encode_text(SPACE)
    one, other = plain.decode(images, text), branched.decode(images, text)
    assert torch.equal(one.logits, other.logits) and torch.equal(one.embedding, other.embedding)
    assert torch.equal(plain.embed_close_ups(images), one.embedding)
    assert not torch.allclose(branched.embed_close_ups(images), other.embedding, atol=0.1)


def test_all_orientations_are_seen_once() -> None:
    image = torch.tensor([[1.0, 2, 3], [4, 5, 6]])[None, None]
    seen = [view[0, 0].tolist() for view in orientations(image)]
    assert seen == [
        [[1, 2, 3], [4, 5, 6]],
        [[3, 2, 1], [6, 5, 4]],
        [[3, 6], [2, 5], [1, 4]],
        [[6, 3], [5, 2], [4, 1]],
        [[6, 5, 4], [3, 2, 1]],
        [[4, 5, 6], [1, 2, 3]],
        [[4, 1], [5, 2], [6, 3]],
        [[1, 4], [2, 5], [3, 6]],
    ]


def test_names_do_not_depend_on_how_a_close_up_is_turned() -> None:
    torch.manual_seed(0)
    segmenter = small(**BRANCH).eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        found = segmenter.embed_close_ups(images)
        single = segmenter.close_up(segmenter.encoder.stride_8((images - segmenter.mean) / segmenter.std)).embedding
        for turned in (images.flip(2), images.flip(3), images.transpose(2, 3), torch.rot90(images, 1, (2, 3))):
            torch.testing.assert_close(segmenter.embed_close_ups(turned), found, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    assert not torch.allclose(found, single, atol=1e-3), "one view alone would do: this test needs another network"


def test_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    segmenter = small(**BRANCH)
    text = segmenter.encode_text(SPACE)
    save_checkpoint(tmp_path / "x", segmenter, SPACE, text, Calibration.uncalibrated(segmenter.embedding_dim), {})
    again = load_checkpoint(tmp_path / "x").segmenter
    assert again.config.close_up == CloseUpConfig((16, 24), (2, 2))
    images = torch.rand(1, 3, 64, 64)
    for net in (segmenter, again):
        net.eval()
    assert torch.equal(segmenter.embed_close_ups(images), again.embed_close_ups(images))


@pytest.mark.parametrize("name", ["clip-rl-tiny", "RN50"])
def test_it_reads_the_map_at_stride_8_whatever_else_runs(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_towers(EncoderConfig(name)).encoder.eval()
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        level = encoder.stride_8(images)
        assert level.shape == (1, encoder.channels[1], 8, 12)
        assert torch.equal(level, encoder(images).pyramid[1])
    with pytest.raises(ConfigError, match="multiples of 32"):
        encoder.stride_8(torch.rand(1, 3, 64, 90))


def test_own_layers_begin_as_the_encoders_and_go_their_own_way(tmp_path: Path) -> None:
    segmenter = small(**BRANCH, own_layers=True)
    assert segmenter.close_up is not None and segmenter.close_up.first is not None
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(segmenter.close_up.first(images), segmenter.encoder.stride_8(images))
        before = segmenter.embed_close_ups(images)
        for weights in segmenter.encoder.parameters():
            weights.mul_(2.0)
        assert torch.equal(segmenter.embed_close_ups(images), before), "what scenes teach the encoder changes no name"
        for weights in segmenter.close_up.first.parameters():
            weights.mul_(2.0)
        assert not torch.allclose(segmenter.embed_close_ups(images), before, atol=1e-3)
    deeper = [name for name in segmenter.close_up.first.state_dict() if "stages.2" in name or "head" in name]
    assert deeper == [], "layers that nothing reads are not kept"
    text = segmenter.encode_text(SPACE)
    save_checkpoint(tmp_path / "x", segmenter, SPACE, text, Calibration.uncalibrated(segmenter.embedding_dim), {})
    again = load_checkpoint(tmp_path / "x").segmenter.eval()
    with torch.no_grad():  # stored as float16
        torch.testing.assert_close(again.embed_close_ups(images), segmenter.embed_close_ups(images), atol=0.02, rtol=0)


def test_own_layers_need_a_convolutional_trunk() -> None:
    branch = {**BRANCH, "own_layers": True}
    with pytest.raises(ConfigError, match=r"'RN50' has no first layers to copy.*set close_up.own_layers to false"):
        ClipRlSegmenter(SegmenterConfig.from_dict({"encoder": {"name": "RN50"}, "close_up": branch}))


def test_own_layers_without_a_branch_are_refused() -> None:
    with pytest.raises(ConfigError, match="own_layers without widths and strides"):
        SegmenterConfig.from_dict({"close_up": {"own_layers": True}})


@pytest.mark.parametrize("branch", [{"widths": [8], "strides": [1, 1]}, {"widths": [0], "strides": [1]}])
def test_impossible_blocks_are_refused(branch: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"close_up: widths .* and strides .*; expected as many"):
        SegmenterConfig.from_dict({"close_up": branch})


def test_attention_is_0_where_it_equals_the_wanted_one_and_grows_by_hand() -> None:
    shares = torch.tensor([[[0.5, 0.5], [0.0, 0.0]], [[0.25, 0.25], [0.25, 0.25]]])
    wanted = torch.tensor([[[0.2, 0.2], [0.0, 0.0]], [[0.6, 0.2], [0.0, 0.0]]])
    # The first as wanted. The second, wanted at 3/4 and 1/4: 3/4 log 3 + 1/4 log 1.
    assert losses.attention(shares, wanted).item() == pytest.approx(0.75 * math.log(3) / 2)
    assert losses.attention(shares[:1], wanted[:1]).item() == pytest.approx(0.0, abs=1e-6)
    one_empty = torch.stack((wanted[1], torch.zeros(2, 2)))
    assert losses.attention(shares.flip(0), one_empty).item() == pytest.approx(0.75 * math.log(3))
    nowhere = shares.clone().requires_grad_()
    loss = losses.attention(nowhere, torch.zeros_like(wanted))
    loss.backward()
    assert loss.item() == 0.0 and nowhere.grad is not None and not nowhere.grad.any()


def test_shafts_teach_no_type_but_tubes_do() -> None:
    types = np.array([[0, 1, 1, SUCTION]], np.uint8)
    parts = np.array([[0, PART_SHAFT, PART_CLASPER, PART_SHAFT]], np.uint8)
    frame = SyntheticFrame(np.zeros((1, 4, 3), np.uint8), types, types, parts, types, types >= 0, "x", 0.0)
    assert tip_labels(frame).tolist() == [[0, 255, 1, SUCTION]]


@pytest.mark.parametrize("more", [(), OWN_LAYERS])
def test_close_ups_train_the_branch_and_nothing_else(tmp_path: Path, more: tuple[str, ...]) -> None:
    settings = (*CLOSE_UPS, *more)
    start = Trainer(config(tmp_path / "start", *settings), Bars())
    before = {name: value.clone() for name, value in start.module.state_dict().items()}
    after = trained(config(tmp_path / "run", *settings), stop_after=3)
    for values in (after.module.state_dict(), after.average.values):
        for name, value in values.items():
            counter = name.endswith("num_batches_tracked")
            if part_of(name) == "close_up":
                assert counter or "log_scale" in name or not torch.equal(before[name], value), name
            else:
                assert torch.equal(before[name], value), name
    means = [name for name in before if name.startswith("segmenter.close_up.") and name.endswith("running_mean")]
    assert means, "its norms are those of close-ups"
    again = trained(config(tmp_path / "halves", *settings), stop_after=1)
    again = trained(config(tmp_path / "halves", *settings), resume=True, stop_after=2)
    assert_same_weights(after, again)


def test_held_norms_are_those_of_everything_else(tmp_path: Path) -> None:
    module = TrainingModule(config(tmp_path, *CLOSE_UPS)).train()
    hold_norms(module)
    norms = {n: m for n, m in module.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert {part_of(name) for name in norms} >= {"encoder", "decoder", "close_up"}
    assert all(norm.training == (part_of(name) == "close_up") for name, norm in norms.items())


def test_scenes_leave_the_branch_alone(tmp_path: Path) -> None:
    scenes = (*CLOSE_UPS, "curriculum.close_up_steps=0")
    start = Trainer(config(tmp_path / "start", *scenes), Bars())
    before = {name: value.clone() for name, value in start.module.state_dict().items()}
    after = trained(config(tmp_path / "run", *scenes), stop_after=1).module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if part_of(name) == "close_up")
    assert any(not torch.equal(before[name], after[name]) for name in before if part_of(name) == "decoder")


def test_it_learns_the_names_of_bars(tmp_path: Path) -> None:
    """Two kinds of close-ups that differ in colour, on a network that knows nothing but the shipped one's texts."""
    colour = ("augment.grayscale=0", "augment.mix=0", "augment.colour=0.05", "augment.saturation=0.1")
    run = Trainer(
        config(tmp_path, *CLOSE_UPS, "steps=60", "optimizer.average=0", *colour),
        Bars(),
    )
    assert isinstance(run.module, TrainingModule)
    run.module.segmenter.text.load_state_dict(load_checkpoint("demo").segmenter.text.state_dict())
    run.start(resume=False)
    run.fit()
    segmenter = run.module.segmenter.eval()
    text = segmenter.encode_text(SPACE)
    right = 0
    for index in range(500, 530):
        frame = Bars().close_up(index)
        rgb = torch.from_numpy(np.ascontiguousarray(frame.rgb[:64, :64]))[None]
        with torch.no_grad():
            named = int((text[1:] @ segmenter.embed_close_ups(segmenter.prepare(rgb))[0]).argmax()) + 1
        right += named == int(frame.type_map.max())
    assert right >= 27, f"{right} of 30, by chance 15"


def test_it_begins_anew_or_is_left_behind_where_one_side_has_none(tmp_path: Path) -> None:
    without = trained(config(tmp_path / "without"), stop_after=1)
    started = Trainer(config(tmp_path / "with", *CLOSE_UPS, f"start_from={without.state_path}"), Bars())
    started.start(resume=False)
    for name, value in without.average.values.items():
        assert torch.equal(value, started.module.state_dict()[name]), name
    with_branch = trained(config(tmp_path / "second", *CLOSE_UPS), stop_after=1)
    plain = Trainer(config(tmp_path / "plain", f"start_from={with_branch.state_path}"), Bars())
    plain.start(resume=False)
    for name, value in plain.module.state_dict().items():  # all but the branch, which masks do not use
        assert torch.equal(value, with_branch.average.values[name]), name
    mixed = f"0.5*{with_branch.state_path} + 0.5*{without.state_path}"
    average = Trainer(config(tmp_path / "mixed", *CLOSE_UPS, f"start_from={mixed}"), Bars())
    fresh = {name: value.clone() for name, value in average.module.state_dict().items()}
    average.start(resume=False)
    after = average.module.state_dict()
    assert all(torch.equal(fresh[name], after[name]) for name in fresh if part_of(name) == "close_up")
    both = f"0.5*{with_branch.state_path} + 0.5*{with_branch.state_path}"
    again = Trainer(config(tmp_path / "both", *CLOSE_UPS, f"start_from={both}"), Bars())
    again.start(resume=False)
    for name, value in with_branch.average.values.items():
        assert torch.allclose(value.float(), again.module.state_dict()[name].float(), atol=1e-6), name


def test_own_layers_begin_as_those_of_the_network_that_it_begins_with(tmp_path: Path) -> None:
    """Whether that one has a branch that reads the encoder's map, or none at all."""
    for name, settings in (("branch", CLOSE_UPS), ("none", ())):
        before = trained(config(tmp_path / name, *settings), stop_after=1)
        start = f"start_from={before.state_path}"
        run = Trainer(config(tmp_path / f"{name}-own", *CLOSE_UPS, *OWN_LAYERS, start), Bars())
        run.start(resume=False)
        now = run.module.state_dict()
        first = [key for key in now if key.startswith("segmenter.close_up.first.")]
        assert first
        for key in first:
            assert torch.equal(now[key], now[key.replace("close_up.first", "encoder.tower.visual")]), key
        for key, value in before.average.values.items():
            assert torch.equal(now[key], value), key
    own = trained(config(tmp_path / "own", *CLOSE_UPS, *OWN_LAYERS), stop_after=1)
    plain = Trainer(config(tmp_path / "plain", *CLOSE_UPS, f"start_from={own.state_path}"), Bars())
    with pytest.raises(TrainError, match=r"close_up\.first.* is not of this network"):
        plain.start(resume=False)  # the branch knows what its own layers make, nothing else


def test_averages_of_networks_with_and_without_own_layers(tmp_path: Path) -> None:
    sources = {}
    for name, settings in (("own", (*CLOSE_UPS, *OWN_LAYERS)), ("branch", CLOSE_UPS), ("none", ())):
        sources[name] = trained(config(tmp_path / name, *settings), stop_after=1)

    def begun(*names: str) -> dict[str, torch.Tensor]:
        start = " + ".join(f"0.5*{sources[name].state_path}" for name in names)
        place = tmp_path / "-".join(("of", *names))
        run = Trainer(config(place, *CLOSE_UPS, *OWN_LAYERS, f"start_from={start}"), Bars())
        run.start(resume=False)
        after = run.module.state_dict()
        for key in after:  # whatever is said of the branch, the network is the mean of both
            if part_of(key) != "close_up" and after[key].is_floating_point():
                mean = sum(sources[name].average.values[key].double() for name in names) / 2
                torch.testing.assert_close(after[key].double(), mean, rtol=0, atol=1e-6)
        return after

    for names in (("own", "none"), ("none", "own"), ("branch", "none")):
        after = begun(*names)
        for key in (name for name in after if name.startswith("segmenter.close_up.first.")):
            assert torch.equal(after[key], after[key.replace("close_up.first", "encoder.tower.visual")]), (names, key)
    both = begun("own", "own")
    for key in (name for name in both if name.startswith("segmenter.close_up.") and both[name].is_floating_point()):
        torch.testing.assert_close(both[key], sources["own"].average.values[key], rtol=0, atol=1e-6)
    with pytest.raises(TrainError, match="some have first layers of their own and some have not"):
        begun("own", "branch")


def test_tips_that_left_the_close_up_teach_nothing(tmp_path: Path) -> None:
    module = TrainingModule(config(tmp_path, *CLOSE_UPS)).eval()
    images, point = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8), module.config.curriculum.at(0, 1)
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[:, :8] = 255
    captions = ("a photo of bipolar forceps in endoscopic surgery",) * 2

    def loss(truth: torch.Tensor) -> dict[str, float]:
        batch = Batch(images, truth, captions, "endovis2018-type", close_ups=True)
        total, report = module(batch, point, torch.Generator().manual_seed(0))
        assert total.item() == report["loss"]
        return report

    assert set(loss(labels).values()) == {0.0}
    shown = labels.clone()
    shown[0, 20:40, 20:40] = 3
    shown[0, 50:52, 20:40] = 1  # less of another one
    report = loss(shown)
    assert report["close_up"] > 0 and report["close_up/places"] > 0
    text = module.fixed_class_vectors("endovis2018-type")[1:]
    branch = module.segmenter.close_up
    assert branch is not None
    with torch.no_grad():
        net = module.segmenter
        seen = branch(net.encoder.stride_8((net.prepare(images) - net.mean) / net.std)).embedding
        wanted = torch.nn.functional.cross_entropy(branch.scale() * seen[:1] @ text.T, torch.tensor([2]))
    assert report["close_up"] == pytest.approx(wanted.item(), rel=1e-4)
