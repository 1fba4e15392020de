"""What bodies of calls and of requests share: label mappings, prompts, options of masks."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from cvat_lambda.annotations.labels import MAX_LABELS
from cvat_lambda.annotations.prompts import Exemplar
from cvat_lambda.api.serializers.body import BodySerializer
from cvat_lambda.rest import fields

MAX_TEXTS = 64  # of one request or call
MAX_TEXT_LENGTH = 200  # characters of a text
MAX_EXEMPLARS = 1000


class SublabelMappingEntrySerializer(BodySerializer):
    """The mapping of a sublabel of a function's skeleton."""

    name = fields.TextField(help_text="Sublabel of the task's skeleton")
    attributes = fields.DictField(
        max_members=MAX_LABELS,
        child=fields.TextField(),
        required=False,
        help_text="Function's attribute: task's attribute",
    )


class LabelMappingEntrySerializer(SublabelMappingEntrySerializer):
    """The mapping of a function's label."""

    name = fields.TextField(help_text="Label of the task")
    sublabels = fields.DictField(
        max_members=MAX_LABELS,
        child=SublabelMappingEntrySerializer(),
        required=False,
        help_text="Of skeletons. Function's sublabel: task's sublabel",
    )


class ExemplarSerializer(BodySerializer):
    """An example of what is to be found."""

    frame = fields.FrameField(help_text="Frame of the task; of a call, its own frame")
    box = fields.ListField(
        child=fields.FloatField(),
        min_length=4,
        max_length=4,
        help_text="[left, top, right, bottom] in pixels of the frame",
    )
    label = fields.TextField(  # type: ignore[assignment]  # a field of this name is meant
        max_length=MAX_TEXT_LENGTH,
        help_text="Name of what is found: a label of the task, or a text",
    )
    negative = fields.BooleanField(required=False, help_text="An example of what is not meant")

    def to_internal_value(self, data: Any) -> Exemplar:
        value = super().to_internal_value(data)
        left, top, right, bottom = value["box"]
        if left >= right or top >= bottom:
            raise serializers.ValidationError({"box": ["The box is empty."]})
        return Exemplar(**{**value, "box": (left, top, right, bottom)})


class PromptsSerializer(BodySerializer):
    """What a detector is asked to find."""

    text = fields.ListField(
        child=fields.TextField(max_length=MAX_TEXT_LENGTH),
        required=False,
        min_length=1,
        max_length=MAX_TEXTS,
        help_text="Detector whose prompts have text: descriptions of what is to be found. Each is"
        " mapped like a label of the function",
    )
    exemplars = fields.ListField(
        child=ExemplarSerializer(),
        required=False,
        min_length=1,
        max_length=MAX_EXEMPLARS,
        help_text="Detector whose prompts have exemplar: boxes around examples of what is to be"
        " found on the same frame",
    )
    labels = fields.ListField(
        child=fields.TextField(),
        required=False,
        min_length=1,
        max_length=MAX_LABELS,
        help_text="Detector: use only these labels of the function",
    )


class MaskOptionSerializer(PromptsSerializer):
    """The option to turn masks into polygons, under its present and its former name."""

    conv_mask_to_poly = fields.BooleanField(
        required=False, help_text="Turn the masks of the function into polygons"
    )
    convMaskToPoly = fields.BooleanField(  # noqa: N815 (the wire's name)
        required=False, help_text="Former name of conv_mask_to_poly"
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        former = attrs.pop("convMaskToPoly", None)
        if former is not None:
            attrs.setdefault("conv_mask_to_poly", former)
        return attrs
