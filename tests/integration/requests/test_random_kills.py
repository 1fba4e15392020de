"""Processes are killed at random points. The annotations must equal those of an undisturbed run.

The seed is fixed, so that failures can be reproduced. ``CVAT_LAMBDA_TEST_FAULTS`` sets the number
of faults in each test. All tests take about one minute with the default, and four with 40 faults.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import django_rq
import psutil
import pytest
from django.conf import settings as django_settings
from django.db import connection
from pytest_django import Settings
from redis.exceptions import RedisError

from cvat_lambda.annotations.types import (
    AttributeValue,
    LabeledData,
    Shape,
    Tag,
    Track,
    TrackedShape,
)
from cvat_lambda.conf import settings as app_settings
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.requests.control.recover import recover
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.run.helper_processes import most_helpers
from cvat_lambda.requests.store.models import MergedRectangle, Outcome, Provenance, Request
from cvat_lambda.server.processes import Child, redis_command, wait_for_port
from tests.ports import free_port

from .conftest import MakeTask, Start, run, store_function
from .random_kills_function import LABELS

REPOSITORY = Path(__file__).resolve().parents[3]
FAULTS = max(3, int(os.environ.get("CVAT_LAMBDA_TEST_FAULTS", "7")))
FRAMES = max(120, 8 * FAULTS)
WORKERS = 2
BATCH = 7
LAST_FRAMES = 4 * WORKERS * BATCH  # more frames than are written between two polls
KILLS = ("job", "whole_worker")
HELPER_KILLS = ("helper", *KILLS)  # of each request with helper processes, in a random order
FRAMES_WITH_HELPERS = 900  # enough to divide what is left after each kill
HELPER_REQUESTS = -(-int(os.environ.get("CVAT_LAMBDA_TEST_FAULTS", "3")) // len(HELPER_KILLS))
NEVER = 10**9  # as the number of outcomes at which to pause
FRAMES_BEFORE_KILL = 60  # are written at most between the choice of a process and its end
BOUND_S = 300.0 + 15.0 * FAULTS


@dataclass
class FunctionProcess:
    """The functions, in a process that can be killed and started again at its port."""

    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.integration.requests.random_kills_function"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)], stdout=subprocess.PIPE, cwd=REPOSITORY
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@dataclass
class RedisProcess:
    """A Redis without persistence, in a process that can be killed and started again."""

    folder: Path
    port: int
    process: Child | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = redis_command(self.folder, self.port, persist=False)
        self.process = Child.start("redis", command, log=self.folder / "log")
        wait_for_port(self.port, child=self.process)

    def kill(self) -> None:
        assert self.process is not None
        self.process.signal(signal.SIGKILL)
        self.process.process.wait()


@pytest.fixture
def function_process() -> Iterator[FunctionProcess]:
    """A running function process, registered as a detector and as a ReID function."""
    process = FunctionProcess()
    process.start()
    yield process
    get_gateway().reset()
    process.kill()


@pytest.fixture
def redis_process(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RedisProcess]:
    """A Redis server for one test, because other tests share the common one."""
    process = RedisProcess(tmp_path / "redis", free_port())
    process.start()
    settings.CVAT_LAMBDA_REDIS_URL = process.url
    monkeypatch.setitem(django_settings.RQ_QUEUES[app_settings.QUEUE], "URL", process.url)
    yield process
    process.kill()


@dataclass
class World:
    """The processes of a run, and the faults that can be injected."""

    function: FunctionProcess
    redis: RedisProcess
    request: Request
    start_worker: Callable[[], Child]
    workers: list[Child] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def ensure_workers(self) -> None:
        self.workers = [worker for worker in self.workers if worker.alive]
        while len(self.workers) < WORKERS:
            self.workers.append(self.start_worker())

    def busy(self) -> list[tuple[Child, psutil.Process]]:
        """Return the living workers that run a shard, with the process that runs it."""
        holders = self.holders()
        found = []
        for worker in self.workers:
            try:
                children = psutil.Process(worker.process.pid).children(recursive=True)
            except psutil.NoSuchProcess:
                continue
            found += [
                (worker, child)
                for child in children
                if child.pid in holders and child.status() != psutil.STATUS_ZOMBIE
            ]
        return found

    def break_something(self, kind: str) -> bool:
        """Inject a fault. Return False if no process was running a shard at that moment."""
        try:
            busy = self.chosen(kind)
            if not busy:
                return False
            worker, process = busy[0]
            getattr(self, kind)(worker, process)
        except psutil.NoSuchProcess:
            return False
        if kind in HELPER_KILLS and process.pid not in self.holders():
            return False
        self.broken.append(kind)
        return True

    def chosen(self, kind: str) -> list[tuple[Child, psutil.Process]]:
        """Return the processes to which a fault may happen, those with a helper process first."""
        busy = self.busy()
        helpers = [each for each in busy if is_helper(each[1])]
        if kind == "helper":
            return helpers
        parents = {helper.ppid() for _, helper in helpers}
        runs = [each for each in busy if each not in helpers]
        return sorted(runs, key=lambda each: each[1].pid not in parents)

    def holders(self) -> set[int]:
        """Return the pids of the processes that run shards, according to the rows."""
        rows = self.request.shards.filter(status="started").values_list("worker", flat=True)
        return {int(name.rpartition(":")[2]) for name in rows}

    def job(self, worker: Child, process: psutil.Process) -> None:
        """Kill the process that runs a shard with SIGKILL."""
        process.kill()
        process.wait(180)

    def whole_worker(self, worker: Child, process: psutil.Process) -> None:
        """Kill a worker and all its children with SIGKILL."""
        self.job(worker, process)
        worker.signal(signal.SIGKILL)
        worker.process.wait()

    def helper(self, worker: Child, process: psutil.Process) -> None:
        """Kill a helper process that runs a shard with SIGKILL."""
        self.job(worker, process)

    def function_dies(self, *_: object) -> None:
        """Kill the function during invocations, and start it again."""
        self.function.kill()
        self.function.start()

    def redis_forgets(self, *_: object) -> None:
        """Delete all keys in Redis."""
        django_rq.get_connection(app_settings.QUEUE).flushall()

    def redis_dies(self, *_: object) -> None:
        """Kill Redis with SIGKILL, and start it again without data."""
        self.redis.kill()
        time.sleep(0.5)
        self.redis.start()

    def database(self, *_: object) -> None:
        """Terminate all other connections to the database."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


def is_helper(process: psutil.Process) -> bool:
    """Return whether a process is a helper process of a run."""
    return "cvat_lambda.requests.helper" in process.cmdline()


def faults(dice: random.Random) -> list[tuple[int, str]]:
    """Return the faults of a run, each with the number of outcomes at which it is injected."""
    kinds = [*KILLS, "function_dies", "redis_forgets", "redis_dies"]
    ends = [*KILLS]
    if connection.vendor == "postgresql":
        kinds += ["database"]
        ends += ["database"]
    dice.shuffle(kinds)
    between = sorted(dice.sample(range(1, FRAMES - LAST_FRAMES), FAULTS - 2))
    found = list(zip(between, islice(cycle(kinds), FAULTS - 2), strict=True))
    return [(0, dice.choice(ends)), *found, (FRAMES, dice.choice(ends))]


def set_limit(limit: Path, left: list[tuple[int, str]]) -> None:
    """Let workers pause near the end until earlier faults, and at the end until the last fault."""
    write_limit(limit, {0: FRAMES + 1, 1: FRAMES}.get(len(left), FRAMES - LAST_FRAMES // 2))


def write_limit(limit: Path, number: int) -> None:
    """Let workers pause while the request has at least this number of outcomes."""
    written = limit.with_suffix(".new")
    written.write_text(str(number))
    written.replace(limit)  # atomic: readers see the old or the new number


def disturb(world: World, points: list[tuple[int, str]], dice: random.Random, limit: Path) -> None:
    """Run the request to its end, with a fault at each point."""
    left = list(points)
    set_limit(limit, left)
    end = time.monotonic() + BOUND_S
    request = world.request
    while request.status in ("queued", "started"):
        assert time.monotonic() < end, (request.status, request.done, world.broken, left)
        world.ensure_workers()
        if left and settled(request) >= left[0][0]:
            # Wait for a random time after the last commit.
            time.sleep(dice.uniform(0.0, 0.3))
            if world.break_something(left[0][1]):
                del left[0]
                set_limit(limit, left)
        look_again(request)
    assert world.broken == [kind for _, kind in points]


def disturb_helpers(world: World, kinds: list[str], dice: random.Random, limit: Path) -> None:
    """Run the request to its end, and kill processes while a helper process runs a part of it.

    Workers pause until the process to kill is there. Then they go on, and it is killed at a random
    time. After the last kill they run to the end.
    """
    left = list(kinds)
    write_limit(limit, 0)
    end = time.monotonic() + BOUND_S
    request = world.request
    while request.status in ("queued", "started"):
        assert time.monotonic() < end, (request.status, request.done, world.broken, left)
        world.ensure_workers()
        needed = "helper" if len(left) == len(kinds) else left[0] if left else ""
        if needed and world.chosen(needed):
            write_limit(limit, settled(request) + FRAMES_BEFORE_KILL)
            time.sleep(dice.uniform(0.0, 0.3))
            if world.break_something(left[0]):
                del left[0]
            write_limit(limit, 0 if left else NEVER)
        look_again(request)
    assert world.broken == kinds


def settled(request: Request) -> int:
    """Return the number of outcomes."""
    return request.done + request.failed + request.skipped


def look_again(request: Request) -> None:
    """Recover what was lost, and read the request again after a moment."""
    try:
        recover()
    except RedisError:
        pass
    time.sleep(0.02)
    request.refresh_from_db()


def content_of(task_id: int) -> Counter[Any]:
    """Return all annotations of a task, without ids and with names instead of label ids."""
    task = get_engine().task(task_id)
    labels = {label.id: label.name for label in task.labels}
    specs = {item.id: item.name for label in task.labels for item in label.attributes}

    def values(found: tuple[AttributeValue, ...]) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((specs[value.spec_id], value.value) for value in found))

    def place(shape: Shape | TrackedShape) -> tuple[Any, ...]:
        drawn = (shape.type, shape.points, shape.rotation, shape.occluded, shape.outside)
        return (shape.frame, *drawn, shape.z_order, values(shape.attributes))

    def common(item: Shape | Tag | Track) -> tuple[Any, ...]:
        return (labels[item.label_id], item.source, item.score, item.group)

    data = get_engine().annotations(task_id)
    found: Counter[Any] = Counter()
    found.update(("shape", *common(shape), place(shape)) for shape in data.shapes)
    found.update(("tag", *common(tag), tag.frame, values(tag.attributes)) for tag in data.tags)
    found.update(
        ("track", *common(track), values(track.attributes), tuple(map(place, track.shapes)))
        for track in data.tracks
    )
    return found


def differences(one: int, other: int) -> list[Any]:
    """Return the annotations that only one of two tasks has."""
    first, second = content_of(one), content_of(other)
    return [*(first - second).items(), *(second - first).items()]


def by_hand(task_id: int) -> None:
    """Add manual annotations: moving boxes at two heights, a tag and a track."""
    engine = get_engine()
    labels = {label.name: label for label in engine.task(task_id).labels}
    car, rain = labels["car"], labels["rain"]
    assert car.id is not None
    assert rain.id is not None
    parked = AttributeValue(spec_id=car.attributes[0].id or 0, value="true")
    shapes = tuple(
        Shape(
            type="rectangle",
            frame=frame,
            label_id=car.id,
            points=(frame % 20, height, frame % 20 + 8, height + 6),
            source="manual",
            attributes=(parked,) if height == 5 else (),
        )
        for frame in range(FRAMES)
        for height in ((5, 25) if frame % 7 else (5,))
    )
    keys = tuple(
        TrackedShape(type="rectangle", frame=frame, points=(1, 1, 5, 5), outside=outside)
        for frame, outside in ((FRAMES // 2 - 3, False), (FRAMES // 2 + 3, True))
    )
    data = LabeledData(
        shapes=shapes,
        tags=(Tag(frame=3, label_id=rain.id, source="manual"),),
        tracks=(Track(frame=keys[0].frame, label_id=car.id, shapes=keys, source="manual"),),
    )
    with engine.atomic():
        engine.apply(Change(task_id=task_id, frames=tuple(range(FRAMES)), add=data))


def environment_of_workers(redis: RedisProcess, limit: Path) -> dict[str, str]:
    """Return the environment variables of workers: lost processes are noticed soon."""
    return {
        "CVAT_LAMBDA_REDIS_URL": redis.url,
        "CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS": "127.0.0.1/32",
        "CVAT_LAMBDA_FUNCTIONS_REFRESH_S": "0",
        "CVAT_LAMBDA_HEARTBEAT_S": "0.3",
        "CVAT_LAMBDA_STALLED_AFTER_S": "3",
        "CVAT_LAMBDA_MAX_RESUMES": "1000",
        "CVAT_LAMBDA_BATCH_FRAMES": str(BATCH),
        "CVAT_LAMBDA_BATCH_S": "0.1",
        "CVAT_LAMBDA_COLD_START_S": "60",
        "CVAT_LAMBDA_TEST_PAUSE_AT": str(limit),
    }


@pytest.mark.timeout(int(BOUND_S) + 600)
@pytest.mark.parametrize(
    ("number", "options"),
    [
        (0, {"replace": "none"}),
        (1, {"replace": "all"}),
        (2, {"replace": "function"}),
        (3, {"function_id": "matcher"}),
    ],
    ids=["none", "all", "function", "reid"],
)
def test_random_kills_lose_and_duplicate_nothing(
    function_process: FunctionProcess,
    redis_process: RedisProcess,
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
    settings: Settings,
    tmp_path: Path,
    number: int,
    options: dict[str, Any],
) -> None:
    dice = random.Random(20 + number)
    settings.CVAT_LAMBDA_HEARTBEAT_S = 0.3
    settings.CVAT_LAMBDA_STALLED_AFTER_S = 3.0
    settings.CVAT_LAMBDA_MAX_RESUMES = 1000
    settings.CVAT_LAMBDA_SHARD_FRAMES = FRAMES // 2
    url = f"http://127.0.0.1:{function_process.port}/"
    store_function(url, labels=LABELS)
    store_function(url, "matcher", kind="reid", labels=[])
    undisturbed, disturbed = (
        make_task(FRAMES, labels=LABELS, segment_size=FRAMES // 2).pk for _ in range(2)
    )
    for task_id in (undisturbed, disturbed):
        by_hand(task_id)
        if options.get("replace") == "function":
            assert run(start(task_id=task_id, replace="none")).status == "finished"
    before = content_of(disturbed)

    straight = run(start(task_id=undisturbed, **options))
    assert (straight.status, straight.shards.count()) == ("finished", 2)
    request = start(task_id=disturbed, **options)
    environment = environment_of_workers(redis_process, tmp_path / "limit")
    world = World(function_process, redis_process, request, lambda: worker_process(**environment))
    disturb(world, faults(dice), dice, tmp_path / "limit")

    assert request.status == "finished", (request.error_message, world.broken)
    assert (request.done, request.failed) == (FRAMES, 0), world.broken
    assert request.resumes >= sum(kind in KILLS for kind in world.broken)
    assert differences(disturbed, undisturbed) == []
    assert request.shapes == straight.shapes
    check_provenance(request)

    for ended in (straight, request):
        undo_request(ended)
    assert differences(disturbed, undisturbed) == []
    if options.get("replace") in (None, "none"):  # nothing was replaced
        assert content_of(disturbed) == before
    assert not MergedRectangle.objects.exists()


@pytest.mark.skipif(most_helpers() < 1, reason="a helper needs a second core")
@pytest.mark.timeout(int(HELPER_REQUESTS * BOUND_S) + 600)
def test_random_kills_of_helper_processes_and_their_workers_lose_and_duplicate_nothing(
    function_process: FunctionProcess,
    redis_process: RedisProcess,
    make_task: MakeTask,
    start: Start,
    worker_process: Callable[..., Child],
    settings: Settings,
    tmp_path: Path,
) -> None:
    """Each request has three kills; a fast function and a share of 0 let helpers start."""
    dice = random.Random(24)
    settings.CVAT_LAMBDA_HEARTBEAT_S = 0.3
    settings.CVAT_LAMBDA_STALLED_AFTER_S = 3.0
    settings.CVAT_LAMBDA_MAX_RESUMES = 1000
    url = f"http://127.0.0.1:{function_process.port}/"
    store_function(url, labels=LABELS, workers=16)
    undisturbed = make_task(FRAMES_WITH_HELPERS, labels=LABELS).pk
    straight = run(start(task_id=undisturbed))
    assert straight.status == "finished"
    limit = tmp_path / "limit"
    environment = {
        **environment_of_workers(redis_process, limit),
        "CVAT_LAMBDA_HELPER_PROCESSES": "1",  # a machine may have more cores than two
        "CVAT_LAMBDA_HELPER_PROCESSOR_SHARE": "0",
        "CVAT_LAMBDA_HELPER_MIN_REMAINING_S": "0",
    }
    workers: list[Child] = []
    for _ in range(HELPER_REQUESTS):
        disturbed = make_task(FRAMES_WITH_HELPERS, labels=LABELS).pk
        write_limit(limit, 0)
        request = start(task_id=disturbed)
        world = World(
            function_process, redis_process, request, lambda: worker_process(**environment), workers
        )
        kinds = dice.sample(HELPER_KILLS, len(HELPER_KILLS))
        disturb_helpers(world, kinds, dice, limit)
        workers = world.workers

        assert (request.status, request.done, request.failed) == (
            "finished",
            FRAMES_WITH_HELPERS,
            0,
        ), kinds
        assert request.resumes >= len(kinds)
        frames = Outcome.objects.filter(request=request).values_list("frame", flat=True)
        assert sorted(frames) == list(range(FRAMES_WITH_HELPERS)), kinds
        assert differences(disturbed, undisturbed) == [], kinds
        assert request.shapes == straight.shapes
        check_provenance(request)


def check_provenance(request: Request) -> None:
    """Check that provenance has each annotation of the request once, and no others."""
    rows = Provenance.objects.filter(request=request)
    assert rows.count() == request.shapes
    data = get_engine().annotations(rows[0].task_id)
    there: dict[str, tuple[Shape | Tag | Track, ...]] = {
        "shape": data.shapes,
        "tag": data.tags,
        "track": data.tracks,
    }
    for kind, found in there.items():
        known = Provenance.objects.filter(task_id=rows[0].task_id, kind=kind)
        ids = Counter(known.values_list("object_id", flat=True))
        made = {item.id for item in found if item.source == "auto"}
        assert ids == Counter(made)
