"""The settings that put this app into a CVAT server, without one."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from cvat_lambda.integration.cvat.overlay import APPS, DATABASE, overlay, enable_models_page

RULES = Path(__file__).resolve().parents[3] / "cvat_lambda" / "integration" / "cvat" / "rules"


class Queues(Enum):
    AUTO_ANNOTATION = "annotation"


def host_settings(**more: Any) -> dict[str, Any]:
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


def test_app_takes_the_place_of_lambda_manager() -> None:
    found = overlay(host_settings())
    assert found["INSTALLED_APPS"] == ["cvat.apps.engine", *APPS, "cvat.apps.webhooks"]


def test_app_is_added_where_there_is_no_lambda_manager() -> None:
    found = overlay(host_settings(INSTALLED_APPS=["cvat.apps.engine"]))
    assert found["INSTALLED_APPS"] == ["cvat.apps.engine", *APPS]


def test_settings_of_the_host_are_left_as_they_are() -> None:
    settings = host_settings()
    before = list(settings["INSTALLED_APPS"])
    overlay(settings)
    assert settings["INSTALLED_APPS"] == before


def test_database_is_the_hosts_with_kept_connections() -> None:
    postgresql = {"ENGINE": "django.db.backends.postgresql", "NAME": "cvat", "HOST": "db"}
    found = overlay(host_settings(DATABASES={"default": postgresql}))
    assert found["DATABASES"] == {"default": {**postgresql, "ENGINE": DATABASE}}
    assert postgresql["ENGINE"] == "django.db.backends.postgresql"


def test_other_databases_are_left_as_they_are() -> None:
    databases = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "cvat.sqlite3"},
        "other": {"ENGINE": "django.db.backends.postgresql", "NAME": "other"},
    }
    assert overlay(host_settings(DATABASES=databases))["DATABASES"] == databases


def test_platform_is_the_one_that_cvat_names() -> None:
    found = overlay(host_settings())
    assert found["CVAT_LAMBDA_PLATFORM_URL"] == "http://nuclio:8070"
    assert found["CVAT_LAMBDA_PLATFORM_NAMESPACE"] == "nuclio"
    assert found["CVAT_LAMBDA_CALL_TIMEOUT_S"] == 120.0
    assert found["CVAT_LAMBDA_INVOKE_METHOD"] == "direct"
    assert found["CVAT_LAMBDA_QUEUE"] == "annotation"


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("0", "0"), ("yes", "yes")])
def test_models_are_shown_unless_the_administrator_says_no(
    monkeypatch: pytest.MonkeyPatch, given: str | None, kept: str
) -> None:
    monkeypatch.delenv("CVAT_SERVERLESS", raising=False)
    if given is not None:
        monkeypatch.setenv("CVAT_SERVERLESS", given)
    enable_models_page()
    assert os.environ["CVAT_SERVERLESS"] == kept


def test_rules_have_a_package_of_their_own() -> None:
    """CVAT serves the rules of all apps in one folder: a name of its own would be covered."""
    rules = sorted(RULES.glob("*.rego"))
    assert [path.name for path in rules] == ["cvat_lambda.rego"]
    text = rules[0].read_text()
    assert text.startswith("package cvat_lambda\n")
    assert "default allow := false" in text
