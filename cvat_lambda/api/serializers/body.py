"""The base class of request bodies."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.fields import SkipField, empty

from cvat_lambda.rest import fields


class BodySerializer(serializers.Serializer[Any]):
    """A JSON object; nulls are dropped, text that cannot be stored is refused."""

    def to_internal_value(self, data: Any) -> Any:
        if fields.has_unstorable_text(data):
            raise serializers.ValidationError(
                {"non_field_errors": ["Null characters and lone surrogates are not allowed."]}
            )
        given = fields.without_nulls(data)
        if not isinstance(given, dict):
            return super().to_internal_value(given)
        return self._checked(given)

    def _checked(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the members as the fields return them. Raise ValidationError.

        REST framework would check all fields. A body has few of the optional ones, and a field
        that is absent takes as long as one that is given.
        """
        values: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        for name, field in self.fields.items():
            if name not in given and not field.required and field.default is empty:
                continue
            check = getattr(self, f"validate_{name}", None)
            try:
                value = field.run_validation(given.get(name, empty))
                values[name] = value if check is None else check(value)
            except serializers.ValidationError as exc:
                errors[name] = exc.detail
            except SkipField:
                continue
        if errors:
            raise serializers.ValidationError(errors)
        return values

    def parse(self, body: Any) -> dict[str, Any]:
        """Return the validated members of a body. Raise ValidationError.

        The serializer keeps no data of a body, so one instance serves all requests: creating its
        fields for each request would cost more than the checks.
        """
        if body is None:
            raise serializers.ValidationError({"non_field_errors": ["No data provided."]})
        return dict(self.run_validation(body))
