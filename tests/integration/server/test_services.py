"""The standalone server with all of its real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from cvat_lambda.server.processes import ProcessFailed
from cvat_lambda.server.services import Options, Services
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A running server without functions, with a temporary home folder."""
    home = tmp_path_factory.mktemp("server") / "home"
    stale = home / "metrics" / "counter_host-1.db"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier server")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CVAT_LAMBDA_REDIS_URL", "DATABASE_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("CVAT_LAMBDA_STANDALONE_METRICS_TOKEN", "scrape")
        with Services(Options(home=home, port=0), say=lambda line: None) as running:
            yield running


def get(services: Services, path: str, **headers: str) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(services.url + path, headers=headers)
    try:
        with opener.open(request, timeout=180) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def states(services: Services) -> dict[str, dict[str, Any]]:
    _, body = get(services, "/health")
    return {process["name"]: process for process in json.loads(body)["processes"]}


def test_web_processes_and_workers_share_a_metrics_folder_that_starts_empty(
    services: Services,
) -> None:
    folder = services.options.home / "metrics"
    assert not (folder / "counter_host-1.db").exists()
    status, text = get(services, "/metrics", Authorization="Bearer scrape")
    assert status == 200
    assert b"cvat_lambda_shapes_total 0.0" in text
    places = {
        name: psutil.Process(child.process.pid).environ().get("PROMETHEUS_MULTIPROC_DIR")
        for name, child in services.children.items()
    }
    assert places.pop("redis") is None
    assert places == dict.fromkeys(("web-0", "web-1", "worker-0", "recovery"), str(folder))


def test_second_server_with_the_same_home_is_refused_with_the_address_of_the_first(
    services: Services,
) -> None:
    second = Services(Options(home=services.options.home, port=0))
    with pytest.raises(ProcessFailed, match=f"already runs on .* at {services.url}"):
        second.start()


def test_home_folder_is_not_readable_by_other_accounts(services: Services) -> None:
    home = services.options.home
    readable = []
    for path in (home, *home.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # a journal of SQLite may have been deleted
            mode = path.stat().st_mode
            if mode & 0o077 and not stat.S_ISSOCK(mode):
                readable.append(path)
    assert readable == []
    assert (home / "db.sqlite3").exists()


@pytest.mark.parametrize("name", ["worker-0", "web-0"])
def test_killed_process_is_restarted_and_shown_by_health(services: Services, name: str) -> None:
    killed = services.children[name].process.pid
    os.kill(killed, signal.SIGKILL)
    services.children[name].process.wait(180)
    services.check()
    assert states(services)[name]["state"] == "restarting"
    assert states(services)[name]["last_exit"] == "was ended by SIGKILL"

    def process_id() -> int:
        services.check()
        return services.children[name].process.pid

    wait_for("another process", process_id, lambda found: found != killed)
    assert states(services)[name] == {
        "name": name,
        "state": "running",
        "restarts": 1,
        "last_exit": "was ended by SIGKILL",
    }
    assert services.children[name].alive


def test_readiness_shows_the_state_of_each_component(services: Services) -> None:
    """The server was started without function folders, so no platform runs."""
    wanted = {
        "database": True,
        "redis": True,
        "workers": True,
        "disk": True,
        "storage": True,
        "platform": False,
    }

    def working() -> dict[str, bool]:
        services.check()
        components = json.loads(get(services, "/health/ready")[1])["components"]
        return {name: component["ok"] for name, component in components.items()}

    wait_for("the state of each component", working, lambda found: found == wanted)
    status, body = get(services, "/health/ready")
    assert status == 503
    assert b"127.0.0.1" not in body
