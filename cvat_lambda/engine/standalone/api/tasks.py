"""``/api/tasks``."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from cvat_lambda.engine.standalone import access, models
from cvat_lambda.engine.standalone.api import annotating, exchange, frames, schema, upload
from cvat_lambda.engine.standalone.api.base import ID_PATTERN, EngineViewSet
from cvat_lambda.engine.standalone.api.exchange import ExportQuery, ImportQuery
from cvat_lambda.engine.standalone.api.fields import username_lookup
from cvat_lambda.engine.standalone.api.labels import change_labels
from cvat_lambda.engine.standalone.api.renderers import PictureNegotiation
from cvat_lambda.engine.standalone.api.serializers.data import (
    DataMeta,
    DataMetaChange,
    DataParameters,
    RqId,
)
from cvat_lambda.engine.standalone.api.serializers.tasks import (
    NewTask,
    TaskChange,
    TaskRead,
    load_jobs,
)
from cvat_lambda.engine.standalone.api.sorting import Sorting
from cvat_lambda.engine.standalone.editing import Editor
from cvat_lambda.engine.standalone.exchange import work
from cvat_lambda.engine.standalone.tasks import create_task, delete_task
from cvat_lambda.errors import PermissionDenied
from cvat_lambda.prepared import PreparedQuery
from cvat_lambda.rest.pagination import Pages
from cvat_lambda.rest.parsers import OffsetStreamParser, StrictJSONParser
from cvat_lambda.rest.queries import filtered_by_text, id_filters

_FILTER_IDS = {"project_id": "project_id"}
_FILTER_TEXTS = {
    "name": "name",
    "search": "name__icontains",
    "owner": username_lookup("owner"),
    "assignee": username_lookup("assignee"),
    "subset": "subset",
    "mode": "data__kind",
}
_PARAMETERS = [
    *(schema.query(name, OpenApiTypes.INT) for name in _FILTER_IDS),
    *(schema.query(name) for name in _FILTER_TEXTS if name != "mode"),
]


_PEOPLE = ("data", "owner", "assignee")
_TASK: PreparedQuery[models.Task] = PreparedQuery(
    lambda pk: models.Task.objects.filter(pk=pk).select_related("data").order_by(), int
)
_SHOWN_TASK: PreparedQuery[models.Task] = PreparedQuery(
    lambda pk: models.Task.objects.filter(pk=pk).select_related(*_PEOPLE).order_by(), int
)


def change_owned(row: Any, values: dict[str, Any]) -> None:
    """Write the given members of a task or a project."""
    now = timezone.now()
    changed = ["updated_at"]
    row.updated_at = now
    for name in ("name", "bug_tracker", "subset"):
        if name in values:
            setattr(row, name, values[name])
            changed.append(name)
    if "assignee_id" in values:
        row.assignee = values["assignee_id"]
        row.assignee_updated_at = now
        changed += ["assignee", "assignee_updated_at"]
    row.save(update_fields=changed)


@extend_schema_view(
    list=extend_schema(
        parameters=_PARAMETERS, responses={200: TaskRead(many=True), **schema.LIST_ERRORS}
    ),
    retrieve=extend_schema(responses={200: TaskRead, **schema.READ_ERRORS}),
    destroy=extend_schema(responses={204: None, **schema.READ_ERRORS}),
)
@extend_schema(tags=["tasks"])
class TaskViewSet(
    EngineViewSet,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    GenericViewSet[models.Task],
):
    """Tasks that the user may view."""

    queryset = models.Task.objects.none()
    serializer_class = TaskRead
    pagination_class = Pages
    filter_backends = (Sorting,)
    sort_fields = {
        "id": "pk",
        "name": "name",
        "owner": username_lookup("owner"),
        "assignee": username_lookup("assignee"),
        "subset": "subset",
        "project_id": "project_id",
        "created_date": "created_at",
        "updated_date": "updated_at",
    }
    lookup_value_regex = ID_PATTERN

    def get_queryset(self) -> QuerySet[models.Task]:
        found = access.visible_tasks(self.request.user)
        if self.action == "list":
            parameters = self.request.query_params
            found = found.filter(**id_filters(parameters, _FILTER_IDS))
            found = filtered_by_text(found, parameters, _FILTER_TEXTS)
        return found.select_related(*(_PEOPLE if self._shows_task() else ("data",)))

    def get_object(self) -> models.Task:
        """Return the task. Raise Http404 unless there is one that the user may view."""
        rows = _SHOWN_TASK if self._shows_task() else _TASK
        task = access.find_task(self.request.user, rows, int(self.kwargs["pk"]))
        if task is None:
            raise Http404("No Task matches the given query.")
        return task

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return the tasks of a page with the states of their jobs."""
        tasks = super().paginate_queryset(queryset)
        load_jobs(tasks or ())
        return tasks

    def _shows_task(self) -> bool:
        return self.action in ("list", "retrieve", "partial_update", "create")

    def _require_edit(self, task: models.Task) -> None:
        """Raise PermissionDenied for users who may only view."""
        if not access.editable_tasks(self.request.user).filter(pk=task.pk).exists():
            raise PermissionDenied(f"you may see task #{task.pk}, but not change it")

    def _task(self, *, edit: bool) -> models.Task:
        task = self.get_object()
        if edit:
            self._require_edit(task)
        return task

    @extend_schema(request=NewTask, responses={201: TaskRead, **schema.WRITE_ERRORS})
    def create(self, request: Request) -> Response:
        """Create a task; ``POST /api/tasks/ID/data`` adds its frames."""
        form = NewTask(data=request.data)
        form.is_valid(raise_exception=True)
        values = form.validated_data
        task = create_task(
            request.user,
            values["name"],
            values["labels"],
            segment_size=values["segment_size"],
            overlap=values["overlap"],
            assignee=values.get("assignee_id"),
            project=self._project(values["project_id"]),
            subset=values["subset"],
            bug_tracker=values["bug_tracker"],
        )
        shown = self.get_serializer(self.get_queryset().get(pk=task.pk))
        return Response(shown.data, status=status.HTTP_201_CREATED)

    def _project(self, project_id: int | None) -> models.Project | None:
        if project_id is None:
            return None
        project = access.editable_projects(self.request.user).filter(pk=project_id).first()
        if project is None:
            raise ValidationError({"project_id": [f"Project #{project_id} was not found."]})
        return project

    @extend_schema(request=TaskChange, responses={200: TaskRead, **schema.WRITE_ERRORS})
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change name, assignee, subset, or labels."""
        task = self._task(edit=True)
        form = TaskChange(task, data=request.data)
        form.is_valid(raise_exception=True)
        with transaction.atomic():
            change_owned(task, form.validated_data)
            if form.validated_data.get("labels"):
                if task.project_id is not None:
                    raise ValidationError(
                        {"labels": ["Labels of a task in a project are changed in the project."]}
                    )
                change_labels(form.validated_data["labels"], task=task)
        return Response(self.get_serializer(self.get_queryset().get(pk=task.pk)).data)

    def perform_destroy(self, instance: models.Task) -> None:
        """Delete a task; an assignee may not. Raise PermissionDenied."""
        if not access.owned_tasks(self.request.user).filter(pk=instance.pk).exists():
            raise PermissionDenied(f"only its owner may delete task #{instance.pk}")
        delete_task(instance)

    @extend_schema(
        methods=["GET"],
        parameters=schema.FRAME_PARAMETERS,
        responses={
            (200, "image/*"): OpenApiTypes.BINARY,
            (200, "application/zip"): OpenApiTypes.BINARY,
            **schema.INVALID,
            **schema.READ_ERRORS,
            **schema.UNREADABLE,
        },
    )
    @extend_schema(
        methods=["POST"],
        request={"application/json": DataParameters, "multipart/form-data": DataParameters},
        responses={
            200: OpenApiResponse(description="files are kept (Upload-Multiple)"),
            201: OpenApiResponse(description="send pieces to Location (Upload-Length)"),
            202: RqId,
            413: OpenApiTypes.OBJECT,
            **schema.WRITE_ERRORS,
        },
    )
    @action(
        detail=True,
        methods=["GET", "POST"],
        parser_classes=[StrictJSONParser, MultiPartParser, FormParser],
        content_negotiation_class=PictureNegotiation,
    )
    def data(self, request: Request, pk: str) -> Any:
        """Read frames and chunks; upload files."""
        if request.method == "POST":
            return upload.receive(request, self._task(edit=True))
        scope = frames.scope_of_task(self._task(edit=False))
        return frames.answer(scope, request.query_params)

    @extend_schema(
        methods=["HEAD"],
        responses={200: OpenApiResponse(description="Upload-Offset"), **schema.READ_ERRORS},
    )
    @extend_schema(
        methods=["PATCH"],
        request={OffsetStreamParser.media_type: OpenApiTypes.BINARY},
        responses={204: None, **schema.WRITE_ERRORS},
    )
    @action(
        detail=True,
        methods=["HEAD", "PATCH"],
        url_path=r"data/(?P<file_id>[0-9a-f]{32})",
        url_name="data-file",
        parser_classes=[OffsetStreamParser],
    )
    def data_file(self, request: Request, pk: str, file_id: str) -> Response:
        """Receive a part of a resumable upload, or return its received size."""
        task = self._task(edit=True)
        if request.method == "HEAD":
            return upload.tell(task, file_id)
        return upload.append(request, task, file_id)

    @extend_schema(methods=["GET"], responses={200: DataMeta, **schema.READ_ERRORS})
    @extend_schema(
        methods=["PATCH"],
        request=DataMetaChange,
        responses={200: DataMeta, **schema.WRITE_ERRORS},
    )
    @action(detail=True, methods=["GET", "PATCH"], url_path="data/meta", url_name="data-meta")
    def data_meta(self, request: Request, pk: str) -> Response:
        """Return names and sizes of the frames, and the deleted ones."""
        scope = frames.scope_of_task(self._task(edit=request.method not in SAFE_METHODS))
        if request.method == "PATCH":
            form = DataMetaChange(data=request.data)
            form.is_valid(raise_exception=True)
            frames.delete_frames(scope, form.validated_data["deleted_frames"])
        return Response(DataMeta(frames.meta(scope)).data)

    @extend_schema(responses={(200, "image/jpeg"): OpenApiTypes.BINARY, **schema.READ_ERRORS})
    @action(detail=True, methods=["GET"], content_negotiation_class=PictureNegotiation)
    def preview(self, request: Request, pk: str) -> Any:
        """Return the first frame as a small image."""
        return frames.preview_response(frames.scope_of_task(self._task(edit=False)))

    @extend_schema(methods=["GET"], responses={200: schema.ANNOTATIONS, **schema.READ_ERRORS})
    @extend_schema(
        methods=["PUT"],
        request={"application/json": schema.ANNOTATIONS},
        responses={200: schema.ANNOTATIONS, **schema.WRITE_ERRORS},
    )
    @extend_schema(
        methods=["PATCH"],
        parameters=[schema.ACTION],
        request={"application/json": schema.ANNOTATIONS},
        responses={200: schema.ANNOTATIONS, **schema.WRITE_ERRORS},
    )
    @extend_schema(methods=["DELETE"], responses={204: None, **schema.READ_ERRORS})
    @extend_schema(
        methods=["POST"],
        parameters=[ImportQuery],
        request={"multipart/form-data": OpenApiTypes.BINARY},
        responses={
            201: OpenApiResponse(description="send pieces to Location (Upload-Length)"),
            202: RqId,
            **schema.WRITE_ERRORS,
        },
    )
    @action(
        detail=True,
        methods=["GET", "PUT", "PATCH", "DELETE", "POST"],
        pagination_class=None,
        parser_classes=[StrictJSONParser, MultiPartParser, FormParser],
    )
    def annotations(self, request: Request, pk: str) -> Response:
        """Read and change shapes, tags and tracks."""
        task = self._task(edit=request.method not in SAFE_METHODS)
        if request.method == "POST":
            return exchange.receive(request, task, None, target="tasks")
        return annotating.answer(request, Editor(task, None, user_id=request.user.pk))

    @extend_schema(
        parameters=[ExportQuery], request=None, responses={202: RqId, **schema.WRITE_ERRORS}
    )
    @action(detail=True, methods=["POST"], url_path="dataset/export", url_name="dataset-export")
    def dataset_export(self, request: Request, pk: str) -> Response:
        """Write annotations, and images if they are wanted, to a file in the background."""
        return exchange.export(request, self._task(edit=False), None)

    @extend_schema(
        parameters=[schema.query("key", required=True)],
        responses={(200, "application/zip"): OpenApiTypes.BINARY, **schema.READ_ERRORS},
    )
    @action(
        detail=True,
        methods=["GET"],
        url_path="dataset/download",
        url_name="dataset-download",
        content_negotiation_class=PictureNegotiation,
    )
    def dataset_download(self, request: Request, pk: str) -> Any:
        """Answer the file of an export."""
        return exchange.download(request, self._task(edit=False))

    @extend_schema(
        methods=["HEAD"],
        responses={200: OpenApiResponse(description="Upload-Offset"), **schema.READ_ERRORS},
    )
    @extend_schema(
        methods=["PATCH"],
        operation_id="tasks_annotations_file_partial_update",
        request={OffsetStreamParser.media_type: OpenApiTypes.BINARY},
        responses={204: None, **schema.WRITE_ERRORS},
    )
    @action(
        detail=True,
        methods=["HEAD", "PATCH"],
        url_path=r"annotations/(?P<file_id>[0-9a-f]{32})",
        url_name="annotations-file",
        parser_classes=[OffsetStreamParser],
    )
    def annotations_file(self, request: Request, pk: str, file_id: str) -> Response:
        """Receive a part of a file with annotations, or return its received size."""
        task = self._task(edit=True)
        if request.method == "HEAD":
            return upload.tell(task, file_id, work.staged_part(None))
        return upload.append(request, task, file_id, work.staged_part(None))
