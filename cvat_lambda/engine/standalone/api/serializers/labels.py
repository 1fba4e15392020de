"""Labels as CVAT's clients read and write them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.api.fields import Constant


class AttributeRead(serializers.Serializer[Any]):
    """An attribute of a label."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    mutable = serializers.BooleanField()
    input_type = serializers.CharField()
    default_value = serializers.CharField()
    values = serializers.ListField(child=serializers.CharField())


class SublabelRead(serializers.Serializer[Any]):
    """A sublabel of a skeleton."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    color = serializers.CharField()
    type = serializers.CharField()
    attributes = AttributeRead(many=True)
    has_parent = Constant(True)


class LabelRead(serializers.Serializer[Any]):
    """A label with its attributes and sublabels.

    The fields describe the answer. Code of its own writes it, because the fields of REST framework
    take several times as long, and agents read all labels of a task for every frame.
    """

    id = serializers.IntegerField()
    name = serializers.CharField()
    color = serializers.CharField()
    type = serializers.CharField()
    svg = serializers.CharField()
    attributes = AttributeRead(many=True)
    sublabels = SublabelRead(many=True)
    task_id = serializers.IntegerField(allow_null=True)
    project_id = serializers.IntegerField(allow_null=True)
    parent_id = serializers.IntegerField(allow_null=True)
    has_parent = serializers.BooleanField()

    def to_representation(self, label: models.Label) -> dict[str, Any]:
        """Return a label as JSON."""
        sublabels = label.sublabels.all() if label.type == "skeleton" else ()
        return {
            **_common(label),
            "svg": label.svg,
            "sublabels": [{**_common(sublabel), "has_parent": True} for sublabel in sublabels],
            "task_id": label.task_id,
            "project_id": label.project_id,
            "parent_id": label.parent_id,
            "has_parent": label.parent_id is not None,
        }


def _common(label: models.Label) -> dict[str, Any]:
    """Return what labels and sublabels have."""
    return {
        "id": label.pk,
        "name": label.name,
        "color": label.color,
        "type": label.type,
        "attributes": [_attribute(each) for each in label.attributes.all()],
    }


def _attribute(attribute: models.AttributeSpec) -> dict[str, Any]:
    return {
        "id": attribute.pk,
        "name": attribute.name,
        "mutable": attribute.mutable,
        "input_type": attribute.input_type,
        "default_value": attribute.default,
        "values": attribute.values.split("\n") if attribute.values else [],
    }


class LabelChange(serializers.Serializer[Any]):
    """A change of a label; attributes without id are added, those with one are changed."""

    name = serializers.CharField(max_length=64, required=False)
    color = serializers.RegexField(r"^#[0-9a-fA-F]{6}$", required=False)
    type = serializers.CharField(max_length=32, required=False)
    attributes = serializers.ListField(child=serializers.DictField(), required=False)
