"""The body of ``POST /api/lambda/requests``, and the query strings of requests."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar

from rest_framework import serializers

from cvat_lambda.annotations.labels import MAX_LABELS
from cvat_lambda.api.serializers.common import LabelMappingEntrySerializer, MaskOptionSerializer
from cvat_lambda.api.serializers.tracking import (
    MAX_IDS,
    LinkSerializer,
    StartField,
    StartShapeSerializer,
)
from cvat_lambda.requests.store.models import FrameStatus, Status
from cvat_lambda.requests.store.params import ON_REDEPLOY, OUTPUTS, REPLACE
from cvat_lambda.requests.store.tracking import (
    DIRECTIONS,
    MASK_OUTPUTS,
)
from cvat_lambda.rest import fields

MAX_OBJECTS = 10_000  # of one call: tracked shapes, states, boxes


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
