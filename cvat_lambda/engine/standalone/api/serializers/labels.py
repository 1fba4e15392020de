"""Labels as CVAT's clients read and write them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.api.fields import Constant


class AttributeRead(serializers.Serializer[Any]):
    """An attribute of a label."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    mutable = serializers.BooleanField()
    input_type = serializers.CharField()
    default_value = serializers.CharField(source="default")
    values = serializers.SerializerMethodField()

    def get_values(self, attribute: models.AttributeSpec) -> list[str]:
        return attribute.values.split("\n") if attribute.values else []


class SublabelRead(serializers.Serializer[Any]):
    """A sublabel of a skeleton."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    color = serializers.CharField()
    type = serializers.CharField()
    attributes = AttributeRead(many=True)
    has_parent = Constant(True)


class LabelRead(serializers.Serializer[Any]):
    """A label with its attributes and sublabels."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    color = serializers.CharField()
    type = serializers.CharField()
    svg = serializers.CharField()
    attributes = AttributeRead(many=True)
    sublabels = serializers.SerializerMethodField()
    task_id = serializers.IntegerField(allow_null=True)
    project_id = serializers.IntegerField(allow_null=True)
    parent_id = serializers.IntegerField(allow_null=True)
    has_parent = serializers.SerializerMethodField()

    @extend_schema_field(SublabelRead(many=True))
    def get_sublabels(self, label: models.Label) -> Any:
        if label.type != "skeleton":
            return []
        return SublabelRead(label.sublabels.all(), many=True).data

    def get_has_parent(self, label: models.Label) -> bool:
        return label.parent_id is not None


class LabelChange(serializers.Serializer[Any]):
    """A change of a label; attributes without id are added, those with one are changed."""

    name = serializers.CharField(max_length=64, required=False)
    color = serializers.RegexField(r"^#[0-9a-fA-F]{6}$", required=False)
    type = serializers.CharField(max_length=32, required=False)
    attributes = serializers.ListField(child=serializers.DictField(), required=False)
