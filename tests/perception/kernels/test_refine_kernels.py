"""The compiled refinement step against the torch one that was trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from clip_rl_perception.kernels import refine_kernels as kernels
from clip_rl_perception.model.actions import PROBABILITY_FLOOR, Action, apply_actions
from clip_rl_perception.model.refiner import Refiner, RefinerContext
from clip_rl_perception.model.segmenter_config import RefinerConfig
from torch import Tensor

GRID = (6, 8)
PIXELS = GRID[0] * GRID[1]


def log_probs_of(classes: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return torch.log_softmax(torch.randn(1, classes, *GRID) * 2, dim=1)


def pixel_major(values: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(values[0].flatten(1).T.numpy())


def context_of(refiner: Refiner, classes: int, previous: Tensor | None) -> RefinerContext:
    text = torch.nn.functional.normalize(torch.randn(classes, 16), dim=-1)
    return refiner.context(torch.randn(1, 8, *GRID), torch.rand(1, 3, *GRID), text, previous)


def observed(log_probs: Tensor, context: RefinerContext) -> np.ndarray[Any, Any]:
    state = np.full((GRID[0] + 2, GRID[1] + 2, kernels.FIXED_CHANNELS + context.text.shape[1]), np.nan, np.float32)
    values, before = pixel_major(log_probs), np.exp(pixel_major(context.previous))
    text = np.ascontiguousarray(context.text.T.numpy())
    everywhere = np.arange(PIXELS, dtype=np.int32)
    flag = bool(context.has_previous.item())
    kernels.observe(values, np.exp(values), text, before, flag, everywhere, PIXELS, state)
    inside = state[1:-1, 1:-1].copy()
    state[1:-1, 1:-1] = np.nan
    assert np.isnan(state).all(), "the border is left alone"
    return inside.reshape(PIXELS, -1)


def act(actions: Tensor, log_probs: Tensor, previous: Tensor, sharpen: float = 2.0) -> tuple[Any, Any]:
    """Log-probabilities and probabilities after the given actions."""
    chosen = actions.flatten().numpy().astype(np.uint8)
    pixels = np.flatnonzero(chosen != kernels.KEEP).astype(np.int32)
    values, before = pixel_major(log_probs), pixel_major(previous)
    probs, fresh = np.exp(values), np.full_like(values, np.nan)
    kernels.act(
        pixels, chosen[pixels], len(pixels), values, probs, before, np.exp(before), GRID, np.float32(sharpen), fresh
    )
    return values, probs


def test_the_constants_are_the_models() -> None:
    names = ("KEEP", "SHARPEN", "FLATTEN", "PROMOTE", "NORTH", "SOUTH", "EAST", "WEST", "MEAN", "RECALL")
    assert [getattr(kernels, name) for name in names] == [int(action) for action in Action]
    assert [name.rpartition("_")[2] for name in Action.__members__] == list(names)
    assert pytest.approx(PROBABILITY_FLOOR) == float(kernels.FLOOR)
    refiner = Refiner(8, 16, RefinerConfig(text_channels=3))
    assert refiner.dynamic_channels == kernels.FIXED_CHANNELS + 3


@pytest.mark.parametrize("with_previous", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 5, 50])
@torch.inference_mode()
def test_the_state_is_the_trained_one(classes: int, with_previous: bool) -> None:
    refiner = Refiner(8, 16, RefinerConfig())
    log_probs = log_probs_of(classes, 0)
    log_probs[..., 2, 3] = -np.log(classes)  # ties: every class is first
    context = context_of(refiner, classes, log_probs_of(classes, 1) if with_previous else None)
    expected = pixel_major(refiner.observe(log_probs, context).dynamic)
    np.testing.assert_allclose(observed(log_probs, context), expected, atol=2e-5)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("classes", [1, 2, 5, 50])
def test_each_action_does_what_it_was_trained_to_do(action: Action, classes: int) -> None:
    log_probs, previous = log_probs_of(classes, 2), log_probs_of(classes, 3)
    log_probs[..., 1, 1] = -np.log(classes)
    actions = torch.full((1, *GRID), int(action))
    expected = pixel_major(apply_actions(log_probs, actions, previous))
    values, probs = act(actions, log_probs, previous)
    np.testing.assert_allclose(values, expected, atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(probs, np.exp(expected), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("sharpen", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("action", [Action.SHARPEN, Action.FLATTEN])
def test_powers_of_what_is_nearly_impossible_stop_at_the_floor(action: Action, sharpen: float) -> None:
    log_probs = torch.log_softmax(torch.tensor([0.0, -3.0, -15.0, -60.0]), 0).reshape(1, 4, 1, 1).expand(1, 4, *GRID)
    actions = torch.full((1, *GRID), int(action))
    expected = pixel_major(apply_actions(log_probs, actions, log_probs, sharpen=sharpen))
    values, probs = act(actions, log_probs, log_probs, sharpen)
    np.testing.assert_allclose(values, expected, atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(probs, np.exp(expected), atol=1e-6, rtol=2e-5)
    assert values.min() >= np.log(PROBABILITY_FLOOR) - 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_mixed_actions_all_read_the_values_before_the_step(seed: int) -> None:
    log_probs, previous = log_probs_of(4, seed), log_probs_of(4, seed + 100)
    actions = torch.randint(0, len(Action), (1, *GRID), generator=torch.Generator().manual_seed(seed))
    values, _ = act(actions, log_probs, previous, sharpen=1.5)
    np.testing.assert_allclose(
        values, pixel_major(apply_actions(log_probs, actions, previous, sharpen=1.5)), atol=2e-5, rtol=1e-5
    )
    kept = actions.flatten().numpy() == Action.KEEP
    np.testing.assert_array_equal(values[kept], pixel_major(log_probs)[kept])


@pytest.mark.parametrize("classes", [1, 2, 5, 50])
def test_log_softmax_of_logits(classes: int) -> None:
    torch.manual_seed(1)
    logits = torch.randn(1, classes, *GRID) * 20
    logits[..., 0, 0], logits[..., 0, 1], logits[..., 0, 2] = 0.0, -1000.0, 1000.0
    logits[:, 0, 0, 3] = 500.0
    given = pixel_major(logits)
    log_probs, probs = np.full_like(given, np.nan), np.full_like(given, np.nan)
    kernels.log_softmax(given, log_probs, probs)
    expected = pixel_major(torch.log_softmax(logits.double(), dim=1))
    np.testing.assert_allclose(log_probs, expected, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(probs, np.exp(expected), rtol=1e-5, atol=2e-38)
    np.testing.assert_array_equal(given, pixel_major(logits))


def test_exponentials() -> None:
    given = pixel_major(log_probs_of(5, 0))
    given[0, 0] = -500.0
    probs = np.full_like(given, np.nan)
    kernels.exponentials(given, probs)
    np.testing.assert_allclose(probs, np.exp(given), rtol=2e-7, atol=2e-38)
