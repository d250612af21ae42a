"""Which rows to pair with which columns so that all pairs together cost least.

As scipy's `linear_sum_assignment`, whose import would double what the rest of a node takes to start: shortest
augmenting paths (Crouse 2016, On implementing 2D rectangular assignment algorithms, IEEE T-AES 52(4)). Plain Python:
for eight instruments and eight tracks a tenth of a millisecond.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from clip_rl_perception.arrays import DoubleArray


def cheapest_assignment(costs: DoubleArray) -> npt.NDArray[np.intp]:
    """The column that each row is paired with, (n,); -1 for none.

    Every row or every column is paired, whichever are fewer; columns are paired once.

    Args:
        costs: finite, float64 (n, t).
    """
    if costs.shape[0] <= costs.shape[1]:
        return np.array(_columns_of_rows(costs.tolist(), costs.shape[1]), np.intp)
    result = np.full(costs.shape[0], -1, np.intp)
    result[_columns_of_rows(costs.T.tolist(), costs.shape[0])] = np.arange(costs.shape[1])
    return result


def _columns_of_rows(costs: list[list[float]], columns: int) -> list[int]:
    """The column of each row; there are no more rows than columns."""
    of_row, of_column = [-1] * len(costs), [-1] * columns
    row_price, column_price = [0.0] * len(costs), [0.0] * columns
    for start in range(len(costs)):
        # Dijkstra from the row over pairs that hold so far, to the nearest column that is free.
        distance, before = [math.inf] * columns, [-1] * columns
        left = list(range(columns))[::-1]
        visited, reached = {start}, []
        row, total, end = start, 0.0, -1
        while end < 0:
            nearest, place = math.inf, -1
            for index, column in enumerate(left):
                through = total + costs[row][column] - row_price[row] - column_price[column]
                if through < distance[column]:
                    distance[column], before[column] = through, row
                if distance[column] < nearest or (distance[column] == nearest and of_column[column] < 0):
                    nearest, place = distance[column], index
            total, column = nearest, left[place]
            reached.append(column)
            left[place] = left[-1]
            left.pop()
            if of_column[column] < 0:
                end = column
            else:
                row = of_column[column]
                visited.add(row)
        row_price[start] += total
        for row in visited - {start}:
            row_price[row] += total - distance[of_row[row]]
        for column in reached:
            column_price[column] -= total - distance[column]
        while True:  # along the path, each row takes the column by which it was reached
            row = before[end]
            of_column[end] = row
            of_row[row], end = end, of_row[row]
            if row == start:
                break
    return of_row
