"""Whatever clients send, the host answers as its OpenAPI document says, and never with 500."""

from __future__ import annotations

import copy
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
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from rest_framework.authtoken.models import Token
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_project

CHECKS = (not_a_server_error, status_code_conformance, response_schema_conformance)
OPERATIONS = [
    ("/api/auth/login/", "POST"),
    ("/api/jobs/", "GET"),
    ("/api/jobs/", "POST"),
    ("/api/jobs/{id}/", "GET"),
    ("/api/jobs/{id}/", "PATCH"),
    ("/api/jobs/{id}/", "DELETE"),
    ("/api/jobs/{id}/annotations/", "GET"),
    ("/api/jobs/{id}/annotations/", "PUT"),
    ("/api/jobs/{id}/annotations/", "PATCH"),
    ("/api/jobs/{id}/annotations/", "DELETE"),
    ("/api/jobs/{id}/data/", "GET"),
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
    ("/api/tasks/{id}/data/", "GET"),
    ("/api/tasks/{id}/data/", "POST"),
    ("/api/tasks/{id}/data/meta/", "GET"),
    ("/api/tasks/{id}/data/meta/", "PATCH"),
    ("/api/tasks/{id}/preview/", "GET"),
    ("/api/users/self/", "GET"),
]
# A piece of a file is no JSON: tests of the uploads send some.
LEFT_OUT = {("/api/tasks/{id}/data/{file_id}/", method) for method in ("HEAD", "PATCH")}
LEFT_OUT |= {("/api/auth/logout/", "POST")}  # ends the token of the test itself
_raw: dict[str, Any] = {}


@pytest.fixture
def one_connection(document: Any) -> Iterator[None]:
    """Requests share the test's transaction, as with Django's own test client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def document(alice: User, task: models.Task, jobs: list[models.Job], car: models.Label) -> Any:
    """The document, served by a server on which alice has a task and a project."""
    project = create_project(alice, "project", ["tree"])
    request = models.DataRequest.objects.create(task=task, user=alice, status="finished")
    if not _raw:  # making it takes seconds
        _raw.update(json.loads(Client().get("/api/schema?format=json").content))
    found = schemathesis.openapi.from_dict(copy.deepcopy(_raw))
    found.app = get_wsgi_application()
    ids = {
        "tasks": task.pk,
        "jobs": jobs[0].pk,
        "labels": car.pk,
        "projects": project.pk,
        "requests": request.rq_id,
    }

    @found.hook
    def map_path_parameters(context: Any, path_parameters: Any) -> Any:
        """Most paths lead to something."""
        if path_parameters and "id" in path_parameters and len(repr(path_parameters)) % 4:
            kind = context.operation.path.split("/")[2]
            return {**path_parameters, "id": ids[kind]}
        return path_parameters

    return found


@pytest.mark.usefixtures("one_connection")
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_as_the_document_says(
    document: Any, alice: User, path: str, method: str, mode: GenerationMode
) -> None:
    token = Token.objects.create(user=alice)
    operation = document[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=6,
        deadline=None,
        phases=[Phase.generate],  # the first failure tells enough
        suppress_health_check=list(HealthCheck),
    )
    def probe(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Token {token.key}"}, checks=CHECKS)

    try:
        probe()
    except (Unsatisfiable, SkipTest):
        assert mode is GenerationMode.NEGATIVE  # nothing can be wrong with this operation


def test_all_operations_are_probed(document: Any) -> None:
    found = {
        (operation.path, operation.method.upper())
        for operation in (result.ok() for result in document.get_all_operations())
        if not operation.path.startswith("/api/lambda/")
    }
    assert found - LEFT_OUT == set(OPERATIONS)
