"""Responses of the lambda API in the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final, get_args

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema_serializer
from rest_framework import serializers

from cvat_lambda.annotations.types import InputType, LabelType, ShapeType
from cvat_lambda.api.serializers.common import ExemplarSerializer
from cvat_lambda.functions.metadata import PROMPTS
from cvat_lambda.functions.spec import Kind, State
from cvat_lambda.requests.store.models import FrameStatus, Status
from cvat_lambda.rest import fields

# The components have names that CVAT's own serializers do not use, where the content differs.


class LambdaErrorSerializer(serializers.Serializer[Any]):
    """An error: a code for programs and a sentence for people.

    Errors of fields come as a list of sentences under the field's name, those of authentication
    and of unknown paths as ``detail``.
    """

    code = serializers.CharField(required=False)
    message = serializers.CharField(required=False)
    detail = serializers.CharField(required=False)


class FunctionAttributeSerializer(serializers.Serializer[Any]):
    """An attribute that a function returns."""

    name = serializers.CharField()
    input_type = fields.ChoiceField(choices=get_args(InputType))
    values = serializers.ListField(child=serializers.CharField(allow_blank=True))


class FunctionSublabelSerializer(serializers.Serializer[Any]):
    """A point of a skeleton that a function returns."""

    name = serializers.CharField()
    type = fields.ChoiceField(choices=get_args(LabelType))
    attributes = FunctionAttributeSerializer(many=True)


class FunctionLabelSerializer(FunctionSublabelSerializer):
    """A label that a function returns."""

    sublabels = FunctionSublabelSerializer(many=True, required=False)
    svg = serializers.CharField(required=False, allow_blank=True)


class FunctionSerializer(serializers.Serializer[Any]):
    """A function; members after ``state`` depend on its kind."""

    id = serializers.CharField()
    kind = fields.ChoiceField(choices=[kind.value for kind in Kind])
    labels_v2 = FunctionLabelSerializer(many=True)
    description = serializers.CharField(allow_blank=True)
    name = serializers.CharField()
    version = serializers.IntegerField()
    state = fields.ChoiceField(choices=get_args(State))
    deprecated_state = fields.ChoiceField(choices=["away", "asleep"], required=False)
    prompts = serializers.ListField(
        child=fields.ChoiceField(choices=PROMPTS),
        required=False,
        help_text="What a detector takes in a call: text, exemplar",
    )
    min_pos_points = serializers.IntegerField(required=False)
    min_neg_points = serializers.IntegerField(required=False)
    startswith_box = serializers.BooleanField(required=False)
    startswith_box_optional = serializers.BooleanField(required=False)
    help_message = serializers.CharField(required=False, allow_blank=True)
    animated_gif = serializers.CharField(required=False, allow_blank=True)
    supported_shape_types = serializers.ListField(
        child=fields.ChoiceField(choices=get_args(ShapeType)), required=False
    )


_COMPACT_FUNCTION = {
    "type": "object",
    "description": "A function in a list with `fields=compact`",
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "kind": {"type": "string", "enum": [kind.value for kind in Kind]},
        "state": {"type": "string", "enum": list(get_args(State))},
    },
    "required": ["id", "name", "kind", "state"],
}
_FUNCTIONS = {
    "type": "array",
    "items": {"anyOf": [{"$ref": "#/components/schemas/Function"}, _COMPACT_FUNCTION]},
}
_URL = {"type": "string", "format": "uri", "nullable": True}
_FUNCTION_LIST: Final[dict[str, Any]] = {
    "anyOf": [
        _FUNCTIONS,
        {
            "type": "object",
            "description": "With `page` or `page_size`",
            "properties": {
                "count": {"type": "integer"},
                "next": _URL,
                "previous": _URL,
                "results": _FUNCTIONS,
            },
            "required": ["count", "next", "previous", "results"],
        },
    ],
}


@extend_schema_serializer(many=False)  # or it would be described as the item of a list
class FunctionListSerializer(serializers.Serializer[Any]):
    """All functions, or with ``page`` or ``page_size`` a page of them."""


class _FunctionListExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """An empty array has both forms, which ``oneOf`` of drf-spectacular's own would refuse."""

    target_class = FunctionListSerializer

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return _FUNCTION_LIST


class FunctionCallParamsSerializer(serializers.Serializer[Any]):
    """Function and scope of a request. ``task`` is null for several tasks."""

    id = serializers.CharField(allow_null=True)
    task = serializers.IntegerField(allow_null=True)
    threshold = serializers.FloatField(allow_null=True)
    job = serializers.IntegerField(required=False)
    text = serializers.ListField(child=serializers.CharField(), required=False)
    exemplars = ExemplarSerializer(many=True, required=False)
    labels = serializers.ListField(child=serializers.CharField(), required=False)
    replace_labels = serializers.ListField(child=serializers.CharField(), required=False)


class NoteSerializer(serializers.Serializer[Any]):
    """What was left out or changed, by kind."""

    kind = serializers.CharField()
    count = serializers.IntegerField(help_text="Items of this kind")
    reason = serializers.CharField(help_text="A sentence about the first one")


class RevisionSerializer(serializers.Serializer[Any]):
    """A version of a function."""

    version = serializers.IntegerField()
    revision = serializers.CharField(allow_blank=True, help_text="Hash of its content")


class FrameErrorSerializer(serializers.Serializer[Any]):
    """Why one frame failed."""

    task = serializers.IntegerField()
    frame = serializers.IntegerField()
    code = serializers.CharField(allow_blank=True)
    message = serializers.CharField(allow_blank=True)


class FunctionCallSerializer(serializers.Serializer[Any]):
    """A request, its progress and its failures."""

    id = serializers.CharField(help_text="Request id")
    function = FunctionCallParamsSerializer()
    status = fields.ChoiceField(choices=Status.values)
    progress = serializers.IntegerField(
        allow_null=True, min_value=0, max_value=100, help_text="Percent of this request's frames"
    )
    enqueued = serializers.DateTimeField(allow_null=True)
    started = serializers.DateTimeField(allow_null=True)
    ended = serializers.DateTimeField(allow_null=True)
    exc_info = serializers.CharField(
        allow_null=True, help_text="The cause of the failure as a sentence; null if it did not fail"
    )
    owner = serializers.IntegerField(allow_null=True, help_text="User id")
    version = serializers.IntegerField(help_text="Of the function, in the latest run")
    revision = serializers.CharField(allow_blank=True, help_text="Of that version; may be empty")
    summary = serializers.CharField(help_text="The progress as a sentence for people")
    total = serializers.IntegerField(help_text="Frames")
    done = serializers.IntegerField(help_text="Frames")
    failed = serializers.IntegerField(help_text="Frames")
    skipped = serializers.IntegerField(help_text="Frames")
    shapes = serializers.IntegerField(help_text="Shapes, tags and tracks added")
    dropped = serializers.IntegerField(help_text="Items of answers that gave no annotation")
    notes = NoteSerializer(many=True)
    revisions = RevisionSerializer(many=True, help_text="Versions that ran, in order of first use")
    rate = serializers.FloatField(allow_null=True, help_text="Recent rate in frames a second")
    eta_s = serializers.FloatField(allow_null=True, help_text="Estimated seconds until the end")
    undoing = serializers.DateTimeField(
        allow_null=True, help_text="Latest step of an undo that is not finished"
    )
    undone = serializers.DateTimeField(
        allow_null=True, help_text="Time at which everything that it added was removed"
    )
    errors = FrameErrorSerializer(  # type: ignore[assignment]  # a field, taken off the class
        many=True, help_text="The first failed frames"
    )


class PreviewSerializer(serializers.Serializer[Any]):
    """The answer to a request with ``dry_run``: what it would run and replace."""

    dry_run = serializers.BooleanField()
    tasks = serializers.IntegerField()
    shards = serializers.IntegerField()
    total = serializers.IntegerField(help_text="Frames in scope")
    skipped = serializers.DictField(
        child=serializers.IntegerField(), help_text="Frames that would not run, by reason"
    )
    replaced_shapes = serializers.IntegerField()
    replaced_tags = serializers.IntegerField()
    replaced_tracks = serializers.IntegerField(help_text="If no frame fails")
    tracked = serializers.IntegerField(
        allow_null=True, help_text="Objects of a tracker; null if a detector finds them"
    )


class FrameOutcomeSerializer(FrameErrorSerializer):
    """The outcome of one frame; ``code`` and ``message`` give the reason of a failure or skip."""

    status = fields.ChoiceField(choices=FrameStatus.values)
    attempts = serializers.IntegerField(help_text="Invocations of the function")
    duration_ms = serializers.IntegerField(allow_null=True)
    shapes = serializers.IntegerField(help_text="Shapes, tags and tracks added")
    notes = NoteSerializer(many=True)
    version = serializers.IntegerField(
        allow_null=True, help_text="Of the function that this frame was run with"
    )
    revision = serializers.CharField(allow_null=True, allow_blank=True)


class FrameOutcomePageSerializer(serializers.Serializer[Any]):
    """A page of outcomes."""

    count = serializers.IntegerField()
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = FrameOutcomeSerializer(many=True)


_POINTS = {"type": "array", "items": {"type": "number"}}
_ATTRIBUTES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"spec_id": {"type": "integer"}, "value": {"type": "string"}},
        "required": ["spec_id", "value"],
    },
}
_TAG = {
    "type": "object",
    "properties": {
        "frame": {"type": "integer", "minimum": 0},
        "label_id": {"type": "integer"},
        "attributes": _ATTRIBUTES,
    },
    "required": ["frame", "label_id", "attributes"],
}
_SHAPE = {
    "type": "object",
    "properties": {
        **_TAG["properties"],  # type: ignore[dict-item]
        "type": {"type": "string", "enum": list(get_args(ShapeType))},
        "points": {**_POINTS, "description": "Of a mask: run lengths and its box"},
        "rotation": {"type": "number"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "elements": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["type", "points", "rotation", *_TAG["required"]],
}
_DETECTIONS = {
    "type": "object",
    "description": "Detector: annotations of the frame, as of /api/tasks/ID/annotations",
    "properties": {
        "version": {"type": "integer"},
        "tags": {"type": "array", "items": _TAG},
        "shapes": {"type": "array", "items": _SHAPE},
        "tracks": {"type": "array", "items": {"type": "object"}},
        "notes": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Results that were clipped to the image or left out, if there are any",
        },
    },
    "required": ["version", "tags", "shapes", "tracks"],
}
_INTERACTION = {
    "type": "object",
    "description": "Interactor: a mask of the bounds (or of the whole image) and its polygon",
    "properties": {
        "mask": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            "minItems": 1,
        },
        "points": {"type": "array", "items": {**_POINTS, "minItems": 2, "maxItems": 2}},
        "bounds": {
            "type": "array",
            "items": {"type": "integer", "minimum": 0},
            "minItems": 4,
            "maxItems": 4,
            "description": "[left, top, right, bottom], inclusive",
        },
        "blob": {"type": "string", "description": "base64 float32[1,256,64,64]"},
        "prepared": {
            "type": "boolean",
            "description": 'Of want "embedding": whether the embedding is kept for later clicks',
        },
    },
    "anyOf": [{"required": ["mask"]}, {"required": ["blob"]}, {"required": ["prepared"]}],
}
_STEP: dict[str, Any] = {
    "type": "object",
    "description": "Tracker: a shape and a state for each object, null if it was lost",
    "properties": {
        "shapes": {
            "type": "array",
            "items": {
                "type": "object",
                "nullable": True,
                "properties": {
                    "type": {"type": "string", "enum": list(get_args(ShapeType))},
                    "points": _POINTS,
                },
                "required": ["type", "points"],
            },
        },
        "states": {"type": "array", "items": {"type": "string", "nullable": True}},
    },
    "required": ["shapes", "states"],
}
_MATCHES = {
    "type": "array",
    "items": {"type": "integer", "minimum": -1},
    "description": "ReID: for each of boxes0 the index of the same object in boxes1, or -1",
}


STREAMED_FRAME: dict[str, Any] = {
    "type": "object",
    "description": "Tracker with `frames`: one object a frame. The last one has `states`. `error`"
    " instead of `shapes` ends the stream",
    "properties": {
        "frame": {"type": "integer"},
        "shapes": _STEP["properties"]["shapes"],
        "states": _STEP["properties"]["states"],
        "error": {"type": "object"},
    },
    "required": ["frame"],
}
CALL_ANSWER: dict[str, Any] = {"anyOf": [_DETECTIONS, _INTERACTION, _STEP, _MATCHES]}

_MEANINGS = {
    400: "The call is wrong, names an unknown task or job, or the function rejected it",
    401: "Not logged in",
    403: "The user may not do this, or may not view the task, job or project of the body",
    404: "Unknown, or not visible for this user",
    409: "The present state does not allow this, or other work conflicts with it",
    413: "The image is larger than the function takes",
    415: "The body is not JSON",
    422: "The frame cannot be read as an image",
    429: "The user has too many calls in progress; Retry-After tells when to try again",
    500: "An unexpected error; the answer holds a reference for the server's log",
    502: "The function failed, or its answer or metadata are wrong",
    503: "The function or its platform cannot be reached now",
    504: "The function did not answer in time",
}

FUNCTION_ID_PATTERN = "^[a-zA-Z0-9_.-]+$"
FUNCTION_ID = OpenApiParameter(
    "func_id", str, OpenApiParameter.PATH, pattern=FUNCTION_ID_PATTERN, description="Function id"
)
REQUEST_ID = OpenApiParameter("id", str, OpenApiParameter.PATH, description="Request id")


def errors(*statuses: int) -> dict[int, OpenApiResponse]:
    """Return the error responses of an operation, for ``extend_schema(responses=...)``."""
    return {
        status: OpenApiResponse(LambdaErrorSerializer, description=_MEANINGS[status])
        for status in (*statuses, 401, 500)
    }
