"""The compose file that is laid over CVAT's, without Docker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "docker" / "docker-compose.cvat-lambda.yml"
IMAGE = "cvat/server-lambda:${CVAT_VERSION:-v2.54.0}"
# All services of CVAT 2.54 whose image is cvat/server: each reads the settings that name this app.
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
def test_a_nuclio_that_cvat_has_is_found_without_a_word(
    services: dict[str, Any], name: str
) -> None:
    """A variable with no value is the administrator's, and unset without one (`overlay`)."""
    environment = services[name]["environment"]
    assert environment["CVAT_LAMBDA_PLATFORM_URL"] is None
    assert not {"CVAT_NUCLIO_HOST", "CVAT_NUCLIO_PORT"} & set(environment)


def test_nothing_is_open_and_nothing_reaches_docker(services: dict[str, Any]) -> None:
    assert "docker.sock" not in FILE.read_text()
    for name, service in services.items():
        assert not {"ports", "privileged", "network_mode", "user"} & set(service), name
    assert "CVAT_LAMBDA_RUNTIME_TOKEN" in services["cvat_functions"]["environment"]
    assert services["cvat_functions"]["profiles"] == ["functions"]


@pytest.mark.parametrize("package", ["pybase64", "prometheus-client"])
def test_image_brings_what_the_app_can_do_without_but_should_not(package: str) -> None:
    """CVAT's image has neither; without the second the metrics that are promised are empty."""
    (stage,) = (
        part for part in (ROOT / "Dockerfile").read_text().split("FROM ") if "AS package" in part
    )
    assert f'"{package}>=' in stage
