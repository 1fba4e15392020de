"""Fixtures for the real clients of CVAT: a live server in a process of its own."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_django import Settings

from cvat_lambda.server.processes import Child, bound_socket, wait_for_answer
from cvat_lambda.server.services import web_command
from tests.conftest import REPOSITORY, database_url
from tests.integration.interactive.functions import Functions, known_platform, serve_functions

# cvat-sdk and cvat-cli 2.80 need Python 3.11; on 3.10 these modules cannot even be imported.
if importlib.util.find_spec("cvat_sdk") is None:
    collect_ignore = [
        "native_function.py",
        "test_agents.py",
        "test_cvat_cli.py",
        "test_cvat_sdk.py",
        "test_exchange.py",
        "test_lambda_sdk.py",
    ]


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str


@pytest.fixture(scope="session")
def media_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The media folder of the server. All tests that use the server share it."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(autouse=True)
def media_root(settings: Settings, media_of_all: Path) -> Path:
    """Media that a test creates itself are put in the media folder of the server."""
    settings.MEDIA_ROOT = media_of_all
    return media_of_all


@pytest.fixture(scope="session")
def platform() -> Iterator[Functions]:
    """The function platform that the server uses."""
    with serve_functions() as served:
        yield served


@pytest.fixture
def functions(
    settings: Settings, transactional_db: None, platform: Functions
) -> Iterator[Functions]:
    """The platform without functions. Each test adds its own."""
    with known_platform(settings, platform):
        yield platform
    platform.clear()


@pytest.fixture(scope="session")
def server_process(
    django_db_setup: None,
    platform: Functions,
    media_of_all: Path,
    redis_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The web server on the tests' database. All tests share it, because it starts slowly."""
    folder = tmp_path_factory.mktemp("server")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.child_settings",
        "DATABASE_URL": database_url(),
        "CVAT_LAMBDA_REDIS_URL": redis_url,
        "CVAT_LAMBDA_PLATFORM_URL": platform.url,
        "CVAT_LAMBDA_TEST_MEDIA_ROOT": str(media_of_all),
        "PYTHONPATH": str(REPOSITORY),
    }
    with bound_socket() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        child = Child.start(
            "web",
            web_command(listener.fileno(), threads=8),
            env=environment,
            log=folder / "web.log",
            cwd=folder,
            keep_open=(listener.fileno(),),
        )
    try:
        wait_for_answer(f"{url}/health", child=child)
        yield Server(url=url)
    finally:
        child.stop(grace_s=5.0)


@pytest.fixture
def server(transactional_db: None, server_process: Server) -> Server:
    """The server, with the database of this test."""
    return server_process
