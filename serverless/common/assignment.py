"""The assignment problem: pair rows with columns at the lowest total cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def assign(costs: NDArray[np.floating]) -> list[int]:
    """Return the column of each row, or -1 for the rows left over when columns are fewer.

    The Hungarian algorithm by shortest augmenting paths with potentials, O(rows * rows * columns)
    for rows <= columns. ``costs`` are finite, shape (rows, columns).
    """
    rows, columns = costs.shape
    if rows > columns:
        found = [-1] * rows
        for column, row in enumerate(assign(costs.T)):
            if row >= 0:
                found[row] = column
        return found
    row_of = np.full(columns, -1)
    row_potentials, column_potentials = np.zeros(rows), np.zeros(columns)
    for row in range(rows):
        _augment(costs, row, row_of, row_potentials, column_potentials)
    found = [-1] * rows
    for column, row in enumerate(row_of.tolist()):
        if row >= 0:
            found[row] = column
    return found


def _augment(
    costs: NDArray[np.floating],
    start: int,
    row_of: NDArray[np.intp],
    row_potentials: NDArray[np.float64],
    column_potentials: NDArray[np.float64],
) -> None:
    """Assign a column to row ``start`` along the cheapest alternating path; update the arrays."""
    columns = costs.shape[1]
    shortest = np.full(columns, np.inf)
    before = np.full(columns, -1)  # the column before this one on the path, -1 at the start
    done = np.zeros(columns, dtype=bool)
    visited = [(start, 0.0)]  # rows on the tree, with the length of their path
    row, length, column = start, 0.0, -1
    while True:
        paths = length + costs[row] - row_potentials[row] - column_potentials
        better = ~done & (paths < shortest)
        shortest[better] = paths[better]
        before[better] = column
        column = int(np.where(done, np.inf, shortest).argmin())
        length = float(shortest[column])
        done[column] = True
        if row_of[column] < 0:
            break
        row = int(row_of[column])
        visited.append((row, length))
    for seen, path in visited:
        row_potentials[seen] += length - path
    column_potentials[done] -= length - shortest[done]
    while column >= 0:
        previous = int(before[column])
        row_of[column] = start if previous < 0 else row_of[previous]
        column = previous
