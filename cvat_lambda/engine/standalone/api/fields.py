"""Fields that several serializers share."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.urls import reverse
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cvat_lambda.annotations.labels import MAX_LABELS
from cvat_lambda.rest.fields import INT_MAX, ListField

MAX_FRAMES = 1_000_000  # frame numbers in one body
DEFAULT_QUALITY = 70  # JPEG quality of compressed frames
CHUNK_TYPE = "imageset"  # also of videos: chunks are zip archives of frames

_USER_SCHEMA = {
    "type": "object",
    "nullable": True,
    "properties": {
        "id": {"type": "integer"},
        "username": {"type": "string"},
        "first_name": {"type": "string"},
        "last_name": {"type": "string"},
    },
}


def username_lookup(relation: str) -> str:
    """Return the lookup of the user name of a related user, whose model may be a project's own."""
    return f"{relation}__{get_user_model().USERNAME_FIELD}"


def user_json(user: Any) -> dict[str, Any] | None:
    """Return a user as other users may see them."""
    if user is None:
        return None
    return {
        "id": user.pk,
        "username": user.get_username(),
        "first_name": getattr(user, "first_name", ""),
        "last_name": getattr(user, "last_name", ""),
    }


@extend_schema_field(_USER_SCHEMA)
class BasicUser(serializers.Field):  # type: ignore[type-arg]
    """A user in a response."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: Any) -> Any:
        return user_json(value)


@extend_schema_field({"type": "integer", "minimum": 0, "maximum": INT_MAX, "nullable": True})
class UserId(serializers.IntegerField):
    """The id of a user to assign; null for none."""

    default_error_messages = {"unknown": "User #{id} was not found."}

    def __init__(self, **kwargs: Any) -> None:
        # The limits of the field would be compared with the user instead of the id.
        super().__init__(allow_null=True, required=False, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        number = super().to_internal_value(data)
        is_id = 0 <= number <= INT_MAX
        users = get_user_model().objects.filter(pk=number if is_id else 0, is_active=True)
        user = users.first()
        if user is None:
            self.fail("unknown", id=number)
        return user

    def to_representation(self, value: Any) -> Any:
        return getattr(value, "pk", value)


class LabelSpecs(ListField):
    """Labels of a new task or project; `engine.standalone.labels` checks them."""

    child = serializers.DictField()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_LABELS, **kwargs)


class Constant(serializers.Field):  # type: ignore[type-arg]
    """A constant member that CVAT's clients require."""

    def __init__(self, value: str | bool | int | None, **kwargs: Any) -> None:
        super().__init__(read_only=True, source="*", **kwargs)
        self.value = value

    def to_representation(self, value: Any) -> Any:
        return self.value


class ConstantSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = Constant

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        value = self.target.value
        if value is None:
            return {"type": "object", "nullable": True}
        return {"type": {str: "string", bool: "boolean", int: "integer"}[type(value)]}


def link(serializer: serializers.BaseSerializer[Any], name: str, query: str) -> str:
    """Return the absolute URL of a list."""
    path = f"{reverse(name)}?{query}"
    request = serializer.context.get("request")
    return request.build_absolute_uri(path) if request is not None else path
