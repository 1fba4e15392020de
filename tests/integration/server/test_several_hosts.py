"""The standalone server on several hosts.

Each host is a process with a home folder of its own. Database, queue, object store and functions
are shared.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
import yaml
from PIL import Image

from cvat_lambda.server.processes import Child, redis_command, wait_for_port
from tests.bench.hosts_client import make_video
from tests.conftest import REPOSITORY
from tests.integration.runtime.harness import write_function
from tests.object_store import object_store
from tests.ports import free_port
from tests.services import postgresql_url
from tests.waiting import wait_for

FRAMES = 60
LABELS = json.dumps([{"id": 1, "name": "car", "type": "rectangle"}])
# As long as the file exists, each worker of the function answers five calls.
CODE = """
import json, time
from pathlib import Path

file = Path("WAIT")
calls = 0

def init_context(context):
    pass

def handler(context, event):
    global calls
    calls = calls + 1 if file.exists() else 0
    time.sleep(0.1)
    while calls > 5 and file.exists():
        time.sleep(0.1)
    box = {"label": "car", "type": "rectangle", "points": [1, 1, 5, 5], "confidence": "0.9"}
    return context.Response(body=json.dumps([box]), content_type="application/json")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One running host."""

    process: Child
    url: str  # of its web pages or its health pages

    def kill(self) -> None:
        """End the host as a power cut does: the kernel kills the processes of the host."""
        self.process.process.kill()
        self.process.process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What the hosts share, and a folder for their homes."""

    folder: Path
    environment: Mapping[str, str]

    def start(self, name: str, *arguments: str) -> Host:
        """Start a host and wait until its pages answer."""
        log = self.folder / f"{name}.log"
        command = [sys.executable, "-m", "cvat_lambda.server", *arguments]
        command += ["--home", str(self.folder / name), "--port", str(free_port())]
        process = Child.start(name, command, env=self.environment, log=log, cwd=REPOSITORY)

        def address() -> str:
            process.require_alive()
            found = re.search(r"(http://[\d.:]+)/", log.read_text())
            return found.group(1) if found else ""

        return Host(process=process, url=wait_for(f"the address of {name}", address, timeout_s=180))

    def manage(self, *arguments: str, home: str = "web", **changed: str) -> tuple[int, str]:
        """Run a command of manage.py with a host's settings. Return status and output."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env={
                **self.environment,
                "CVAT_LAMBDA_HOME": str(self.folder / home),
                "DJANGO_SETTINGS_MODULE": "cvat_lambda.server.settings",
                **changed,
            },
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A database, a queue, an object store and the settings that name them."""
    folder = tmp_path_factory.mktemp("hosts")
    url = postgresql_url()
    name = f"hosts_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    port, platform = free_port(), free_port()
    redis = Child.start("redis", redis_command(folder / "redis", port, persist=False))
    ours = ("CVAT_LAMBDA_", "DATABASE_URL", "DJANGO_", "PYTEST_")
    try:
        wait_for_port(port, child=redis)
        with object_store(folder) as store:
            yield Installation(
                folder=folder,
                environment={
                    **{key: value for key, value in os.environ.items() if not key.startswith(ours)},
                    **store.environment,
                    "PYTHONPATH": str(REPOSITORY),
                    "DATABASE_URL": re.sub(r"/postgres(\?|$)", rf"/{name}\1", url),
                    "CVAT_LAMBDA_REDIS_URL": f"redis://127.0.0.1:{port}/0",
                    "CVAT_LAMBDA_PLATFORM_URL": f"http://127.0.0.1:{platform}",
                    "CVAT_LAMBDA_PLATFORM_TOKEN": "between-hosts",
                    "CVAT_LAMBDA_RUNTIME_TOKEN": "between-hosts",
                    "CVAT_LAMBDA_HEARTBEAT_S": "1",
                    "CVAT_LAMBDA_STALLED_AFTER_S": "5",
                    "CVAT_LAMBDA_SECRET_KEY": "k" * 50,
                },
            )
    finally:
        redis.stop()
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def web(shared: Installation) -> Iterator[Host]:
    """A host with web pages, beside a host with the functions."""
    folder = write_function(
        shared.folder / "functions",
        "boxes",
        CODE.replace("WAIT", str(shared.folder / "wait")),
        trigger={"numWorkers": 4},
    )
    file = folder / "function.yaml"
    document = yaml.safe_load(file.read_text())
    document["metadata"]["annotations"]["spec"] = LABELS
    file.write_text(yaml.safe_dump(document))
    port = shared.environment["CVAT_LAMBDA_PLATFORM_URL"].rpartition(":")[2]
    with ExitStack() as stack:
        runtime = shared.start(
            "runtime", str(folder), "--print-logs", "--only", "runtime", "--platform-port", port
        )
        stack.callback(runtime.process.stop)
        host = shared.start("web", "--only", "web")
        stack.callback(host.process.stop)
        yield host


@contextmanager
def host_of_workers(shared: Installation, name: str) -> Iterator[Host]:
    """A host that runs an RQ worker only."""
    host = shared.start(name, "--only", "workers", "--workers", "1")
    try:
        yield host
    finally:
        host.process.stop()


@pytest.fixture(scope="module")
def workers(shared: Installation, web: Host) -> Iterator[Host]:
    """A host of workers that lives as long as the host of the web pages."""
    with host_of_workers(shared, "workers") as host:
        yield host


def log_in(url: str, account: Mapping[str, str]) -> str:
    """Return a token. A password in each request would cost a third of a second each time."""
    login = {"username": account["name"], "password": account["password"]}
    answer = requests.post(f"{url}/api/auth/login", json=login, timeout=180)
    return str(answer.json()["key"])


class Client:
    """The administrator of the installation, by HTTP."""

    def __init__(self, shared: Installation, web: Host) -> None:
        self.url = web.url
        account = json.loads((shared.folder / "web" / "account.json").read_text())
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Token {log_in(web.url, account)}"

    def call(self, method: str, path: str, **more: Any) -> Any:
        """Send a request and return its JSON."""
        answer = self.session.request(method, f"{self.url}{path}", timeout=180, **more)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def make_task(self, folder: Path) -> int:
        """Upload a video and return the id of its task. Each image would be several objects."""
        video = folder / "video.mp4"
        make_video(video, FRAMES)
        task = self.call("POST", "/api/tasks", json={"name": "hosts", "labels": [{"name": "car"}]})
        with video.open("rb") as file:
            files = {"client_files[0]": (video.name, file)}
            path = f"/api/tasks/{task['id']}/data"
            self.call("POST", path, data={"image_quality": 70}, files=files)
        wait_for("the frames", lambda: self.call("GET", f"/api/tasks/{task['id']}")["size"])
        return int(task["id"])

    def annotate(self, task: int) -> str:
        """Start a request and return its id."""
        body = {"function": "boxes", "task": task, "shard_frames": FRAMES // 4}
        return str(self.call("POST", "/api/lambda/requests", json=body)["id"])

    def request(self, request: str) -> dict[str, Any]:
        """Return the state of a request."""
        found: dict[str, Any] = self.call("GET", f"/api/lambda/requests/{request}")
        return found

    def wait_for_end(self, request: str) -> None:
        """Wait until a request has finished. Ask seldom: the host shares this machine."""
        wait_for(
            "the end",
            lambda: self.request(request),
            lambda found: found["status"] == "finished",
            pause_s=0.3,
        )

    def frames(self, task: int) -> list[int]:
        """Return the frames of all shapes of a task."""
        shapes = self.call("GET", f"/api/tasks/{task}/annotations")["shapes"]
        return sorted(shape["frame"] for shape in shapes)


@pytest.fixture
def client(shared: Installation, web: Host) -> Client:
    """The administrator, who waits until the function is ready."""
    client = Client(shared, web)

    def is_ready() -> bool:
        listed = client.call("GET", "/api/lambda/functions")
        return [item["id"] for item in listed if item.get("state", "ready") == "ready"] == ["boxes"]

    wait_for("the function", is_ready, timeout_s=300, pause_s=0.5)
    return client


def test_request_runs_on_a_host_that_has_only_workers(
    client: Client, workers: Host, tmp_path: Path
) -> None:
    task = client.make_task(tmp_path)
    request = client.annotate(task)
    client.wait_for_end(request)
    assert client.frames(task) == list(range(FRAMES))


def test_killed_host_of_workers_loses_no_frame_and_adds_none_twice(
    shared: Installation, client: Client, workers: Host, tmp_path: Path
) -> None:
    task = client.make_task(tmp_path)
    wait = shared.folder / "wait"
    with host_of_workers(shared, "killed") as killed:
        wait.touch()
        try:
            request = client.annotate(task)
            wait_for("some frames", lambda: 5 < len(client.frames(task)) < FRAMES)
            killed.kill()
        finally:
            wait.unlink()
        client.wait_for_end(request)
    assert client.frames(task) == list(range(FRAMES))


def test_upload_continues_on_another_web_host_after_the_first_one_was_killed(
    shared: Installation, client: Client, web: Host
) -> None:
    image = io.BytesIO()
    Image.effect_noise((300, 300), 80).save(image, "PNG")
    content, half = image.getvalue(), len(image.getvalue()) // 2
    task = client.call("POST", "/api/tasks", json={"name": "parts", "labels": [{"name": "car"}]})
    path = f"/api/tasks/{task['id']}/data"
    lost = shared.start("lost", "--only", "web")
    name = base64.b64encode(b"one.png").decode()
    begin = {"Upload-Length": str(len(content)), "Upload-Metadata": f"filename {name}"}
    answer = client.session.post(f"{lost.url}{path}", headers=begin, timeout=180)
    assert answer.status_code == 201, answer.text
    file = urlsplit(answer.headers["Location"]).path

    def send(host: Host, offset: int, part: bytes) -> requests.Response:
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        return client.session.patch(f"{host.url}{file}", headers=headers, data=part, timeout=180)

    assert send(lost, 0, content[:half]).status_code == 204
    lost.kill()
    answer = client.session.head(f"{web.url}{file}", timeout=180)
    assert answer.headers["Upload-Offset"] == str(half)
    assert send(web, half, content[half:]).status_code == 204
    client.call("POST", path, headers={"Upload-Finish": "true"}, data={"image_quality": 70})
    wait_for("the frame", lambda: client.call("GET", f"/api/tasks/{task['id']}")["size"])
    frame = client.session.get(f"{web.url}{path}?type=frame&number=0&quality=original", timeout=180)
    assert frame.content == content


def test_each_host_reports_the_components_that_its_roles_need(
    client: Client, workers: Host, web: Host
) -> None:
    ready = requests.get(f"{workers.url}/health/ready", timeout=180)
    assert (ready.status_code, set(ready.json()["components"])) == (
        200,
        {"database", "redis", "platform", "disk", "storage"},
    )
    live = requests.get(f"{workers.url}/health", timeout=180).json()
    assert {item["name"] for item in live["processes"]} == {"web-0", "worker-0", "recovery"}
    wait_for(
        "the worker",
        lambda: requests.get(f"{web.url}/health/ready", timeout=180).json(),
        lambda ready: ready["components"]["workers"]["ok"],
    )


def test_output_of_a_host_has_the_logs_of_its_processes_if_wanted(
    shared: Installation, client: Client, workers: Host
) -> None:
    output = shared.folder / "runtime.log"
    wait_for("the line", lambda: "runtime: INFO boxes is ready\n" in output.read_text())
    assert "could not be stored" not in output.read_text()  # the host has no database
    assert "worker-0: " not in (shared.folder / "workers.log").read_text()


def test_host_of_workers_serves_no_tasks(workers: Host) -> None:
    assert requests.get(f"{workers.url}/api/tasks", timeout=180).status_code == 404


def test_check_of_a_host_that_lacks_nothing_finds_nothing(shared: Installation, web: Host) -> None:
    status, output = shared.manage("check", "--deploy", "--tag", "host", "--fail-level", "WARNING")
    assert status == 0, output


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none", "E101"),
        ("CVAT_LAMBDA_REDIS_URL", "redis://127.0.0.1:1/0", "E104"),
        ("CVAT_LAMBDA_S3_ENDPOINT_URL", "http://127.0.0.1:1", "E107"),
        ("CVAT_LAMBDA_PLATFORM_URL", "http://127.0.0.1:1", "W108"),
    ],
)
def test_check_names_what_does_not_answer(
    shared: Installation, web: Host, name: str, value: str, code: str
) -> None:
    arguments = ("check", "--deploy", "--tag", "host", "--fail-level", "WARNING")
    status, output = shared.manage(*arguments, **{name: value})
    assert (status, re.findall(r"cvat_lambda\.(\w\d+)", output)) == (1, [code])


def test_check_reports_tables_of_a_newer_version(shared: Installation, web: Host) -> None:
    row = "INSERT INTO django_migrations VALUES (DEFAULT, 'cvat_lambda', '9999_new', now())"
    with psycopg.connect(shared.environment["DATABASE_URL"], autocommit=True) as database:
        database.execute(row)
        status, output = shared.manage("check", "--deploy", "--tag", "host")
        database.execute("DELETE FROM django_migrations WHERE name = '9999_new'")
    assert status == 1
    assert "E102" in output


def test_check_reports_hosts_of_another_version(shared: Installation, web: Host) -> None:
    import redis

    with redis.Redis.from_url(shared.environment["CVAT_LAMBDA_REDIS_URL"]) as queue:
        other = json.dumps({"roles": ["workers"], "version": "0.0.1"})
        queue.set("cvat_lambda:host:other:workers", other, ex=60)
        status, output = shared.manage("check", "--deploy", "--tag", "host")
        queue.delete("cvat_lambda:host:other:workers")
    assert status == 1
    assert "host other runs version 0.0.1" in output


@pytest.mark.parametrize("role", ["web", "workers"])
def test_host_that_knows_no_shared_database_does_not_start(tmp_path: Path, role: str) -> None:
    names = ("DATABASE_URL", "CVAT_LAMBDA_REDIS_URL", "CVAT_LAMBDA_PLATFORM_URL")
    done = subprocess.run(
        [sys.executable, "-m", "cvat_lambda.server", "--only", role, "--home", str(tmp_path)],
        env={key: value for key, value in os.environ.items() if key not in names},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 1
    assert all(name in done.stderr for name in names)


def test_unknown_role_is_a_wrong_argument(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cvat_lambda.server", "--only", "wbe", "--home", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2
    assert "'wbe' is not one of the roles web, workers, runtime" in done.stderr
