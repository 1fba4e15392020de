"""``dataset/export``, ``dataset/download`` and the import of annotations, of tasks and jobs."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import FileResponse, HttpResponseBase
from django.urls import reverse
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.api import upload
from cvat_lambda.engine.standalone.exchange import results, work
from cvat_lambda.engine.standalone.exchange.formats import FORMATS
from cvat_lambda.engine.standalone.staging import Staging


class ExportQuery(serializers.Serializer[Any]):
    """The query string of an export."""

    format = serializers.CharField(max_length=64)
    save_images = serializers.BooleanField(default=False)
    filename = serializers.CharField(required=False)  # the clients name the file themselves
    location = serializers.ChoiceField(choices=["local"], required=False)


class ImportQuery(serializers.Serializer[Any]):
    """The query string of an import."""

    format = serializers.CharField(max_length=64)
    filename = serializers.CharField(required=False)
    import_mode = serializers.ChoiceField(choices=["replace"], required=False)
    conv_mask_to_poly = serializers.BooleanField(required=False)

    def validate_conv_mask_to_poly(self, value: bool) -> bool:
        if value:
            raise serializers.ValidationError("This server imports masks as masks.")
        return value


class FormatRead(serializers.Serializer[Any]):
    """A format."""

    name = serializers.CharField()
    ext = serializers.CharField()
    version = serializers.CharField()
    enabled = serializers.BooleanField()
    dimension = serializers.CharField()


class FormatsRead(serializers.Serializer[Any]):
    """The formats that can be imported and exported."""

    importers = FormatRead(many=True)
    exporters = FormatRead(many=True)


def formats() -> dict[str, Any]:
    """Return the formats as CVAT's ``/api/server/annotation/formats`` shows them."""
    shown = [
        {
            "name": form.name,
            "ext": "ZIP",
            "version": form.name.rpartition(" ")[2],
            "enabled": True,
            "dimension": "2d",
        }
        for form in FORMATS.values()
    ]
    readable = {form.name for form in FORMATS.values() if form.read is not None}
    return {
        "importers": [form for form in shown if form["name"] in readable],
        "exporters": shown,
    }


def export(request: Request, task: models.Task, job: models.Job | None) -> Response:
    """Begin an export."""
    query = ExportQuery(data=request.query_params.dict())
    query.is_valid(raise_exception=True)
    begun = work.start_export(
        task,
        job,
        user_id=request.user.pk,
        form=query.validated_data["format"],
        with_images=query.validated_data["save_images"],
    )
    return Response({"rq_id": begun.rq_id}, status=status.HTTP_202_ACCEPTED)


def download(request: Request, task: models.Task) -> HttpResponseBase:
    """Answer the file of an export. Raise NotFound."""
    try:
        key = uuid.UUID(request.query_params.get("key", ""))
    except ValueError:
        raise NotFound("The export was not found.") from None
    rows = models.Exchange.objects.filter(pk=key, task=task, kind=models.ExchangeKind.EXPORT)
    found = rows.filter(user_id=request.user.pk or 0, status=models.RequestStatus.FINISHED).first()
    if found is None:
        raise NotFound("The export was not found.")
    try:
        file = results.opened(found)
    except FileNotFoundError:
        raise NotFound("The file was deleted. Export it again.") from None
    headers = {"Cache-Control": "private"}
    return FileResponse(file, as_attachment=True, filename=found.file_name, headers=headers)


def download_url(exchange: models.Exchange, request: Request | None) -> str | None:
    """Return where the file of a finished export is; None if there is none."""
    if (
        exchange.kind != models.ExchangeKind.EXPORT
        or exchange.status != models.RequestStatus.FINISHED
    ):
        return None
    name, pk = ("tasks-dataset-download", exchange.task_id)
    if exchange.job_id is not None:
        name, pk = ("jobs-dataset-download", exchange.job_id)
    path = f"{reverse(name, kwargs={'pk': pk})}?key={exchange.pk.hex}"
    return path if request is None else request.build_absolute_uri(path)


def receive(
    request: Request, task: models.Task, job: models.Job | None, *, target: str
) -> Response:
    """Handle one message of an upload of annotations; its headers tell which."""
    staging = Staging(task.pk, work.staged_part(job))
    if "Upload-Start" in request.headers:
        staging.clear()
        return Response(status=status.HTTP_202_ACCEPTED)
    if "Upload-Length" in request.headers:
        pk = task.pk if job is None else job.pk
        return upload.begin(request, task, staging, route=f"{target}-annotations-file", pk=pk)
    if "Upload-Finish" not in request.headers:
        staging.clear()
        for file in request.FILES.values():
            staging.add(file.name or "annotations", file.chunks())
    query = ImportQuery(data=request.query_params.dict())
    query.is_valid(raise_exception=True)
    begun = work.start_import(
        task, job, user_id=request.user.pk, form=query.validated_data["format"]
    )
    return Response({"rq_id": begun.rq_id}, status=status.HTTP_202_ACCEPTED)
