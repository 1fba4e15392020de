"""One row for each table of the admin, with the rows that it refers to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from django.contrib.auth.models import User
from django.utils import timezone

from cvat_lambda.agents.models import Agent, NativeFunction, QueueEntry
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_project, create_task
from cvat_lambda.functions.models import NATIVE, Function
from cvat_lambda.requests.store.models import (
    FrameStatus,
    FunctionVersion,
    Outcome,
    Request,
    Shard,
    Status,
)
from tests.conftest import IMAGES

LABELS: Final = [{"name": "car", "type": "rectangle"}]


def request(owner: User, number: int) -> Request:
    """A running request with a shard."""
    row = Request.objects.create(
        function_id=f"finder-{number}",
        function_kind="detector",
        owner=owner,
        task_id=7,
        status=Status.STARTED,
        total=4,
        done=1,
    )
    Shard.objects.create(
        request=row,
        index=0,
        task_id=7,
        frames=[[0, 3]],
        first_frame=0,
        last_frame=3,
        status=Status.STARTED,
        rate=2.0,
    )
    return row


def outcome(owner: User, number: int) -> Outcome:
    """The failure of one frame."""
    row = request(owner, number)
    version = FunctionVersion.objects.create(function_id=f"finder-{number}", version=1)
    return Outcome.objects.create(
        request=row,
        shard=row.shards.get(),
        task_id=7,
        frame=0,
        status=FrameStatus.FAILED,
        message="the lens is dirty",
        version=version,
    )


def function(owner: User, number: int) -> Function:
    """A function with a problem."""
    return Function.objects.create(id=f"function-{number}", problem="label 'car' has no type")


def native_function(owner: User, number: int) -> NativeFunction:
    """A native function with an agent and an entry of its queue."""
    row = Function.objects.create(id=f"native-{number}", owner=owner, platform=NATIVE)
    made = NativeFunction.objects.create(function=row)
    Agent.objects.create(function=made, agent_id=f"agent-{number}", user=owner)
    return made


def queue_entry(owner: User, number: int) -> QueueEntry:
    """An entry of the queue of a native function."""
    return QueueEntry.objects.create(
        function=native_function(owner, number),
        category="batch",
        params={"type": "annotate_frame"},
        wanted_until=timezone.now() + timedelta(minutes=1),
    )


def task(owner: User, number: int) -> models.Task:
    """A task of one photograph in a project."""
    project = create_project(owner, f"Project {number}", LABELS)
    return create_task(owner, f"Task {number}", [], [IMAGES / "coffee.png"], project=project)


def job(owner: User, number: int) -> models.Job:
    """A job of a task."""
    return models.Job.objects.get(segment__task=task(owner, number))


def upload(owner: User, number: int) -> models.DataRequest:
    """An upload for a task."""
    return models.DataRequest.objects.create(task=task(owner, number), user=owner)


def label(owner: User, number: int) -> models.Label:
    """A label of a project."""
    project = create_project(owner, f"Labels {number}", LABELS)
    return models.Label.objects.get(project=project)


# By app and model: a function that makes a row.
TABLES: Final[Mapping[str, Callable[[User, int], Any]]] = {
    "cvat_lambda.request": request,
    "cvat_lambda.outcome": outcome,
    "cvat_lambda.function": function,
    "cvat_lambda.nativefunction": native_function,
    "cvat_lambda.queueentry": queue_entry,
    "engine.project": lambda owner, number: create_project(owner, f"P{number}", LABELS),
    "engine.task": task,
    "engine.job": job,
    "engine.label": label,
    "engine.datarequest": upload,
    "engine.accesstoken": lambda owner, number: models.AccessToken.create(
        owner, name=f"token {number}"
    )[0],
}
