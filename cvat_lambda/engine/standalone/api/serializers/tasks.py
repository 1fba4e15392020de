"""Tasks and projects as CVAT's clients read and write them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.api.fields import (
    CHUNK_TYPE,
    DEFAULT_QUALITY,
    BasicUser,
    Constant,
    LabelSpecs,
    UserId,
    link,
)
from cvat_lambda.engine.standalone.conf import engine_settings
from cvat_lambda.prepared import PreparedQuery
from cvat_lambda.rest.fields import INT_MAX


class _Owned(serializers.Serializer[Any]):
    """Fields of objects with an owner."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    owner = BasicUser()
    assignee = BasicUser()
    assignee_updated_date = serializers.DateTimeField(source="assignee_updated_at", allow_null=True)
    bug_tracker = serializers.CharField()
    created_date = serializers.DateTimeField(source="created_at")
    updated_date = serializers.DateTimeField(source="updated_at")
    dimension = Constant("2d")
    organization = Constant(None)
    guide_id = Constant(None)
    source_storage = Constant(None)
    target_storage = Constant(None)


class TaskRead(_Owned):
    """A task, with properties of its frames."""

    project_id = serializers.IntegerField(allow_null=True)
    subset = serializers.CharField()
    mode = serializers.SerializerMethodField()
    overlap = serializers.IntegerField(allow_null=True)
    segment_size = serializers.SerializerMethodField()
    status = serializers.SerializerMethodField()
    size = serializers.SerializerMethodField()
    image_quality = serializers.SerializerMethodField()
    data = serializers.IntegerField(source="data.pk", required=False)  # type: ignore[assignment]
    data_chunk_size = serializers.SerializerMethodField()
    data_original_chunk_type = Constant(CHUNK_TYPE)
    data_compressed_chunk_type = Constant(CHUNK_TYPE)
    data_cloud_storage_id = Constant(None)
    validation_mode = Constant(None)
    consensus_enabled = Constant(False)
    jobs = serializers.SerializerMethodField()
    labels = serializers.SerializerMethodField()

    def get_mode(self, task: models.Task) -> str:
        data = _data_of(task)
        if data is None:
            return ""
        return "interpolation" if data.kind == models.DataKind.VIDEO else "annotation"

    def get_size(self, task: models.Task) -> int:
        data = _data_of(task)
        return data.size if data is not None else 0

    def get_segment_size(self, task: models.Task) -> int:
        return task.segment_size or self.get_size(task)

    def get_image_quality(self, task: models.Task) -> int:
        data = _data_of(task)
        return data.image_quality if data is not None else DEFAULT_QUALITY

    def to_representation(self, instance: models.Task) -> dict[str, Any]:
        """Omit `data` until the task has frames: cvat-sdk 2.54 accepts no null for it."""
        shown: dict[str, Any] = super().to_representation(instance)
        return {name: value for name, value in shown.items() if (name, value) != ("data", None)}

    def get_data_chunk_size(self, task: models.Task) -> int:
        data = _data_of(task)
        return data.chunk_size if data is not None else engine_settings.CHUNK_FRAMES

    def get_status(self, task: models.Task) -> str:
        states = {state for state, _ in _jobs(task)}
        return "completed" if states == {models.JobState.COMPLETED.value} else "annotation"

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_jobs(self, task: models.Task) -> dict[str, Any]:
        jobs = _jobs(task)
        return {
            "url": link(self, "jobs-list", f"task_id={task.pk}"),
            "count": len(jobs),
            "completed": sum(state == models.JobState.COMPLETED for state, _ in jobs),
            "validation": sum(stage == models.JobStage.VALIDATION for _, stage in jobs),
        }

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_labels(self, task: models.Task) -> dict[str, Any]:
        return {"url": link(self, "labels-list", f"task_id={task.pk}")}


def _data_of(task: models.Task) -> models.Data | None:
    return getattr(task, "data", None)


_JOBS: PreparedQuery[tuple[str, str]] = PreparedQuery(
    lambda task_id: (
        models.Job.objects.filter(segment__task_id=task_id).values_list("state", "stage").order_by()
    ),
    int,
)


def _jobs(task: models.Task) -> list[tuple[str, str]]:
    """Return state and stage of each job of a task, whose segments may be prefetched."""
    found: list[tuple[str, str]] | None = getattr(task, "_jobs_shown", None)
    if found is None:
        if "segments" in getattr(task, "_prefetched_objects_cache", ()):
            jobs = (job for segment in task.segments.all() for job in segment.jobs.all())
            found = [(job.state, job.stage) for job in jobs]
        else:
            found = _JOBS.rows(task.pk)
        task._jobs_shown = found  # type: ignore[attr-defined]
    return found


class NewTask(serializers.Serializer[Any]):
    """A new task."""

    name = serializers.CharField(max_length=256)
    labels = LabelSpecs(required=False, default=list)
    project_id = serializers.IntegerField(
        min_value=1, max_value=INT_MAX, required=False, allow_null=True, default=None
    )
    segment_size = serializers.IntegerField(min_value=0, max_value=INT_MAX, default=0)
    overlap = serializers.IntegerField(
        min_value=0, max_value=INT_MAX, default=None, allow_null=True
    )
    subset = serializers.CharField(max_length=64, allow_blank=True, default="")
    bug_tracker = serializers.CharField(max_length=2000, allow_blank=True, default="")
    assignee_id = UserId()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        size, overlap = attrs["segment_size"], attrs["overlap"] or 0
        if size and overlap >= size:
            raise serializers.ValidationError({"overlap": "Must be less than segment_size."})
        return attrs


class _Change(serializers.Serializer[Any]):
    """A partial change of a row. Members that are not given stay as they are.

    A change that CVAT supports and this server does not is refused, unless it sets the current
    value. If it were ignored, a client would assume, for example, that a task was moved.
    """

    fixed = ("owner_id", "project_id", "organization_id")

    name = serializers.CharField(max_length=256, required=False)
    assignee_id = UserId()
    bug_tracker = serializers.CharField(max_length=2000, allow_blank=True, required=False)
    labels = LabelSpecs(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        wrong = [
            name
            for name in self.fixed
            if name in self.initial_data
            and self.initial_data[name] != getattr(self.instance, name, None)
        ]
        if wrong:
            sentence = "This server cannot change it. Leave it out."
            raise serializers.ValidationError({name: [sentence] for name in wrong})
        return attrs


class TaskChange(_Change):
    """A change of a task."""

    subset = serializers.CharField(max_length=64, allow_blank=True, required=False)


class ProjectChange(_Change):
    """A change of a project."""


class ProjectRead(_Owned):
    """A project."""

    status = Constant("annotation")
    tasks = serializers.SerializerMethodField()
    labels = serializers.SerializerMethodField()
    task_subsets = serializers.SerializerMethodField()

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_tasks(self, project: models.Project) -> dict[str, Any]:
        url = link(self, "tasks-list", f"project_id={project.pk}")
        return {"url": url, "count": len(project.tasks.all())}

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_labels(self, project: models.Project) -> dict[str, Any]:
        return {"url": link(self, "labels-list", f"project_id={project.pk}")}

    def get_task_subsets(self, project: models.Project) -> list[str]:
        return sorted({task.subset for task in project.tasks.all() if task.subset})


class NewProject(serializers.Serializer[Any]):
    """A new project."""

    name = serializers.CharField(max_length=256)
    labels = LabelSpecs(required=False, default=list)
    bug_tracker = serializers.CharField(max_length=2000, allow_blank=True, default="")
    assignee_id = UserId()
