"""``/api/labels``, and changes of labels through a task or a project."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet, prefetch_related_objects
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import mixins
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from cvat_lambda.engine.standalone import access, models
from cvat_lambda.engine.standalone.api import schema
from cvat_lambda.engine.standalone.api.base import ID_PATTERN, EngineViewSet
from cvat_lambda.engine.standalone.api.serializers.labels import LabelChange, LabelRead
from cvat_lambda.engine.standalone.api.sorting import Sorting
from cvat_lambda.engine.standalone.labels import (
    attribute_from_json,
    attribute_row,
    check_attribute,
    check_names,
    save_labels,
    to_label,
)
from cvat_lambda.errors import InvalidRequest, PermissionDenied
from cvat_lambda.prepared import PreparedQuery
from cvat_lambda.rest.fields import INT_MAX
from cvat_lambda.rest.pagination import Pages
from cvat_lambda.rest.queries import filtered_by_text, id_filters

_FILTER_TEXTS = {"name": "name", "type": "type", "search": "name__icontains"}
_FILTER_IDS = ("task_id", "job_id", "project_id")
_PARAMETERS = [
    *(schema.query(name, OpenApiTypes.INT) for name in _FILTER_IDS),
    *(schema.query(name) for name in _FILTER_TEXTS),
]


# Agents read the labels of a task for every frame.
_TASKS: PreparedQuery[models.Task] = PreparedQuery(
    lambda pk: models.Task.objects.filter(pk=pk).order_by(), int
)
_LABELS: PreparedQuery[models.Label] = PreparedQuery(
    lambda task_id, project_id: (
        models.Label.objects.filter(Q(task_id=task_id) | Q(project_id=project_id))
        .filter(parent__isnull=True)
        .order_by("pk")
    ),
    int,
    int,
)
_ATTRIBUTES: PreparedQuery[models.AttributeSpec] = PreparedQuery(
    lambda label_ids: models.AttributeSpec.objects.filter(label_id__in=label_ids).order_by("pk"),
    list,
)
_NO_PROJECT = 0  # an id that no project has


def change_labels(
    changes: Sequence[Mapping[str, Any]],
    *,
    task: models.Task | None = None,
    project: models.Project | None = None,
) -> None:
    """Add labels without an id. Change the others; delete those marked ``deleted``.

    Raise InvalidRequest.
    """
    mine = models.Label.objects.filter(task=task, project=project, parent__isnull=True)
    new = [to_label(change) for change in changes if change.get("id") is None]
    for change in changes:
        if change.get("id") is None:
            continue
        label = mine.filter(pk=_id(change["id"])).first()
        if label is None:
            raise InvalidRequest(f"label #{change['id']} is not one of these labels")
        if change.get("deleted") is True:
            label.delete()
        else:
            form = LabelChange(data=dict(change))
            form.is_valid(raise_exception=True)
            change_label(label, form.validated_data)
    check_names(new)
    taken = set(mine.values_list("name", flat=True))
    for label_data in new:
        if label_data.name in taken:
            raise InvalidRequest(f"label '{label_data.name}' exists already")
    save_labels(new, task=task, project=project)
    if changes:
        note_change(None if task is None else task.pk, None if project is None else project.pk)


def note_change(task_id: int | None, project_id: int | None) -> None:
    """Update the date of a task, or of a project and its tasks, after a change of labels.

    cvat-sdk caches a task's labels until the task's ``updated_date`` grows.
    """
    now = timezone.now()
    if project_id is not None:
        models.Project.objects.filter(pk=project_id).update(updated_at=now)
        models.Task.objects.filter(project_id=project_id).update(updated_at=now)
    if task_id is not None:
        models.Task.objects.filter(pk=task_id).update(updated_at=now)


def _id(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= INT_MAX:
        raise InvalidRequest(f"'{value}' is not an id")
    return value


def change_label(label: models.Label, values: Mapping[str, Any]) -> None:
    """Change one label. Raise InvalidRequest."""
    name = values.get("name", label.name)
    family = {"task": label.task, "project": label.project, "parent": label.parent}
    siblings = models.Label.objects.filter(Q(**family)).exclude(pk=label.pk)
    if siblings.filter(name=name).exists():
        raise InvalidRequest(f"label '{name}' exists already")
    if values.get("type", label.type) != label.type:
        if "skeleton" in (label.type, values["type"]):
            raise InvalidRequest("a skeleton cannot become another type, nor the reverse")
        label.type = to_label({"name": name, "type": values["type"]}).type
    label.name = name
    label.color = values.get("color", label.color)
    label.save(update_fields=["name", "color", "type"])
    for raw in values.get("attributes", ()):
        _change_attribute(label, raw)


def _change_attribute(label: models.Label, raw: Mapping[str, Any]) -> None:
    where = f"label '{label.name}'"
    row = None
    if raw.get("id") is not None:
        row = label.attributes.filter(pk=_id(raw["id"])).first()
        if row is None:
            raise InvalidRequest(f"{where}: attribute #{raw['id']} is not one of its attributes")
        raw = {"name": row.name, "input_type": row.input_type, "mutable": row.mutable, **raw}
        raw.setdefault("values", row.values.split("\n") if row.values else [])
        raw.setdefault("default_value", row.default)
    attribute = attribute_from_json(raw, where)
    check_attribute(attribute, f"{where}, attribute '{attribute.name}'")
    others = label.attributes.filter(name=attribute.name)
    if row is not None:
        others = others.exclude(pk=row.pk)
    if others.exists():
        raise InvalidRequest(f"{where}: attribute '{attribute.name}' exists already")
    new = attribute_row(attribute, label)
    new.pk = row.pk if row is not None else None
    new.save()


@extend_schema_view(
    list=extend_schema(
        parameters=_PARAMETERS,
        responses={200: LabelRead(many=True), **schema.LIST_ERRORS},
    ),
    retrieve=extend_schema(responses={200: LabelRead, **schema.READ_ERRORS}),
    destroy=extend_schema(responses={204: None, **schema.READ_ERRORS, **schema.INVALID}),
)
@extend_schema(tags=["labels"])
class LabelViewSet(
    EngineViewSet,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    GenericViewSet[models.Label],
):
    """Labels of tasks and projects that the user may view."""

    queryset = models.Label.objects.none()
    serializer_class = LabelRead
    pagination_class = Pages
    filter_backends = (Sorting,)
    sort_fields = {"id": "pk", "name": "name", "type": "type", "color": "color"}
    lookup_value_regex = ID_PATTERN

    def get_queryset(self) -> Any:
        """Return the labels of a list, or those that the user may view."""
        if self.action == "list":
            return self._listed()
        return self._visible().prefetch_related("attributes", "sublabels__attributes")

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return the labels of a page with their attributes; only skeletons have sublabels."""
        labels = super().paginate_queryset(queryset) or []
        attributes: dict[int, list[models.AttributeSpec]] = defaultdict(list)
        for attribute in _ATTRIBUTES.rows([label.pk for label in labels]):
            attributes[attribute.label_id].append(attribute)
        for label in labels:  # as `prefetch_related_objects`, which builds its query each time
            label._prefetched_objects_cache = {"attributes": attributes[label.pk]}
        skeletons = [label for label in labels if label.type == "skeleton"]
        prefetch_related_objects(skeletons, "sublabels__attributes")
        return labels

    def _visible(self) -> QuerySet[models.Label]:
        user = self.request.user
        mine = Q(task__in=access.visible_tasks(user).values("pk"))
        mine |= Q(project__in=access.visible_projects(user).values("pk"))
        return models.Label.objects.filter(mine)

    def _listed(self) -> QuerySet[models.Label] | list[models.Label]:
        parameters = self.request.query_params
        ids = id_filters(parameters, {name: name for name in _FILTER_IDS})
        if "task_id" in ids and parameters.keys() <= {"task_id", "page", "page_size"}:
            task = access.find_task(self.request.user, _TASKS, ids["task_id"])
            return [] if task is None else _LABELS.rows(task.pk, task.project_id or _NO_PROJECT)
        found = self._of_task(ids["task_id"]) if "task_id" in ids else self._visible()
        found = found.filter(parent__isnull=True)
        if "project_id" in ids:
            found = found.filter(project_id=ids["project_id"])
        if "job_id" in ids:
            tasks = models.Task.objects.filter(segments__jobs=ids["job_id"])
            projects = tasks.filter(project__isnull=False).values("project_id")
            found = found.filter(Q(task__in=tasks.values("pk")) | Q(project__in=projects))
        return filtered_by_text(found, parameters, _FILTER_TEXTS)

    def _of_task(self, task_id: int) -> QuerySet[models.Label]:
        """Return the labels of a task, or of its project, if the user may view the task.

        Who may view a task may view its project.
        """
        task = access.find_task(self.request.user, _TASKS, task_id)
        if task is None:
            return models.Label.objects.none()
        mine = Q(task_id=task.pk)
        if task.project_id is not None:
            mine |= Q(project_id=task.project_id)
        return models.Label.objects.filter(mine)

    def _editable(self) -> models.Label:
        """Raise PermissionDenied for users who may only view."""
        label = self.get_object()
        user = self.request.user
        if label.project_id is not None:
            may = access.editable_projects(user).filter(pk=label.project_id).exists()
        else:
            may = access.editable_tasks(user).filter(labels=label).exists()
        if not may:
            raise PermissionDenied(f"you may see label '{label.name}', but not change it")
        return label

    @extend_schema(request=LabelChange, responses={200: LabelRead, **schema.WRITE_ERRORS})
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change name, colour, type or attributes."""
        label = self._editable()
        form = LabelChange(data=request.data)
        form.is_valid(raise_exception=True)
        with transaction.atomic():
            change_label(label, form.validated_data)
            note_change(label.task_id, label.project_id)
        return Response(self.get_serializer(self.get_queryset().get(pk=label.pk)).data)

    def perform_destroy(self, instance: models.Label) -> None:
        """Delete a label and its annotations. Raise PermissionDenied."""
        label = self._editable()
        if label.parent_id is not None:
            raise ValidationError({"id": ["A sublabel is deleted only with its skeleton."]})
        with transaction.atomic():
            label.delete()
            note_change(label.task_id, label.project_id)
