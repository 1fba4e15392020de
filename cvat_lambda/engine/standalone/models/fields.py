"""Columns for short lists, stored as JSON text: every database returns it exactly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    AnyText = models.TextField[Any, Any]
else:
    AnyText = models.TextField


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


class PointsField(AnyText):
    """A tuple of numbers: ``[x0, y0, x1, y1, ...]`` or the runs of a mask."""

    def from_db_value(self, value: str | None, *_: object) -> tuple[float, ...]:
        return tuple(json.loads(value)) if value else ()

    def to_python(self, value: Any) -> Any:
        return tuple(json.loads(value)) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else _dumps(list(value or ()))

    def value_to_string(self, obj: models.Model) -> str:
        return _dumps(list(self.value_from_object(obj)))


class AttributesField(AnyText):
    """Attribute values: a tuple of ``(spec id, value)``."""

    def from_db_value(self, value: str | None, *_: object) -> tuple[tuple[int, str], ...]:
        return self.to_python(value or "[]")  # type: ignore[no-any-return]

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):
            return tuple((int(spec), str(text)) for spec, text in json.loads(value))
        return value

    def get_prep_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else _dumps([list(pair) for pair in value or ()])

    def value_to_string(self, obj: models.Model) -> str:
        return _dumps([list(pair) for pair in self.value_from_object(obj)])
