"""Who is who in two frames: distances of pairs, pairs that cannot be, the cheapest assignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.assignment import assign

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]


def cosine_distances(first: Floats, second: Floats) -> Floats:
    """Return 1 - cosine of each pair of rows, shape (len(first), len(second)), from 0 to 2."""
    return np.asarray(1.0 - _unit_rows(first) @ _unit_rows(second).T)


def possible_pairs(
    boxes0: Sequence[dict[str, Any]], boxes1: Sequence[dict[str, Any]], *, max_distance: float
) -> NDArray[np.bool_]:
    """Tell which pairs have one label and centres at most ``max_distance`` pixels apart."""
    shift = _centres(boxes0)[:, None] - _centres(boxes1)[None, :]
    near = np.hypot(shift[..., 0], shift[..., 1]) <= max_distance
    labels0 = [box.get("label_id") for box in boxes0]
    labels1 = [box.get("label_id") for box in boxes1]
    same = [[one == other for other in labels1] for one in labels0]
    return np.asarray(near & np.array(same, dtype=bool).reshape(near.shape))


def distances_where_possible(
    possible: NDArray[np.bool_],
    describe0: Callable[[list[int]], Floats],
    describe1: Callable[[list[int]], Floats],
) -> Floats:
    """Return the cosine distances of pairs, shape of ``possible``; infinite where none can be.

    Only boxes that have a possible partner are described, each once: ``describe0`` and
    ``describe1`` get their numbers and return a vector for each.
    """
    distances = np.full(possible.shape, np.inf)
    rows, columns = np.flatnonzero(possible.any(axis=1)), np.flatnonzero(possible.any(axis=0))
    if rows.size:
        described = describe0(rows.tolist()), describe1(columns.tolist())
        distances[np.ix_(rows, columns)] = cosine_distances(*described)
    return distances


def match(distances: Floats, possible: NDArray[np.bool_], *, max_distance: float) -> list[int]:
    """Return, for each row, the column it belongs to, or -1.

    As many pairs as possible are made of those that are possible and not farther than
    ``max_distance``; among equals the smallest sum of distances wins.
    """
    allowed = possible & (distances <= max_distance)
    if not allowed.any():
        return [-1] * len(distances)
    # One forbidden pair costs more than any number of allowed ones.
    forbidden = 1.0 + max(1.0, float(distances[allowed].max())) * 2 * max(distances.shape)
    columns = assign(np.where(allowed, distances, forbidden))
    return [
        int(column) if column >= 0 and allowed[row, column] else -1
        for row, column in enumerate(columns)
    ]


def _unit_rows(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))


def _centres(boxes: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    points = np.array([box["points"] for box in boxes], dtype=np.float64).reshape(-1, 4)
    return np.asarray((points[:, :2] + points[:, 2:]) / 2)
