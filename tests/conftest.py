"""Fixtures of all tests: users, media, a real Redis, and real worker processes."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck
from hypothesis import settings as examples
from pytest_django import Settings

from cvat_lambda.functions import health
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.server.processes import Child

REPOSITORY = Path(__file__).resolve().parent.parent
IMAGES = REPOSITORY / "cvat_lambda" / "server" / "photographs"

ClientFor = Callable[[User | None], Client]
_media_numbers = itertools.count()

# A slow machine must not fail a test: no deadline, and no check for slow generation. Who changes
# code with property tests tries more examples: --hypothesis-profile=thorough
examples.register_profile(
    "tests", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
examples.register_profile("thorough", parent=examples.get_profile("tests"), max_examples=1000)
# Continuous integration runs the same examples each time, so that failures are due to a change.
examples.register_profile("same", parent=examples.get_profile("tests"), derandomize=True)
examples.load_profile("tests")


def pytest_configure() -> None:
    """Handle SIGINT. Workers of pytest-xdist ignore it, and child processes would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Start a worker for each core and one more, because many tests wait for other processes.

    Run the tests of a single file without workers. Start none if a path does not exist: workers
    would find no tests and report no error.
    """
    paths = {Path(argument.partition("::")[0]) for argument in config.args}
    if not all(path.exists() for path in paths) or (len(paths) == 1 and paths.pop().is_file()):
        return 0
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return (cores or 1) + 1


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a case after its parameter if its value is bytes that are not text.

    pytest would write the bytes into the name of the test. An archive holds the time when it was
    made, so that the workers of pytest-xdist would find different tests, and run none.
    """
    if not isinstance(val, bytes) or (val.isascii() and val.decode().isprintable()):
        return None  # pytest's own name
    return argname


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files with short tests last, so that no worker is busy with a slow one at the end.

    The order is random otherwise: pytest-randomly has shuffled the files, and the tests of a file.
    """

    def speed(item: pytest.Item) -> int:
        folder = item.path.relative_to(REPOSITORY / "tests").parts[0]
        return {"api": 1, "unit": 2}.get(folder, 0)

    items.sort(key=speed)


def pytest_sessionfinish() -> None:
    """Store what coverage measured in this process.

    pytest-xdist kills a worker 10 s after the last test. On a loaded machine the lines that a third
    of the tests reach were missing in the report.
    """
    if os.environ.get("COVERAGE_PROCESS_CONFIG"):
        from coverage import Coverage

        measured = Coverage.current()
        if measured is not None:
            measured.save()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how to repeat the random order of this run."""
    if config.pluginmanager.hasplugin("randomly"):
        seed = config.getoption("randomly_seed")
        terminalreporter.write_line(f"The order was random; --randomly-seed={seed} repeats it.")


@pytest.fixture(autouse=True)
def media_root(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give each test its own media folder, which exists as soon as a test writes to it."""
    folder = tmp_path_factory.getbasetemp() / "media" / str(next(_media_numbers))
    settings.MEDIA_ROOT = folder
    return folder


@pytest.fixture(autouse=True)
def _new_gateway() -> Iterator[None]:
    """Reset the gateway and cached health queries after each test."""
    yield
    get_gateway().reset()
    health.forget_queries()


@pytest.fixture
def alice(db: None) -> User:
    """A user who owns tasks and requests in most tests."""
    return User.objects.create_user("alice", "alice@example.com", "alice-secret")


@pytest.fixture
def bob(db: None) -> User:
    """A user who is the assignee of alice's jobs in most tests."""
    return User.objects.create_user("bob", "bob@example.com", "bob-secret")


@pytest.fixture
def charlie(db: None) -> User:
    """A user without rights on alice's objects."""
    return User.objects.create_user("charlie", "charlie@example.com", "charlie-secret")


@pytest.fixture
def client_for() -> ClientFor:
    """Return a function that makes a logged-in Django test client, or an anonymous one for None."""

    def make(user: User | None) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user)
        return client

    return make


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The URL of a real Redis server that only this test process uses."""
    return os.environ["CVAT_LAMBDA_REDIS_URL"]


@pytest.fixture
def clean_redis(redis_url: str) -> str:
    """The URL of the Redis server, after all keys were deleted."""
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


def database_url() -> str:
    """Return the URL of the test's database for a child process."""
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
    """The environment of a child process that uses the test's database, Redis and media."""
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
    """Return a function that starts child processes: ``spawn(name, command, env=...)``."""
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
    """Return a function that starts an RQ worker: ``worker_process(burst=False, **env)``."""

    def start(*, burst: bool = False, **environment: str) -> Child:
        command = [sys.executable, "manage.py", "rqworker", "annotation", "--skip-checks"]
        return spawn(
            "worker", command + (["--burst"] if burst else []), {**child_env, **environment}
        )

    return start
