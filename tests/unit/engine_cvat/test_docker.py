"""Checks of the compose file and the Dockerfile without Docker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

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
OURS = {"cvat_lambda_recovery", "cvat_functions"}


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
    assert "docker.sock" not in FILE.read_text()
    for name, service in services.items():
        assert not {"ports", "privileged", "network_mode", "user"} & set(service), name
    assert "CVAT_LAMBDA_RUNTIME_TOKEN" in services["cvat_functions"]["environment"]
    assert services["cvat_functions"]["profiles"] == ["functions"]


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
