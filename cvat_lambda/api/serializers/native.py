"""Bodies of the API of native functions and their agents, as cvat-cli 2.80 sends them.

Unknown members are ignored, because later versions of the client may send more.
"""

from __future__ import annotations

from typing import Any, Final, get_args

from rest_framework import serializers

from cvat_lambda.agents.description import KINDS, Description
from cvat_lambda.agents.models import AGENT_ID_LENGTH, Category
from cvat_lambda.annotations.labels import MAX_LABELS
from cvat_lambda.annotations.types import ShapeType
from cvat_lambda.api.schema import FunctionLabelSerializer
from cvat_lambda.api.serializers.body import BodySerializer
from cvat_lambda.functions.spec import Kind
from cvat_lambda.rest import fields

PROVIDER: Final = "native"
MAX_SENTENCE: Final = 2000  # characters of an agent's error message
_MAX_POINTS: Final = 1000  # that an interactor may require


class NativeFunctionRequestSerializer(BodySerializer):
    """A native function as its owner describes it; the members depend on its kind."""

    provider = fields.ChoiceField(choices=[PROVIDER])
    name = fields.TextField(min_length=1, max_length=256)
    visibility = fields.ChoiceField(choices=["private", "public"], required=False)
    kind = fields.ChoiceField(choices=[kind.value for kind in KINDS])
    labels_v2 = fields.ListField(
        child=serializers.JSONField(),
        max_length=MAX_LABELS,
        required=False,
        help_text="Of a detector: its labels, as FunctionLabel",
    )
    min_pos_points = fields.IntegerField(
        min_value=0, max_value=_MAX_POINTS, required=False, help_text="Required of an interactor"
    )
    min_neg_points = fields.IntegerField(
        min_value=-1,
        max_value=_MAX_POINTS,
        required=False,
        help_text="Of an interactor; -1: it takes no negative points",
    )
    startswith_box = fields.BooleanField(required=False)
    startswith_box_optional = fields.BooleanField(required=False)
    supported_shape_types = fields.ListField(
        child=fields.ChoiceField(choices=get_args(ShapeType)),
        min_length=1,
        max_length=len(get_args(ShapeType)),
        required=False,
        help_text="Required of a tracker",
    )

    def describe(self, body: Any) -> Description:
        """Return the description of a function. Raise ValidationError."""
        given = self.parse(body)
        kind = Kind(given["kind"])
        required = {
            Kind.DETECTOR: "labels_v2",
            Kind.INTERACTOR: "min_pos_points",
            Kind.TRACKER: "supported_shape_types",
        }[kind]
        if required not in given:
            raise serializers.ValidationError({required: [f"A {kind.value} needs this field."]})
        return Description(
            name=given["name"],
            kind=kind,
            private=given.get("visibility", "private") == "private",
            labels=given.get("labels_v2", ()),
            min_pos_points=given.get("min_pos_points", 1),
            min_neg_points=given.get("min_neg_points", -1),
            startswith_box=given.get("startswith_box", False),
            startswith_box_optional=given.get("startswith_box_optional", False),
            shape_types=given.get("supported_shape_types", ()),
        )


class NativeFunctionSerializer(serializers.Serializer[Any]):
    """A native function; the members after ``kind`` depend on it."""

    id = serializers.IntegerField()
    provider = fields.ChoiceField(choices=[PROVIDER])
    name = serializers.CharField()
    visibility = fields.ChoiceField(choices=["private", "public"])
    owner = serializers.IntegerField(allow_null=True)
    organization = serializers.IntegerField(allow_null=True)
    function_id = serializers.CharField(help_text="Its id in the lambda API")
    created_date = serializers.DateTimeField()
    kind = fields.ChoiceField(choices=[kind.value for kind in KINDS])
    labels_v2 = FunctionLabelSerializer(many=True, required=False)
    min_pos_points = serializers.IntegerField(required=False)
    min_neg_points = serializers.IntegerField(required=False)
    startswith_box = serializers.BooleanField(required=False)
    startswith_box_optional = serializers.BooleanField(required=False)
    supported_shape_types = serializers.ListField(child=serializers.CharField(), required=False)


class AgentSerializer(BodySerializer):
    """A message of an agent."""

    agent_id = serializers.RegexField(
        f"^[0-9a-f]{{{AGENT_ID_LENGTH}}}$", help_text="Random, of the agent's own choice"
    )


class AcquireSerializer(AgentSerializer):
    """An agent asks for work."""

    request_category = fields.ChoiceField(choices=Category.values)


class ProgressSerializer(AgentSerializer):
    """An agent still works on an entry."""

    progress = fields.FractionField()


class FailureSerializer(AgentSerializer):
    """An agent could not answer an entry."""

    exc_info = fields.TextField(allow_blank=True, help_text="A short sentence")


class AssignmentSerializer(serializers.Serializer[Any]):
    """An entry of the queue."""

    ar_id = serializers.CharField()
    ar_params = serializers.JSONField()


class AcquiredSerializer(serializers.Serializer[Any]):
    """The work of an agent; null if there is none."""

    ar_assignment = AssignmentSerializer(allow_null=True)
