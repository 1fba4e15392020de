"""The members of a request that track objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers

from cvat_lambda.annotations.labels import MAX_LABELS
from cvat_lambda.annotations.types import ShapeType, Source
from cvat_lambda.api.serializers.body import BodySerializer
from cvat_lambda.api.serializers.common import LabelMappingEntrySerializer
from cvat_lambda.requests.store.tracking import (
    Link,
    StartDetector,
    StartFilter,
    StartShape,
)
from cvat_lambda.rest import fields

MAX_IDS = 10_000  # tasks or jobs of one request
MAX_POINTS = 100_000  # numbers of one shape


class ShapeAttributeSerializer(BodySerializer):
    """The value of an attribute of the task's label."""

    spec_id = fields.IdField()
    value = fields.TextField(max_length=4096, allow_blank=True)


class StartShapeSerializer(BodySerializer):
    """An object to track, as it is on its first frame."""

    frame = fields.FrameField()
    label = fields.TextField(  # type: ignore[assignment]  # a field of this name is meant
        required=False, max_length=64, help_text="Name of the task's label"
    )
    label_id = fields.IdField(
        required=False, help_text="Id of the task's label, instead of its name"
    )
    type = fields.ChoiceField(choices=get_args(ShapeType))
    points = serializers.ListField(child=fields.FloatField(), min_length=2, max_length=MAX_POINTS)
    attributes = serializers.ListField(
        child=ShapeAttributeSerializer(), required=False, max_length=MAX_IDS
    )

    def to_internal_value(self, data: Any) -> StartShape:
        value = super().to_internal_value(data)
        if ("label" in value) == ("label_id" in value):
            raise serializers.ValidationError({"label": ["Give either label or label_id."]})
        return StartShape(
            frame=value["frame"],
            label_id=value.get("label_id"),
            label=value.get("label", ""),
            type=value["type"],
            points=tuple(value["points"]),
            attributes=tuple((a["spec_id"], a["value"]) for a in value.get("attributes", ())),
        )


class StartFilterSerializer(BodySerializer):
    """Which annotations of the start frame to track."""

    frame = fields.FrameField(required=False, help_text="Default: the first of the scope")
    label_ids = serializers.ListField(child=fields.IdField(), required=False, max_length=MAX_IDS)
    sources = serializers.ListField(
        child=fields.ChoiceField(choices=get_args(Source)), required=False
    )
    ids = serializers.ListField(
        child=fields.IdField(), required=False, max_length=MAX_IDS, help_text="Ids of shapes"
    )


class StartDetectorSerializer(BodySerializer):
    """A detector that finds the objects to track."""

    detector = fields.TextField(max_length=128, help_text="Id of the function")
    mapping = fields.DictField(
        max_members=MAX_LABELS, child=LabelMappingEntrySerializer(), required=False
    )
    threshold = fields.FractionField(required=False)
    every = fields.IntegerField(
        min_value=1, max_value=10_000, required=False, help_text="Frames; default 10"
    )


@extend_schema_field(
    PolymorphicProxySerializer(
        component_name="TrackerStart",
        serializers=[StartFilterSerializer, StartDetectorSerializer],
        resource_type_field_name=None,
    )
)
class StartField(serializers.Field[Any, Any, Any, Any]):
    """The word ``annotations``, a filter of annotations, or a detector."""

    def to_internal_value(self, data: Any) -> StartFilter | StartDetector:
        if data == "annotations":
            return StartFilter()
        if isinstance(data, Mapping) and "detector" in data:
            return StartDetector(**StartDetectorSerializer().parse(data))
        return StartFilter.from_json(StartFilterSerializer().parse(data))

    def to_representation(self, value: Any) -> Any:
        return value


class LinkSerializer(BodySerializer):
    """How ReID joins tracks over gaps."""

    reid = fields.TextField(max_length=128, help_text="Id of the function")
    threshold = fields.FractionField(required=False, help_text="Largest dissimilarity")
    max_gap = fields.IntegerField(
        min_value=1, max_value=100_000, required=False, help_text="Frames; default 60"
    )

    def to_internal_value(self, data: Any) -> Link:
        return Link(**super().to_internal_value(data))
