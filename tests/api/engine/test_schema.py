"""The OpenAPI document of the whole server: host and functions."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema


def test_the_document_of_the_whole_api_is_valid_and_made_without_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    GENERATOR_STATS.reset()  # each warning is given once a process
    generator: Any = SchemaGenerator
    made = generator().get_schema(public=True)
    assert capsys.readouterr().err == ""
    validate_schema(made)  # type: ignore[no-untyped-call]


def test_everybody_may_read_the_document(client: Client, db: None) -> None:
    answer = client.get("/api/schema", HTTP_ACCEPT="application/vnd.oai.openapi+json")
    assert answer.status_code == 200
    paths = answer.json()["paths"]
    assert {"/api/tasks/", "/api/lambda/functions/{func_id}"} & set(paths)
    assert any(path.rstrip("/") == "/api/server/about" for path in paths)
