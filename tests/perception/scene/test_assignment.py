"""The assignment of instruments to tracks against scipy's, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from clip_rl_perception.scene.assignment import cheapest_assignment
from scipy.optimize import linear_sum_assignment


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (5, 1), (4, 4), (3, 7), (9, 4), (12, 12)])
def test_the_assignment_is_scipys(rows: int, columns: int, ties: bool) -> None:
    generator = np.random.default_rng(rows * 100 + columns)
    for _ in range(50):
        costs = generator.uniform(0, 3, (rows, columns))
        if ties:
            costs = np.rint(costs)
        costs[generator.uniform(size=costs.shape) < 0.3] = 1e6
        found = cheapest_assignment(costs)
        assert found.shape == (rows,) and (found >= 0).sum() == min(rows, columns)
        expected = np.full(rows, -1)
        taken_rows, taken_columns = linear_sum_assignment(costs)
        expected[taken_rows] = taken_columns
        np.testing.assert_array_equal(found, expected)


def test_by_hand() -> None:
    # The first row gives way: 1 + 2 is less than 0 + 9.
    assert cheapest_assignment(np.array([[0.0, 1.0], [2.0, 9.0]])).tolist() == [1, 0]
    assert cheapest_assignment(np.array([[5.0], [1.0]])).tolist() == [-1, 0]
    assert cheapest_assignment(np.zeros((3, 3))).tolist() == [0, 1, 2]
