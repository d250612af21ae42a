"""Refinement on the CPU: state, policy and actions by compiled loops, on what the network has put into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from clip_rl_perception.arrays import ByteArray, FloatArray
from clip_rl_perception.engine.protocol import EngineError
from clip_rl_perception.kernels import policy_kernels, refine_kernels
from clip_rl_perception.kernels.policy_kernels import PolicyWeights

ARRAYS = ("dynamic", "flag", "around", "around_bias", "join", "join_bias", "head", "head_bias", "dilations")
"""Of `PolicyWeights`, as they are stored."""
SHARPEN = "sharpen"
"""Key of the exponent of the sharpen action."""


def read_policy(path: Path) -> tuple[PolicyWeights, float]:
    """The policy and the exponent of its sharpen action, of a safetensors file.

    Raises:
        EngineError: it is no such file.
    """
    try:
        with safe_open(path, framework="numpy") as stored:
            arrays = {name: np.ascontiguousarray(stored.get_tensor(name)) for name in ARRAYS}
            sharpen = float(stored.get_tensor(SHARPEN)[0])
    except (OSError, SafetensorError) as error:
        raise EngineError(f"the policy in {path} cannot be read: {error}") from error
    lanes, choices = ((0,) * arrays[name].shape[1] for name in ("dynamic", "head"))
    return PolicyWeights(**arrays, lanes=lanes, choices=choices), sharpen


class CpuRefiner:
    """The steps of a frame, for one number of classes; `begin`, then `step` until it moves no pixel, then `result`."""

    def __init__(self, policy: PolicyWeights, classes: int, size: tuple[int, int], sharpen: float) -> None:
        """Get memory for the steps.

        Args:
            policy: what decides.
            classes: K.
            size: (h, w) of the logit grid, both even.
            sharpen: exponent of the sharpen action.
        """
        self._policy = policy
        self._size = size
        self._sharpen = np.float32(sharpen)
        pixels, channels = size[0] * size[1], policy.dynamic.shape[0] // 9
        self._maps = policy_kernels.new_maps(size, policy)
        self._state: FloatArray = np.zeros((size[0] + 2, size[1] + 2, channels), np.float32)
        self._log_probs, self._probs, self._previous, self._before, self._fresh = (
            np.zeros((pixels, classes), np.float32) for _ in range(5)
        )
        self._text: FloatArray = np.zeros((channels - refine_kernels.FIXED_CHANNELS, classes), np.float32)
        self._static: FloatArray = np.zeros((pixels, len(policy.lanes)), np.float32)
        self._has_previous = False
        self._everywhere: npt.NDArray[np.int32] = np.arange(pixels, dtype=np.int32)
        self._moved: npt.NDArray[np.int32] = np.zeros(pixels + 1, np.int32)
        self._actions: ByteArray = np.zeros(pixels + 1, np.uint8)
        self._stale: tuple[npt.NDArray[np.int32], int] = (self._everywhere, 0)

    def begin(self, logits: FloatArray, text: FloatArray, static: FloatArray, previous: FloatArray | None) -> None:
        """Start a frame.

        Args:
            logits: of the decoder, (h, w, K).
            text: projected text embeddings, (K, E).
            static: what the image contributes to the policy's first layer, (h, w, C); must stay until the last step.
            previous: result for the previous frame, (K, h, w), or None; must stay too.
        """
        shape = self._log_probs.shape
        self._log_probs = np.empty(shape, np.float32)  # the last one went out as a result
        refine_kernels.log_softmax(logits.reshape(shape), self._log_probs, self._probs)
        np.copyto(self._text, text.T)
        self._static = static.reshape(self._static.shape)
        self._has_previous = previous is not None
        if previous is not None:
            # Results of this class lie in memory like that already.
            self._previous = np.ascontiguousarray(np.moveaxis(previous, 0, 2)).reshape(shape)
            refine_kernels.exponentials(self._previous, self._before)
        self._stale = (self._everywhere, len(self._everywhere))

    def step(self) -> int:
        """One greedy step; returns how many pixels did not keep. With 0, nothing has changed."""
        refine_kernels.observe(
            self._log_probs, self._probs, self._text, self._before, self._has_previous, *self._stale, self._state
        )
        moved = int(
            policy_kernels.choose(
                self._state, self._static, self._has_previous, self._policy, self._maps, self._size, *self._stale,
                self._moved, self._actions,
            )
        )  # fmt: skip
        refine_kernels.act(
            self._moved, self._actions, moved, self._log_probs, self._probs, self._previous, self._before, self._size,
            self._sharpen, self._fresh,
        )  # fmt: skip
        self._stale = (self._moved, moved)
        return moved

    def result(self) -> FloatArray:
        """Log-probabilities now, (K, h, w), the caller's to keep; in memory a pixel's classes lie side by side."""
        return np.moveaxis(self._log_probs.reshape(*self._size, -1), 2, 0)
