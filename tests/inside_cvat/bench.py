"""Background requests and calls in a real CVAT server: web server, workers, PostgreSQL, Redis.

    CVAT_SOURCE=... python -m tests.inside_cvat.bench

CVAT's variables name its services, as for `script/test-cvat`; the tables must have been made
(``manage.py migrate``). Rows are printed as those of `tests.bench`. Shares are of the ceiling
frames x latency / workers; a call's figure is what CVAT and this app add to the function.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

from cvat_lambda.server.processes import Child, free_port, wait_for_port
from tests.bench.stand import REPOSITORY, function_process, make_images, make_video

FRAMES = 200
SHARES = ((50.0, 0.90), (200.0, 0.90), (5.0, 0.50))  # latency in ms, goal
CALL_MS = 50.0
CALL_GOAL_MS = 25.0


def row(name: str, value: float, unit: str, goal: float | None, *, higher: bool) -> dict[str, Any]:
    """A row as every benchmark gives it."""
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "goal": goal,
        "higher_is_better": higher,
    }


class Server:
    """CVAT's web server and workers, and a person who uses them."""

    def __init__(self, home: Path, source: Path, stack: ExitStack) -> None:
        self.home = home
        self._stack = stack
        self._source = source
        self.port = free_port()
        where = ("--port", str(self.port), "--log-level", "error")
        web = self._start("web", "-m", "uvicorn", *where, "cvat.asgi:application")
        for name, queues in (("import", ("import", "chunks")), ("annotation", ("annotation",))):
            worker = ("--worker-class", "cvat.rqworker.DefaultWorker")
            self._start(name, "manage.py", "rqworker", *queues, *worker)
        wait_for_port(self.port, child=web)
        self.session = requests.Session()
        self.token = self._make_person()
        self.session.headers["Authorization"] = f"Token {self.token}"

    def _start(self, name: str, *command: str) -> Child:
        log = self.home / f"{name}.log"
        child = Child.start(name, [sys.executable, *command], log=log, cwd=self._source)
        self._stack.callback(child.stop)
        return child

    def _make_person(self) -> str:
        from django.contrib.auth.models import Group, User
        from rest_framework.authtoken.models import Token

        User.objects.filter(username="lambda-bench").delete()
        user = User.objects.create_user("lambda-bench", "bench@example.com", None)
        user.groups.add(Group.objects.get_or_create(name="user")[0])
        return str(Token.objects.create(user=user).key)

    def send(self, method: str, path: str, **more: Any) -> Any:
        """One request to the API; its answer."""
        answer = self.session.request(
            method, f"http://127.0.0.1:{self.port}{path}", timeout=300, **more
        )
        if answer.status_code >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer.json() if answer.content else None

    def task(self, files: list[tuple[str, bytes]]) -> int:
        """A task of these files, ready."""
        labels = [{"name": "car", "type": "rectangle", "attributes": []}]
        made = self.send("post", "/api/tasks", json={"name": "bench", "labels": labels})
        task_id = int(made["id"])
        self._stack.callback(self.send, "delete", f"/api/tasks/{task_id}")
        rq_id = self.send(
            "post",
            f"/api/tasks/{task_id}/data",
            data={"image_quality": 70, "use_cache": "true"},
            files=[(f"client_files[{place}]", file) for place, file in enumerate(files)],
        )["rq_id"]
        while (state := self.send("get", f"/api/requests/{rq_id}"))["status"] != "finished":
            if state["status"] == "failed":
                raise RuntimeError(state["message"])
            time.sleep(0.3)
        return task_id

    def run(self, task_id: int, function_id: str) -> float:
        """Seconds from a request's start to its end."""
        body = {"function": function_id, "task": task_id, "cleanup": True}
        state = self.send("post", "/api/lambda/requests", json=body)
        while state["status"] in ("queued", "started"):
            time.sleep(0.2)
            state = self.send("get", f"/api/lambda/requests/{state['id']}")
        if state["status"] != "finished" or state["done"] != state["total"]:
            raise RuntimeError(f"the request ended as {state}")
        from cvat_lambda.models import Request

        found = Request.objects.get(pk=state["id"])
        assert found.started_at is not None
        assert found.ended_at is not None
        return (found.ended_at - found.started_at).total_seconds()

    def overheads(self, task_id: int, function_id: str, calls: int) -> list[float]:
        """Milliseconds that each call of a detector took over the function's latency."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {
            "Authorization": f"Token {self.token}",
            "Content-Type": "application/json",
        }
        found = []
        for number in range(calls + 5):
            body = json.dumps({"task": task_id, "frame": number % FRAMES})
            begun = time.perf_counter()
            connection.request("POST", f"/api/lambda/functions/{function_id}", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the call failed: {content[:500]!r}")
            if number >= 5:  # the first ones open connections
                found.append(1000 * (time.perf_counter() - begun) - CALL_MS)
        return found


def name_function(port: int, workers: int) -> str:
    """Name a function process to the app."""
    from cvat_lambda.models import Function

    name = f"bench-{port}"
    trigger = {"kind": "http", "numWorkers": workers, "attributes": {"maxRequestBodySize": 1 << 25}}
    Function.objects.update_or_create(
        id=name,
        defaults={
            "platform": "endpoint",
            "kind": "detector",
            "endpoint_url": f"http://127.0.0.1:{port}/",
            "metadata": {
                "metadata": {
                    "name": name,
                    "annotations": {
                        "type": "detector",
                        "spec": '[{"name": "car", "type": "rectangle"}]',
                    },
                },
                "spec": {"triggers": {"h": trigger}},
                "status": {"state": "ready"},
            },
        },
    )
    return name


def measure(server: Server, pictures: list[Path]) -> Iterator[dict[str, Any]]:
    """Each figure in turn."""
    images = [path.read_bytes() for path in pictures]
    task_id = server.task(
        [(f"{number:04}.jpg", images[number % len(images)]) for number in range(FRAMES)]
    )
    make_video(server.home / "video.mp4", FRAMES)
    video_id = server.task([("video.mp4", (server.home / "video.mp4").read_bytes())])
    for latency_ms, goal in SHARES:
        with function_process(latency_ms, 2) as port:
            name = name_function(port, 2)
            server.run(task_id, name)  # connections, caches
            wall_s = server.run(task_id, name)
            share = FRAMES * latency_ms / 2000 / wall_s
            yield row(f"cvat_batch_share_{latency_ms:g}ms", share, "share", goal, higher=True)
    with function_process(CALL_MS, 2) as port:
        name = name_function(port, 2)
        wall_s = server.run(video_id, name)
        share = FRAMES * CALL_MS / 2000 / wall_s
        yield row("cvat_batch_share_50ms_video_cold", share, "share", None, higher=True)
        for kind, one in (("", task_id), ("video_", video_id)):
            found = sorted(server.overheads(one, name, 100))
            goal_ms = None if kind else CALL_GOAL_MS
            p50, p95 = statistics.median(found), found[int(0.95 * len(found))]
            yield row(f"cvat_{kind}call_overhead_p50_ms", p50, "ms", goal_ms, higher=False)
            yield row(f"cvat_{kind}call_overhead_p95_ms", p95, "ms", None, higher=False)


def main() -> None:
    """Print the rows."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    source = Path(os.environ["CVAT_SOURCE"])
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-bench-") as folder, ExitStack() as stack:
        os.environ["CVAT_LAMBDA_TEST_HOME"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.inside_cvat.server_settings"
        paths = [str(REPOSITORY), str(source), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        import django

        django.setup()
        server = Server(Path(folder), source, stack)
        for found in measure(server, make_images(Path(folder) / "pictures")):
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
