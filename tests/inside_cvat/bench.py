"""Background requests and calls in a real CVAT server: web server, workers, PostgreSQL, Redis.

    CVAT_SOURCE=... python -m tests.inside_cvat.bench [--short] [--only NAME ...]

CVAT's variables name its services, as for `script/test-cvat`. The tables must exist
(``manage.py migrate``). The cache of chunks is emptied, since tests have used the same ids of
tasks. Each row has the format of `tests.bench`. A share is the part of the ceiling frames x latency
/ workers. CPU is that of the worker, for a frame. The figure of a call is the time that CVAT and
this app add to the call of a bare client, which goes before it (see `tests.bench.calls`). The app's
own part of it is the time in its view, without CVAT's middleware, authentication and permission
(`timed_asgi`). Each call that is measured asks the policy server twice; the rows ``call_again`` are
of a call on another frame after it, which need not repeat them. Then the client asks for what no
app can make faster: views that only authenticate the user and ask the policy server once or not at
all, and the user's own account, the smallest answer of CVAT's API. Their times are the rows
``cvat_floor``.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import requests

from cvat_lambda.server.processes import Child, wait_for_port
from tests.bench import tracks
from tests.bench.batch import bare_wall_s
from tests.bench.calls import BareClient, image_body
from tests.bench.stand import (
    REPOSITORY,
    function_process,
    make_images,
    make_video,
    worker_cpu_s,
)
from tests.inside_cvat.timed_asgi import ASK_HEADER, EMPTY_VIEWS, TIMES_HEADER
from tests.ports import free_port

FRAMES = 200
FAST_FACTOR = 5  # a request to a fast function has so many times the frames
SHORT_FRAMES = 40
CALLS = 100
SHORT_CALLS = 40
CALL_MS = 50.0
CALL_P50_GOAL_MS, CALL_P95_GOAL_MS, CALL_OWN_GOAL_MS = 10.0, 18.0, 4.0
WORKER_CLASS = ("--worker-class", "cvat.rqworker.DefaultWorker")
POLL_S = 0.5  # the request's row has its times; each poll takes CPU from the request


@dataclass(frozen=True)
class Share:
    """A measurement whose result is a share of the ceiling of a function with two workers."""

    name: str
    latency_ms: float
    goal: float
    processes: int = 1  # RQ workers, each with a shard
    # A fast function: it takes binary bodies, as those of `serverless` do, and a bare client that
    # saves nothing is measured beside it.
    fast: bool = False


SHARES = (
    Share("batch_50ms", 50.0, 0.90),
    Share("batch_200ms", 200.0, 0.90),
    Share("batch_5ms", 5.0, 0.75, fast=True),
    Share("batch_5ms_2_processes", 5.0, 0.85, processes=2, fast=True),
)


@dataclass(frozen=True)
class CallTimes:
    """The milliseconds of a call beyond the bare call of its frame."""

    over_ms: float
    own_ms: float  # the part in this app's view
    own_processor_ms: float  # of the thread that runs the view, not less the bare call
    # A call on another frame right after it, which repeats no question to the policy server.
    again_over_ms: float


# Requests that do less than any call, by the name of their row: method and path.
FLOORS: Mapping[str, tuple[str, str]] = {
    **{f"{number}_questions": ("POST", f"/{path}") for path, number in EMPTY_VIEWS.items()},
    "users_self": ("GET", "/api/users/self"),
}


def row(name: str, value: float, unit: str, goal: float | None, *, higher: bool) -> dict[str, Any]:
    """A row in the format of all benchmarks."""
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "goal": goal,
        "higher_is_better": higher,
    }


class Server:
    """CVAT's web server and workers, and a user with a token."""

    def __init__(self, home: Path, source: Path, stack: ExitStack, *, frames: int) -> None:
        from django.core.cache import caches

        caches["media"].clear()
        self.home = home
        self.frames = frames
        self._stack = stack
        self._source = source
        self.port = free_port()
        where = ("--port", str(self.port), "--log-level", "error")
        application = ("--factory", "tests.inside_cvat.timed_asgi:application")
        web = self._start("web", "-m", "uvicorn", *where, *application)
        self._start("import", "manage.py", "rqworker", "import", "chunks", *WORKER_CLASS)
        self.worker = self.start_worker()
        wait_for_port(self.port, child=web)
        self.session = requests.Session()
        self.token = self._create_user_with_token()
        self.session.headers["Authorization"] = f"Token {self.token}"

    def start_worker(self) -> int:
        """Start an RQ worker that runs requests. Return its process id."""
        command = ("manage.py", "rqworker", "annotation", *WORKER_CLASS)
        return self._start("annotation", *command).process.pid

    def _start(self, name: str, *command: str) -> Child:
        log = self.home / f"{name}.log"
        child = Child.start(name, [sys.executable, *command], log=log, cwd=self._source)
        self._stack.callback(child.stop)
        return child

    def _create_user_with_token(self) -> str:
        from django.contrib.auth import get_user_model
        from django.contrib.auth.models import Group
        from rest_framework.authtoken.models import Token

        users: Any = get_user_model().objects
        users.filter(username="lambda-bench").delete()
        user = users.create_user("lambda-bench", "bench@example.com", None)
        user.groups.add(Group.objects.get_or_create(name="user")[0])
        return str(Token.objects.create(user=user).key)

    def send(self, method: str, path: str, **more: Any) -> Any:
        """Send an HTTP request to the API. Return the body of its answer."""
        answer = self.session.request(
            method, f"http://127.0.0.1:{self.port}{path}", timeout=300, **more
        )
        if answer.status_code >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer.json() if answer.content else None

    def task(self, files: list[tuple[str, bytes]]) -> int:
        """Create a task of these files and wait until it is ready."""
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

    def run(self, task_id: int, function_id: str, **more: Any) -> float:
        """Run a request. Return the seconds from its start to its end."""
        body = {"function": function_id, "task": task_id, **(more or {"cleanup": True})}
        state = self.send("post", "/api/lambda/requests", json=body)
        while state["status"] in ("queued", "started"):
            time.sleep(POLL_S)
            state = self.send("get", f"/api/lambda/requests/{state['id']}")
        if state["status"] != "finished" or state["done"] != state["total"]:
            raise RuntimeError(f"the request ended as {state}")
        from cvat_lambda.models import Request

        found = Request.objects.get(pk=state["id"])
        assert found.started_at is not None
        assert found.ended_at is not None
        return (found.ended_at - found.started_at).total_seconds()

    def overheads(
        self, task_id: int, function_id: str, calls: int, bare_ms: Callable[[int], float]
    ) -> tuple[list[CallTimes], dict[str, list[float]]]:
        """Return the times of each call, and those of `FLOORS` by their names."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {
            "Authorization": f"Token {self.token}",
            "Content-Type": "application/json",
        }

        def send(method: str, path: str, body: str | None = None, **more: str) -> tuple[float, Any]:
            begun = time.perf_counter()
            connection.request(method, path, body, {**headers, **more})
            answer = connection.getresponse()
            content = answer.read()
            took_ms = 1000 * (time.perf_counter() - begun)
            if answer.status != 200:
                raise RuntimeError(f"{method} {path} failed: {content[:500]!r}")
            return took_ms, answer.headers

        found = []
        floors: dict[str, list[float]] = {name: [] for name in FLOORS}
        for number in range(calls + 5):
            frame = number % self.frames
            before_ms = bare_ms(frame)
            path = f"/api/lambda/functions/{function_id}"
            body = json.dumps({"task": task_id, "frame": frame})
            took_ms, answered = send("POST", path, body, **{ASK_HEADER: "1"})
            body = json.dumps({"task": task_id, "frame": (frame + self.frames // 2) % self.frames})
            again_bare_ms = bare_ms(frame)
            again_ms = send("POST", path, body)[0] - again_bare_ms
            floor_ms = {}
            for name, (method, path) in FLOORS.items():
                bare_ms(frame)  # the server may still end the request before
                floor_ms[name] = send(method, path, "{}" if method == "POST" else None)[0]
            if number >= 5:  # the first ones open connections
                own_ms, processor_ms = map(float, answered[TIMES_HEADER].split())
                times = CallTimes(
                    over_ms=took_ms - before_ms,
                    own_ms=own_ms - before_ms,
                    own_processor_ms=processor_ms,
                    again_over_ms=again_ms,
                )
                found.append(times)
                for name, value in floor_ms.items():
                    floors[name].append(value)
        return found, floors


def store_function(
    port: int, workers: int, name: str = "", kind: str = "detector", *, binary: bool = False
) -> str:
    """Store the row of a function process. Return the id of the function."""
    from cvat_lambda.models import Function

    name = name or f"bench-{port}"
    trigger = {"kind": "http", "numWorkers": workers, "attributes": {"maxRequestBodySize": 1 << 25}}
    Function.objects.update_or_create(
        id=name,
        defaults={
            "platform": "endpoint",
            "kind": kind,
            "endpoint_url": f"http://127.0.0.1:{port}/",
            "metadata": {
                "metadata": {
                    "name": name,
                    "annotations": {
                        "type": kind,
                        "spec": '[{"name": "car", "type": "rectangle"}]',
                        "supported_shape_types": "rectangle",
                        "binary": str(binary).lower(),
                    },
                },
                "spec": {"triggers": {"h": trigger}},
                "status": {"state": "ready"},
            },
        },
    )
    return name


class Measures:
    """The measurements by name."""

    def __init__(self, server: Server, pictures: list[Path], *, calls: int) -> None:
        self._server = server
        self._pictures = pictures
        self._images = [path.read_bytes() for path in pictures]
        self._calls = calls

    @cached_property
    def task_id(self) -> int:
        """A task of images."""
        return self._image_task(self._server.frames)

    @cached_property
    def long_task_id(self) -> int:
        """A task of images that a fast function does not finish within a second."""
        return self._image_task(FAST_FACTOR * self._server.frames)

    def _image_task(self, frames: int) -> int:
        images = self._images
        return self._server.task([(f"{n:04}.jpg", images[n % len(images)]) for n in range(frames)])

    @cached_property
    def video_id(self) -> int:
        """A task of a video."""
        path = self._server.home / "video.mp4"
        make_video(path, self._server.frames)
        return self._server.task([(path.name, path.read_bytes())])

    def parts(self) -> Mapping[str, Callable[[], Iterator[dict[str, Any]]]]:
        """The measurements that can be selected."""
        return {
            **{share.name: partial(self._batch, share) for share in SHARES},
            **{f"tracks_{n}": partial(self._tracks, n) for n in tracks.OBJECTS},
            "video_batch": self._video_batch,
            "call": partial(self._call, "", CALL_P50_GOAL_MS, CALL_P95_GOAL_MS),
            "video_call": partial(self._call, "video_", None, None),
        }

    def _batch(self, share: Share) -> Iterator[dict[str, Any]]:
        name = f"cvat_{share.name.replace('batch', 'batch_share')}"
        task_id = self.long_task_id if share.fast else self.task_id
        frames = self._server.frames * (FAST_FACTOR if share.fast else 1)
        ceiling_s = frames * share.latency_ms / 2000
        for _ in range(share.processes - 1):
            self._server.start_worker()  # the measurement of two workers is the last of a run
        with function_process(share.latency_ms, 2) as port:
            if share.fast:
                bare_s = bare_wall_s(self._pictures, port, frames, in_flight=4)
                yield row(f"{name}_bare_client", ceiling_s / bare_s, "share", None, higher=True)
            function = store_function(port, 2, binary=share.fast)
            more = {"cleanup": True, "shard_frames": -(-frames // share.processes)}
            self._server.run(task_id, function, **more)  # opens connections and fills caches
            value = ceiling_s / self._server.run(task_id, function, **more)
            yield row(name, value, "share", share.goal, higher=True)

    def _video_batch(self) -> Iterator[dict[str, Any]]:
        with function_process(CALL_MS, 2) as port:
            wall_s = self._server.run(self.video_id, store_function(port, 2))
            share = self._server.frames * CALL_MS / 2000 / wall_s
            yield row("cvat_batch_share_50ms_video_cold", share, "share", None, higher=True)

    def _tracks(self, objects: int) -> Iterator[dict[str, Any]]:
        frames = self._server.frames
        shapes = [
            {"frame": 0, "label": "car", "type": "rectangle", "points": box}
            for box in tracks.boxes(objects)
        ]
        with tracks.tracker_process(50) as port:
            name = store_function(port, 1, kind="tracker")
            # Opens connections and fills caches.
            self._server.run(self.task_id, name, shapes=shapes, frames=[[0, 9]])
            bare_s = tracks.bare(self._pictures, port, objects, frames)
            before_s = worker_cpu_s(self._server.worker)
            wall_s = self._server.run(self.task_id, name, shapes=shapes)
            cpu_ms = 1000 * (worker_cpu_s(self._server.worker) - before_s) / frames
        row_name = f"cvat_tracks_share_50ms_{objects}"
        yield from tracks.share_rows(row_name, frames, wall_s, bare_s, cpu_ms, goal=0.90)

    def _call(
        self, kind: str, p50_goal_ms: float | None, p95_goal_ms: float | None
    ) -> Iterator[dict[str, Any]]:
        task_id = self.video_id if kind else self.task_id
        with function_process(CALL_MS, 2) as port:
            bare = BareClient(port)

            def bare_ms(frame: int) -> float:
                """Post a picture of the task, also where the task is a video."""
                path = self._pictures[frame % len(self._pictures)]
                return bare.call_ms(partial(image_body, path))

            name = store_function(port, 2)
            found, floors = self._server.overheads(task_id, name, self._calls, bare_ms)
        over_ms = sorted(times.over_ms for times in found)
        p50, p95 = statistics.median(over_ms), over_ms[int(0.95 * len(over_ms))]
        yield row(f"cvat_{kind}call_overhead_p50_ms", p50, "ms", p50_goal_ms, higher=False)
        yield row(f"cvat_{kind}call_overhead_p95_ms", p95, "ms", p95_goal_ms, higher=False)
        again = sorted(times.again_over_ms for times in found)
        p50, p95 = statistics.median(again), again[int(0.95 * len(again))]
        yield row(f"cvat_{kind}call_again_p50_ms", p50, "ms", p50_goal_ms, higher=False)
        yield row(f"cvat_{kind}call_again_p95_ms", p95, "ms", p95_goal_ms, higher=False)
        own = statistics.median(times.own_ms for times in found)
        goal_ms = None if kind else CALL_OWN_GOAL_MS
        yield row(f"cvat_{kind}call_own_p50_ms", own, "ms", goal_ms, higher=False)
        processor = statistics.median(times.own_processor_ms for times in found)
        yield row(f"cvat_{kind}call_own_processor_p50_ms", processor, "ms", None, higher=False)
        for name, values in floors.items():
            floor_ms = statistics.median(values)
            yield row(f"cvat_{kind}floor_{name}_p50_ms", floor_ms, "ms", None, higher=False)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help=f"{SHORT_FRAMES} frames, fewer calls")
    names = [
        *(share.name for share in SHARES if share.processes == 1),
        *(f"tracks_{n}" for n in tracks.OBJECTS),
        "video_batch",
        "call",
        "video_call",
        *(share.name for share in SHARES if share.processes > 1),  # their workers stay
    ]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these figures")
    return parser.parse_args()


def main() -> None:
    """Run the measurements and print a row for each figure."""
    options = arguments()
    frames, calls = (SHORT_FRAMES, SHORT_CALLS) if options.short else (FRAMES, CALLS)
    source = Path(os.environ["CVAT_SOURCE"])
    with tempfile.TemporaryDirectory(prefix="cvat-lambda-bench-") as folder, ExitStack() as stack:
        os.environ["CVAT_LAMBDA_TEST_HOME"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.inside_cvat.server_settings"
        paths = [str(REPOSITORY), str(source), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        import django

        django.setup()
        server = Server(Path(folder), source, stack, frames=frames)
        parts = Measures(server, make_images(Path(folder) / "pictures"), calls=calls).parts()
        for name in options.only:
            for found in parts[name]():
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
