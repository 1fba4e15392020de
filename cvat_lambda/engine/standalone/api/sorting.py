"""``?sort=`` of lists, and a refusal of what CVAT's lists can be narrowed by and these cannot.

A filter that is not looked at would show everything, to a client that deletes what it is shown.
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
    """Orders by ``sort=name,-id``; a view's ``sort_fields`` are CVAT's names and ours."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: Any
    ) -> QuerySet[Any]:
        """Raise ValidationError on a name that is none, or on a filter that is not offered."""
        if view.action != "list":
            return queryset
        given = [name for name in REFUSED if request.query_params.get(name)]
        if given:
            sentence = "This server does not offer it. Leave it out."
            raise ValidationError({name: [sentence] for name in given})
        order = _order(request.query_params.get("sort", ""), view.sort_fields)
        # Among equals by id, or pages would share some of them and lack others.
        return queryset.order_by(*order, "-pk") if order else queryset

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """What drf-spectacular shows of it."""
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
