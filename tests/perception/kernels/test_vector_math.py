"""Exponential and logarithm of the compiled loops against NumPy's in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.kernels.compiled import compiled_for_finite
from clip_rl_perception.kernels.vector_math import exp, log


@compiled_for_finite
def all_exp(values, result):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        result[i] = exp(values[i])


@compiled_for_finite
def all_log(values, result):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        result[i] = log(values[i])


# 100 003 values: whole vectors, and some that are left over.
@pytest.mark.parametrize(("low", "high"), [(-87.0, 88.0), (-1e-3, 1e-3), (-16.2, 0.0)])
def test_exp(low: float, high: float) -> None:
    values = np.linspace(low, high, 100_003, dtype=np.float32)
    result = np.empty_like(values)
    all_exp(values, result)
    np.testing.assert_allclose(result, np.exp(values.astype(np.float64)), rtol=2e-7)


def test_exp_of_what_is_far_below_stays_above_zero() -> None:
    values = np.array([-87.0, -88.0, -1e4, -3e38, 0.0], np.float32)
    result = np.empty_like(values)
    all_exp(values, result)
    assert (result[:4] == result[0]).all() and 0 < result[0] < 2e-38
    assert result[4] == 1


@pytest.mark.parametrize(("low", "high"), [(1e-7, 1.0), (0.7, 1.42), (1.2e-38, 1e-30), (1.0, 3e38)])
def test_log(low: float, high: float) -> None:
    values = np.geomspace(low, high, 100_003).astype(np.float32)
    result = np.empty_like(values)
    all_log(values, result)
    np.testing.assert_allclose(result, np.log(values.astype(np.float64)), rtol=2e-7, atol=1e-7)


def test_log_of_one_is_zero() -> None:
    result = np.empty(3, np.float32)
    all_log(np.array([1.0, 1.0, 2.0], np.float32), result)
    assert result[0] == 0 and result[2] == np.float32(np.log(2))
