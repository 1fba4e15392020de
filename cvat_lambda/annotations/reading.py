"""Reading fields of a function's answer: a value of the right type, or AnswerError."""

from __future__ import annotations

import math
from typing import Any

from cvat_lambda.annotations.errors import AnswerError, ShapeError
from cvat_lambda.annotations.shapes import Points, Size, check_points, check_rotation, is_number


def read_object(value: object, *, item: int | None = None, field: str = "") -> dict[str, Any]:
    """Return a JSON object."""
    if not isinstance(value, dict):
        raise AnswerError(f"expected an object, not {kind(value)}", item=item, field=field)
    return value


def read_list(value: object, *, item: int | None = None, field: str = "") -> list[Any]:
    """Return a JSON array."""
    if not isinstance(value, list):
        raise AnswerError(f"expected an array, not {kind(value)}", item=item, field=field)
    return value


def read_name(value: object, *, item: int, field: str) -> str:
    """Return text that is not empty."""
    if not isinstance(value, str) or not value:
        raise AnswerError(f"expected a name, not {kind(value)}", item=item, field=field)
    return value


def read_flag(value: object, *, item: int, field: str) -> bool:
    """Return true or false (0 and 1 too); nothing is false."""
    if value is None:
        return False
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise AnswerError(f"expected true or false, not {show(value)}", item=item, field=field)


def read_count(value: object, *, item: int, field: str) -> int:
    """Return a whole number of zero or more (an integral float too); nothing is 0."""
    if value is None:
        return 0
    if is_number(value) and value >= 0 and value == int(value):
        return int(value)
    raise AnswerError(
        f"expected a whole number, zero or more, not {show(value)}", item=item, field=field
    )


def read_points(
    shape_type: str, value: object, *, item: int, field: str, size: Size | None = None
) -> Points:
    """Return the points of a shape; ``size`` of the image bounds the box of a mask."""
    try:
        return check_points(shape_type, value, size=size)
    except ShapeError as exc:
        raise AnswerError(exc.message, item=item, field=field) from exc


def read_rotation(shape_type: str, value: object, *, item: int, field: str) -> float:
    """Return degrees in [0, 360)."""
    try:
        return check_rotation(shape_type, value)
    except ShapeError as exc:
        raise AnswerError(exc.message, item=item, field=field) from exc


def read_score(value: object, *, item: int, field: str) -> tuple[float, str | None]:
    """Return a confidence in [0, 1], and a note if the value was ignored or clamped.

    CVAT ignores the confidence, so functions send numbers, numbers as text, and other values. NaN
    and Infinity are errors, as everywhere.
    """
    if value is None:
        return 1.0, None
    number: float
    if isinstance(value, bool):
        return 1.0, "the confidence is not a number and was ignored"
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return 1.0, "the confidence is not a number and was ignored"
    if not math.isfinite(number):
        raise AnswerError("the confidence must be a finite number", item=item, field=field)
    if 0.0 <= number <= 1.0:
        return number, None
    clamped = min(max(number, 0.0), 1.0)
    # A rounding error of a softmax gets no note.
    noise = abs(number - clamped) < 1e-3
    return clamped, None if noise else f"the confidence {number:g} is outside [0, 1]"


def kind(value: object) -> str:
    """Name the JSON type of a value."""
    if value is None:
        return "null"
    for python_type, name in (
        (bool, "a boolean"),
        ((int, float), "a number"),
        (str, "text" if value else "empty text"),
        (list, "an array"),
        (dict, "an object"),
    ):
        if isinstance(value, python_type):
            return name
    return type(value).__name__


def show(value: object) -> str:
    """Show a value when it is short, else its type."""
    if isinstance(value, (bool, int, float, str)):
        try:
            text = repr(value)
        except ValueError:  # an integer of thousands of digits
            return kind(value)
        return text if len(text) <= 40 else kind(value)
    return kind(value)
