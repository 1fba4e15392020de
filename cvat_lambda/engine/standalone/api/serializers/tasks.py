"""Tasks and projects as CVAT's clients read and write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from cvat_lambda.engine.ids_subquery import ids_subquery
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


def load_jobs(tasks: Iterable[models.Task]) -> None:
    """Read state and stage of the jobs of several tasks with one query."""
    shown = {task.pk: task for task in tasks}
    found: dict[int, list[tuple[str, str]]] = {pk: [] for pk in shown}
    jobs = models.Job.objects.filter(segment__task__in=ids_subquery(found)).order_by()
    for task_id, *states in jobs.values_list("segment__task_id", "state", "stage"):
        found[task_id].append((states[0], states[1]))
    for pk, task in shown.items():
        task._jobs_shown = found[pk]  # type: ignore[attr-defined]


def _jobs(task: models.Task) -> list[tuple[str, str]]:
    """Return state and stage of each job of a task."""
    found: list[tuple[str, str]] | None = getattr(task, "_jobs_shown", None)
    if found is None:
        found = _JOBS.rows(task.pk)
        task._jobs_shown = found  # type: ignore[attr-defined]
    return found


def load_subsets(projects: Iterable[models.Project]) -> None:
    """Count the tasks of each subset of several projects with one query."""
    shown = {project.pk: project for project in projects}
    found: dict[int, dict[str, int]] = {pk: {} for pk in shown}
    tasks = models.Task.objects.filter(project__in=ids_subquery(found)).order_by()
    counted = tasks.values_list("project_id", "subset").annotate(Count("pk"))
    for project_id, subset, number in counted:
        found[project_id or 0][subset] = number
    for pk, project in shown.items():
        project._subsets_shown = found[pk]  # type: ignore[attr-defined]


def _subsets(project: Any) -> dict[str, int]:
    """Return the number of tasks of a project by subset; "" is the one of tasks without."""
    if not hasattr(project, "_subsets_shown"):
        load_subsets([project])
    found: dict[str, int] = project._subsets_shown
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
        return {"url": url, "count": sum(_subsets(project).values())}

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_labels(self, project: models.Project) -> dict[str, Any]:
        return {"url": link(self, "labels-list", f"project_id={project.pk}")}

    def get_task_subsets(self, project: models.Project) -> list[str]:
        return sorted(filter(None, _subsets(project)))


class NewProject(serializers.Serializer[Any]):
    """A new project."""

    name = serializers.CharField(max_length=256)
    labels = LabelSpecs(required=False, default=list)
    bug_tracker = serializers.CharField(max_length=2000, allow_blank=True, default="")
    assignee_id = UserId()
