"""The OpenAPI document of the lambda API."""

from __future__ import annotations

from typing import Any

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema


def generate() -> dict[str, Any]:
    """The document of the lambda API alone."""
    generator: Any = SchemaGenerator
    return dict(generator(urlconf="cvat_lambda.api.urls").get_schema(public=True))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document of the lambda API alone."""
    return generate()


def test_lambda_openapi_document_is_valid_and_generated_without_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    GENERATOR_STATS.reset()  # drf-spectacular gives each warning once per process
    made = generate()
    assert capsys.readouterr().err == ""
    validate_schema(made)  # type: ignore[no-untyped-call]


def test_operation_ids_are_those_of_cvats_sdk(document: dict[str, Any]) -> None:
    names = {
        operation["operationId"]
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if path.startswith("/api/lambda/")  # the SDK has no models of native functions
    }
    assert names == {
        "lambda_list_functions",
        "lambda_retrieve_functions",
        "lambda_create_functions",
        "lambda_list_requests",
        "lambda_create_requests",
        "lambda_retrieve_requests",
        "lambda_delete_requests",
        "lambda_retry_requests",
        "lambda_resume_requests",
        "lambda_undo_requests",
        "lambda_list_request_outcomes",
    }


def test_every_operation_documents_its_errors(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            assert {"401", "403", "500"} <= set(answers), (method, path)
            assert all(
                content["schema"] == {"$ref": "#/components/schemas/LambdaError"}
                for status, answer in answers.items()
                if status >= "400"
                for content in answer["content"].values()
            )


def test_members_of_a_request_that_cvat_requires_are_required(
    document: dict[str, Any],
) -> None:
    parts = document["components"]["schemas"]
    assert set(parts["FunctionCall"]["required"]) >= {
        "id",
        "function",
        "status",
        "progress",
        "enqueued",
        "started",
        "ended",
        "exc_info",
    }
    assert parts["FunctionCallParams"]["required"] == ["id", "task", "threshold"]
    assert parts["FunctionCallRequestRequest"]["required"] == ["function"]
