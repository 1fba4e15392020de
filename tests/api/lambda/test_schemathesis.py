"""Whatever the OpenAPI document allows, and what it does not, gets an answer that it describes."""

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
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from rest_framework.authtoken.models import Token
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.integration.interactive.functions import Answer

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)
LABELS = json.dumps([{"name": "car", "type": "any"}, {"name": "bus", "type": "rectangle"}])
KINDS = ("detector", "interactor", "tracker", "reid")


_raw: dict[str, Any] = {}


@pytest.fixture
def one_connection(document: Any) -> Iterator[None]:
    """Requests share the test's transaction, as with Django's own test client.

    That one connects the signals again after each of its requests, so this comes last.
    """
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def document(functions: Any, task: Any, jobs: Any, api: Any) -> Any:
    """The whole document, served by a server with a task, a request and a function a kind."""
    for kind in KINDS:
        functions.add(kind, lambda payload: Answer(400, "No."), type=kind, spec=LABELS)
    created = api.post("requests", {"function": "detector", "task": task.pk})
    assert created.status_code == 200
    if not _raw:  # making it takes seconds
        _raw.update(json.loads(api.client.get("/api/schema?format=json").content))
    found = schemathesis.openapi.from_dict(copy.deepcopy(_raw))
    found.app = get_wsgi_application()
    request_id = created.json()["id"]

    @found.hook
    def map_body(context: Any, body: Any) -> Any:
        """Half of the bodies are about what is there."""
        if isinstance(body, dict) and len(repr(body)) % 2:
            body = {**body, "task": task.pk, "frame": 0}
            body.pop("job", None)
            if "function" in body:
                body["function"] = KINDS[len(repr(body)) // 2 % 4]
        return body

    @found.hook
    def map_path_parameters(context: Any, path_parameters: Any) -> Any:
        """Half of the paths too."""
        if path_parameters and len(repr(path_parameters)) % 2:
            if "id" in path_parameters:
                return {**path_parameters, "id": request_id}
            if "func_id" in path_parameters:
                size = len(path_parameters["func_id"])
                return {**path_parameters, "func_id": KINDS[size // 2 % 4]}
        return path_parameters

    return found


OPERATIONS = [
    ("/api/lambda/functions", "GET"),
    ("/api/lambda/functions/{func_id}", "GET"),
    ("/api/lambda/functions/{func_id}", "POST"),
    ("/api/lambda/requests", "GET"),
    ("/api/lambda/requests", "POST"),
    ("/api/lambda/requests/{id}", "GET"),
    ("/api/lambda/requests/{id}", "DELETE"),
    ("/api/lambda/requests/{id}/outcomes", "GET"),
    ("/api/lambda/requests/{id}/retry", "POST"),
    ("/api/lambda/requests/{id}/undo", "POST"),
]


@pytest.mark.usefixtures("one_connection")
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_as_the_document_says(
    document: Any, alice: User, path: str, method: str, mode: GenerationMode
) -> None:
    token = Token.objects.create(user=alice)
    operation = document[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
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
        if operation.path.startswith("/api/lambda/")
    }
    assert found == set(OPERATIONS)
