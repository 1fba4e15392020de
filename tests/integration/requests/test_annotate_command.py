"""``manage.py annotate``."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from cvat_lambda.functions.models import Function
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.store.models import Request, Shard
from tests.http_server import Reply

from .conftest import MakeTask
from .function_server import FunctionServer, frame_of
from .test_track import STEP, paths, tracker

__all__ = ["tracker"]  # a fixture


def annotate(*arguments: str) -> str:
    """Run the command as alice; return what it prints."""
    out = StringIO()
    call_command("annotate", *arguments, "--user", "alice", stdout=out)
    return out.getvalue()


@pytest.fixture
def worker() -> Iterator[None]:
    """A thread that runs the first shard that is stored."""

    def work() -> None:
        try:
            while not stopped.wait(0.05):
                shard = Shard.objects.first()
                if shard is not None:
                    rq_tasks.run_shard(shard.pk)
                    return
        finally:
            connection.close()

    stopped = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopped.set()
    thread.join()


@pytest.mark.usefixtures("worker")
def test_annotate_follows_a_detector_request_to_its_end(
    finder: Function, make_task: MakeTask, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make_task(4)
    told = annotate("finder", "--task", str(task.pk), "--set", "frames", "[[1, 3]]")
    request = Request.objects.get()
    assert told == (
        f"Request {request.pk} finished: 3 frames done, 0 failed, 0 skipped, 3 annotations added\n"
    )
    assert "3/3 frames" in capsys.readouterr().out


@pytest.mark.usefixtures("worker")
def test_annotate_starts_a_track_request_with_shapes_of_a_file(
    tracker: Function, make_task: MakeTask, tmp_path: Path
) -> None:
    task = make_task(4)
    shape = {"frame": 0, "label": "car", "type": "rectangle", "points": [5, 10, 11, 14]}
    file = tmp_path / "shapes.json"
    file.write_text(json.dumps([shape]))
    annotate("tracker", "--task", str(task.pk), "--set", "shapes", f"@{file}")
    assert paths(task.pk) == [[(0, 5, False), (3, 5 + 3 * STEP, False)]]


@pytest.mark.usefixtures("worker")
def test_annotate_fails_if_a_frame_fails(
    finder: Function, function: FunctionServer, make_task: MakeTask
) -> None:
    function.behave = lambda payload: Reply(500, b"no") if frame_of(payload) == 1 else []
    with pytest.raises(CommandError, match="Not all frames are done"):
        annotate("finder", "--task", str(make_task(3).pk))


def test_annotate_without_waiting_prints_the_id_of_the_request(
    finder: Function, make_task: MakeTask
) -> None:
    told = annotate("finder", "--task", str(make_task(2).pk), "--no-wait")
    assert told.strip() == Request.objects.get().pk


def test_annotate_dry_run_stores_nothing(finder: Function, make_task: MakeTask) -> None:
    told = annotate("finder", "--task", str(make_task(2).pk), "--dry-run")
    assert json.loads(told)["total"] == 2
    assert not Request.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody", "--task", "1"), "not found"),
        (("finder", "--task", "999999"), "task #999999 was not found"),
        (("finder", "--task", "1", "--set", "treshold", "0.5"), "Did you mean threshold"),
        (("finder", "--task", "1", "--set", "shapes", "@/no/such/file"), "cannot be read"),
    ],
)
def test_annotate_with_invalid_arguments_fails_with_the_message_of_the_api(
    finder: Function, make_task: MakeTask, arguments: tuple[str, ...], message: str
) -> None:
    task = make_task(1)
    with pytest.raises(CommandError, match=message):
        annotate(*(str(task.pk) if word == "1" else word for word in arguments))


def test_annotate_as_an_unknown_user_fails(finder: Function) -> None:
    with pytest.raises(CommandError, match="there is no user 'mallory'"):
        call_command("annotate", "finder", "--task", "1", "--user", "mallory")
