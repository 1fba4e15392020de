"""Valid and invalid requests get answers that the OpenAPI document describes."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any
from unittest import SkipTest

import jsonschema  # type: ignore[import-untyped]  # of drf-spectacular
import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from pytest_django import Settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cvat_lambda.api.schema import CALL_ANSWER
from cvat_lambda.engine.standalone.models import AccessToken, Task
from cvat_lambda.functions import registry
from tests.http_server import Reply
from tests.integration.interactive.functions import Functions

from .conftest import Api


def no_internal_error(context: Any, response: Any, case: Any) -> None:
    """Fail on a status of 500. A failed function is 502."""
    assert response.status_code != 500


CHECKS = [
    no_internal_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
LABELS = json.dumps([{"name": "car", "type": "any"}, {"name": "bus", "type": "rectangle"}])
KINDS = ("detector", "interactor", "tracker", "reid")

# For each kind, a body of a call that invokes the function.
ASKED: dict[str, dict[str, Any]] = {
    "detector": {"frame": 0},
    "interactor": {"frame": 0, "pos_points": [[3, 4]], "neg_points": []},
    "tracker": {"frame": 0, "shapes": [{"type": "rectangle", "points": [1, 2, 9, 8]}, None]},
    "reid": {
        "frame0": 0,
        "frame1": 1,
        "boxes0": [{"points": [1, 2, 3, 4]}],
        "boxes1": [{"points": [1, 2, 3, 4]}],
    },
}
GOOD: dict[str, Any] = {
    "detector": [
        {"label": "car", "type": "rectangle", "points": [1, 2, 30, 40], "confidence": 0.5},
        {"label": "car", "type": "mask", "mask": [1, 0, 1, 1, 3, 4, 4, 5]},
        {"label": "car", "type": "polygon", "points": [-9, 0, 9, 0, 9, 9]},
        {"label": "car", "type": "tag"},
        {"label": "bus", "type": "ellipse", "points": [9, 9, 12, 3]},
    ],
    "interactor": {"mask": [[0, True], [1.0, 1]], "bounds": [3, 4, 4, 5], "points": []},
    "tracker": {"shapes": [{"type": "rectangle", "points": [-1, 2, 9, 8]}], "states": [{"a": 1}]},
    "reid": [0],
}
# A function returns these answers in turn.
ODD: list[Any] = [
    Reply(400, "No."),
    Reply(422, '{"message": "too dark"}'),
    Reply(500, "boom"),
    Reply(503, "busy"),
    Reply(302, ""),
    Reply(200, ""),
    Reply(200, "[NaN]"),
    Reply(200, '{"blob": "\\ud800"}'),
    Reply(200, '{"shapes": [null], "states": [1e999]}'),
    Reply(200, "[" * 900 + "]" * 900),
    None,
    [],
    {},
    [5],
    {"mask": [[0.5]]},
    {"mask": [[0, 1]], "bounds": [0, 0, 1, 0], "points": [[0, 0], [99, 0], [99, 99]]},
    {"shapes": [[1, 2, 3]], "states": [1]},
    {"shapes": None, "states": [None]},
    [{"label": "car", "type": "mask", "rle": [0, 1 << 28, 0, 0, 16383, 16383]}],
    [{"label": "car", "type": "rectangle", "points": [0, 0, 10**400, 1]}],
    [{"label": "car", "type": "rectangle", "points": [900, 900, 999, 999]}],
]


def good(kind: str) -> Any:
    """A function whose answers are valid for its kind."""
    return lambda payload: copy.deepcopy(GOOD[kind])


def odd() -> Any:
    """A function whose answers are mostly invalid."""
    answers = itertools.cycle(ODD)
    return lambda payload: copy.deepcopy(next(answers))


NAMES = (*KINDS, *(f"odd-{kind}" for kind in KINDS))
_documents: list[BaseSchema] = []  # one, which is made once: it takes seconds
_ids: dict[str, Any] = {}  # of the task and the request of the running test


@pytest.fixture
def settings_of_django(settings: Settings) -> Settings:
    """Django's settings. Hypothesis has a name `settings` of its own."""
    return settings


@pytest.fixture
def one_connection(document: BaseSchema) -> Iterator[None]:
    """Requests share the test's transaction, as with Django's own test client.

    Django's client connects the signals again after each of its requests, so this comes last.
    """
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def document(
    functions: Functions, task: Task, jobs: list[int], api: Api, settings_of_django: Settings
) -> BaseSchema:
    """The document of a server with a task, a request and two functions of each kind."""
    settings_of_django.CVAT_LAMBDA_COLD_START_S = 0.1
    for kind in KINDS:
        functions.put(kind, good(kind), type=kind, spec=LABELS)
        functions.put(f"odd-{kind}", odd(), type=kind, spec=LABELS)
    registry.refresh(force=True)
    created = api.post("requests", {"function": "detector", "task": task.pk})
    assert created.status_code == 200
    _ids.update(task=task.pk, request=created.json()["id"])
    if not _documents:
        raw = json.loads(api.client.get("/api/schema?scheme=json").content)
        found = schemathesis.openapi.from_dict(raw)
        found.app = get_wsgi_application()
        found.hook(map_body)
        found.hook(map_path_parameters)
        _documents.append(found)
    return _documents[0]


def map_body(context: Any, body: Any) -> Any:
    """Put existing ids in half of the bodies, so that these reach the function."""
    if not isinstance(body, dict) or len(repr(body)) % 2 == 0:
        return body
    body = {**body, "task": _ids["task"]}
    body.pop("job", None)
    if "function" in body:
        return {**body, "function": KINDS[len(repr(body)) // 2 % 4]}
    for asked in ASKED.values():
        body.update(asked)
    for name in ("mapping", "roi", "states"):  # generated values are almost always invalid
        if len(repr(body)) % 3:
            body.pop(name, None)
    return body


def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Put existing ids in half of the paths."""
    if path_parameters and len(repr(path_parameters)) % 2:
        if "id" in path_parameters:
            return {**path_parameters, "id": _ids["request"]}
        if "func_id" in path_parameters:
            size = len(path_parameters["func_id"])
            return {**path_parameters, "func_id": NAMES[size % len(NAMES)]}
    return path_parameters


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
    ("/api/lambda/requests/{id}/resume", "POST"),
    ("/api/lambda/requests/{id}/undo", "POST"),
]


@pytest.mark.usefixtures("one_connection")
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_matches_the_openapi_document_of_the_lambda_api(
    document: BaseSchema, alice: User, path: str, method: str, mode: GenerationMode
) -> None:
    token = AccessToken.create_login_key(alice)[1]
    operation = document[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    def probe(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Token {token}"}, checks=CHECKS)

    try:
        probe()
    except (Unsatisfiable, SkipTest):
        assert mode is GenerationMode.NEGATIVE  # this operation has no invalid requests


@pytest.mark.usefixtures("one_connection")
@pytest.mark.parametrize("kind", KINDS)
def test_valid_call_of_each_kind_matches_the_schema_of_200(
    document: BaseSchema, alice: User, task: Task, kind: str
) -> None:
    """The generated requests may all be refused. This test certainly gets a 200."""
    token = AccessToken.create_login_key(alice)[1]
    operation = document["/api/lambda/functions/{func_id}"]["POST"]
    case = operation.Case(
        path_parameters={"func_id": kind},
        body={"task": task.pk, **ASKED[kind]},
        media_type="application/json",
    )
    response = case.call(headers={"Authorization": f"Token {token}"})
    assert response.status_code == 200
    case.validate_response(response, checks=CHECKS)


@pytest.mark.usefixtures("one_connection")
@pytest.mark.parametrize("kind", KINDS)
def test_call_with_an_invalid_answer_of_the_function_matches_the_document(
    document: BaseSchema, alice: User, task: Task, kind: str
) -> None:
    token = AccessToken.create_login_key(alice)[1]
    operation = document["/api/lambda/functions/{func_id}"]["POST"]
    for _ in ODD:
        case = operation.Case(
            path_parameters={"func_id": f"odd-{kind}"},
            body={"task": task.pk, **ASKED[kind]},
            media_type="application/json",
        )
        case.call_and_validate(headers={"Authorization": f"Token {token}"}, checks=CHECKS)


def test_schema_of_a_call_refuses_objects_other_than_answers(document: BaseSchema) -> None:
    """With a schema that accepts every object the tests above could not fail."""
    wrongs: list[Any] = [
        {},
        {"mask": [[0.5]]},
        {"mask": []},
        {"points": []},
        {"shapes": [{"type": "rectangle"}], "states": [None]},
        {"version": 0, "tags": [], "shapes": [{"points": [1]}], "tracks": []},
        [-2],
        "text",
    ]
    for wrong in wrongs:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, CALL_ANSWER)


def test_all_operations_are_probed(document: BaseSchema) -> None:
    found = {
        (operation.path, operation.method.upper())
        for operation in (
            result.ok() for result in document.get_all_operations() if isinstance(result, Ok)
        )
        if operation.path.startswith("/api/lambda/")
    }
    assert found == set(OPERATIONS)
