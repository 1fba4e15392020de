"""The OpenAPI document of the whole server: the engine's API and the lambda API."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from drf_spectacular.validation import validate_schema

from cvat_lambda.engine.standalone.api.schema import document

made: list[Any] = []


def note(result: Any, **_: Any) -> Any:
    """A hook that drf-spectacular calls for each document that it generates."""
    made.append(result)
    return result


def test_openapi_document_is_valid_and_generated_without_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    GENERATOR_STATS.reset()  # drf-spectacular gives each warning once per process
    generator: Any = SchemaGenerator
    made = generator().get_schema(public=True)
    assert capsys.readouterr().err == ""
    validate_schema(made)  # type: ignore[no-untyped-call]


def test_openapi_document_needs_no_login(client: Client, db: None) -> None:
    answer = client.get("/api/schema", HTTP_ACCEPT="application/vnd.oai.openapi+json")
    assert answer.status_code == 200
    paths = answer.json()["paths"]
    assert {"/api/tasks/", "/api/lambda/functions/{func_id}"} & set(paths)
    assert any(path.rstrip("/") == "/api/server/about" for path in paths)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/vnd.oai.openapi"),  # YAML
        ("application/json", "application/json"),
    ],
)
def test_openapi_document_is_generated_once_and_answered_with_304(
    client: Client, db: None, accept: str, kind: str
) -> None:
    headers = {"Accept": accept} if accept else {}
    document.cache_clear()
    made.clear()
    with patched_settings({"POSTPROCESSING_HOOKS": [f"{__name__}.note"]}):
        answer = client.get("/api/schema", headers=headers)
        again = client.get("/api/schema/?version=1&lang=de", headers=headers)
        had = client.get("/api/schema", headers={**headers, "If-None-Match": answer["ETag"]})
    document.cache_clear()
    assert len(made) == 1
    assert (answer.status_code, answer["Content-Type"]) == (200, f"{kind}; charset=utf-8")
    assert (answer["Vary"], again.content) == ("Accept", answer.content)
    assert (had.status_code, had.content) == (304, b"")
