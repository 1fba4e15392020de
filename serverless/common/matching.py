"""Matching the boxes of two frames: the body of a call, distances, the cheapest assignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.assignment import assign
from common.errors import BadInput
from common.images import decode_image
from common.inputs import read_boxes, read_number, read_threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    # Of an image and some of its boxes: an embedding for each box, shape (n, length).
    Embed = Callable[[NDArray[np.uint8], Sequence[dict[str, Any]]], Floats]

DEFAULT_MAX_DISTANCE = 50.0  # pixels between the centres of a pair


def answer_match(body: dict[str, Any], embed: Embed, *, default_threshold: float) -> list[int]:
    """Answer, for each of ``boxes0``, the index of the same object in ``boxes1``, or -1.

    A pair has one label, centres at most ``max_distance`` pixels apart, and embeddings at a cosine
    distance of at most ``threshold``.
    """
    max_distance = read_number(body, "max_distance", DEFAULT_MAX_DISTANCE)
    if max_distance < 0:
        raise BadInput(f"'max_distance' is {max_distance:g}; send a number of at least 0")
    threshold = read_threshold(body, default_threshold)
    image0, image1 = (decode_image(body.get(name), field=name) for name in ("image0", "image1"))
    boxes0, boxes1 = read_boxes(body, "boxes0"), read_boxes(body, "boxes1")
    possible = possible_pairs(boxes0, boxes1, max_distance=max_distance)
    distances = distances_where_possible(
        possible,
        lambda indices: embed(image0, [boxes0[index] for index in indices]),
        lambda indices: embed(image1, [boxes1[index] for index in indices]),
    )
    return assign_pairs(distances, possible, threshold=threshold)


def cosine_distances(first: Floats, second: Floats) -> Floats:
    """Return 1 - cosine of each pair of rows, shape (len(first), len(second)), from 0 to 2."""
    return np.asarray(1.0 - _unit_rows(first) @ _unit_rows(second).T)


def possible_pairs(
    boxes0: Sequence[dict[str, Any]], boxes1: Sequence[dict[str, Any]], *, max_distance: float
) -> NDArray[np.bool_]:
    """Return which pairs have one label and centres at most ``max_distance`` pixels apart."""
    shift = _centres(boxes0)[:, None] - _centres(boxes1)[None, :]
    near = np.hypot(shift[..., 0], shift[..., 1]) <= max_distance
    labels0 = [box.get("label_id") for box in boxes0]
    labels1 = [box.get("label_id") for box in boxes1]
    same = [[one == other for other in labels1] for one in labels0]
    return np.asarray(near & np.array(same, dtype=bool).reshape(near.shape))


def distances_where_possible(
    possible: NDArray[np.bool_],
    embed0: Callable[[list[int]], Floats],
    embed1: Callable[[list[int]], Floats],
) -> Floats:
    """Return the cosine distances of the possible pairs, and infinity for all others.

    ``embed0`` and ``embed1`` get the indices of boxes and return an embedding for each. They are
    called for the boxes that have a possible partner only.
    """
    distances = np.full(possible.shape, np.inf)
    rows, columns = np.flatnonzero(possible.any(axis=1)), np.flatnonzero(possible.any(axis=0))
    if rows.size:
        embeddings = embed0(rows.tolist()), embed1(columns.tolist())
        distances[np.ix_(rows, columns)] = cosine_distances(*embeddings)
    return distances


def assign_pairs(distances: Floats, possible: NDArray[np.bool_], *, threshold: float) -> list[int]:
    """Return for each row the column of its pair, or -1.

    The result has as many pairs as can be made of possible pairs with a distance of at most
    ``threshold``. Of several such results it has the smallest sum of distances.
    """
    allowed = possible & (distances <= threshold)
    if not allowed.any():
        return [-1] * len(distances)
    # One forbidden pair costs more than any number of allowed pairs.
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
