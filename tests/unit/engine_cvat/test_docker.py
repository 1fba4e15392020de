"""Checks of the compose file and the Dockerfile without Docker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_lambda.conf import Settings
from cvat_lambda.runtime.spec.function_file import FunctionConfig, parse_function, read_document
from cvat_lambda.runtime.spec.weights import PackageSource
from cvat_lambda.runtime.weights.licences import LicencePolicy

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "docker" / "docker-compose.cvat-lambda.yml"
IMAGE = "cvat/server-lambda:${CVAT_VERSION:-v2.54.0}"
# The services of CVAT 2.54 with the image cvat/server. Each loads the settings of this app.
OF_CVAT = {
    "cvat_server",
    "cvat_worker_annotation",
    "cvat_worker_chunks",
    "cvat_worker_consensus",
    "cvat_worker_export",
    "cvat_worker_import",
    "cvat_worker_quality_reports",
    "cvat_worker_utils",
    "cvat_worker_webhooks",
}
OURS = {"cvat_lambda_recovery"}
FUNCTIONS_FILE = ROOT / "docker" / "docker-compose.cvat-functions.yml"
SERVERLESS = ROOT / "serverless"


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


def test_every_container_with_cvats_code_has_the_app(services: dict[str, Any]) -> None:
    assert set(services) == OF_CVAT | OURS
    for name in OF_CVAT | {"cvat_lambda_recovery"}:
        assert services[name]["image"] == IMAGE, name


@pytest.mark.parametrize("name", ["cvat_server", "cvat_worker_annotation", "cvat_lambda_recovery"])
def test_platform_of_cvats_variables_is_used_without_a_setting(
    services: dict[str, Any], name: str
) -> None:
    """Compose passes a variable without a value from its own environment, or leaves it unset."""
    environment = services[name]["environment"]
    assert environment["CVAT_LAMBDA_PLATFORM_URL"] is None
    assert not {"CVAT_NUCLIO_HOST", "CVAT_NUCLIO_PORT"} & set(environment)


def test_no_service_publishes_a_port_or_mounts_the_docker_socket(services: dict[str, Any]) -> None:
    assert "docker.sock" not in FILE.read_text() + FUNCTIONS_FILE.read_text()
    for name, service in [*services.items(), ("cvat_functions", functions_service())]:
        assert not {"ports", "privileged", "network_mode", "user"} & set(service), name


def test_runtime_without_a_token_fails_in_compose_with_a_sentence(
    services: dict[str, Any],
) -> None:
    """Compose evaluates the variables of inactive profiles, so the service has its own file."""
    token = functions_service()["environment"]["CVAT_LAMBDA_RUNTIME_TOKEN"]
    assert token.startswith("${CVAT_LAMBDA_PLATFORM_TOKEN:?set it to a secret")
    assert ":?" not in FILE.read_text()
    assert "cvat_functions" not in services


def test_variables_that_the_app_gets_are_settings(services: dict[str, Any]) -> None:
    passed = {name for service in services.values() for name in service.get("environment", ())}
    ours = {name for name in passed if name.startswith("CVAT_LAMBDA_")}
    assert ours
    assert ours <= {f"CVAT_LAMBDA_{name}" for name in vars(Settings) if name.isupper()}


def test_variables_that_the_runtime_gets_are_read_by_it_or_by_a_function() -> None:
    code = "".join(path.read_text() for path in (ROOT / "cvat_lambda/runtime").rglob("*.py"))
    weights = {weight.env for config in packaged() for weight in config.extras.weights}
    for name in functions_service()["environment"]:
        assert name in weights or f'"{name}"' in code or name.startswith("PIP_"), name
    assert weights - {None} <= set(functions_service()["environment"])


def test_default_functions_need_no_torch_no_licence_and_no_file_of_the_user() -> None:
    text = functions_service()["environment"]["CVAT_LAMBDA_FUNCTIONS"]
    assert text.startswith("${CVAT_LAMBDA_FUNCTIONS:-")
    default = text[len("${CVAT_LAMBDA_FUNCTIONS:-") : -1].split(",")
    policy, expected = LicencePolicy(), []
    for config in packaged():
        sources = [weight.package for weight in config.extras.weights]
        if all(isinstance(source, PackageSource) for source in sources):
            expected.append(config.name)
            for weight in config.extras.weights:
                policy.check(weight.file, weight.licence)
            assert "torch" not in (config.folder / "requirements.txt").read_text()
    assert sorted(default) == sorted(expected)


def functions_service() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FUNCTIONS_FILE.read_text())["services"]["cvat_functions"]
    return found


def packaged() -> list[FunctionConfig]:
    return [
        parse_function(read_document(path), path.parent)
        for path in sorted(SERVERLESS.glob("*/*/*/function.yaml"))
    ]


@pytest.mark.parametrize("package", ["pybase64", "prometheus-client"])
def test_image_has_the_optional_packages(package: str) -> None:
    """CVAT's image has neither. Without prometheus-client the metrics are empty."""
    (stage,) = (
        part for part in (ROOT / "Dockerfile").read_text().split("FROM ") if "AS package" in part
    )
    assert f'"{package}>=' in stage


def test_no_path_of_the_app_is_in_a_folder_of_cvat(services: dict[str, Any]) -> None:
    """CVAT 2.72 moved its code, which a fixed path would miss, and made it read-only."""
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            target = volume.split(":")[1]
            assert not target.startswith(("/home/django", "/opt/cvat/")), name
