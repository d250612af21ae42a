"""The refiner: what its state holds, which actions it may choose, when it stops, and that it knows no class."""

from __future__ import annotations

import math

import pytest
import torch
from clip_rl_perception.model.actions import ACTIONS, Action
from clip_rl_perception.model.refiner import Refiner, RefinerContext, image_edges
from clip_rl_perception.model.segmenter import ClipRlSegmenter, DecoderOutput
from clip_rl_perception.model.segmenter_config import RefinerConfig, SegmenterConfig
from torch import Tensor
from torch.nn import functional

CHANNELS, DIM, GRID = 6, 10, (8, 12)


def make(seed: int = 0, *, decisive: bool = False) -> Refiner:
    """A refiner; a decisive one has heads of random weights, so that all actions occur."""
    torch.manual_seed(seed)
    refiner = Refiner(CHANNELS, DIM, RefinerConfig(width=8, feature_channels=3, text_channels=2, dilations=(1, 2)))
    if decisive:
        with torch.no_grad():
            refiner.action_head.weight.normal_(std=3.0)
            assert refiner.action_head.bias is not None
            refiner.action_head.bias.zero_()
    return refiner.eval()


def scene(classes: int = 4, batch: int = 2, seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities, features, edges, text."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(batch, classes, *GRID, generator=generator).mul(2).log_softmax(dim=1)
    features = torch.randn(batch, CHANNELS, *GRID, generator=generator)
    text = functional.normalize(torch.randn(classes, DIM, generator=generator), dim=1)
    return log_probs, features, torch.rand(batch, 3, *GRID, generator=generator), text


def actions_of(refiner: Refiner, log_probs: Tensor, context: RefinerContext) -> Tensor:
    return refiner.step(log_probs, context)[1]


def test_state_by_hand() -> None:
    refiner = make()
    probs = torch.tensor([0.2, 0.7, 0.1])
    previous = torch.tensor([0.5, 0.3, 0.2])
    text = functional.normalize(torch.randn(3, DIM), dim=1)
    features, edges = torch.randn(1, CHANNELS, 2, 2), torch.rand(1, 3, 2, 2)

    def pixelwise(values: Tensor) -> Tensor:
        return values.log().reshape(1, 3, 1, 1).expand(1, 3, 2, 2)

    context = refiner.context(features, edges, text, pixelwise(previous))
    state = refiner.observe(pixelwise(probs), context)
    assert state.dynamic.shape == (1, refiner.dynamic_channels, 2, 2)
    first, second, margin, entropy, *rest = state.dynamic[0, :, 1, 0].tolist()
    agreement, support = rest[-2:]
    assert (first, second) == pytest.approx((0.7, 0.2))
    assert margin == pytest.approx(math.log(0.7 / 0.2) / 8.0)
    assert entropy == pytest.approx(-sum(p * math.log(p) for p in probs.tolist()))
    expected = probs @ text @ refiner.project.weight.T
    assert rest[:-2] == pytest.approx(expected.tolist(), abs=1e-6)
    assert agreement == pytest.approx(0.2 * 0.5 + 0.7 * 0.3 + 0.1 * 0.2)
    assert support == pytest.approx(0.3)
    without = refiner.observe(pixelwise(probs), refiner.context(features, edges, text)).dynamic[0, -2:, 1, 0]
    assert without.tolist() == [0.0, 0.0]


def test_policy_and_value_have_a_map_each() -> None:
    refiner = make(decisive=True)
    log_probs, features, edges, text = scene()
    output = refiner(refiner.observe(log_probs, refiner.context(features, edges, text)))
    assert output.action_logits.shape == (2, len(ACTIONS), *GRID)
    assert output.value.shape == (2, *GRID)


def test_the_untrained_greedy_policy_keeps_but_every_action_can_be_drawn() -> None:
    refiner = make()
    log_probs, features, edges, text = scene()
    context = refiner.context(features, edges, text, log_probs.flip(1))
    after, actions = refiner.step(log_probs, context)
    assert (actions == Action.KEEP).all()
    assert torch.equal(after, log_probs)
    chances = refiner(refiner.observe(log_probs, context)).action_logits.softmax(dim=1)
    assert chances.min() > 0.01
    assert chances[:, Action.KEEP].min() > 0.5


def test_recall_has_probability_zero_exactly_without_a_previous_frame() -> None:
    refiner = make(decisive=True)
    with torch.no_grad():
        assert refiner.action_head.bias is not None
        refiner.action_head.bias[Action.RECALL] = 30.0
    log_probs, features, edges, text = scene()
    assert refiner.available(torch.tensor([1.0, 0.0])).tolist() == [
        [True] * len(ACTIONS),
        [action is not Action.RECALL for action in ACTIONS],
    ]
    some = refiner.context(features, edges, text, log_probs.flip(1), has_previous=torch.tensor([True, False]))
    chances = refiner(refiner.observe(log_probs, some)).action_logits.softmax(dim=1)
    assert (chances[1, Action.RECALL] == 0.0).all()
    assert (chances[0, Action.RECALL] > 0.5).all()
    entropy = -(chances * chances.clamp(min=1e-30).log()).sum(dim=1)
    assert entropy.isfinite().all()
    none = refiner.context(features, edges, text)
    chances = refiner(refiner.observe(log_probs, none)).action_logits.softmax(dim=1)
    assert (chances[:, Action.RECALL] == 0.0).all()


def test_a_frame_without_previous_does_not_depend_on_what_stands_in_for_it() -> None:
    refiner = make(decisive=True)
    log_probs, features, edges, text = scene()
    nothing = torch.zeros(2, dtype=torch.bool)
    one = refiner.step(log_probs, refiner.context(features, edges, text))
    other = refiner.step(log_probs, refiner.context(features, edges, text, log_probs.flip(1), has_previous=nothing))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_the_previous_frame_changes_decisions() -> None:
    refiner = make(decisive=True)
    log_probs, features, edges, text = scene()
    without = actions_of(refiner, log_probs, refiner.context(features, edges, text))
    agreeing = actions_of(refiner, log_probs, refiner.context(features, edges, text, log_probs))
    differing = actions_of(refiner, log_probs, refiner.context(features, edges, text, log_probs.flip(1)))
    assert not torch.equal(without, agreeing)
    assert not torch.equal(agreeing, differing)


def test_permuted_classes_give_the_same_policy_and_the_permuted_result() -> None:
    refiner = make(decisive=True)
    log_probs, features, edges, text = scene(classes=5)
    previous = log_probs.roll(1, 0)
    order = torch.tensor([3, 1, 4, 0, 2])
    context = refiner.context(features, edges, text, previous)
    permuted_context = refiner.context(features, edges, text[order], previous[:, order])
    policy = refiner(refiner.observe(log_probs, context))
    permuted_policy = refiner(refiner.observe(log_probs[:, order], permuted_context))
    torch.testing.assert_close(permuted_policy.action_logits, policy.action_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(permuted_policy.value, policy.value, rtol=1e-4, atol=1e-4)
    actions = torch.randint(0, len(ACTIONS), (2, *GRID), generator=torch.Generator().manual_seed(4))
    after = refiner.act(log_probs, actions, context)
    permuted = refiner.act(log_probs[:, order], actions, permuted_context)
    torch.testing.assert_close(permuted, after[:, order], rtol=1e-5, atol=1e-5)


def test_impossible_classes_change_no_action() -> None:
    refiner = make(decisive=True)
    log_probs, features, edges, text = scene(classes=3)
    more_text = torch.cat([text, functional.normalize(torch.randn(20, DIM), dim=1)])
    padded = torch.cat([log_probs, torch.full((2, 20, *GRID), -60.0)], dim=1)
    few = refiner(refiner.observe(log_probs, refiner.context(features, edges, text)))
    many = refiner(refiner.observe(padded, refiner.context(features, edges, more_text)))
    torch.testing.assert_close(many.action_logits, few.action_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(many.value, few.value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("classes", [1, 2, 30])
def test_any_number_of_classes(classes: int) -> None:
    refiner = make(decisive=True)
    log_probs, features, edges, text = scene(classes=classes)
    after, _ = refiner.step(log_probs, refiner.context(features, edges, text, log_probs.roll(2, 3)))
    assert after.shape == log_probs.shape
    assert after.isfinite().all()
    torch.testing.assert_close(after.exp().sum(dim=1), torch.ones(2, *GRID))


def test_the_scale_of_features_does_not_matter() -> None:
    refiner = make(decisive=True)
    log_probs, features, edges, text = scene()
    one = actions_of(refiner, log_probs, refiner.context(features, edges, text))
    ten = actions_of(refiner, log_probs, refiner.context(10.0 * features, edges, text))
    assert torch.equal(one, ten)


def test_edges_of_a_step_in_brightness() -> None:
    image = torch.zeros(1, 3, 16, 16)
    image[..., 8:] = 1.0
    luminance, mean, largest = image_edges(image)[0]
    assert luminance[0].tolist() == pytest.approx([0.0, 0.0, 1.0, 1.0], abs=1e-6)
    # On the 2x2 mean the step lies between columns 3 and 4; the central difference is 1 at both, half of each cell.
    assert largest[1].tolist() == pytest.approx([0.0, 1.0, 1.0, 0.0], abs=1e-3)
    assert mean[1].tolist() == pytest.approx([0.0, 0.5, 0.5, 0.0], abs=1e-3)
    assert image_edges(image.transpose(2, 3))[0, 2, :, 1].tolist() == pytest.approx([0.0, 1.0, 1.0, 0.0], abs=1e-3)


def test_edges_of_a_flat_image_are_none_even_at_the_border() -> None:
    assert image_edges(torch.full((1, 3, 16, 24), 0.7))[0, 1:].abs().max() < 1e-3


@pytest.fixture(scope="module")
def segmenter() -> ClipRlSegmenter:
    torch.manual_seed(0)
    return ClipRlSegmenter(SegmenterConfig.tiny()).eval()


def decoded_for(segmenter: ClipRlSegmenter, text: Tensor) -> DecoderOutput:
    with torch.no_grad():
        return segmenter.decode(torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)), text)


def force(segmenter: ClipRlSegmenter, action: Action) -> None:
    with torch.no_grad():
        bias = segmenter.refiner.action_head.bias
        assert bias is not None
        bias.zero_()
        bias[action] = 5.0


@torch.no_grad()
def test_refinement_stops_when_all_pixels_keep(segmenter: ClipRlSegmenter) -> None:
    text = functional.normalize(torch.randn(4, 128, generator=torch.Generator().manual_seed(2)), dim=1)
    decoded = decoded_for(segmenter, text)
    start = functional.log_softmax(decoded.logits, dim=1)
    force(segmenter, Action.KEEP)
    kept = segmenter.refine(decoded, text)
    assert kept.steps == 0
    assert torch.equal(kept.log_probs, start)
    force(segmenter, Action.FLATTEN)
    assert segmenter.refine(decoded, text).steps == segmenter.config.refiner.max_steps == 4
    twice = segmenter.refine(decoded, text, max_steps=2)
    assert twice.steps == len(twice.actions) == 2
    # Two square roots: a quarter of the log-probabilities, renormalised.
    torch.testing.assert_close(twice.log_probs, (start / 4).log_softmax(dim=1), rtol=1e-3, atol=1e-4)
    assert torch.equal(segmenter.refine(decoded, text, max_steps=0).log_probs, start)


@torch.no_grad()
def test_recall_brings_the_previous_frame_back(segmenter: ClipRlSegmenter) -> None:
    text = functional.normalize(torch.randn(3, 128, generator=torch.Generator().manual_seed(2)), dim=1)
    decoded = decoded_for(segmenter, text)
    force(segmenter, Action.RECALL)
    previous = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(5)).log_softmax(dim=1)
    assert torch.equal(segmenter.refine(decoded, text, previous, max_steps=1).log_probs, previous)
    without = segmenter.refine(decoded, text, max_steps=1)
    assert all((actions != Action.RECALL).all() for actions in without.actions)
