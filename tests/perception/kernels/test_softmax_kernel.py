"""The compiled loop of log-probabilities against numpy in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.kernels.softmax_kernel import log_softmax


@pytest.mark.parametrize("classes", [1, 2, 3, 16, 17, 50, 254])
@pytest.mark.parametrize("scale", [0.01, 5.0, 100.0])
def test_log_softmax(classes: int, scale: float) -> None:
    rng = np.random.default_rng(classes)
    logits = (scale * rng.normal(size=(200, classes))).astype(np.float32)
    logits[:20] = -np.abs(logits[:20])
    logits[20:30] = logits[20:30, :1]  # equal ones
    found = np.empty_like(logits)
    log_softmax(logits, found)
    exact = logits.astype(np.float64)
    exact = exact - exact.max(axis=1, keepdims=True)
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, exact, rtol=2e-6, atol=2e-6 * max(scale, 1.0) * 4)
    assert (found.argmax(axis=1) == logits.argmax(axis=1)).all()
