"""Checks of what interactors, trackers and re-identification answer to a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from .errors import AnswerError, ShapeError
from .reading import kind, read_list, read_object, read_points, show
from .rle import to_bitmap
from .shapes import POINT_COUNTS, is_number

_BYTES: Final = range(256)
_TRACKED_TYPES: Final = frozenset({*POINT_COUNTS, "mask"}) - {"skeleton"}


def check_interactor_answer(
    answer: object,
    *,
    image_size: tuple[int, int] | None,
    offset: tuple[int, int] = (0, 0),
    roi_size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Check an interactor's answer and return it as the API's.

    ``{"mask": rows of two-valued numbers, "points"?: [[x, y], ...], "bounds"?: [left, top, right,
    bottom] inclusive, "blob"?: text}``; a function that leaves the decoding to the browser sends
    ``blob`` and no mask. ``image_size`` is the (width, height) of the whole image, ``offset`` and
    ``roi_size`` say which part of it the function saw; its bounds and points come back moved to
    the whole image, and a mask of the part alone gets its bounds. Raises AnswerError.
    """
    given = read_object(answer)
    checked: dict[str, Any] = {}
    if given.get("mask") is not None:
        size, is_empty = _check_rows(given["mask"])
        bounds = _place_mask(given.get("bounds"), size, image_size, offset, roi_size)
        checked["mask"] = given["mask"]
        if bounds is not None:
            checked["bounds"] = bounds
        if is_empty:
            # Without points the UI looks for the outline of nothing, and fails.
            checked["points"] = []
    if given.get("points") is not None:
        checked["points"] = _check_vertices(given["points"], offset)
    if given.get("blob") is not None:
        if not isinstance(given["blob"], str):
            raise AnswerError(f"expected text, not {kind(given['blob'])}", field="blob")
        checked["blob"] = given["blob"]
    if "mask" not in checked and "blob" not in checked:
        raise AnswerError("an interactor must answer a mask (or a blob)", field="mask")
    return checked


def check_tracker_answer(
    answer: object, *, expected: int, shape_types: Sequence[str]
) -> tuple[list[dict[str, Any] | None], list[Any]]:
    """Check a tracker's answer about ``expected`` objects; return its shapes and its states.

    A shape is ``{"type", "points"}`` or None for an object that is lost; bare arrays of points,
    as older functions send, are rectangles. No shapes at all are all None. Raises AnswerError.
    """
    given = read_object(answer)
    states = read_list(given.get("states"), field="states")
    raw_shapes = given.get("shapes")
    shapes = [None] * expected if raw_shapes is None else read_list(raw_shapes, field="shapes")
    for field, values in (("states", states), ("shapes", shapes)):
        if len(values) != expected:
            raise AnswerError(
                f"{expected} {'was' if expected == 1 else 'were'} expected, one an object, but "
                f"{len(values)} came",
                field=field,
            )
    allowed = _TRACKED_TYPES.intersection(shape_types)
    return [_check_tracked(i, shape, allowed) for i, shape in enumerate(shapes)], states


def check_reid_answer(answer: object, n0: int, n1: int) -> list[int]:
    """Check a matching: for each of ``n0`` boxes an index into the ``n1`` others, or -1.

    Raises AnswerError; no box of the second frame may be taken twice.
    """
    indices = read_list(answer)
    if len(indices) != n0:
        raise AnswerError(f"{n0} indices were expected, one a box, but {len(indices)} came")
    taken: dict[int, int] = {}
    checked = []
    for item, value in enumerate(indices):
        if not is_number(value) or value != int(value) or not -1 <= value < n1:
            raise AnswerError(f"expected -1 or an index below {n1}, not {show(value)}", item=item)
        index = int(value)
        if index >= 0 and taken.setdefault(index, item) != item:
            raise AnswerError(
                f"the box {index} is already matched with item {taken[index]}", item=item
            )
        checked.append(index)
    return checked


def _check_tracked(index: int, raw: object, allowed: frozenset[str]) -> dict[str, Any] | None:
    if raw is None:
        return None
    if isinstance(raw, list):
        raw = {"type": "rectangle", "points": raw}
    given = read_object(raw, item=index, field="shapes")
    shape_type = given.get("type")
    if not isinstance(shape_type, str) or shape_type not in allowed:
        raise AnswerError(
            f"{show(shape_type)} is no shape type of this tracker; it has "
            f"{', '.join(sorted(allowed)) or 'none'}",
            item=index,
            field="shapes.type",
        )
    points = read_points(shape_type, given.get("points"), item=index, field="shapes.points")
    return {"type": shape_type, "points": list(points)}


def _check_rows(raw: object) -> tuple[tuple[int, int], bool]:
    """Check the rows of a mask; return its (width, height) and whether it is empty."""
    rows = read_list(raw, field="mask")
    if not rows:
        raise AnswerError("the mask has no rows", field="mask")
    values: set[float] = set()
    seen = b""  # of the values those that fit a byte
    width = 0
    for number, row in enumerate(rows):
        pixels = read_list(row, field=f"mask[{number}]")
        if not pixels or (width and len(pixels) != width):
            raise AnswerError(
                f"the row has {len(pixels)} pixels, the first one {len(rows[0])}; "
                "rows must be of one length",
                field=f"mask[{number}]",
            )
        width = len(pixels)
        new = _new_values(pixels, number, seen) - values
        if not new:
            continue
        values |= new
        seen = bytes(int(value) for value in values if value in _BYTES)
        if len(values - {0}) > 1:
            shown = ", ".join(f"{value:g}" for value in sorted(values)[:4])
            raise AnswerError(
                f"a mask has two values, 0 and one other, but here are {shown}",
                field=f"mask[{number}]",
            )
    return (width, len(rows)), values <= {0}


def _new_values(pixels: list[Any], number: int, seen: bytes) -> set[float]:
    """Return the values of a row, those of ``seen`` perhaps left out."""
    try:
        # Fast, for numbers 0..255 and booleans: what was seen is deleted in one go.
        return set(bytes(pixels).translate(None, seen))
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        to_bitmap(pixels)  # finite numbers?
    except ShapeError as exc:
        raise AnswerError(exc.message, field=f"mask[{number}]") from exc
    return set(np.unique(np.asarray(pixels, dtype=np.float64)).tolist())


def _place_mask(
    raw: object,
    size: tuple[int, int],
    image_size: tuple[int, int] | None,
    offset: tuple[int, int],
    roi_size: tuple[int, int] | None,
) -> list[int] | None:
    """Return the bounds of a mask in the whole image; None when it is the whole image."""
    width, height = size
    dx, dy = offset
    if raw is not None:
        left, top, right, bottom = bounds = _check_bounds(raw)
        if (right - left + 1, bottom - top + 1) != size:
            raise AnswerError(
                f"the bounds {bounds} are of {right - left + 1} x {bottom - top + 1} pixels "
                f"(ends included), but the mask is of {width} x {height}",
                field="bounds",
            )
        placed = [left + dx, top + dy, right + dx, bottom + dy]
    else:
        seen = roi_size if roi_size is not None else image_size if offset == (0, 0) else None
        if seen is not None and size != seen:
            raise AnswerError(
                f"the mask is of {width} x {height} pixels and has no bounds, but the image is of "
                f"{seen[0]} x {seen[1]}",
                field="mask",
            )
        if offset == (0, 0) and (image_size is None or size == image_size):
            return None
        placed = [dx, dy, dx + width - 1, dy + height - 1]
    if image_size is not None and (
        placed[0] < 0 or placed[1] < 0 or placed[2] >= image_size[0] or placed[3] >= image_size[1]
    ):
        raise AnswerError(
            f"the mask at {placed} reaches beyond the image of {image_size[0]} x {image_size[1]}",
            field="bounds",
        )
    return placed


def _check_bounds(raw: object) -> list[int]:
    values = read_list(raw, field="bounds")
    if len(values) != 4 or not all(is_number(v) and v == int(v) for v in values):
        raise AnswerError("expected [left, top, right, bottom] in whole pixels", field="bounds")
    return [int(value) for value in values]


def _check_vertices(raw: object, offset: tuple[int, int]) -> list[list[float]]:
    vertices = []
    for number, vertex in enumerate(read_list(raw, field="points")):
        if not isinstance(vertex, list) or len(vertex) != 2 or not all(map(is_number, vertex)):
            raise AnswerError("expected a pair of finite numbers", field=f"points[{number}]")
        vertices.append([vertex[0] + offset[0], vertex[1] + offset[1]])
    return vertices
