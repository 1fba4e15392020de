"""What tests of every room share: people, real Redis, real worker and function processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck
from hypothesis import settings as examples

from cvat_lambda.functions import health
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.server.processes import Child

REPOSITORY = Path(__file__).resolve().parent.parent
IMAGES = REPOSITORY / "cvat_lambda" / "server" / "photographs"

# A machine that stalls within an example, or while one is made, is no fault of what is tested.
examples.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# What must be green draws the same examples again: its verdict is about the change, not about luck.
examples.register_profile("same", parent=examples.get_profile("tests"), derandomize=True)
examples.load_profile("tests")


def pytest_configure() -> None:
    """Take SIGINT, which workers of pytest-xdist ignore; what a test starts would ignore it too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start a worker for each core, and none for the tests of one file: one process runs them.

    None either where a path does not exist: workers would find no test and say nothing of it.
    """
    paths = {Path(argument.partition("::")[0]) for argument in config.args}
    if not all(path.exists() for path in paths) or (len(paths) == 1 and paths.pop().is_file()):
        return 0
    return max(2, len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 2)


@pytest.fixture(autouse=True)
def media_root(settings: Any, tmp_path: Path) -> Path:
    """Each test's media are its own."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture(autouse=True)
def _new_gateway() -> Iterator[None]:
    """What the gateway has learned of a function ends with the test."""
    yield
    get_gateway().reset()
    health.forget_queries()


@pytest.fixture
def alice(db: None) -> User:
    """Owns things."""
    return User.objects.create_user("alice", "alice@example.com", "alice-secret")


@pytest.fixture
def bob(db: None) -> User:
    """Is in alice's team: assigned."""
    return User.objects.create_user("bob", "bob@example.com", "bob-secret")


@pytest.fixture
def charlie(db: None) -> User:
    """Must get nothing."""
    return User.objects.create_user("charlie", "charlie@example.com", "charlie-secret")


@pytest.fixture
def client_for() -> Callable[[User | None], Client]:
    """A logged-in Django test client for a user; anonymous for None."""

    def make(user: User | None) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user)
        return client

    return make


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A real Redis server, of this test process alone."""
    return os.environ["CVAT_LAMBDA_REDIS_URL"]


@pytest.fixture
def clean_redis(redis_url: str) -> str:
    """The Redis server, emptied."""
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


def database_url() -> str:
    """The test's database, as a process started by it finds it."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    host = values["HOST"] or values["OPTIONS"].get("host", "")
    login = quote(str(values["USER"]))
    if values["PASSWORD"]:
        login += f":{quote(str(values['PASSWORD']))}"
    port = f"&port={values['PORT']}" if values["PORT"] else ""
    return f"postgresql://{login}@/{values['NAME']}?host={quote(str(host))}{port}"


@pytest.fixture
def child_env(transactional_db: None, clean_redis: str, media_root: Path) -> dict[str, str]:
    """The environment in which a child process sees the test's database, Redis and media."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.child_settings",
        "DATABASE_URL": database_url(),
        "CVAT_LAMBDA_REDIS_URL": clean_redis,
        "CVAT_LAMBDA_TEST_MEDIA_ROOT": str(media_root),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start child processes that end with the test: ``spawn(name, command, env=...)``."""
    children: list[Child] = []

    def start(name: str, command: list[str], env: dict[str, str] | None = None) -> Child:
        log = tmp_path / f"{name}-{len(children)}.log"
        child = Child.start(name, command, env=env, log=log, cwd=REPOSITORY)
        children.append(child)
        return child

    yield start
    for child in reversed(children):
        child.stop(grace_s=5.0)


@pytest.fixture
def worker_process(spawn: Callable[..., Child], child_env: dict[str, str]) -> Callable[..., Child]:
    """Start a real RQ worker process: ``worker_process(burst=False, **environment)``."""

    def start(*, burst: bool = False, **environment: str) -> Child:
        command = [sys.executable, "manage.py", "rqworker", "annotation"]
        return spawn(
            "worker", command + (["--burst"] if burst else []), {**child_env, **environment}
        )

    return start
