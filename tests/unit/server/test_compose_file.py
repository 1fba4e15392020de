"""The compose file of the standalone server, without Docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvat_lambda.conf import Settings
from cvat_lambda.server.__main__ import argument_parser

ROOT = Path(__file__).resolve().parents[3]
DOCKER = ROOT / "docker"
TEXT = (DOCKER / "docker-compose.yml").read_text()
SERVICES: dict[str, Any] = yaml.safe_load(TEXT)["services"]
OURS = ("web", "workers", "functions")


@pytest.mark.parametrize(
    ("name", "role"), [("web", "web"), ("workers", "workers"), ("functions", "runtime")]
)
def test_command_of_a_container_starts_one_role(name: str, role: str) -> None:
    program, *arguments = SERVICES[name]["command"]
    assert (program, arguments[:2]) == ("python", ["-m", "cvat_lambda.server"])
    words = [re.sub(r"\$\{\w+:-(.*)\}$", r"\1", word) for word in arguments[2:]]
    parsed = argument_parser().parse_args(words)
    assert parsed.only == (role,)
    assert parsed.print_logs  # "docker logs" shows them


@pytest.mark.parametrize("name", OURS)
def test_container_is_read_only_without_capabilities_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["restart"] == "unless-stopped"
    assert "user" not in service  # the image's account, which is not root
    stage = (ROOT / "Dockerfile").read_text().partition("AS standalone")[2].partition("\nFROM")[0]
    assert "\nUSER lambda\n" in stage
    assert "\nHEALTHCHECK " in stage


@pytest.mark.parametrize("name", OURS)
def test_variables_of_a_container_are_read_by_the_server(name: str) -> None:
    code = "".join(path.read_text() for path in (ROOT / "cvat_lambda").rglob("*.py"))
    known = {f"CVAT_LAMBDA_{setting}" for setting in vars(Settings) if setting.isupper()}
    others = re.compile(r"^(AWS|PIP)_")  # read by boto3, pip and uv
    for variable in SERVICES[name]["environment"]:
        assert variable in known or f'"{variable}"' in code or others.match(variable), variable


def test_missing_secret_is_an_error_of_compose() -> None:
    secrets = (
        "CVAT_LAMBDA_DATABASE_PASSWORD",
        "CVAT_LAMBDA_PLATFORM_TOKEN",
        "CVAT_LAMBDA_SECRET_KEY",
    )
    for name in secrets:
        uses = re.findall(rf"\$\{{{name}([^}}]*)", TEXT)
        assert uses
        assert all(use.startswith(":?set it to a secret") for use in uses), name


def test_default_functions_are_those_of_the_compose_file_for_cvat() -> None:
    other = yaml.safe_load((DOCKER / "docker-compose.cvat-functions.yml").read_text())["services"]
    name = "CVAT_LAMBDA_FUNCTIONS"
    assert (
        SERVICES["functions"]["environment"][name] == other["cvat_functions"]["environment"][name]
    )


def test_only_the_front_and_loopback_publish_ports() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"web", "front"}
    assert all(port.startswith("127.0.0.1:") for port in published["web"])
    assert "docker.sock" not in TEXT
