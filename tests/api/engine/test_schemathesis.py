"""Valid and invalid requests get answers that match the OpenAPI document, and never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from unittest import SkipTest

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.models import AccessToken
from cvat_lambda.engine.standalone.tasks import create_project, create_task

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
QUEUE = "/api/functions/queues/function:{id}"
OPERATIONS = [
    ("/api/auth/login/", "POST"),
    ("/api/functions", "POST"),
    ("/api/functions/{id}", "GET"),
    ("/api/functions/{id}", "DELETE"),
    (f"{QUEUE}/requests/acquire", "POST"),
    (f"{QUEUE}/requests/{{ar_id}}/complete", "POST"),
    (f"{QUEUE}/requests/{{ar_id}}/fail", "POST"),
    (f"{QUEUE}/requests/{{ar_id}}/update", "POST"),
    ("/api/jobs/", "GET"),
    ("/api/jobs/", "POST"),
    ("/api/jobs/{id}/", "GET"),
    ("/api/jobs/{id}/", "PATCH"),
    ("/api/jobs/{id}/", "DELETE"),
    ("/api/jobs/{id}/annotations/", "GET"),
    ("/api/jobs/{id}/annotations/", "PUT"),
    ("/api/jobs/{id}/annotations/", "PATCH"),
    ("/api/jobs/{id}/annotations/", "DELETE"),
    ("/api/jobs/{id}/annotations/", "POST"),
    ("/api/jobs/{id}/data/", "GET"),
    ("/api/jobs/{id}/dataset/download/", "GET"),
    ("/api/jobs/{id}/dataset/export/", "POST"),
    ("/api/jobs/{id}/data/meta/", "GET"),
    ("/api/jobs/{id}/data/meta/", "PATCH"),
    ("/api/jobs/{id}/preview/", "GET"),
    ("/api/labels/", "GET"),
    ("/api/labels/{id}/", "GET"),
    ("/api/labels/{id}/", "PATCH"),
    ("/api/labels/{id}/", "DELETE"),
    ("/api/projects/", "GET"),
    ("/api/projects/", "POST"),
    ("/api/projects/{id}/", "GET"),
    ("/api/projects/{id}/", "PATCH"),
    ("/api/projects/{id}/", "DELETE"),
    ("/api/requests/", "GET"),
    ("/api/requests/{id}/", "GET"),
    ("/api/server/about/", "GET"),
    ("/api/server/annotation/formats/", "GET"),
    ("/api/server/plugins/", "GET"),
    ("/api/tasks/", "GET"),
    ("/api/tasks/", "POST"),
    ("/api/tasks/{id}/", "GET"),
    ("/api/tasks/{id}/", "PATCH"),
    ("/api/tasks/{id}/", "DELETE"),
    ("/api/tasks/{id}/annotations/", "GET"),
    ("/api/tasks/{id}/annotations/", "PUT"),
    ("/api/tasks/{id}/annotations/", "PATCH"),
    ("/api/tasks/{id}/annotations/", "DELETE"),
    ("/api/tasks/{id}/annotations/", "POST"),
    ("/api/tasks/{id}/dataset/download/", "GET"),
    ("/api/tasks/{id}/dataset/export/", "POST"),
    ("/api/tasks/{id}/data/", "GET"),
    ("/api/tasks/{id}/data/", "POST"),
    ("/api/tasks/{id}/data/meta/", "GET"),
    ("/api/tasks/{id}/data/meta/", "PATCH"),
    ("/api/tasks/{id}/preview/", "GET"),
    ("/api/users/self/", "GET"),
]
PIECE = "/api/tasks/{id}/data/{file_id}/"
# Uploads of file parts have a test of their own. A logout would end the token of the test. An event
# stream does not end.
LEFT_OUT = {
    (PIECE, "PATCH"),
    ("/api/jobs/{id}/annotations/{file_id}/", "PATCH"),
    ("/api/tasks/{id}/annotations/{file_id}/", "PATCH"),
    ("/api/auth/logout/", "POST"),
    (f"{QUEUE}/watch", "GET"),
}
_documents: list[BaseSchema] = []  # one, which is made once: it takes seconds
_ids: dict[str, int | str] = {}  # of objects of the running test


@pytest.fixture
def one_connection(document: BaseSchema) -> Iterator[None]:
    """Requests share the test's transaction, as with Django's own test client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def document(
    alice: User, task: models.Task, jobs: list[models.Job], car: models.Label
) -> BaseSchema:
    """The document of a server on which alice has a task and a project."""
    project = create_project(alice, "project", ["tree"])
    request = models.DataRequest.objects.create(task=task, user=alice, status="finished")
    _ids.update(
        tasks=task.pk,
        jobs=jobs[0].pk,
        labels=car.pk,
        projects=project.pk,
        requests=request.rq_id,
        functions=1,
    )
    if not _documents:
        raw = json.loads(Client().get("/api/schema?scheme=json").content)
        found = schemathesis.openapi.from_dict(raw)
        found.app = get_wsgi_application()
        found.hook(map_path_parameters)
        _documents.append(found)
    return _documents[0]


def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Put existing ids in most paths."""
    if path_parameters and "id" in path_parameters and len(repr(path_parameters)) % 4:
        kind = context.operation.path.split("/")[2]
        return {**path_parameters, "id": _ids[kind]}
    return path_parameters


@pytest.mark.usefixtures("one_connection")
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_matches_the_openapi_document(
    document: BaseSchema, alice: User, path: str, method: str, mode: GenerationMode
) -> None:
    token = AccessToken.create_login_key(alice)[1]
    operation = document[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=6,
        deadline=None,
        phases=[Phase.generate],  # do not shrink failures
        suppress_health_check=list(HealthCheck),
    )
    def probe(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Token {token}"}, checks=CHECKS)

    try:
        probe()
    except (Unsatisfiable, SkipTest):
        assert mode is GenerationMode.NEGATIVE  # this operation has no invalid requests


@schemathesis.serializer("application/offset+octet-stream")
def serialize_piece(context: Any, value: Any) -> Any:
    """Return the value unchanged."""
    return value


@pytest.fixture
def empty(alice: User, client: Client) -> tuple[models.Task, str]:
    """A task without files, and the id of an upload of 6 bytes that was announced for it."""
    task = create_task(alice, "empty", ["car"])
    client.force_login(alice)
    begun = client.post(
        f"/api/tasks/{task.pk}/data",
        headers={"Upload-Length": "6", "Upload-Metadata": "filename YS5wbmc="},
    )
    assert begun.status_code == 201
    return task, begun["Location"].rpartition("/")[2]


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(["0", "3", "6", "7", "-1", "1e3", "", "9" * 40, "\u0663"])
        for name in ("Upload-Offset", "Upload-Length", "Tus-Resumable")
    },
)
KEYS = st.sampled_from(["begun", "0" * 32, "f" * 32])


def test_resumable_upload_matches_the_openapi_document(
    document: BaseSchema,
    alice: User,
    empty: tuple[models.Task, str],
    one_connection: None,  # after `empty`, whose client connects the signals again
) -> None:
    token = AccessToken.create_login_key(alice)[1]
    task, begun = empty
    operation = document[PIECE]["PATCH"]
    statuses = set()

    @given(HEADERS, KEYS, st.binary(max_size=8))
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @example({"Upload-Offset": "0"}, "begun", b"abc")
    @example({"Upload-Offset": "0"}, "begun", b"abc")  # the same part again
    @example({"Upload-Offset": "3"}, "begun", b"abcdefgh")  # more bytes than were announced
    def probe(headers: dict[str, str], key: str, piece: bytes) -> None:
        case = operation.Case(
            path_parameters={"id": str(task.pk), "file_id": key.replace("begun", begun)},
            body=piece,
            media_type="application/offset+octet-stream",
        )
        sent = {name: value.encode().decode("latin-1") for name, value in headers.items()}
        response = case.call(headers={**sent, "Authorization": f"Token {token}"})
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    probe()
    assert {204, 400, 404, 409} <= statuses


def test_head_of_a_resumable_upload_answers_200(
    empty: tuple[models.Task, str], client: Client
) -> None:
    """The OpenAPI document has no HEAD operations."""
    task, begun = empty

    @given(HEADERS, KEYS)
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    def probe(headers: dict[str, str], key: str) -> None:
        path = f"/api/tasks/{task.pk}/data/{key.replace('begun', begun)}"
        answer = client.head(path, headers=headers)
        assert (answer.status_code, answer.content) == (200 if key == "begun" else 404, b"")
        if key == "begun":
            assert (answer["Upload-Offset"], answer["Upload-Length"]) == ("0", "6")

    probe()


def test_all_operations_are_probed(document: BaseSchema) -> None:
    found = {
        (operation.path, operation.method.upper())
        for operation in (
            result.ok() for result in document.get_all_operations() if isinstance(result, Ok)
        )
        if not operation.path.startswith("/api/lambda/")
    }
    assert found - LEFT_OUT == set(OPERATIONS)
