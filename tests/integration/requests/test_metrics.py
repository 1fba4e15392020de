"""Metrics of real worker processes, which fork for each job, as read by another process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cvat_lambda.engine.standalone.models import Data
from cvat_lambda.functions.models import Function
from cvat_lambda.observability import metric_files, metrics
from cvat_lambda.server.processes import Child
from tests.http_server import Reply

from .conftest import MakeTask, Start
from .function_server import FunctionServer, frame_of, rectangle_of

RAISED = Reply(status=500, body=b'Exception caught in handler - "the lens is dirty": Traceback')


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of metric files that the environment variable names."""
    place = tmp_path / "metrics"
    place.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(place))
    return place


@pytest.fixture
def work(worker_process: Callable[..., Child], folder: Path) -> Callable[[], None]:
    """Return a function that lets a worker process run all queued jobs."""

    def run() -> None:
        worker = worker_process(
            burst=True,
            PROMETHEUS_MULTIPROC_DIR=str(folder),
            CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS="127.0.0.1/32",
            CVAT_LAMBDA_FUNCTIONS_REFRESH_S="0",
        )
        assert worker.process.wait(300) == 0, worker.last_words()

    return run


def counted() -> dict[str, float]:
    """Return the counters that are not 0, by name and labels."""
    text = metrics.exposition().decode()
    found = re.findall(r"^(cvat_lambda_\w+(?:_total|_count)(?:{[^}]*})?) (\S+)$", text, re.M)
    return {name: float(value) for name, value in found if float(value)}


def test_each_frame_is_counted_once_by_its_outcome_in_any_process(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    work: Callable[[], None],
) -> None:
    """Failed and skipped frames were counted as done, too; frames of workers were not counted."""
    task = make_task(7)
    Data.objects.filter(task=task).update(deleted_frames=[5, 6])
    function.behave = lambda payload: (
        RAISED if frame_of(payload) == 3 else rectangle_of(frame_of(payload))
    )
    start(task_id=task.pk)
    work()
    invoked = 'cvat_lambda_invocation_seconds_count{function="finder",result="%s"}'
    first = {
        'cvat_lambda_frames_total{outcome="done"}': 4.0,
        'cvat_lambda_frames_total{outcome="failed"}': 1.0,
        'cvat_lambda_frames_total{outcome="skipped"}': 2.0,
        "cvat_lambda_shapes_total": 4.0,
        'cvat_lambda_requests_total{function="finder",status="finished"}': 1.0,
        invoked % "ok": 4.0,
        invoked % "function_failed": 1.0,
    }
    assert counted() == first
    start(task_id=task.pk)
    work()
    assert counted() == {name: 2 * value for name, value in first.items()}


def test_metric_files_of_ended_processes_are_merged(
    finder: Function, make_task: MakeTask, start: Start, work: Callable[[], None], folder: Path
) -> None:
    for _ in range(2):
        start(task_id=make_task(1).pk)
        start(task_id=make_task(1).pk)
        work()
    assert counted()['cvat_lambda_frames_total{outcome="done"}'] == 4
    ours = metric_files.identity().rpartition("-")[0]  # django_rq has metrics of its own
    assert list(folder.glob(f"*_{ours}-*.db")) == []
    assert (folder / f"{ours}-ended.json").exists()
    assert counted()['cvat_lambda_frames_total{outcome="done"}'] == 4


def test_metric_files_of_other_machines_are_kept(folder: Path) -> None:
    theirs = folder / "counter_elsewhere-1.db"
    theirs.write_bytes(b"")
    metric_files.add_up_ended(folder)
    assert theirs.exists()


def test_histograms_of_ended_processes_are_added_by_bucket(folder: Path) -> None:
    """Two processes, forked as RQ does for its jobs, count and end."""
    code = (
        "from prometheus_client import Histogram, values\n"
        "from cvat_lambda.observability import metric_files\n"
        "values.ValueClass = values.MultiProcessValue(metric_files.identity)\n"
        "h = Histogram('cvat_lambda_x_seconds', 'x', ['kind'], buckets=(1, 2))\n"
        "h.labels('a').observe(0.5)\n"
        "h.labels('a').observe(1.5)\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], check=True)
        text = metrics.exposition().decode()
    samples = dict(re.findall(r"^cvat_lambda_x_seconds_(\S+) (\S+)$", text, re.M))
    assert samples == {
        'bucket{kind="a",le="1.0"}': "2.0",
        'bucket{kind="a",le="2.0"}': "4.0",
        'bucket{kind="a",le="+Inf"}': "4.0",
        'count{kind="a"}': "4.0",
        'sum{kind="a"}': "4.0",
    }
    assert list(folder.glob("*.db")) == []


def test_metric_files_that_could_not_be_deleted_are_counted_once(folder: Path) -> None:
    code = (
        "from prometheus_client import Counter, values\n"
        "from cvat_lambda.observability import metric_files\n"
        "values.ValueClass = values.MultiProcessValue(metric_files.identity)\n"
        "Counter('cvat_lambda_y', 'y').inc(3)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    (left,) = folder.glob("*.db")
    content = left.read_bytes()
    metric_files.add_up_ended(folder)
    (totals,) = folder.glob("*-ended.json")
    stored = json.loads(totals.read_text())
    left.write_bytes(content)  # as if the process had been killed before it deleted the file
    totals.write_text(json.dumps({**stored, "files": [left.name]}))
    assert counted() == {"cvat_lambda_y_total": 3.0}
    assert list(folder.glob("*.db")) == []
