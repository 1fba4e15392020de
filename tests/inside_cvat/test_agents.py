"""The real cvat-cli 2.80 as the agent of native functions, against CVAT's own web server.

The web server is uvicorn, started as CVAT starts it. RQ workers of CVAT run the requests and make
the chunks from which agents read frames.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from cvat_lambda.agents import queue
from cvat_lambda.agents.models import Agent, Category, QueueEntry
from cvat_lambda.agents.wakeups import get_wakeups
from cvat_lambda.functions.models import Function
from cvat_lambda.server.processes import Child, wait_for_port
from tests.clients.versions import prepare_version
from tests.inside_cvat.scenarios import CvatScenarios
from tests.native_agents import FUNCTIONS, TIMEOUT_S, Account, kill
from tests.ports import free_port
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

VERSION = "2.80.0"
STREAMS = 100
FRAMES = 16
MakeAccount = Callable[[str], Account]


@dataclass(frozen=True)
class Server:
    """CVAT's web server."""

    url: str
    process: psutil.Process


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """CVAT's web server and its workers on the tests' database. They start slowly."""
    folder, source = tmp_path_factory.mktemp("server"), Path(os.environ["CVAT_SOURCE"])
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.inside_cvat.server_settings",
        "CVAT_POSTGRES_DBNAME": str(connection.settings_dict["NAME"]),
    }
    worker = ("manage.py", "rqworker", "--worker-class", "cvat.rqworker.DefaultWorker")
    with contextlib.ExitStack() as stack:

        def start(name: str, *command: str) -> Child:
            child = Child.start(
                name,
                [sys.executable, *command],
                env=environment,
                log=folder / f"{name}.log",
                cwd=source,
            )
            stack.callback(child.stop, grace_s=5.0)
            return child

        port = free_port()
        uvicorn = ("-m", "uvicorn", "--port", str(port), "--forwarded-allow-ips=*")
        web = start("web", *uvicorn, "--log-level", "warning", "cvat.asgi:application")
        start("annotation", *worker, "annotation")
        start("chunks", *worker, "chunks")
        wait_for_port(port, child=web)
        stack.callback(print_logs, folder)
        yield Server(url=f"http://127.0.0.1:{port}", process=psutil.Process(web.process.pid))


def print_logs(folder: Path) -> None:
    """Print the ends of the logs, which pytest shows if a test has failed."""
    for log in sorted(folder.glob("*.log")):
        print(f"== {log.name}\n{log.read_text()[-6000:]}")


@pytest.fixture(scope="module")
def program() -> Path:
    """The newest cvat-cli, in an environment of its own."""
    return prepare_version(VERSION).with_name("cvat-cli")


@pytest.fixture
def account(
    people: dict[str, Any],
    server: Server,
    program: Path,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[MakeAccount]:
    """Return a function that makes the account of a user with a personal access token."""
    from cvat.apps.access_tokens.models import AccessToken

    monkeypatch.setitem(settings.RQ_QUEUES["annotation"], "ASYNC", True)
    made = []

    def make(name: str) -> Account:
        user = people[name]
        _, token = AccessToken.objects.create_key(name="agents", owner=user, read_only=False)
        made.append(
            Account(url=server.url, user=user, token=token, home=tmp_path / name, program=program)
        )
        return made[-1]

    yield make
    for each in made:
        each.stop()
    get_wakeups().stop()


@pytest.fixture
def owner(account: MakeAccount) -> Account:
    """alice, who owns the tasks of the tests."""
    return account("alice")


def listed(account: Account) -> dict[str, Any]:
    """Return the functions that a user sees, by their ids."""
    response = account.send("get", "/api/lambda/functions")
    assert response.status_code == 200, response.text
    return {each["id"]: each for each in response.json()}


def wait_for_end(account: Account, request_id: str) -> dict[str, Any]:
    """Return a request after its end."""

    def read() -> dict[str, Any]:
        found: dict[str, Any] = account.send("get", f"/api/lambda/requests/{request_id}").json()
        return found

    return wait_for(
        "the end of the request",
        read,
        lambda found: found["status"] not in ("queued", "started"),
        timeout_s=TIMEOUT_S,
        pause_s=0.5,
    )


def test_two_agents_annotate_a_task_while_one_is_killed_and_end_with_their_function(
    cvat: CvatScenarios, owner: Account
) -> None:
    task_id, function = cvat.task(frames=FRAMES), owner.create()
    name = f"native-{function}"
    assert listed(owner)[name]["state"] == "missing"
    victim = owner.start_agent(function, NATIVE_SLEEP_S="1")  # so that it is killed at a frame
    other = owner.start_agent(function)
    found = listed(owner)[name]
    assert (found["state"], found["kind"]) == ("ready", "detector")
    made = owner.post("/api/lambda/requests", {"function": name, "task": task_id})
    assert made.status_code == 200, made.text
    killed_id, other_id = Agent.objects.order_by("id").values_list("agent_id", flat=True)
    held = QueueEntry.objects.filter(state="assigned", agent_id=killed_id)
    done = QueueEntry.objects.filter(state="done", agent_id=killed_id)
    wait_for("a frame of the agent", done.count, timeout_s=TIMEOUT_S)
    wait_for("another frame of the agent", held.count, timeout_s=TIMEOUT_S)
    kill(victim)
    lost = list(held.values_list("pk", flat=True))
    held.update(lease_expires_at=timezone.now())  # otherwise a minute after its assignment
    ended = wait_for_end(owner, made.json()["id"])
    assert (ended["status"], ended["done"], ended["failed"]) == ("finished", FRAMES, 0)
    entries = QueueEntry.objects.filter(pk__in=lost)
    assert set(entries.values_list("error_code", flat=True)) <= {queue.AGENT_LOST}
    assert QueueEntry.objects.filter(state="done", agent_id=other_id).exists()
    shapes = cvat.send("get", f"/api/tasks/{task_id}/annotations")["shapes"]
    assert sorted(shape["frame"] for shape in shapes) == list(range(FRAMES))
    assert {shape["source"] for shape in shapes} == {"auto"}
    deleted = owner.run("delete", str(function))
    assert deleted.returncode == 0, deleted.stderr
    other.wait(TIMEOUT_S)
    assert not Function.objects.filter(pk=name).exists()


def test_function_that_is_deleted_while_its_request_runs_fails_the_request(
    cvat: CvatScenarios, owner: Account
) -> None:
    task_id, function = cvat.task(frames=20), owner.create()
    agent = owner.start_agent(function, NATIVE_SLEEP_S="0.5")
    body = {"function": f"native-{function}", "task": task_id}
    made = owner.post("/api/lambda/requests", body).json()
    done = QueueEntry.objects.filter(state="done")
    wait_for("a frame", done.count, (1).__le__, timeout_s=TIMEOUT_S)
    assert owner.run("delete", str(function)).returncode == 0
    ended = wait_for_end(owner, made["id"])
    assert ended["status"] == "failed"
    assert f"native-{function}" in str(ended)
    agent.wait(TIMEOUT_S)


def test_idle_agent_answers_calls_of_detectors_interactors_and_trackers_at_once(
    cvat: CvatScenarios, owner: Account
) -> None:
    task_id = cvat.task(frames=3)
    functions = {}
    for kind in ("detector", "interactor", "tracker"):
        functions[kind] = owner.create(kind)
        owner.start_agent(functions[kind], kind)
    time.sleep(2)  # they are idle: only their event streams can wake them before a minute

    def call(kind: str, **body: Any) -> Any:
        path = f"/api/lambda/functions/native-{functions[kind]}"
        answer = owner.post(path, {"task": task_id, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    (shape,) = call("detector", frame=1)["shapes"]
    assert (shape["type"], shape["points"][1:]) == ("rectangle", [1, 40, 30])
    prompt = {"pos_points": [[20, 30]], "neg_points": [], "obj_bbox": []}
    clicked = call("interactor", frame=1, **prompt)
    assert clicked == {"mask": [[255] * 3, [255] * 3], "bounds": [20, 30, 22, 31]}
    begun = call("tracker", frame=0, shapes=[{"type": "rectangle", "points": [5, 5, 20, 20]}])
    moved = call("tracker", frame=1, states=begun["states"])
    assert moved["shapes"] == [{"type": "rectangle", "points": [6, 5, 21, 20]}]


def test_private_function_is_seen_by_members_of_its_organization_and_run_by_its_owner(
    cvat: CvatScenarios, account: MakeAccount, people: dict[str, Any]
) -> None:
    from cvat.apps.organizations.models import Membership, Organization

    alice, bob, charlie = account("alice"), account("bob"), account("charlie")
    organization = Organization.objects.create(name="o", slug="team", owner=people["alice"])
    for name, role in (("alice", "owner"), ("bob", "worker")):
        Membership.objects.create(
            user=people[name], organization=organization, role=role, is_active=True
        )
    file = ("--function-file", str(FUNCTIONS))
    alice.organization = "team"
    function = alice.create()
    name = f"native-{function}"
    assert name in listed(alice)
    assert name in listed(bob)
    assert name not in listed(charlie)
    assert bob.send("get", f"/api/functions/{function}").status_code == 200
    for stranger, status in ((bob, "403"), (charlie, "404")):
        refused = stranger.run("run-agent", str(function), "--burst", *file)
        assert refused.returncode != 0
        assert status in refused.stderr
        path = f"/api/functions/queues/function:{function}/requests/acquire"
        body = {"agent_id": "0" * 32, "request_category": "batch"}
        assert stranger.post(path, body).status_code == int(status)
    stranger_deletes = charlie.send("delete", f"/api/functions/{function}")
    assert stranger_deletes.status_code == 404
    assert Function.objects.filter(pk=name).exists()


@contextlib.contextmanager
def open_stream(owner: Account, function: int) -> Iterator[socket.socket]:
    """Open an event stream; return its connection after the first line of the body."""
    address = urlsplit(owner.url)
    path = f"/api/functions/queues/function:{function}/watch"
    head = [
        f"GET {path} HTTP/1.1",
        f"Host: {address.netloc}",
        f"Authorization: Bearer {owner.token}",
        "Accept-Encoding: gzip",
    ]
    with socket.create_connection((address.hostname, address.port), timeout=60) as stream:
        stream.sendall("\r\n".join([*head, "", ""]).encode())
        read_until(stream, b"retry: 1000\n")
        yield stream


def read_until(stream: socket.socket, end: bytes) -> None:
    """Read until the received bytes contain ``end``."""
    received = b""
    while end not in received:
        part = stream.recv(4096)
        assert part, received
        received += part


def test_100_idle_agents_cost_neither_threads_nor_connections_to_the_database(
    server: Server, owner: Account
) -> None:
    """Django keeps a thread, and its connection, for each response that has not ended."""
    function = owner.create()
    with contextlib.ExitStack() as stack:
        stack.enter_context(open_stream(owner, function))
        before = server.process.num_threads()
        streams = [stack.enter_context(open_stream(owner, function)) for _ in range(STREAMS)]
        threads = wait_for("few threads", server.process.num_threads, (before + 8).__ge__)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            )
            (sessions,) = cursor.fetchone()
        print(f"{STREAMS} streams: {threads} threads, {before} before; {sessions} sessions")
        assert sessions < STREAMS / 2
        sent_at = time.perf_counter()
        queue.enqueue(function, category=Category.BATCH, params={"type": "x"}, wanted_s=60)
        for stream in streams:
            read_until(stream, b'{"request_category": "batch"}')
        print(f"{STREAMS} streams got an event after {time.perf_counter() - sent_at:.3f} s")
        assert owner.run("delete", str(function)).returncode == 0
        for stream in streams:
            read_until(stream, b"0\r\n\r\n")
