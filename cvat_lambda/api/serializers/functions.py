"""The query string of the list of functions."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from cvat_lambda.rest import fields
from cvat_lambda.rest.pagination import LongPages


class FunctionsQuerySerializer(serializers.Serializer[Any]):
    """A page of the list, and the members of its functions."""

    page = serializers.IntegerField(
        min_value=1,
        max_value=fields.INT_MAX,
        required=False,
        help_text="Answer one page instead of the whole array",
    )
    page_size = serializers.IntegerField(
        min_value=1,
        max_value=LongPages.max_page_size,
        required=False,
        help_text=f"Functions on a page, {LongPages.page_size} without it",
    )

    def get_fields(self) -> dict[str, Any]:
        """Add ``fields``, which as an attribute would hide the serializer's own."""
        choice = fields.ChoiceField(
            choices=["compact"],
            required=False,
            help_text="Only id, name, kind and state of each function",
        )
        return {**super().get_fields(), "fields": choice}
