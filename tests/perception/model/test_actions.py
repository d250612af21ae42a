"""Every action of the refiner by hand, on a grid small enough to read."""

from __future__ import annotations

import math

import pytest
import torch
from clip_rl_perception.model.actions import ACTIONS, PROBABILITY_FLOOR, Action, apply_actions, first_of_largest
from torch import Tensor

SEVEN = (0.5, 0.3, 0.2)
"""The pixel in the middle of `grid`."""


def grid() -> Tensor:
    """Log-probabilities (1, 3, 3, 3); the middle pixel is `SEVEN`, every pixel differs."""
    probs = torch.tensor(
        [
            [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.6, 0.2, 0.2]],
            [[0.1, 0.8, 0.1], list(SEVEN), [0.2, 0.1, 0.7]],
            [[0.1, 0.3, 0.6], [0.2, 0.4, 0.4], [0.3, 0.3, 0.4]],
        ]
    )
    return probs.permute(2, 0, 1).unsqueeze(0).log()


def act(action: Action, at: tuple[int, int] = (1, 1), previous: Tensor | None = None, **options: float) -> Tensor:
    """The grid after one action at one pixel and KEEP elsewhere."""
    actions = torch.zeros(1, 3, 3, dtype=torch.int64)
    actions[0, at[0], at[1]] = action
    return apply_actions(grid(), actions, previous, **options)


def probs_at(log_probs: Tensor, row: int, column: int) -> list[float]:
    values: list[float] = log_probs[0, :, row, column].exp().tolist()
    return values


@pytest.mark.parametrize("action", ACTIONS)
def test_only_the_acting_pixel_changes_and_it_stays_a_distribution(action: Action) -> None:
    before, after = grid(), act(action, previous=grid().flip(1))
    others = torch.ones(3, 3, dtype=torch.bool)
    others[1, 1] = False
    assert torch.equal(before[..., others], after[..., others])
    assert after.exp().sum(dim=1).flatten().tolist() == pytest.approx([1.0] * 9, abs=1e-6)
    changed = not torch.equal(before[..., 1, 1], after[..., 1, 1])
    assert changed is (action is not Action.KEEP)


def test_sharpen_squares_and_flatten_roots() -> None:
    squares = [0.25, 0.09, 0.04]
    assert probs_at(act(Action.SHARPEN), 1, 1) == pytest.approx([s / 0.38 for s in squares], abs=1e-6)
    roots = [math.sqrt(p) for p in SEVEN]
    assert probs_at(act(Action.FLATTEN), 1, 1) == pytest.approx([r / sum(roots) for r in roots], abs=1e-6)


def test_another_exponent() -> None:
    cubes = [p**3 for p in SEVEN]
    assert probs_at(act(Action.SHARPEN, sharpen=3.0), 1, 1) == pytest.approx([c / sum(cubes) for c in cubes], abs=1e-6)


def test_flatten_undoes_sharpen() -> None:
    actions = torch.full((1, 3, 3), int(Action.SHARPEN))
    sharpened = apply_actions(grid(), actions)
    back = apply_actions(sharpened, torch.full((1, 3, 3), int(Action.FLATTEN)))
    torch.testing.assert_close(back, grid(), rtol=1e-4, atol=1e-5)


def test_promote_swaps_the_first_two() -> None:
    assert probs_at(act(Action.PROMOTE), 1, 1) == pytest.approx([0.3, 0.5, 0.2], abs=1e-6)
    assert probs_at(act(Action.PROMOTE, at=(1, 2)), 1, 2) == pytest.approx([0.7, 0.1, 0.2], abs=1e-6)


def test_promote_where_classes_tie() -> None:
    tied_second = torch.tensor([0.5, 0.25, 0.25]).log().reshape(1, 3, 1, 1)
    tied_first = torch.tensor([0.4, 0.4, 0.2]).log().reshape(1, 3, 1, 1)
    alone = torch.zeros(1, 1, 1, 1)
    action = torch.full((1, 1, 1), int(Action.PROMOTE))
    # Both seconds rise together: 0.25, 0.5, 0.5 over 1.25. Both firsts fall together: 0.2, 0.2, 0.4 over 0.8.
    assert apply_actions(tied_second, action).exp().flatten().tolist() == pytest.approx([0.2, 0.4, 0.4], abs=1e-6)
    assert apply_actions(tied_first, action).exp().flatten().tolist() == pytest.approx([0.25, 0.25, 0.5], abs=1e-6)
    assert apply_actions(alone, action).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Action.TAKE_NORTH, (0.7, 0.2, 0.1)),
        (Action.TAKE_SOUTH, (0.2, 0.4, 0.4)),
        (Action.TAKE_EAST, (0.2, 0.1, 0.7)),
        (Action.TAKE_WEST, (0.1, 0.8, 0.1)),
    ],
)
def test_neighbours(action: Action, expected: tuple[float, ...]) -> None:
    assert probs_at(act(action), 1, 1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("action", "at"),
    [
        (Action.TAKE_NORTH, (0, 1)),
        (Action.TAKE_SOUTH, (2, 1)),
        (Action.TAKE_EAST, (1, 2)),
        (Action.TAKE_WEST, (1, 0)),
    ],
)
def test_beyond_the_border_lies_the_pixel_itself(action: Action, at: tuple[int, int]) -> None:
    torch.testing.assert_close(act(action, at), grid(), rtol=0.0, atol=1e-6)


def test_mean_counts_only_pixels_inside() -> None:
    probs = grid().exp()
    assert probs_at(act(Action.MEAN), 1, 1) == pytest.approx(probs[0].mean(dim=(1, 2)).tolist(), abs=1e-6)
    corner = probs[0, :, :2, :2].mean(dim=(1, 2)).tolist()
    assert probs_at(act(Action.MEAN, at=(0, 0)), 0, 0) == pytest.approx(corner, abs=1e-6)
    # First class in the corner: (0.8 + 0.7 + 0.1 + 0.5) / 4.
    assert corner[0] == pytest.approx(0.525)


def test_recall_copies_the_previous_frame_to_the_bit_and_keeps_without_one() -> None:
    previous = grid().flip(1)
    assert torch.equal(act(Action.RECALL, previous=previous)[..., 1, 1], previous[..., 1, 1])
    assert torch.equal(act(Action.RECALL), grid())


def test_all_actions_see_the_values_before_the_step() -> None:
    actions = torch.zeros(1, 3, 3, dtype=torch.int64)
    actions[0, 1, 0], actions[0, 1, 1] = Action.TAKE_EAST, Action.TAKE_WEST
    after = apply_actions(grid(), actions)
    assert probs_at(after, 1, 0) == pytest.approx(SEVEN, abs=1e-6)
    assert probs_at(after, 1, 1) == pytest.approx([0.1, 0.8, 0.1], abs=1e-6)


def test_certainty_can_be_taken_back() -> None:
    log_probs = torch.tensor([0.999, 0.001]).log().reshape(1, 2, 1, 1)
    for _ in range(20):
        log_probs = apply_actions(log_probs, torch.full((1, 1, 1), int(Action.SHARPEN)))
    assert log_probs.isfinite().all()
    assert log_probs[0, 1].item() == pytest.approx(math.log(PROBABILITY_FLOOR))
    for _ in range(20):
        log_probs = apply_actions(log_probs, torch.full((1, 1, 1), int(Action.FLATTEN)))
    assert log_probs.exp().flatten().tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


@pytest.mark.parametrize("action", ACTIONS)
def test_permuted_classes_give_the_permuted_result(action: Action) -> None:
    generator = torch.Generator().manual_seed(int(action))
    log_probs = torch.randn(2, 6, 5, 7, generator=generator).mul(3).log_softmax(dim=1)
    previous = torch.randn(2, 6, 5, 7, generator=generator).log_softmax(dim=1)
    order = torch.randperm(6, generator=generator)
    actions = torch.full((2, 5, 7), int(action))
    torch.testing.assert_close(
        apply_actions(log_probs[:, order], actions, previous[:, order]),
        apply_actions(log_probs, actions, previous)[:, order],
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS)
def test_gradients_stay_finite_where_a_class_is_impossible(action: Action) -> None:
    log_probs = torch.tensor([0.0, -16.0, -200.0]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2).clone().requires_grad_()
    after = apply_actions(log_probs, torch.full((1, 2, 2), int(action)), log_probs.detach())
    after.sum().backward()
    assert after.isfinite().all()
    assert log_probs.grad is not None
    assert log_probs.grad.isfinite().all()


def test_first_of_largest_is_argmax() -> None:
    values = torch.randint(0, 4, (2, 5, 6, 7), generator=torch.Generator().manual_seed(0)).float()
    expected = [
        [[max(range(5), key=lambda c: (values[b, c, y, x].item(), -c)) for x in range(7)] for y in range(6)]
        for b in range(2)
    ]
    found = first_of_largest(values)
    assert found.dtype == torch.int64
    assert found.tolist() == expected
