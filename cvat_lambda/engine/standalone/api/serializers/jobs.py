"""Jobs as CVAT's clients read and write them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.api.fields import (
    CHUNK_TYPE,
    MAX_FRAMES,
    BasicUser,
    Constant,
    UserId,
    link,
)
from cvat_lambda.rest.fields import INT_MAX, ListField


class JobRead(serializers.Serializer[Any]):
    """A job, with properties of its task."""

    id = serializers.IntegerField()
    task_id = serializers.IntegerField(source="segment.task_id")
    project_id = serializers.IntegerField(source="segment.task.project_id", allow_null=True)
    type = serializers.CharField()
    assignee = BasicUser()
    assignee_updated_date = serializers.DateTimeField(source="assignee_updated_at", allow_null=True)
    state = serializers.CharField()
    stage = serializers.CharField()
    status = serializers.CharField(source="stage")
    start_frame = serializers.IntegerField(source="segment.start_frame")
    stop_frame = serializers.IntegerField(source="segment.stop_frame")
    frame_count = serializers.SerializerMethodField()
    mode = serializers.SerializerMethodField()
    dimension = Constant("2d")
    bug_tracker = serializers.CharField(source="segment.task.bug_tracker")
    data_chunk_size = serializers.IntegerField(source="segment.task.data.chunk_size")
    data_original_chunk_type = Constant(CHUNK_TYPE)
    data_compressed_chunk_type = Constant(CHUNK_TYPE)
    created_date = serializers.DateTimeField(source="created_at")
    updated_date = serializers.DateTimeField(source="updated_at")
    parent_job_id = serializers.IntegerField(source="parent_id", allow_null=True)
    consensus_replicas = Constant(0)
    organization = Constant(None)
    guide_id = Constant(None)
    source_storage = Constant(None)
    target_storage = Constant(None)
    issues = serializers.SerializerMethodField()
    labels = serializers.SerializerMethodField()

    def get_frame_count(self, job: models.Job) -> int:
        return len(job.segment.frame_numbers)

    def get_mode(self, job: models.Job) -> str:
        is_video = job.segment.task.data.kind == models.DataKind.VIDEO
        return "interpolation" if is_video else "annotation"

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_issues(self, job: models.Job) -> dict[str, Any]:
        return {"count": 0}

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_labels(self, job: models.Job) -> dict[str, Any]:
        return {"url": link(self, "labels-list", f"job_id={job.pk}")}


class JobChange(serializers.Serializer[Any]):
    """A change of a job."""

    assignee = UserId()
    state = serializers.ChoiceField(choices=models.JobState.choices, required=False)
    stage = serializers.ChoiceField(choices=models.JobStage.choices, required=False)


class NewJob(serializers.Serializer[Any]):
    """A new ground-truth job; other jobs are created with the frames of their task."""

    type = serializers.ChoiceField(choices=[models.JobType.GROUND_TRUTH.value])
    task_id = serializers.IntegerField(min_value=1, max_value=INT_MAX)
    frame_selection_method = serializers.ChoiceField(choices=["manual"], default="manual")
    frames = ListField(
        child=serializers.IntegerField(min_value=0, max_value=INT_MAX),
        max_length=MAX_FRAMES,
        allow_empty=False,
    )
