"""The compiled policy, everywhere and where something moved, against the torch one that was trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from clip_rl_perception.engine.openvino_build import policy_arrays
from clip_rl_perception.engine.openvino_refiner import CpuRefiner, read_policy
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.kernels import policy_kernels
from clip_rl_perception.kernels.policy_kernels import PolicyWeights
from clip_rl_perception.model.actions import Action
from clip_rl_perception.model.refiner import Refiner, RefinerContext, RefinerState
from clip_rl_perception.model.segmenter_config import RefinerConfig
from safetensors.numpy import save_file
from torch import Tensor

GRID = (20, 26)
PIXELS = GRID[0] * GRID[1]
SHAPES = {
    "default": RefinerConfig(),
    "narrow": RefinerConfig(width=8, text_channels=1, dilations=(3,)),
    "wide": RefinerConfig(width=24, text_channels=6, dilations=(1, 2, 4)),
    "near": RefinerConfig(dilations=()),
}
CLOSE = 5e-5
"""Where the best two action logits (of sizes up to ten) lie nearer to each other than this, rounding may decide."""


def refiner_of(config: RefinerConfig, keep: float = 0.0) -> Refiner:
    """Untrained, but it does act; the higher `keep`, the fewer pixels do."""
    torch.manual_seed(0)
    refiner = Refiner(8, 16, config).eval()
    with torch.no_grad():
        refiner.action_head.weight.normal_(std=1.0)
        refiner.from_flag.normal_()
        assert refiner.action_head.bias is not None
        refiner.action_head.bias.zero_()
        state = RefinerState(
            torch.randn(1, refiner.dynamic_channels, *GRID), torch.randn(1, config.width, *GRID), torch.ones(1, 1, 1, 1)
        )
        # Every action is as good as the others on average, so that all are chosen somewhere.
        refiner.action_head.bias -= refiner(state).action_logits.mean(dim=(0, 2, 3))
        refiner.action_head.bias[Action.KEEP] += keep
    return refiner


def weights_of(refiner: Refiner, folder: Path) -> PolicyWeights:
    save_file(policy_arrays(refiner), folder / "policy.safetensors")
    return read_policy(folder / "policy.safetensors")[0]


def context_of(refiner: Refiner, classes: int, with_previous: bool) -> RefinerContext:
    text = torch.nn.functional.normalize(torch.randn(classes, 16), dim=-1)
    previous = log_probs_of(classes, 5) if with_previous else None
    return refiner.context(torch.randn(1, 8, *GRID), torch.rand(1, 3, *GRID), text, previous)


def log_probs_of(classes: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(torch.randn(1, classes, *GRID, generator=generator) * 2, dim=1)


def pixel_major(values: Tensor) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(values[0].permute(1, 2, 0).numpy())


class Compiled:
    """`policy_kernels.choose` with its arrays."""

    def __init__(self, weights: PolicyWeights, context: RefinerContext) -> None:
        self.maps = policy_kernels.new_maps(GRID, weights)
        self._weights, self._static = weights, pixel_major(context.static).reshape(PIXELS, -1)
        self._has_previous = bool(context.has_previous.item())
        self._pixels, self._actions = np.zeros(PIXELS + 1, np.int32), np.zeros(PIXELS + 1, np.uint8)

    def __call__(self, dynamic: Tensor, stale: npt.NDArray[np.int32] | None = None) -> npt.NDArray[np.int64]:
        """Action of every pixel, (N)."""
        state = np.pad(pixel_major(dynamic), ((1, 1), (1, 1), (0, 0)))
        stale = np.arange(PIXELS, dtype=np.int32) if stale is None else stale
        count = policy_kernels.choose(
            state, self._static, self._has_previous, self._weights, self.maps, GRID, stale, len(stale), self._pixels,
            self._actions,
        )  # fmt: skip
        chosen = np.zeros(PIXELS, np.int64)
        assert len(set(self._pixels[:count].tolist())) == count, "each pixel once"
        chosen[self._pixels[:count]] = self._actions[:count]
        return chosen


def expected_actions(refiner: Refiner, dynamic: Tensor, context: RefinerContext) -> tuple[Any, Any]:
    """Greedy actions by torch, (N), and where they are clear."""
    logits = refiner(RefinerState(dynamic, context.static, context.has_previous)).action_logits[0].flatten(1)
    best = logits.topk(2, dim=0).values
    return logits.argmax(0).numpy(), ((best[0] - best[1]) > CLOSE).numpy()


@pytest.mark.parametrize("with_previous", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_everywhere_it_is_the_trained_one(shape: str, with_previous: bool, tmp_path: Path) -> None:
    refiner = refiner_of(SHAPES[shape])
    context = context_of(refiner, 5, with_previous)
    dynamic = torch.randn(1, refiner.dynamic_channels, *GRID)
    chosen = Compiled(weights_of(refiner, tmp_path), context)(dynamic)
    wanted, clear = expected_actions(refiner, dynamic, context)
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(chosen[clear], wanted[clear])
    assert len(set(wanted[clear].tolist())) >= 5, "several actions are chosen"
    assert with_previous or Action.RECALL not in chosen


@pytest.mark.parametrize("moved", [0, 1, 7, 150, PIXELS - 1, PIXELS])
@pytest.mark.parametrize("shape", SHAPES)
@torch.inference_mode()
def test_where_something_moved_it_is_what_it_is_everywhere(shape: str, moved: int, tmp_path: Path) -> None:
    """A state changes at some pixels again and again; what was not computed anew is still right."""
    refiner = refiner_of(SHAPES[shape])
    weights = weights_of(refiner, tmp_path)
    context = context_of(refiner, 5, with_previous=True)
    sparse, whole = Compiled(weights, context), Compiled(weights, context)
    dynamic = torch.randn(1, refiner.dynamic_channels, *GRID)
    known = sparse(dynamic)
    for seed in range(3):
        stale = np.random.default_rng(seed).permutation(PIXELS)[:moved].astype(np.int32)
        dynamic.flatten(2)[..., torch.from_numpy(stale).long()] = torch.randn(1, refiner.dynamic_channels, moved)
        found, everywhere = sparse(dynamic, stale), whole(dynamic)
        near, far = sparse.maps.near, sparse.maps.far
        np.testing.assert_array_equal(near, whole.maps.near)
        np.testing.assert_array_equal(far, whole.maps.far)
        computed = found != Action.KEEP
        np.testing.assert_array_equal(found[computed], everywhere[computed])
        # What it does not tell has not changed: it is what is known from before, for all but the stale surround.
        untold = ~computed & (everywhere != Action.KEEP)
        np.testing.assert_array_equal(everywhere[untold], known[untold])
        known = everywhere
        if moved == 0:
            assert not computed.any()


@torch.inference_mode()
def test_a_border_is_a_border(tmp_path: Path) -> None:
    """Pixels in the corners move: their surround does not go on at the other side."""
    refiner = refiner_of(SHAPES["default"])
    context = context_of(refiner, 3, with_previous=False)
    compiled = Compiled(weights_of(refiner, tmp_path), context)
    dynamic = torch.randn(1, refiner.dynamic_channels, *GRID)
    compiled(dynamic)
    before = compiled.maps.near.copy()
    corners = np.array([0, GRID[1] - 1, PIXELS - GRID[1], PIXELS - 1], np.int32)
    dynamic.flatten(2)[..., torch.from_numpy(corners).long()] += 1.0
    compiled(dynamic, corners)
    changed = (compiled.maps.near != before).any(axis=1).reshape(GRID)
    assert changed.sum() <= 16 and changed[:2, :2].any() and changed[-2:, -2:].any()
    assert not changed[2:-2].any() and not changed[:, 2:-2].any()


@pytest.mark.parametrize("keep", [-50.0, 0.0, 3.0, 6.0, 50.0])
@pytest.mark.parametrize("with_previous", [False, True])
@pytest.mark.parametrize("classes", [2, 12, 50])
@torch.inference_mode()
def test_steps_of_a_frame_are_the_trained_ones(classes: int, with_previous: bool, keep: float, tmp_path: Path) -> None:
    """All, some, few or no pixels act (`keep`); four steps of `CpuRefiner` against `Refiner.step`."""
    refiner = refiner_of(dataclasses.replace(SHAPES["default"], sharpen=1.5), keep)
    context = context_of(refiner, classes, with_previous)
    save_file(policy_arrays(refiner), tmp_path / "policy.safetensors")
    compiled = CpuRefiner(*_in_order(read_policy(tmp_path / "policy.safetensors"), classes))
    log_probs = log_probs_of(classes, 1)
    previous = context.previous[0].numpy() if with_previous else None
    given = (pixel_major(log_probs), context.text.numpy(), pixel_major(context.static), previous)
    compiled.begin(*given)
    same = np.ones(GRID, bool)
    for _ in range(4):
        moved = compiled.step()
        logits = refiner(refiner.observe(log_probs, context)).action_logits[0]
        best = logits.topk(2, dim=0).values
        # From a pixel where rounding decides, other choices spread by what its surround sees.
        same &= ~spread((best[0] - best[1] <= CLOSE).numpy(), 9)
        log_probs, actions = refiner.step(log_probs, context)
        result = compiled.result()
        assert same.mean() > 0.2, "most of the picture must remain to be compared"
        np.testing.assert_allclose(result[:, same], log_probs[0].numpy()[:, same], atol=2e-4, rtol=1e-4)
        if same.all():
            assert moved == int((actions != Action.KEEP).sum())
        if keep == 50.0:
            assert moved == 0
            np.testing.assert_allclose(result, np.moveaxis(given[0], 2, 0), atol=1e-5)
        if keep == -50.0:
            assert moved == PIXELS


def _in_order(policy: tuple[PolicyWeights, float], classes: int) -> tuple[PolicyWeights, int, tuple[int, int], float]:
    return policy[0], classes, GRID, policy[1]


def spread(mask: npt.NDArray[np.bool_], reach: int) -> npt.NDArray[np.bool_]:
    """Pixels within `reach` of the mask, along both axes."""
    values = torch.from_numpy(mask.astype(np.float32))[None, None]
    return (torch.nn.functional.max_pool2d(values, 2 * reach + 1, 1, reach)[0, 0] > 0).numpy()


@torch.inference_mode()
def test_results_belong_to_the_caller_and_may_be_the_next_previous_frame(tmp_path: Path) -> None:
    refiner = refiner_of(SHAPES["default"])
    context = context_of(refiner, 4, with_previous=False)
    save_file(policy_arrays(refiner), tmp_path / "policy.safetensors")
    policy = read_policy(tmp_path / "policy.safetensors")
    compiled, other = (CpuRefiner(*_in_order(policy, 4)) for _ in range(2))
    text, static = context.text.numpy(), pixel_major(context.static)
    compiled.begin(pixel_major(log_probs_of(4, 1)), text, static, None)
    compiled.step()
    first = compiled.result()
    kept = first.copy()
    second = pixel_major(log_probs_of(4, 2))
    compiled.begin(second, text, static, first)
    other.begin(second, text, static, np.ascontiguousarray(first))
    assert compiled.step() == other.step() > 0
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(compiled.result(), other.result())
    assert not np.array_equal(compiled.result(), first)


def test_a_policy_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    with pytest.raises(EngineError, match=r"the policy in .*policy.safetensors cannot be read"):
        read_policy(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(EngineError, match="cannot be read"):
        read_policy(path)
    save_file({"dynamic": np.zeros((90, 16), np.float32)}, path)
    with pytest.raises(EngineError, match="cannot be read"):
        read_policy(path)
