"""The settings of a CVAT server with this app, without a CVAT server."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from cvat_lambda.integration.cvat.overlay import APPS, DATABASE, enable_models_page, overlay

RULES = Path(__file__).resolve().parents[3] / "cvat_lambda" / "integration" / "cvat" / "rules"


class Queues(Enum):
    AUTO_ANNOTATION = "annotation"


def cvat_settings(**more: Any) -> dict[str, Any]:
    return {
        "INSTALLED_APPS": ["cvat.apps.engine", "cvat.apps.lambda_manager", "cvat.apps.webhooks"],
        "CVAT_QUEUES": Queues,
        "NUCLIO": {
            "SCHEME": "http",
            "HOST": "nuclio",
            "PORT": 8070,
            "DEFAULT_TIMEOUT": 120,
            "FUNCTION_NAMESPACE": "nuclio",
            "INVOKE_METHOD": "direct",
        },
        **more,
    }


def test_overlay_replaces_lambda_manager() -> None:
    found = overlay(cvat_settings())
    assert found["INSTALLED_APPS"] == ["cvat.apps.engine", *APPS, "cvat.apps.webhooks"]


def test_overlay_without_lambda_manager_adds_the_app() -> None:
    found = overlay(cvat_settings(INSTALLED_APPS=["cvat.apps.engine"]))
    assert found["INSTALLED_APPS"] == ["cvat.apps.engine", *APPS]


def test_native_functions_are_objects_without_an_organization_of_cvat() -> None:
    """CVAT fails on an object of any other view that has no ``organization_id``."""
    found = overlay(cvat_settings(OBJECTS_NOT_RELATED_WITH_ORG=["user", "lambda_function"]))
    names = found["OBJECTS_NOT_RELATED_WITH_ORG"]
    assert names == ["user", "lambda_function", "native_function"]


def test_request_context_is_the_innermost_middleware() -> None:
    found = overlay(cvat_settings(MIDDLEWARE=["cvat.a", "cvat.b"]))
    ours = "cvat_lambda.observability.middleware.RequestContext"
    assert found["MIDDLEWARE"] == ["cvat.a", "cvat.b", ours]


def test_overlay_does_not_change_the_settings_of_cvat() -> None:
    settings = cvat_settings()
    before = list(settings["INSTALLED_APPS"])
    overlay(settings)
    assert settings["INSTALLED_APPS"] == before


def test_postgresql_gets_the_engine_with_the_connection_pool() -> None:
    postgresql = {"ENGINE": "django.db.backends.postgresql", "NAME": "cvat", "HOST": "db"}
    found = overlay(cvat_settings(DATABASES={"default": postgresql}))
    assert found["DATABASES"] == {"default": {**postgresql, "ENGINE": DATABASE}}
    assert postgresql["ENGINE"] == "django.db.backends.postgresql"


def test_other_databases_keep_their_engine() -> None:
    databases = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "cvat.sqlite3"},
        "other": {"ENGINE": "django.db.backends.postgresql", "NAME": "other"},
    }
    assert overlay(cvat_settings(DATABASES=databases))["DATABASES"] == databases


def test_platform_is_that_of_cvats_settings() -> None:
    found = overlay(cvat_settings())
    assert found["CVAT_LAMBDA_PLATFORM_URL"] == "http://nuclio:8070"
    assert found["CVAT_LAMBDA_PLATFORM_NAMESPACE"] == "nuclio"
    assert found["CVAT_LAMBDA_CALL_TIMEOUT_S"] == 120.0
    assert found["CVAT_LAMBDA_INVOKE_METHOD"] == "direct"
    assert found["CVAT_LAMBDA_QUEUE"] == "annotation"


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("0", "0"), ("yes", "yes")])
def test_models_page_is_enabled_unless_the_variable_is_set(
    monkeypatch: pytest.MonkeyPatch, given: str | None, kept: str
) -> None:
    monkeypatch.delenv("CVAT_SERVERLESS", raising=False)
    if given is not None:
        monkeypatch.setenv("CVAT_SERVERLESS", given)
    enable_models_page()
    assert os.environ["CVAT_SERVERLESS"] == kept


def test_rules_have_their_own_package() -> None:
    """CVAT serves the rules of all apps in one folder, so names must not collide."""
    rules = sorted(RULES.glob("*.rego"))
    assert [path.name for path in rules] == ["cvat_lambda.rego"]
    text = rules[0].read_text()
    assert text.startswith("package cvat_lambda\n")
    assert "default allow := false" in text
