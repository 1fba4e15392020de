"""The real cvat-cli as the agent of a native function, against a live server."""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import Image

from cvat_lambda.agents.models import QueueEntry
from cvat_lambda.agents.wakeups import get_wakeups
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.models import AccessToken
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.functions.models import Function
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.control.create import create_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import Outcome, Request
from cvat_lambda.requests.store.tracking import StartFilter, Tracking
from tests.database_thread import DatabaseThread
from tests.e2e.conftest import Server
from tests.native_agents import FUNCTIONS, TIMEOUT_S, Account, kill
from tests.waiting import wait_for

LABEL = {"name": "car", "type": "rectangle", "attributes": []}


def account(server: Server, user: User, home: Path) -> Account:
    """Return a user with a new token."""
    _, token = AccessToken.create(user, name="agents")
    program = Path(sys.executable).with_name("cvat-cli")
    return Account(url=server.url, user=user, token=token, home=home, program=program)


@pytest.fixture
def owner(transactional_db: None, server: Server, alice: User, tmp_path: Path) -> Iterator[Account]:
    """alice, who owns the task and the functions."""
    found = account(server, alice, tmp_path / "alice")
    yield found
    found.stop()
    get_wakeups().stop()


@pytest.fixture
def make_task(alice: User, tmp_path: Path) -> Callable[[int], models.Task]:
    """Return a function that makes a task of alice with so many frames of 64 x 48 pixels."""

    def make(count: int) -> models.Task:
        files = []
        for number in range(count):
            path = tmp_path / f"{number:04}.png"
            Image.new("RGB", (64, 48), (number % 256, 0, 0)).save(path)
            files.append(path)
        return create_task(alice, "street", [LABEL], files)

    return make


def start(user: User, function: int, task: models.Task, **options: Any) -> Request:
    return create_request(
        StandaloneAccess(user), function_id=f"native-{function}", task_id=task.pk, **options
    )


def run(request: Request) -> None:
    for shard in request.shards.all():
        rq_tasks.run_shard(shard.pk)


def running(request: Request) -> DatabaseThread:
    thread = DatabaseThread(target=run, args=(request,), daemon=True)
    thread.start()
    return thread


def test_two_agents_annotate_300_frames_while_agents_are_killed_at_random(
    owner: Account, make_task: Callable[[int], models.Task]
) -> None:
    task, function = make_task(300), owner.create()
    Function.objects.update(timeout_s=4.0)  # the lease: a killed agent is noticed after 4 s
    first, second = owner.start_agent(function), owner.start_agent(function)
    request = start(owner.user, function, task)
    runner = running(request)
    chance = random.Random(20)
    for victim in (first, second):
        done = Outcome.objects.filter(request=request, status="done")
        goal = done.count() + chance.randint(20, 60)
        wait_for("some frames", done.count, goal.__le__, timeout_s=TIMEOUT_S)
        time.sleep(chance.random() / 5)
        kill(victim)
        owner.start_agent(function)
    runner.join(TIMEOUT_S)
    request.refresh_from_db()
    assert (request.status, request.done, request.failed) == ("finished", 300, 0)
    shapes = models.LabeledShape.objects.filter(task=task).order_by("frame")
    assert [(shape.frame, shape.points) for shape in shapes] == [
        (frame, (frame % 256 % 32, 1, 40, 30)) for frame in range(300)
    ]
    assert len(set(QueueEntry.objects.exclude(agent_id="").values_list("agent_id"))) >= 3
    undo_request(request)
    assert not models.LabeledShape.objects.exists()


def test_agent_answers_a_call_at_once_and_ends_when_its_function_is_deleted(
    owner: Account, make_task: Callable[[int], models.Task]
) -> None:
    task, function = make_task(2), owner.create()
    agent = owner.start_agent(function)
    time.sleep(2)  # it is idle: only its event stream can wake it before a minute has passed
    response = owner.post(f"/api/lambda/functions/native-{function}", {"task": task.pk, "frame": 1})
    assert response.status_code == 200, response.text
    assert response.json()["shapes"][0]["points"] == [1, 1, 40, 30]
    request = start(owner.user, function, task)
    QueueEntry.objects.all().delete()
    assert owner.run("delete", str(function)).returncode == 0
    run(request)
    request.refresh_from_db()
    assert (request.status, request.error_code) == ("failed", "function_not_found")
    agent.wait(TIMEOUT_S)
    assert agent.returncode != 0  # the queue of a deleted function is a 404, which ends cvat-cli


def test_burst_agent_works_the_queue_empty_and_ends(
    owner: Account, make_task: Callable[[int], models.Task]
) -> None:
    task, function = make_task(8), owner.create()
    request = start(owner.user, function, task)
    runner = running(request)
    wait_for("an entry", QueueEntry.objects.filter(state="queued").exists)
    done = owner.run("run-agent", str(function), "--burst", "--function-file", str(FUNCTIONS))
    assert done.returncode == 0, done.stderr
    runner.join(TIMEOUT_S)
    request.refresh_from_db()
    assert (request.status, request.done) == ("finished", 8)


def test_click_through_an_agent_returns_a_mask(
    owner: Account, make_task: Callable[[int], models.Task]
) -> None:
    task, function = make_task(2), owner.create("interactor")
    owner.start_agent(function, "interactor")
    prompt = {"pos_points": [[20, 30]], "neg_points": [], "obj_bbox": []}
    path = f"/api/lambda/functions/native-{function}"
    whole = owner.post(path, {"task": task.pk, "frame": 1, **prompt})
    assert whole.status_code == 200, whole.text
    assert whole.json() == {"mask": [[255] * 3, [255] * 3], "bounds": [20, 30, 22, 31]}
    part = owner.post(path, {"task": task.pk, "frame": 1, "roi": [10, 20, 50, 40], **prompt})
    assert part.json() == whole.json()


def track_path(function: int) -> str:
    return f"/api/lambda/functions/native-{function}"


def test_track_through_an_agent_goes_on_with_another_after_a_kill(
    owner: Account, make_task: Callable[[int], models.Task]
) -> None:
    task, function = make_task(6), owner.create("tracker")
    agent = owner.start_agent(function, "tracker")
    shape = {"type": "rectangle", "points": [5, 5, 20, 20]}
    path = track_path(function)
    begun = owner.post(path, {"task": task.pk, "frame": 0, "shapes": [shape]}).json()
    first = owner.post(path, {"task": task.pk, "frame": 1, "states": begun["states"]}).json()
    assert first["shapes"] == [{"type": "rectangle", "points": [6, 5, 21, 20]}]
    assert "restarted" not in first
    kill(agent)
    owner.start_agent(function, "tracker")
    second = owner.post(path, {"task": task.pk, "frame": 2, "states": first["states"]}).json()
    assert second["shapes"] == [{"type": "rectangle", "points": [7, 5, 22, 20]}]
    assert second["restarted"] == [0]


def test_track_request_through_an_agent_notes_that_it_began_anew_after_a_kill(
    owner: Account, make_task: Callable[[int], models.Task]
) -> None:
    task, function = make_task(12), owner.create("tracker")
    Function.objects.update(timeout_s=4.0)
    agent = owner.start_agent(function, "tracker", NATIVE_STEPS="4")
    label = models.Label.objects.get(task=task)
    points: Any = (5, 5, 20, 20)
    models.LabeledShape.objects.create(
        task=task, label=label, frame=0, type="rectangle", points=points
    )
    tracking = Tracking(start=StartFilter(frame=0), tolerance_px=0.0)
    request = start(owner.user, function, task, tracking=tracking)
    runner = running(request)
    done = Outcome.objects.filter(request=request, status="done")
    wait_for("some frames", done.count, (2).__le__, timeout_s=TIMEOUT_S)
    kill(agent)
    owner.start_agent(function, "tracker")
    runner.join(TIMEOUT_S)
    request.refresh_from_db()
    assert (request.status, request.done, request.failed) == ("finished", 12, 0)
    assert "tracking_restarted" in request.notes
    keys = models.TrackedShape.objects.filter(track__task=task).order_by("frame")
    assert {key.frame: key.points[0] for key in keys}[11] == 16


def test_stranger_can_neither_run_nor_delete_a_private_function(
    owner: Account, server: Server, charlie: User, tmp_path: Path
) -> None:
    function = owner.create()
    stranger = account(server, charlie, tmp_path / "charlie")
    refused = stranger.run("run-agent", str(function), "--function-file", str(FUNCTIONS))
    assert refused.returncode != 0
    assert "404" in refused.stderr
    deleted = stranger.run("delete", str(function))
    assert "not found" in deleted.stderr
    assert Function.objects.count() == 1


def test_skeletons_and_attributes_of_a_real_spec_can_be_created(
    owner: Account, tmp_path: Path
) -> None:
    module = tmp_path / "person.py"
    module.write_text(
        """
import cvat_sdk.auto_annotation as cvataa

spec = cvataa.DetectionFunctionSpec(
    labels=[
        cvataa.skeleton_label_spec(
            "person", 0, [cvataa.keypoint_spec("nose", 1), cvataa.keypoint_spec("tail", 2)]
        ),
        cvataa.label_spec(
            "car", 3, attributes=[cvataa.select_attribute_spec("color", 4, ["red", "blue"])]
        ),
    ]
)

def detect(context, image):
    return []
"""
    )
    file = ("--function-file", str(module))
    created = owner.run("create-native", "person", "--visibility", "public", *file)
    assert created.returncode == 0, created.stderr
    # The agent compares the function with its own.
    done = owner.run("run-agent", created.stdout.strip(), "--burst", *file)
    assert done.returncode == 0, done.stderr
    labels = json.loads(Function.objects.get().metadata["metadata"]["annotations"]["spec"])
    assert [label["name"] for label in labels] == ["person", "car"]
