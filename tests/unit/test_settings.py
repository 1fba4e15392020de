"""Settings: types, strict parsing, system checks and documentation."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from cvat_lambda import checks
from cvat_lambda.conf import Settings as AppSettings
from cvat_lambda.conf import from_environment
from cvat_lambda.conf import settings as app_settings
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone import checks as engine_checks
from cvat_lambda.engine.standalone.conf import EngineSettings, engine_settings

DOCS = Path(__file__).resolve().parents[2] / "docs"


APP, _, STANDALONE = (DOCS / "settings.md").read_text().partition("## The standalone server")


@pytest.mark.parametrize(
    ("page", "declared"), [(APP, AppSettings), (STANDALONE, EngineSettings)], ids=["app", "engine"]
)
def test_every_setting_is_documented_with_its_default(page: str, declared: type) -> None:
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \|([^|]*)\|", page, re.M))
    assert set(documented) == {name for name in vars(declared) if name.isupper()}
    for name, text in documented.items():
        default = getattr(declared, name)
        if isinstance(default, bool):
            assert text.strip() == str(default).lower(), name
        elif isinstance(default, (int, float)):
            assert float(text) == default, name


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("MAX_ATTEMPTS", "7", 7),
        ("BATCH_S", "0.25", 0.25),
        ("PLATFORM_PROJECT", "", ""),  # the empty text is valid: every project
        ("ENDPOINT_ALLOWED_HOSTS", "a.example, *.b.example", ("a.example", "*.b.example")),
        ("ENDPOINT_ALLOWED_HOSTS", '["10.0.0.0/8"]', ("10.0.0.0/8",)),
    ],
)
def test_environment_variable_is_parsed_to_the_type_of_the_setting(
    name: str, text: str, value: object
) -> None:
    assert from_environment({f"CVAT_LAMBDA_{name}": text}) == {f"CVAT_LAMBDA_{name}": value}


def test_environment_variable_that_cannot_be_parsed_raises_an_error() -> None:
    with pytest.raises(ImproperlyConfigured, match="CVAT_LAMBDA_MAX_ATTEMPTS='many'"):
        from_environment({"CVAT_LAMBDA_MAX_ATTEMPTS": "many"})


def test_setting_is_read_at_each_access(settings: Settings) -> None:
    assert AppSettings.BATCH_FRAMES == app_settings.BATCH_FRAMES  # the default is kept now
    settings.CVAT_LAMBDA_BATCH_FRAMES = 3
    assert app_settings.BATCH_FRAMES == 3
    del settings.CVAT_LAMBDA_BATCH_FRAMES
    assert AppSettings.BATCH_FRAMES == app_settings.BATCH_FRAMES


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("MAX_ATTEMPTS", "5", "cvat_lambda.E001"),  # text instead of a number
        ("MAX_ATTEMPTS", True, "cvat_lambda.E001"),
        ("BATCH_FRAMES", 0, "cvat_lambda.E002"),
        ("INVOKE_METHOD", "magic", "cvat_lambda.E003"),
        ("MAX_FAILURE_RATE", 1.5, "cvat_lambda.E004"),
        ("PLATFORM_URL", "nuclio:8070", "cvat_lambda.E005"),
        ("ENGINE", "no.such.Engine", "cvat_lambda.E006"),
        ("ENGINE", "", "cvat_lambda.E008"),
        (
            "DEFAULT_REPLACE",
            "all",
            "cvat_lambda.E007",
        ),  # this default would delete manual annotations
        ("MAX_ATEMPTS", 5, "cvat_lambda.W001"),  # misspelt
        ("STALLED_AFTER_S", 1.0, "cvat_lambda.W002"),
        ("WEBHOOK_URL", "https://example.com/hook", "cvat_lambda.W003"),
    ],
)
def test_system_check_reports_an_invalid_setting(
    settings: Settings, name: str, value: object, code: str
) -> None:
    setattr(settings, f"CVAT_LAMBDA_{name}", value)
    assert code in [message.id for message in checks.check_settings()]


def test_system_check_reports_a_pybase64_without_its_compiled_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cvat_lambda.W004" not in [message.id for message in checks.check_settings()]
    # What an image has whose Python differs from the one that installed the package.
    (tmp_path / "pybase64").mkdir()
    (tmp_path / "pybase64" / "__init__.py").write_text("from base64 import b64encode\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pybase64"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    assert "cvat_lambda.W004" in [message.id for message in checks.check_settings()]
    monkeypatch.delitem(sys.modules, "pybase64")


def test_get_engine_without_the_setting_names_the_setting(settings: Settings) -> None:
    settings.CVAT_LAMBDA_ENGINE = ""
    with pytest.raises(ImproperlyConfigured, match="CVAT_LAMBDA_ENGINE is not set"):
        get_engine()


def test_old_name_of_an_engine_setting_is_read_and_reported(settings: Settings) -> None:
    settings.CVAT_LAMBDA_HOST_CHUNK_FRAMES = 7
    assert engine_settings.CHUNK_FRAMES == 7
    (warning,) = engine_checks.check_settings()
    assert "is now called CVAT_LAMBDA_STANDALONE_CHUNK_FRAMES" in warning.msg
    assert EngineSettings.from_environment({"CVAT_LAMBDA_HOST_CHUNK_FRAMES": "8"}) == {
        "CVAT_LAMBDA_HOST_CHUNK_FRAMES": 8
    }


@pytest.mark.parametrize(
    ("name", "value", "code"), [("CHUNK_FRAMES", "5", "engine.E001"), ("CHUNKS", 5, "engine.W002")]
)
def test_system_check_reports_an_invalid_setting_of_the_engine(
    settings: Settings, name: str, value: object, code: str
) -> None:
    setattr(settings, f"CVAT_LAMBDA_STANDALONE_{name}", value)
    assert [message.id for message in engine_checks.check_settings()] == [code]


def test_default_settings_pass_the_system_checks() -> None:
    assert checks.check_settings() == []
    assert engine_checks.check_settings() == []
    assert app_settings.MAX_ATTEMPTS == 5
