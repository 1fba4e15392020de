"""The shapes that an agent of a native interactor answers, as the mask that others answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvat_lambda.annotations import contours, rle
from cvat_lambda.annotations.errors import AnswerError, ShapeError
from cvat_lambda.annotations.placement import Bitmap
from cvat_lambda.annotations.reading import read_list, read_object, read_points, show


def mask_of_shapes(answer: object, *, image_size: tuple[int, int]) -> dict[str, Any]:
    """Return ``{"mask": rows, "bounds": [left, top, right, bottom], "points"?}``.

    ``answer`` is ``{"shapes": [{"type": "mask" or "polygon", "points"}, ...]}`` in coordinates of
    the image that the agent saw, of this (width, height). Several shapes become one mask. Raise
    AnswerError.
    """
    raw_shapes = read_list(read_object(answer).get("shapes"), field="shapes")
    whole: Bitmap = np.zeros((image_size[1], image_size[0]), dtype=np.bool_)
    for index, raw in enumerate(raw_shapes):
        _draw(read_object(raw, item=index, field="shapes"), index, whole)
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if not rows.size:
        return {"mask": [[0]], "bounds": [0, 0, 0, 0], "points": []}
    left, top, right, bottom = (int(n) for n in (columns[0], rows[0], columns[-1], rows[-1]))
    part = whole[top : bottom + 1, left : right + 1]
    return {"mask": part.astype(int).tolist(), "bounds": [left, top, right, bottom]}


def _draw(shape: dict[str, Any], index: int, whole: Bitmap) -> None:
    """Set the pixels of a shape that lie inside the image."""
    height, width = whole.shape
    kind = shape.get("type")
    if kind not in ("mask", "polygon"):
        raise AnswerError(
            f"{show(kind)} is not a shape that an interactor answers: mask or polygon",
            item=index,
            field="shapes.type",
        )
    field = "shapes.points"
    points = read_points(kind, shape.get("points"), item=index, field=field, size=(width, height))
    try:
        mask = contours.mask_of(points) if kind == "polygon" else points
        inside = None if mask is None else rle.decode_inside(mask, width, height)
    except ShapeError as exc:
        raise AnswerError(exc.message, item=index, field=field) from exc
    if inside is not None:
        bitmap, left, top = inside
        whole[top : top + bitmap.shape[0], left : left + bitmap.shape[1]] |= bitmap
