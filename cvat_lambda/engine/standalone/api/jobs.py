"""``/api/jobs``."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from cvat_lambda.engine.standalone import access, models
from cvat_lambda.engine.standalone.api import annotating, exchange, frames, schema, upload
from cvat_lambda.engine.standalone.api.base import ID_PATTERN, EngineViewSet
from cvat_lambda.engine.standalone.api.exchange import ExportQuery, ImportQuery
from cvat_lambda.engine.standalone.api.fields import username_lookup
from cvat_lambda.engine.standalone.api.renderers import PictureNegotiation
from cvat_lambda.engine.standalone.api.serializers.data import DataMeta, DataMetaChange, RqId
from cvat_lambda.engine.standalone.api.serializers.jobs import JobChange, JobRead, NewJob
from cvat_lambda.engine.standalone.api.sorting import Sorting
from cvat_lambda.engine.standalone.editing import Editor
from cvat_lambda.engine.standalone.exchange import work
from cvat_lambda.engine.standalone.tasks import create_ground_truth_job
from cvat_lambda.errors import InvalidRequest, PermissionDenied
from cvat_lambda.rest.pagination import Pages
from cvat_lambda.rest.parsers import OffsetStreamParser, StrictJSONParser
from cvat_lambda.rest.queries import filtered_by_text, id_filters

_FILTER_IDS = {"task_id": "segment__task_id", "project_id": "segment__task__project_id"}
_FILTER_TEXTS = {
    "type": "type",
    "state": "state",
    "stage": "stage",
    "assignee": username_lookup("assignee"),
    "task_name": "segment__task__name",
    "search": "segment__task__name__icontains",
}
_PARAMETERS = [
    *(schema.query(name, OpenApiTypes.INT) for name in _FILTER_IDS),
    *(schema.query(name) for name in _FILTER_TEXTS),
]


@extend_schema_view(
    list=extend_schema(
        parameters=_PARAMETERS, responses={200: JobRead(many=True), **schema.LIST_ERRORS}
    ),
    retrieve=extend_schema(responses={200: JobRead, **schema.READ_ERRORS}),
    destroy=extend_schema(responses={204: None, **schema.READ_ERRORS, **schema.INVALID}),
)
@extend_schema(tags=["jobs"])
class JobViewSet(
    EngineViewSet,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    GenericViewSet[models.Job],
):
    """Jobs that the user may view. A user who may view a job may annotate it."""

    queryset = models.Job.objects.none()
    serializer_class = JobRead
    pagination_class = Pages
    filter_backends = (Sorting,)
    sort_fields = {
        "id": "pk",
        "task_id": "segment__task_id",
        "project_id": "segment__task__project_id",
        "type": "type",
        "state": "state",
        "stage": "stage",
        "assignee": username_lookup("assignee"),
        "created_date": "created_at",
        "updated_date": "updated_at",
    }
    lookup_value_regex = ID_PATTERN

    def get_queryset(self) -> QuerySet[models.Job]:
        found = access.visible_jobs(self.request.user)
        if self.action == "list":
            parameters = self.request.query_params
            found = found.filter(**id_filters(parameters, _FILTER_IDS))
            found = filtered_by_text(found, parameters, _FILTER_TEXTS)
        return found.select_related("segment__task__data", "assignee")

    def _may_manage(self, job: models.Job) -> bool:
        tasks = access.editable_tasks(self.request.user)
        return tasks.filter(pk=job.segment.task_id).exists()

    @extend_schema(request=NewJob, responses={201: JobRead, **schema.WRITE_ERRORS})
    def create(self, request: Request) -> Response:
        """Add a ground-truth job to a task."""
        form = NewJob(data=request.data)
        form.is_valid(raise_exception=True)
        task_id = form.validated_data["task_id"]
        task = access.editable_tasks(request.user).filter(pk=task_id).first()
        if task is None:
            raise ValidationError({"task_id": [f"Task #{task_id} was not found."]})
        job = create_ground_truth_job(task, form.validated_data["frames"])
        shown = self.get_serializer(self.get_queryset().get(pk=job.pk))
        return Response(shown.data, status=status.HTTP_201_CREATED)

    @extend_schema(request=JobChange, responses={200: JobRead, **schema.WRITE_ERRORS})
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change the state. Users who may edit the task may change assignee and stage as well."""
        job = self.get_object()
        form = JobChange(data=request.data)
        form.is_valid(raise_exception=True)
        values = form.validated_data
        if {"assignee", "stage"} & values.keys() and not self._may_manage(job):
            raise PermissionDenied("only a user who may change the task may assign its jobs")
        _change(job, values)
        return Response(self.get_serializer(self.get_queryset().get(pk=job.pk)).data)

    def perform_destroy(self, instance: models.Job) -> None:
        """Delete a ground-truth job. Raise PermissionDenied, InvalidRequest."""
        if not self._may_manage(instance):
            raise PermissionDenied(f"you may annotate job #{instance.pk}, but not delete it")
        if instance.type != models.JobType.GROUND_TRUTH:
            raise InvalidRequest("only a ground-truth job can be deleted")
        instance.segment.delete()

    @extend_schema(
        parameters=[*schema.FRAME_PARAMETERS, schema.query("index", OpenApiTypes.INT)],
        responses={
            (200, "image/*"): OpenApiTypes.BINARY,
            (200, "application/zip"): OpenApiTypes.BINARY,
            **schema.INVALID,
            **schema.READ_ERRORS,
            **schema.UNREADABLE,
        },
    )
    @action(detail=True, methods=["GET"], content_negotiation_class=PictureNegotiation)
    def data(self, request: Request, pk: str) -> Any:
        """Read the job's frames and chunks."""
        return frames.answer(frames.scope_of_job(self.get_object()), request.query_params)

    @extend_schema(methods=["GET"], responses={200: DataMeta, **schema.READ_ERRORS})
    @extend_schema(
        methods=["PATCH"],
        request=DataMetaChange,
        responses={200: DataMeta, **schema.WRITE_ERRORS},
    )
    @action(detail=True, methods=["GET", "PATCH"], url_path="data/meta", url_name="data-meta")
    def data_meta(self, request: Request, pk: str) -> Response:
        """Return names and sizes of the job's frames, and the deleted ones."""
        scope = frames.scope_of_job(self.get_object())
        if request.method == "PATCH":
            form = DataMetaChange(data=request.data)
            form.is_valid(raise_exception=True)
            frames.delete_frames(scope, form.validated_data["deleted_frames"])
        return Response(DataMeta(frames.meta(scope)).data)

    @extend_schema(responses={(200, "image/jpeg"): OpenApiTypes.BINARY, **schema.READ_ERRORS})
    @action(detail=True, methods=["GET"], content_negotiation_class=PictureNegotiation)
    def preview(self, request: Request, pk: str) -> Any:
        """Return the job's first frame as a small image."""
        return frames.preview_response(frames.scope_of_job(self.get_object()))

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
        """Read and change the job's shapes, tags and tracks."""
        job = self.get_object()
        if request.method == "POST":
            return exchange.receive(request, job.segment.task, job, target="jobs")
        editor = Editor(job.segment.task, job, user_id=request.user.pk)
        return annotating.answer(request, editor)

    @extend_schema(
        parameters=[ExportQuery], request=None, responses={202: RqId, **schema.WRITE_ERRORS}
    )
    @action(detail=True, methods=["POST"], url_path="dataset/export", url_name="dataset-export")
    def dataset_export(self, request: Request, pk: str) -> Response:
        """Write the job's annotations to a file in the background."""
        job = self.get_object()
        return exchange.export(request, job.segment.task, job)

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
        return exchange.download(request, self.get_object().segment.task)

    @extend_schema(
        methods=["HEAD"],
        responses={200: OpenApiResponse(description="Upload-Offset"), **schema.READ_ERRORS},
    )
    @extend_schema(
        methods=["PATCH"],
        operation_id="jobs_annotations_file_partial_update",
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
        job = self.get_object()
        part = work.staged_part(job)
        if request.method == "HEAD":
            return upload.tell(job.segment.task, file_id, part)
        return upload.append(request, job.segment.task, file_id, part)


def _change(job: models.Job, values: dict[str, Any]) -> None:
    """Write only the given members."""
    now = timezone.now()
    job.updated_at = now
    changed = ["updated_at"]
    for name in ("state", "stage", "assignee"):
        if name in values:
            setattr(job, name, values[name])
            changed.append(name)
    if "assignee" in values:
        job.assignee_updated_at = now
        changed.append("assignee_updated_at")
    job.save(update_fields=changed)
