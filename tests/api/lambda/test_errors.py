"""Answers to errors have a code and a sentence. The traceback is in the log."""

from __future__ import annotations

import errno
import json
import logging
from typing import Any

import pytest
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import OperationalError
from django.http import Http404
from django.test import Client
from rest_framework import exceptions

from cvat_lambda import errors
from cvat_lambda.annotations.errors import ShapeError
from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.rest.views import handle_exception
from tests.integration.interactive.functions import Functions

from .conftest import Api


def every_error(base: type[errors.LambdaError] = errors.LambdaError) -> list[Any]:
    return [base, *(found for sub in base.__subclasses__() for found in every_error(sub))]


@pytest.mark.parametrize("kind", every_error())
def test_every_typed_error_is_answered_with_its_status_code_and_sentence(
    kind: type[errors.LambdaError],
) -> None:
    answer = handle_exception(kind("A sentence.", frame=3), {})
    assert answer is not None
    assert answer.status_code == kind.status_code
    assert answer.data == {"code": kind.code, "message": "A sentence.", "frame": 3}


@pytest.mark.parametrize(
    ("exc", "status", "data"),
    [
        (Http404(), 404, {"detail": "Not found."}),
        (
            exceptions.NotAuthenticated(),
            401,
            {"detail": "Authentication credentials were not provided."},
        ),
        (exceptions.ValidationError({"task": ["No."]}), 400, {"task": ["No."]}),
    ],
)
def test_errors_of_rest_framework_keep_their_format(
    exc: Exception, status: int, data: dict[str, Any]
) -> None:
    answer = handle_exception(exc, {})
    assert answer is not None
    assert (answer.status_code, answer.data) == (status, data)


@pytest.mark.parametrize(
    ("exc", "status", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507, "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 507, "disk_full"),
        (OperationalError("database or disk is full"), 507, "disk_full"),  # of SQLite
        (OperationalError("could not extend file: No space left on device"), 507, "disk_full"),
        (RequestDataTooBig(), 413, "body_too_large"),
        (SuspiciousOperation("a path outside of the folder"), 400, "invalid_request"),
        (ShapeError("a polygon needs three points"), 400, "invalid_annotations"),
    ],
)
def test_error_of_the_disk_or_the_body_is_answered_with_its_code(
    exc: Exception, status: int, code: str
) -> None:
    answer = handle_exception(exc, {})
    assert answer is not None
    assert (answer.status_code, answer.data["code"]) == (status, code)


def test_unexpected_error_is_answered_with_a_reference_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret = "redis://user:password@10.0.0.7"
    try:
        raise RuntimeError(secret)
    except RuntimeError as exc:
        with caplog.at_level(logging.ERROR):
            answer = handle_exception(exc, {})
    assert answer is not None
    assert (answer.status_code, answer.data["code"]) == (500, "internal_error")
    assert secret not in json.dumps(answer.data)
    assert answer.data["reference"] in answer.data["message"]
    assert answer.data["reference"] in caplog.text
    assert secret in caplog.text


def test_unsupported_method_is_answered_with_405_as_json(api: Api, db: None) -> None:
    answer = api.delete("functions")
    assert (answer.status_code, list(answer.json())) == (405, ["detail"])


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "body", [DEEP, f'{{"task": 1, "mapping": {DEEP}}}', '{"a":' * 900 + "1" + "}" * 900]
)
@pytest.mark.parametrize("path", ["functions/yolo", "requests"])
def test_a_body_that_is_nested_too_deeply_is_400(
    api: Api, functions: Functions, path: str, body: str
) -> None:
    functions.add("yolo", type="detector")
    answer = api.post(path, body)
    assert answer.status_code == 400
    assert "64 levels" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        '{"username": ' * 900 + "1" + "}" * 900,
        '{"username": "\\ud800", "password": "a"}',
    ],
)
def test_login_with_a_deeply_nested_or_unstorable_body_answers_400(
    client: Client, body: str
) -> None:
    answer = client.post("/api/auth/login", body, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
@pytest.mark.parametrize("where", ['"w": {}', '"more": {{"deep": [1, {}]}}', '"points": [{}]'])
def test_a_box_with_a_number_that_is_not_finite_is_400(
    api: Api, functions: Functions, task: Task, where: str, number: str
) -> None:
    functions.add("osnet", type="reid")
    box = '{"points": [1, 2, 3, 4], ' + where.format(number) + "}"
    body = f'{{"task": {task.pk}, "frame0": 0, "frame1": 1, "boxes0": [{box}], "boxes1": []}}'
    answer = api.post("functions/osnet", body)
    assert (answer.status_code, list(answer.json())) == (400, ["boxes0"])
