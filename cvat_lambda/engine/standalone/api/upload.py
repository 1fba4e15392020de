"""``POST /api/tasks/ID/data``: files in one request, in several requests, or resumable (TUS)."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.urls import reverse
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from cvat_lambda.engine.standalone import models, uploads
from cvat_lambda.engine.standalone.api.serializers.data import DataParameters
from cvat_lambda.engine.standalone.media.files import check_names
from cvat_lambda.engine.standalone.quota import require_space
from cvat_lambda.engine.standalone.staging import Staging, base_name
from cvat_lambda.errors import StateConflict
from cvat_lambda.rest.queries import whole_number

_TUS = "1.0.0"
_MAX_LENGTH = 2**63 - 1


def receive(request: Request, task: models.Task) -> Response:
    """Handle one message of an upload. Its headers state the kind of message.

    Raise StateConflict.
    """
    uploads.require_empty(task)
    staging = Staging(task.pk)
    if "Upload-Start" in request.headers:
        staging.clear()
        return Response(status=status.HTTP_202_ACCEPTED)
    if "Upload-Length" in request.headers:
        return begin(request, task, staging, route="tasks-data-file", pk=task.pk)
    if "Upload-Multiple" in request.headers:
        _keep_files(request, task, staging)
        return Response(status=status.HTTP_200_OK)
    if "Upload-Finish" not in request.headers:
        staging.clear()
        _keep_files(request, task, staging)
    return _finish(request, task)


def _keep_files(request: Request, task: models.Task, staging: Staging) -> None:
    files = [
        file
        for name, listed in request.FILES.lists()  # a form may have several files under one name
        if name.startswith("client_files")
        for file in listed
        if isinstance(file, UploadedFile)
    ]
    check_names(base_name(file.name or "") for file in files)
    require_space(task, sum(file.size or 0 for file in files))
    for file in files:
        staging.add(file.name or "", file.chunks())


def _finish(request: Request, task: models.Task) -> Response:
    parameters = DataParameters(data=request.data)
    parameters.is_valid(raise_exception=True)
    found = uploads.start(task, request.user.pk, parameters.validated_data)
    return Response({"rq_id": found.rq_id}, status=status.HTTP_202_ACCEPTED)


def _header_number(request: Request, name: str) -> int:
    number = whole_number(request.headers.get(name, ""), _MAX_LENGTH)
    if number is None:
        raise ValidationError({name: ["A valid integer is required."]})
    return number


def _file_name(request: Request) -> str:
    """Return the name in the header ``Upload-Metadata: filename BASE64, ...``."""
    for pair in request.headers.get("Upload-Metadata", "").split(","):
        key, _, value = pair.strip().partition(" ")
        if key == "filename":
            try:
                return base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                break
    raise ValidationError({"Upload-Metadata": ["A filename in base64 is required."]})


def begin(
    request: Request, task: models.Task, staging: Staging, *, route: str, pk: int
) -> Response:
    """Begin a resumable upload. The named route receives its parts."""
    name = _file_name(request)
    length = _header_number(request, "Upload-Length")
    require_space(task, length)
    key = staging.begin(name, length)
    path = reverse(route, kwargs={"pk": pk, "file_id": key})
    headers = {
        "Location": request.build_absolute_uri(path),
        "Upload-Filename": _header_text(staging.name(key)),
        "Upload-Offset": "0",
        "Tus-Resumable": _TUS,
    }
    return Response(status=status.HTTP_201_CREATED, headers=headers)


def _header_text(name: str) -> str:
    """Return a file name encoded for a header."""
    return name.encode("ascii", "backslashreplace").decode()


def tell(task: models.Task, key: str, part: str = "") -> Response:
    """Return the received size of a file. Raise NotFound."""
    there, whole = Staging(task.pk, part).progress(key)
    return _progress(there, whole, status.HTTP_200_OK)


def append(request: Request, task: models.Task, key: str, part: str = "") -> Response:
    """Append a part to a file. Raise NotFound, InvalidRequest."""
    offset = _header_number(request, "Upload-Offset")
    length = _header_number(request, "Content-Length")
    staging = Staging(task.pk, part)
    stream: Any = request.stream
    try:
        there = staging.append(key, offset, stream, length) if stream is not None else offset
    except StateConflict as exc:
        answer = _progress(*staging.progress(key), status.HTTP_409_CONFLICT)
        answer.data = exc.to_json()
        return answer
    return _progress(there, staging.progress(key)[1], status.HTTP_204_NO_CONTENT)


def _progress(there: int, whole: int, code: int) -> Response:
    headers = {
        "Upload-Offset": str(there),
        "Upload-Length": str(whole),
        "Tus-Resumable": _TUS,
        "Cache-Control": "no-store",
    }
    return Response(status=code, headers=headers)
