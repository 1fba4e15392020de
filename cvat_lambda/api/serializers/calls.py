"""The body of ``POST /api/lambda/functions/ID``."""

from __future__ import annotations

from typing import Any, get_args

from rest_framework import serializers

from cvat_lambda.annotations.labels import MAX_LABELS
from cvat_lambda.annotations.types import ShapeType
from cvat_lambda.api.serializers.body import BodySerializer
from cvat_lambda.api.serializers.common import LabelMappingEntrySerializer, MaskOptionSerializer
from cvat_lambda.api.serializers.requests import MAX_OBJECTS
from cvat_lambda.api.serializers.tracking import MAX_POINTS
from cvat_lambda.images.region import Region
from cvat_lambda.interactive.params import CallParams, TrackerShape
from cvat_lambda.rest import fields

MAX_STEPS = 1000  # frames of one streamed call


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
        choices=("mask", "blob", "embedding"),
        required=False,
        help_text="Interactor: only the mask, or only the embedding that a browser decodes."
        ' "embedding" computes and keeps the embedding for later clicks',
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
