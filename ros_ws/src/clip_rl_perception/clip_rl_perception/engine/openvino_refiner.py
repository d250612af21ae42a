"""Refinement on the CPU: the policy by OpenVINO, state and actions by `refine_kernels`, all of it in shared memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from clip_rl_perception.engine import refine_kernels as kernels
from clip_rl_perception.engine.protocol import FloatArray


class CpuRefiner:
    """The steps of a frame, for one number of classes; `begin`, then `step` until it moves no pixel, then `result`."""

    def __init__(self, policy: Any, static: Any, classes: int, size: tuple[int, int], sharpen: float) -> None:
        """Bind the policy's request to its memory.

        Args:
            policy: infer request of `openvino_graphs.PolicyGraph`.
            static: the network's output tensor of that name: read where it is.
            classes: K.
            size: (h, w) of the logit grid.
            sharpen: exponent of the sharpen action.
        """
        import openvino

        self._policy = policy
        self._size = size
        self._sharpen = np.float32(sharpen)
        pixels = size[0] * size[1]
        channels = int(policy.get_input_tensor(0).shape[3])
        self._state: FloatArray = np.zeros((1, *size, channels), np.float32)
        self._flag: FloatArray = np.zeros((1, 1, 1, 1), np.float32)
        self._inputs = [openvino.Tensor(self._state, shared_memory=True), static]
        self._inputs.append(openvino.Tensor(self._flag, shared_memory=True))
        self._log_probs, self._probs, self._previous, self._before, self._fresh = (
            np.zeros((pixels, classes), np.float32) for _ in range(5)
        )
        self._text: FloatArray = np.zeros((channels - kernels.FIXED_CHANNELS, classes), np.float32)
        self._everywhere: npt.NDArray[np.int32] = np.arange(pixels, dtype=np.int32)
        self._moved: npt.NDArray[np.int32] = np.zeros(pixels, np.int32)
        self._stale: tuple[npt.NDArray[np.int32], int] = (self._everywhere, 0)

    def begin(self, log_probs: FloatArray, text: FloatArray, previous: FloatArray | None) -> None:
        """Start a frame: log-probabilities (h, w, K), projected text embeddings (K, E), previous result (K, h, w)."""
        np.copyto(self._log_probs, log_probs.reshape(self._log_probs.shape))
        np.exp(self._log_probs, out=self._probs)
        np.copyto(self._text, text.T)
        self._flag[...] = previous is not None
        if previous is not None:
            np.copyto(self._previous, previous.reshape(previous.shape[0], -1).T)
            np.exp(self._previous, out=self._before)
        self._stale = (self._everywhere, len(self._everywhere))

    def step(self) -> int:
        """One greedy step; returns how many pixels did not keep. With 0, nothing has changed."""
        state = self._state.reshape(len(self._everywhere), -1)
        kernels.observe(
            self._log_probs, self._probs, self._text, self._before, bool(self._flag[0, 0, 0, 0]), *self._stale, state
        )
        for index, tensor in enumerate(self._inputs):
            self._policy.set_input_tensor(index, tensor)
        self._policy.start_async()
        self._policy.wait()
        logits = self._policy.get_output_tensor(0).data.reshape(len(self._everywhere), -1)
        moved = int(
            kernels.act(
                logits, self._log_probs, self._probs, self._previous, self._before, self._size, self._sharpen,
                self._moved, self._fresh,
            )
        )  # fmt: skip
        self._stale = (self._moved, moved)
        return moved

    def result(self) -> FloatArray:
        """Log-probabilities now, (K, h, w), a copy."""
        return np.ascontiguousarray(self._log_probs.T).reshape(-1, *self._size)
