"""Strict serializer fields: a value of another JSON type is an error.

REST framework's fields accept ``"3"`` and ``true`` as a number and ``"yes"`` as true. Integral
floats (``3.0``) are accepted as integers, because cvat-sdk sends them.
"""

from __future__ import annotations

import math
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cvat_lambda.annotations.text import is_storable
from cvat_lambda.rest.parsers import walk

INT_MAX = 2_147_483_647


class IntegerField(serializers.IntegerField):
    """A whole number, integral floats too."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("max_value", INT_MAX)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, (int, float)):
            self.fail("invalid")
        if isinstance(data, float) and not data.is_integer():
            self.fail("invalid")
        return int(data)


class IdField(IntegerField):
    """The id of a row."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=1, **kwargs)


class FrameField(IntegerField):
    """A frame number relative to the task."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, **kwargs)


class FloatField(serializers.FloatField):
    """A finite number."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, (int, float)):
            self.fail("invalid")
        try:
            value = float(data)
        except OverflowError:
            self.fail("invalid")
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class FractionField(FloatField):
    """A number in [0, 1]."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=0, max_value=1, **kwargs)


class BooleanField(serializers.BooleanField):
    """True or false."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return bool(data)


class TextField(serializers.CharField):
    """Text without trimming; numbers are not text."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class ChoiceField(serializers.ChoiceField):
    """One of several words.

    The OpenAPI document lists the words inline (`ChoiceFieldSchema`). Otherwise CVAT's enumerations
    for fields of the same name would be renamed.
    """


class ChoiceFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """The OpenAPI schema of a `ChoiceField`, which drf-spectacular finds by its target class."""

    target_class = ChoiceField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {"oneOf": [{"type": "string", "enum": list(self.target.choices)}]}


class ListField(serializers.ListField):
    """A list whose length is checked before its items are.

    REST framework checks the items first: 200,000 boxes took 15 to 44 s before they were refused.
    """

    default_error_messages = {"max_length": "Give no more than {max_length} elements."}

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().to_internal_value(data)


class DictField(serializers.DictField):
    """An object whose number of members is checked before the members are."""

    default_error_messages = {"max_members": "Give no more than {max_members} members."}

    def __init__(self, *, max_members: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._max_members = max_members

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict) and len(data) > self._max_members:
            self.fail("max_members", max_members=self._max_members)
        return super().to_internal_value(data)


class PointField(ListField):
    """A point ``[x, y]`` in pixels."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=FloatField(), min_length=2, max_length=2, **kwargs)


class PointsField(ListField):
    """Points ``[[x, y], ...]`` in pixels."""

    def __init__(self, *, max_length: int = 10_000, **kwargs: Any) -> None:
        super().__init__(child=PointField(), max_length=max_length, **kwargs)


class RoiField(ListField):
    """A region of interest ``[xtl, ytl, xbr, ybr]`` in whole pixels; right and bottom exclusive."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=IntegerField(min_value=0), min_length=4, max_length=4, **kwargs)


def without_nulls(value: Any) -> Any:
    """Return the object without null members, which mean "not given"."""
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if item is not None}
    return value


def has_unstorable_text(value: Any) -> bool:
    """Return whether a text in a JSON value has a NUL or an unpaired surrogate."""
    return any(isinstance(item, str) and not is_storable(item) for item in walk(value))


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "oneOf": [
                {"type": "integer", "minimum": 0},
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0},
                    "minItems": 2,
                    "maxItems": 2,
                },
            ]
        },
        "minItems": 1,
    }
)
class FrameRangesField(serializers.Field[Any, Any, Any, Any]):
    """Frames as numbers and inclusive ranges: ``[0, [10, 19]]``."""

    default_error_messages = {
        "invalid": "Frames are a list of frame numbers and of ranges [first, last]."
    }
    MAX_ITEMS = 100_000

    def to_internal_value(self, data: Any) -> tuple[tuple[int, int], ...]:
        if not isinstance(data, list) or not 0 < len(data) <= self.MAX_ITEMS:
            self.fail("invalid")
        return tuple(self._range(item) for item in data)

    def _range(self, item: Any) -> tuple[int, int]:
        ends = item if isinstance(item, list) else [item, item]
        if len(ends) != 2:
            self.fail("invalid")
        number = FrameField()
        first, last = (number.run_validation(end) for end in ends)
        if first > last:
            self.fail("invalid")
        return first, last


@extend_schema_field(
    {
        "type": "object",
        "properties": {
            "points": {
                "type": "array",
                "items": {"type": "number"},
                "minItems": 4,
                "maxItems": 4,
            }
        },
        "required": ["points"],
        "additionalProperties": True,
    }
)
class BoxField(serializers.Field[Any, Any, Any, Any]):
    """A rectangle for re-identification; the function gets all of it, ``points`` are checked."""

    default_error_messages = {
        "invalid": "A box is an object with the points [x1, y1, x2, y2] of a rectangle.",
        "not_finite": "A box holds finite numbers only.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("invalid")
        if any(isinstance(item, float) and not math.isfinite(item) for item in walk(data)):
            self.fail("not_finite")
        points = ListField(child=FloatField(), min_length=4, max_length=4)
        return {**data, "points": points.run_validation(data.get("points"))}
