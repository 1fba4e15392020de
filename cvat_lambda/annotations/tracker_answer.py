"""The check of a tracker's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.reading import read_list, read_object, read_points, show
from cvat_lambda.annotations.shapes import POINT_COUNTS, Size, fit, pin

_TRACKED_TYPES: Final = frozenset({*POINT_COUNTS, "mask"}) - {"skeleton"}


def check_tracker_answer(
    answer: object,
    *,
    expected: int,
    shape_types: Sequence[str],
    image_size: Size | None = None,
    items: Sequence[int] | None = None,
) -> tuple[list[dict[str, Any] | None], list[Any]]:
    """Check a tracker's answer about ``expected`` objects; return its shapes and its states.

    A shape is ``{"type", "points"}`` or None for an object that is lost; bare arrays of points,
    as older functions send, are rectangles. No shapes at all are all None. Shapes are cut to the
    image; what left it lies flat on its border, since CVAT's page gives up all objects of a call
    when one of them is None. Masks have no such form, and are None. ``items`` are the numbers by
    which errors name the objects. Raise AnswerError.
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
    numbers = range(expected) if items is None else items
    checked = [
        _check_tracked(number, shape, allowed, image_size)
        for number, shape in zip(numbers, shapes, strict=True)
    ]
    return checked, states


def _check_tracked(
    index: int, raw: object, allowed: frozenset[str], image_size: Size | None
) -> dict[str, Any] | None:
    if raw is None:
        return None
    if isinstance(raw, list):
        raw = {"type": "rectangle", "points": raw}
    given = read_object(raw, item=index, field="shapes")
    shape_type = given.get("type")
    if not isinstance(shape_type, str) or shape_type not in allowed:
        raise AnswerError(
            f"{show(shape_type)} is not a shape type of this tracker; it has "
            f"{', '.join(sorted(allowed)) or 'none'}",
            item=index,
            field="shapes.type",
        )
    points = read_points(
        shape_type, given.get("points"), item=index, field="shapes.points", size=image_size
    )
    fitted: Sequence[float] | None = points
    if image_size is not None:
        fitted, _ = fit(shape_type, points, 0.0, image_size)
        if fitted is None and shape_type != "mask":
            fitted = pin(points, image_size)
    return None if fitted is None else {"type": shape_type, "points": list(fitted)}
