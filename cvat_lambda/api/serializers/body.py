"""The base class of request bodies."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from cvat_lambda.rest import fields


class BodySerializer(serializers.Serializer[Any]):
    """A JSON object; nulls are dropped, text that cannot be stored is refused."""

    def to_internal_value(self, data: Any) -> Any:
        if fields.has_unstorable_text(data):
            raise serializers.ValidationError(
                {"non_field_errors": ["Null characters and lone surrogates are not allowed."]}
            )
        return super().to_internal_value(fields.without_nulls(data))

    def parse(self, body: Any) -> dict[str, Any]:
        """Return the validated members of a body. Raise ValidationError.

        The serializer keeps no data of a body, so one instance serves all requests: creating its
        fields for each request would cost more than the checks.
        """
        if body is None:
            raise serializers.ValidationError({"non_field_errors": ["No data provided."]})
        return dict(self.run_validation(body))
