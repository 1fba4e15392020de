"""Query strings: whole numbers, filters by id and filters by text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError

from cvat_lambda.rest.fields import INT_MAX


def whole_number(text: str, maximum: int) -> int | None:
    """Return digits as a number up to ``maximum``, and None for anything else.

    ``int`` alone would raise ValueError on texts of thousands of digits.
    """
    if not (text.isascii() and text.isdecimal()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(maximum)) or int(digits) > maximum:
        return None
    return int(digits)


def id_filters(parameters: Mapping[str, str], fields: Mapping[str, str]) -> dict[str, int]:
    """Return filters for ``QuerySet.filter``. ``fields`` maps parameter names to model fields.

    An empty parameter does not filter. Raise ValidationError, by parameter, on an invalid id.
    """
    found: dict[str, int] = {}
    for name, field in fields.items():
        text = parameters.get(name, "")
        if not text:
            continue
        number = whole_number(text, INT_MAX)
        if number is None:
            raise ValidationError({name: ["A valid integer is required."]})
        found[field] = number
    return found


def filtered_by_text(
    queryset: QuerySet[Any], parameters: Mapping[str, str], fields: Mapping[str, str]
) -> QuerySet[Any]:
    """Return the queryset filtered by text parameters. A text with a NUL matches nothing."""
    for name, field in fields.items():
        text = parameters.get(name, "")
        if "\x00" in text:
            return queryset.none()
        if text:
            queryset = queryset.filter(**{field: text})
    return queryset
