"""The shapes that an agent of a native interactor answers, as the mask that others answer."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from cvat_lambda.annotations import contours, rle
from cvat_lambda.annotations.errors import AnswerError, ShapeError
from cvat_lambda.annotations.placement import Bitmap
from cvat_lambda.annotations.reading import read_list, read_object, read_points, show
from cvat_lambda.annotations.shapes import Points, Size

# Each pixel of a box or an outline takes time: all shapes together may have so many times the
# pixels of the image.
MOST_COVERED: Final = 16
_SMALL: Final = contours.MAX_OUTLINE // MOST_COVERED  # a smaller image counts as one of this size
_POINTS: Final = "shapes.points"

Window = tuple[int, int, int, int]  # left, top, right, bottom of a part of the image; exclusive


def mask_of_shapes(answer: object, *, image_size: tuple[int, int]) -> dict[str, Any]:
    """Return the mask as other interactors answer it, ``{"rle": [runs..., *box]}``.

    If no pixel is set, it is ``{"mask": [[0]], "bounds": [0, 0, 0, 0], "points": []}``.

    ``answer`` is ``{"shapes": [{"type": "mask" or "polygon", "points"}, ...]}`` in coordinates of
    the image that the agent saw, of this (width, height). Several shapes become one mask. Raise
    AnswerError.
    """
    raw_shapes = read_list(read_object(answer).get("shapes"), field="shapes")
    whole: Bitmap = np.zeros((image_size[1], image_size[0]), dtype=np.bool_)
    remaining = MOST_COVERED * max(whole.size, _SMALL)
    for index, raw in enumerate(raw_shapes):
        kind, points = _read(read_object(raw, item=index, field="shapes"), index, image_size)
        window = _window(kind, points, image_size)
        if window is None:
            continue
        remaining -= _pixels(kind, points, window)
        if remaining < 0:
            raise AnswerError(
                f"the boxes and outlines of the shapes have more than {MOST_COVERED} times the"
                " pixels of the image",
                field="shapes",
            )
        _draw(kind, points, index, window, whole)
    cut = rle.trim(whole, 0, 0)
    if cut is None:
        return {"mask": [[0]], "bounds": [0, 0, 0, 0], "points": []}
    return {"rle": list(rle.encode(*cut))}


def _read(shape: dict[str, Any], index: int, image_size: Size) -> tuple[str, Points]:
    kind = shape.get("type")
    if kind not in ("mask", "polygon"):
        raise AnswerError(
            f"{show(kind)} is not a shape that an interactor answers: mask or polygon",
            item=index,
            field="shapes.type",
        )
    return kind, read_points(kind, shape.get("points"), item=index, field=_POINTS, size=image_size)


def _window(kind: str, points: Points, image_size: Size) -> Window | None:
    """Return which part of the image the box of a shape covers; None: none.

    A few bytes can announce a box that is much larger than the image.
    """
    if kind == "mask":
        left, top, right, bottom = points[-4], points[-3], points[-2] + 1, points[-1] + 1
    else:
        xs, ys = points[::2], points[1::2]
        left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    x0, y0 = max(math.floor(left), 0), max(math.floor(top), 0)
    x1, y1 = min(math.ceil(right), image_size[0]), min(math.ceil(bottom), image_size[1])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _pixels(kind: str, points: Points, window: Window) -> int:
    """Return how many pixels the window and the outline of a shape have."""
    x0, y0, x1, y1 = window
    area = (x1 - x0) * (y1 - y0)
    return area if kind == "mask" else area + int(contours.outline_length(points))


def _draw(kind: str, points: Points, index: int, window: Window, whole: Bitmap) -> None:
    """Set the pixels of a shape in its window."""
    x0, y0, x1, y1 = window
    try:
        if kind == "mask":
            inside = rle.decode_inside(points, whole.shape[1], whole.shape[0])
            bitmap = None if inside is None else inside[0]
        else:
            moved = np.reshape(points, (-1, 2)) - (x0, y0)
            bitmap = contours.fill(tuple(moved.ravel().tolist()), x1 - x0, y1 - y0)
    except ShapeError as exc:
        raise AnswerError(exc.message, item=index, field=_POINTS) from exc
    if bitmap is not None:
        whole[y0:y1, x0:x1] |= bitmap
