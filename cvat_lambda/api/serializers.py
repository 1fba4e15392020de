"""Strict parsing of request bodies and query strings.

Members that are null count as not given. Unknown members of a call are ignored; those of a request
are refused, since a misspelt one would run something else than was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, get_args

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers

from cvat_lambda.annotations.labels import MAX_LABELS
from cvat_lambda.annotations.prompts import Exemplar
from cvat_lambda.annotations.types import ShapeType, Source
from cvat_lambda.images.region import Region
from cvat_lambda.interactive.params import CallParams, TrackerShape
from cvat_lambda.requests.store.models import FrameStatus, Status
from cvat_lambda.requests.store.params import ON_REDEPLOY, OUTPUTS, REPLACE
from cvat_lambda.requests.store.tracking import (
    DIRECTIONS,
    MASK_OUTPUTS,
    Link,
    StartDetector,
    StartFilter,
    StartShape,
)
from cvat_lambda.rest import fields

MAX_OBJECTS = 10_000  # of one call: tracked shapes, states, boxes
MAX_STEPS = 1000  # frames of one streamed call
MAX_IDS = 10_000  # tasks or jobs of one request
MAX_POINTS = 100_000  # numbers of one shape
MAX_TEXTS = 64  # of one request or call
MAX_TEXT_LENGTH = 200  # characters of a text
MAX_EXEMPLARS = 1000


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


class FunctionCallRequestSerializer(MaskOptionSerializer):
    """A request: a function to run over many frames in the background."""

    # CVAT's page sends ``type``; CVAT's own app once took ``quality``.
    IGNORED_MEMBERS: ClassVar[frozenset[str]] = frozenset({"type", "quality"})

    function = fields.TextField(max_length=128, help_text="Id of the function")
    task = fields.IdField(required=False)
    job = fields.IdField(
        required=False, help_text="Only this job; if a task is given, the job must belong to it"
    )
    jobs = fields.ListField(
        child=fields.IdField(), required=False, min_length=1, max_length=MAX_IDS
    )
    tasks = fields.ListField(
        child=fields.IdField(), required=False, min_length=1, max_length=MAX_IDS
    )
    project = fields.IdField(required=False, help_text="All tasks of this project")
    frames = fields.FrameRangesField(
        required=False, help_text="Frames of the task: numbers and ranges [first, last]"
    )
    only_unannotated = fields.BooleanField(
        required=False, help_text="Only frames that have no annotation"
    )
    cleanup = fields.BooleanField(
        required=False,
        help_text="Replace all annotations of a frame with the function's; false has no effect",
    )
    replace = fields.ChoiceField(
        choices=REPLACE,
        required=False,
        help_text="Which annotations of a frame the function's results replace. Default, without"
        " cleanup: the server's CVAT_LAMBDA_DEFAULT_REPLACE, function or none",
    )
    replace_labels = fields.ListField(
        child=fields.TextField(),
        required=False,
        min_length=1,
        max_length=MAX_LABELS,
        help_text="With replace or cleanup: replace only annotations with these labels of the task",
    )
    threshold = fields.FractionField(required=False)
    max_distance = fields.IntegerField(
        min_value=0,
        required=False,
        help_text="ReID: how far an object may move between two frames, in pixels",
    )
    mapping = fields.DictField(
        max_members=MAX_LABELS,
        child=LabelMappingEntrySerializer(),
        required=False,
        help_text="Function's label: task's label; without it, labels of the same name are joined",
    )
    output = fields.ChoiceField(
        choices=OUTPUTS,
        required=False,
        help_text="Detector: shapes on each frame, or tracks of shapes that are associated",
    )
    shapes = serializers.ListField(
        child=StartShapeSerializer(),
        required=False,
        min_length=1,
        max_length=MAX_OBJECTS,
        help_text="Tracker: the objects to track, each on its first frame",
    )
    start = StartField(
        required=False,
        help_text='Tracker: "annotations" for all shapes and tracks of the first frame, an object'
        " that selects them {frame, label_ids, sources, ids}, or a detector that finds the objects"
        " {detector, mapping, threshold, every}",
    )
    direction = fields.ChoiceField(
        choices=DIRECTIONS, required=False, help_text="Tracker: default forward"
    )
    stop_when_lost = fields.BooleanField(
        required=False, help_text="Tracker: end a track where its object is lost"
    )
    tolerance_px = fields.FloatField(
        required=False,
        min_value=0,
        max_value=100,
        help_text="Tracker: how far interpolation between keyframes may be from the function's"
        " shapes, in pixels; default 1",
    )
    mask_output = fields.ChoiceField(
        choices=MASK_OUTPUTS,
        required=False,
        help_text="Tracker: polygons (default): masks become a track of polygons; masks: a mask on"
        " each frame, those of an object in a group",
    )
    link = LinkSerializer(
        required=False, help_text="ReID joins tracks over gaps: {reid, threshold, max_gap}"
    )
    roi = fields.RoiField(
        required=False,
        help_text="Detector: [xtl, ytl, xbr, ybr] in pixels, only this part of each frame is sent",
    )
    max_failure_rate = fields.FractionField(
        required=False, help_text="The request fails if more than this share of its frames fail"
    )
    priority = fields.IntegerField(
        min_value=-100,
        max_value=100,
        required=False,
        help_text="Above 0: the request is put before the others in the queue",
    )
    shard_frames = fields.IntegerField(
        min_value=0,
        required=False,
        help_text="Divide the request into shards of about this many frames; 0: one shard",
    )
    on_redeploy = fields.ChoiceField(
        choices=ON_REDEPLOY,
        required=False,
        help_text="Whether the request continues (the default) or fails if the function is deployed"
        " again while it runs",
    )
    dry_run = fields.BooleanField(
        required=False,
        help_text="Store nothing; count the frames that would run and what would be replaced",
    )

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            unknown = [
                name for name in data if name not in self.fields.keys() | self.IGNORED_MEMBERS
            ]
            if unknown:
                raise serializers.ValidationError(
                    {str(name)[:100]: [self._unknown(str(name)[:100])] for name in unknown[:10]}
                )
        return super().to_internal_value(data)

    def _unknown(self, name: str) -> str:
        near = get_close_matches(name.lower(), self.fields.keys(), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        return f"A request has no such member.{hint}"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        named: list[str] = [name for name in ("jobs", "tasks", "project") if name in attrs]
        if "task" in attrs or "job" in attrs:
            named.append("task" if "task" in attrs else "job")
        if not named:
            raise serializers.ValidationError(
                {"task": ["Name what to annotate: task, job, jobs, tasks or project."]}
            )
        if len(named) > 1 and set(named) != {"jobs", "task"}:
            raise serializers.ValidationError(
                {named[0]: [f"Cannot be given together with {named[1]}."]}
            )
        if attrs.get("cleanup") and attrs.get("replace", "all") != "all":
            raise serializers.ValidationError(
                {"replace": ["cleanup replaces all annotations: give only one of the two."]}
            )
        return attrs


class TrackerShapeSerializer(BodySerializer):
    """A shape that a track starts with."""

    type = fields.ChoiceField(choices=get_args(ShapeType))
    points = fields.ListField(child=fields.FloatField(), min_length=2, max_length=MAX_POINTS)

    def to_internal_value(self, data: Any) -> TrackerShape:
        value = super().to_internal_value(data)
        return TrackerShape(type=value["type"], points=tuple(value["points"]))


class OnlineFunctionCallRequestSerializer(MaskOptionSerializer):
    """A call: one answer for a person who waits. Which members are needed depends on the kind."""

    job = fields.IdField(required=False)
    task = fields.IdField(
        required=False, help_text="Required without job; with job, the job's task"
    )
    frame = fields.FrameField(required=False, help_text="Detector, interactor, tracker")
    threshold = fields.FractionField(required=False)
    roi = fields.RoiField(
        required=False,
        help_text="Detector, interactor: [xtl, ytl, xbr, ybr] in pixels, only this part is sent",
    )
    mapping = fields.DictField(
        max_members=MAX_LABELS,
        child=LabelMappingEntrySerializer(),
        required=False,
        help_text="Detector",
    )
    pos_points = fields.PointsField(required=False, help_text="Interactor: points inside")
    neg_points = fields.PointsField(required=False, help_text="Interactor: points outside")
    obj_bbox = fields.PointsField(
        required=False, max_length=2, help_text="Interactor: two corners, or [] for no box"
    )
    want = fields.ChoiceField(
        choices=("mask", "blob"),
        required=False,
        help_text="Interactor: only the mask, or only the embedding that a browser decodes",
    )
    shapes = fields.ListField(
        child=TrackerShapeSerializer(allow_null=True),
        required=False,
        max_length=MAX_OBJECTS,
        help_text="Tracker: shapes that tracks start with",
    )
    states = fields.ListField(
        child=fields.TextField(allow_null=True, allow_blank=True),
        required=False,
        max_length=MAX_OBJECTS,
        help_text="Tracker: states that the previous step returned",
    )
    frames = fields.IntegerField(
        min_value=1,
        max_value=MAX_STEPS,
        required=False,
        help_text="Tracker: stream the shapes of this number of frames, from `frame` on",
    )
    frame0 = fields.FrameField(required=False, help_text="Reid")
    frame1 = fields.FrameField(required=False, help_text="Reid")
    boxes0 = fields.ListField(
        child=fields.BoxField(), required=False, max_length=MAX_OBJECTS, help_text="Reid"
    )
    boxes1 = fields.ListField(
        child=fields.BoxField(), required=False, max_length=MAX_OBJECTS, help_text="Reid"
    )
    max_distance = fields.IntegerField(min_value=0, required=False, help_text="Reid, in pixels")

    def validate_obj_bbox(self, value: list[list[float]]) -> list[list[float]]:
        if len(value) == 1:
            raise serializers.ValidationError("A box is two corners [[x1, y1], [x2, y2]], or [].")
        return value

    def params(self, body: Any, *, from_browser: bool = False) -> CallParams:
        """Return the typed parameters. Raise ValidationError; InvalidRequest for an empty roi."""
        data: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.parse(body).items()
        }
        task_id, job_id, roi, steps = (
            data.pop(name, None) for name in ("task", "job", "roi", "frames")
        )
        return CallParams(
            task_id=task_id,
            job_id=job_id,
            roi=None if roi is None else Region.parse(roi),
            from_browser=from_browser,
            steps=steps,
            **data,
        )


class RequestsQuerySerializer(serializers.Serializer[Any]):
    """Filters of the list of requests."""

    task = serializers.IntegerField(
        min_value=1, max_value=fields.INT_MAX, required=False, help_text="Only on this task"
    )
    function = serializers.CharField(required=False, help_text="Only of this function")
    status = fields.ChoiceField(choices=Status.values, required=False)


class OutcomesQuerySerializer(serializers.Serializer[Any]):
    """Filters of the list of outcomes."""

    status = fields.ChoiceField(choices=FrameStatus.values, required=False)
    page = serializers.IntegerField(min_value=1, required=False)
    page_size = serializers.IntegerField(min_value=1, required=False)


class UndoQuerySerializer(serializers.Serializer[Any]):
    """Options of a cancellation."""

    undo = serializers.BooleanField(required=False)
