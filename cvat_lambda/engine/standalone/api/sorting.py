"""Sort lists by ``?sort=``. Refuse the filters of CVAT's lists that this server does not support.

If a filter were ignored, a client that deletes the listed objects would delete all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request

REFUSED: Final = ("filter", "status", "tracker_link", "validation_mode", "project_name")


class Sorting(BaseFilterBackend):
    """Orders by ``sort=name,-id``; a view's ``sort_fields`` map CVAT's names to columns."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: Any
    ) -> QuerySet[Any]:
        """Raise ValidationError for an unknown name or an unsupported filter."""
        if view.action != "list":
            return queryset
        given = [name for name in REFUSED if request.query_params.get(name)]
        if given:
            sentence = "This server does not support it. Remove it."
            raise ValidationError({name: [sentence] for name in given})
        order = _order(request.query_params.get("sort", ""), view.sort_fields)
        # Equal rows are ordered by id; otherwise pages could repeat or omit some.
        return queryset.order_by(*order, "-pk") if order else queryset

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Return the parameters for drf-spectacular."""
        names = ", ".join(view.sort_fields)
        return [
            {
                "name": "sort",
                "in": "query",
                "required": False,
                "description": f"{names}; several with commas, - for descending",
                "schema": {"type": "string"},
            }
        ]


def _order(text: str, fields: Mapping[str, str]) -> list[str]:
    order = []
    for word in filter(None, text.split(",")):
        field = fields.get(word.removeprefix("-"))
        if field is None:
            raise ValidationError({"sort": [f"Must be of {', '.join(fields)}."]})
        order.append(f"-{field}" if word.startswith("-") else field)
    return order
