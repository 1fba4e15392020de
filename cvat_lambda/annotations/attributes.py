"""The check of attribute values: whether a value is allowed for an attribute of the task."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation, localcontext
from functools import lru_cache
from typing import Final

from cvat_lambda.annotations.text import is_storable
from cvat_lambda.annotations.types import Attribute

MAX_TEXT_LENGTH: Final = 4096  # of a value, as in CVAT's tables
_GRID_TOLERANCE: Final = Decimal("1e-6")  # share of a step; the largest rounding error
_MAX_NUMBER: Final = Decimal("1e18")
_MIN_STEP: Final = Decimal("1e-12")


def check_value(attribute: Attribute, value: object) -> str | None:
    """Return the text to store for ``value``, or None if the attribute does not allow it.

    A number must lie in [min, max] on the grid ``min + k * step``, apart from rounding errors. A
    checkbox is true or false. A select or radio is one of the attribute's values. A text has at
    most 4096 characters.
    """
    return _CHECKS[attribute.input_type](attribute, value)


def number_limits(attribute: Attribute) -> tuple[Decimal, Decimal, Decimal] | None:
    """Return (min, max, step) of a number attribute, or None if its values are no limits."""
    return _parse_limits(attribute.values)


@lru_cache(maxsize=1024)
def _parse_limits(values: tuple[str, ...]) -> tuple[Decimal, Decimal, Decimal] | None:
    if len(values) != 3:
        return None
    try:
        low, high, step = (Decimal(value) for value in values)
    except InvalidOperation:
        return None
    if not all(number.is_finite() for number in (low, high, step)) or low > high:
        return None
    if max(abs(low), abs(high)) > _MAX_NUMBER or not _MIN_STEP <= step <= _MAX_NUMBER:
        return None
    return low, high, step


def _check_number(attribute: Attribute, value: object) -> str | None:
    number = _to_decimal(value)
    limits = number_limits(attribute)
    if number is None or limits is None:
        return None
    low, high, step = limits
    if not low - step <= number <= high + step:  # also keeps the division below small
        return None
    with localcontext() as context:
        context.prec = 50
        steps = ((number - low) / step).to_integral_value()
        snapped = low + steps * step
        if abs(snapped - number) > step * _GRID_TOLERANCE or not low <= snapped <= high:
            return None
        return _plain(snapped)


def _check_checkbox(attribute: Attribute, value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower()
    return None


def _check_choice(attribute: Attribute, value: object) -> str | None:
    text = _to_text(value)
    return text if text is not None and text in attribute.values else None


def _check_text(attribute: Attribute, value: object) -> str | None:
    text = _to_text(value)
    if text is None or len(text) > MAX_TEXT_LENGTH or not is_storable(text):
        return None
    return text


_CHECKS: Final[dict[str, Callable[[Attribute, object], str | None]]] = {
    "number": _check_number,
    "checkbox": _check_checkbox,
    "select": _check_choice,
    "radio": _check_choice,
    "text": _check_text,
}


def _to_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) < 1 << 63:
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(value)
    return None


def _to_decimal(value: object) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value) if abs(value) < 1 << 63 else None
    if isinstance(value, float):
        return Decimal(str(value)) if math.isfinite(value) else None
    if isinstance(value, str) and len(value) <= 64:
        try:
            number = Decimal(value.strip())
        except InvalidOperation:
            return None
        return number if number.is_finite() else None
    return None


def _plain(number: Decimal) -> str:
    """Write a decimal without exponent, trailing zeros or a negative zero: 3, 0.25."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
