"""Errors as answers: a code and a sentence, the trace in the log."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.http import Http404
from rest_framework import exceptions

from cvat_lambda import errors
from cvat_lambda.api.exceptions import handle_exception


def every_error(base: type[errors.LambdaError] = errors.LambdaError) -> list[Any]:
    return [base, *(found for sub in base.__subclasses__() for found in every_error(sub))]


@pytest.mark.parametrize("kind", every_error())
def test_each_of_our_errors_has_its_status_code_and_sentence(
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
def test_errors_of_rest_framework_keep_their_form(
    exc: Exception, status: int, data: dict[str, Any]
) -> None:
    answer = handle_exception(exc, {})
    assert answer is not None
    assert (answer.status_code, answer.data) == (status, data)


def test_an_unexpected_error_is_a_reference_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
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


def test_a_wrong_method_is_405_in_the_usual_form(api: Any, db: None) -> None:
    answer = api.delete("functions")
    assert (answer.status_code, list(answer.json())) == (405, ["detail"])
