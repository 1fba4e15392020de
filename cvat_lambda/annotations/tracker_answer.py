"""The check of a tracker's answer, about one frame or a clip of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.reading import read_list, read_object, read_points, show
from cvat_lambda.annotations.shapes import POINT_COUNTS, Size, fit, pin

_TRACKED_TYPES: Final = frozenset({*POINT_COUNTS, "mask"}) - {"skeleton"}
MAX_MESSAGE: Final = 500  # characters of a function's sentence about one image

TrackedShapes = list[dict[str, Any] | None]  # of one frame, one an object


def check_tracker_answer(
    answer: object,
    *,
    expected: int,
    shape_types: Sequence[str],
    image_size: Size | None = None,
    items: Sequence[int] | None = None,
) -> tuple[TrackedShapes, list[Any]]:
    """Check a tracker's answer about ``expected`` objects; return its shapes and its states.

    A shape is ``{"type", "points"}`` or None for an object that is lost; bare arrays of points,
    as older functions send, are rectangles. No shapes at all are all None. Shapes are cut to the
    image; what left it lies flat on its border, since CVAT's page gives up all objects of a call
    when one of them is None. Masks have no such form, and are None. ``items`` are the numbers by
    which errors name the objects. Raise AnswerError.
    """
    given = read_object(answer)
    checker = _Checker(expected, shape_types, items)
    states = checker.states(given.get("states"))
    return checker.shapes(given.get("shapes"), field="shapes", image_size=image_size), states


def check_clip_answer(
    answer: object,
    *,
    expected: int,
    shape_types: Sequence[str],
    image_sizes: Sequence[Size],
    items: Sequence[int] | None = None,
) -> tuple[list[TrackedShapes | str], list[Any]]:
    """Check a tracker's answer to several images; return the shapes of each, and the states.

    For an image that the function could not use there is its sentence instead of shapes. The
    shapes are those of `check_tracker_answer`. Raise AnswerError.
    """
    given = read_object(answer)
    checker = _Checker(expected, shape_types, items)
    results = read_list(given.get("results"), field="results")
    if len(results) != len(image_sizes):
        raise AnswerError(
            f"{len(image_sizes)} lists of shapes were expected, one an image, but "
            f"{len(results)} came",
            field="results",
        )
    found: list[TrackedShapes | str] = []
    for index, (result, size) in enumerate(zip(results, image_sizes, strict=True)):
        if isinstance(result, dict) and "error" in result:
            found.append(str(result["error"])[:MAX_MESSAGE])
        else:
            found.append(checker.shapes(result, field=f"results[{index}]", image_size=size))
    return found, checker.states(given.get("states"))


class _Checker:
    """Checks the lists of an answer, which have one item an object."""

    def __init__(
        self, expected: int, shape_types: Sequence[str], items: Sequence[int] | None
    ) -> None:
        self._expected = expected
        self._allowed = _TRACKED_TYPES.intersection(shape_types)
        self._numbers = range(expected) if items is None else items

    def states(self, value: object) -> list[Any]:
        return self._counted(read_list(value, field="states"), field="states")

    def shapes(self, value: object, *, field: str, image_size: Size | None) -> TrackedShapes:
        shapes = [None] * self._expected if value is None else read_list(value, field=field)
        return [
            _check_tracked(number, shape, self._allowed, image_size)
            for number, shape in zip(self._numbers, self._counted(shapes, field=field), strict=True)
        ]

    def _counted(self, values: list[Any], *, field: str) -> list[Any]:
        if len(values) != self._expected:
            raise AnswerError(
                f"{self._expected} {'was' if self._expected == 1 else 'were'} expected, one an "
                f"object, but {len(values)} came",
                field=field,
            )
        return values


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
