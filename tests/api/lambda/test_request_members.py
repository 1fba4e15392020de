"""Members of a request's body: misspelt members, `priority` and `dry_run`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from cvat_lambda.annotations.types import LabeledData, Shape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.requests.store.models import Request
from tests.integration.interactive.functions import Functions

from .conftest import Api

CAR = json.dumps([{"name": "car", "type": "rectangle"}])


@pytest.fixture
def yolo(functions: Functions) -> str:
    return str(functions.add("yolo", type="detector", spec=CAR))


def create(api: Api, **body: Any) -> Any:
    return api.post("requests", {"function": "yolo", **body})


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("treshold", "threshold"),
        ("only_unanotated", "only_unannotated"),
        ("dryrun", "dry_run"),
        ("Replace", "replace"),
        ("max_failures_rate", "max_failure_rate"),
    ],
)
def test_misspelt_member_is_refused_with_the_nearest_name(
    api: Api, yolo: str, task: Task, name: str, near: str
) -> None:
    """The server used to ignore the member and start the request."""
    answer = create(api, task=task.pk, **{name: 0.5})
    assert answer.status_code == 400
    assert answer.json()[name] == [f"A request has no such member. Did you mean {near}?"]
    assert not Request.objects.exists()


def test_unknown_member_is_refused_without_a_suggestion(api: Api, yolo: str, task: Task) -> None:
    answer = create(api, task=task.pk, zzz=1)
    assert (answer.status_code, answer.json()["zzz"]) == (400, ["A request has no such member."])


def test_members_that_cvats_clients_send_are_accepted(api: Api, yolo: str, task: Task) -> None:
    """CVAT's page sends ``type`` with a request."""
    body = {"type": "annotate_task", "quality": "original", "cleanup": False, "max_distance": None}
    assert create(api, task=task.pk, **body).status_code == 200


def test_priority_above_zero_needs_the_permission(
    api: Api, yolo: str, task: Task, alice: User
) -> None:
    answer = create(api, task=task.pk, priority=1)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert not Request.objects.exists()
    alice.user_permissions.add(Permission.objects.get(codename="prioritize_request"))
    assert create(api, task=task.pk, priority=1).status_code == 200


@pytest.mark.parametrize("priority", [0, -5])
def test_priority_of_zero_and_below_needs_no_permission(
    api: Api, yolo: str, task: Task, priority: int
) -> None:
    assert create(api, task=task.pk, priority=priority).status_code == 200


@pytest.mark.parametrize(
    ("options", "replaced"),
    [
        ({}, 0),  # This function added none of them.
        ({"replace": "none"}, 0),
        ({"replace": "all"}, 2),
        ({"replace": "automatic"}, 1),
    ],
)
def test_dry_run_counts_frames_and_replaced_shapes_and_stores_nothing(
    api: Api, yolo: str, task: Task, options: dict[str, Any], replaced: int
) -> None:
    label = get_engine().task(task.pk).labels[0].id or 0
    shapes = tuple(
        Shape(type="rectangle", frame=0, label_id=label, points=(1, 1, 5, 5), source=source)
        for source in ("auto", "manual")
    )
    with get_engine().atomic():
        get_engine().apply(Change(task_id=task.pk, frames=(0,), add=LabeledData(shapes=shapes)))
    shown = create(api, task=task.pk, dry_run=True, **options)
    assert shown.status_code == 200
    total = get_engine().task(task.pk).size
    assert shown.json() == {
        "dry_run": True,
        "tasks": 1,
        "shards": 1,
        "total": total,
        "skipped": {},
        "replaced_shapes": replaced,
        "replaced_tags": 0,
        "replaced_tracks": 0,
        "tracked": 0,
    }
    assert not Request.objects.exists()
    assert len(get_engine().annotations(task.pk).shapes) == 2


def test_dry_run_counts_skipped_frames_by_reason(api: Api, yolo: str, task: Task) -> None:
    label = get_engine().task(task.pk).labels[0].id or 0
    shape = Shape(type="rectangle", frame=1, label_id=label, points=(1, 1, 5, 5))
    with get_engine().atomic():
        get_engine().apply(Change(task_id=task.pk, frames=(1,), add=LabeledData(shapes=(shape,))))
    shown = create(api, task=task.pk, dry_run=True, only_unannotated=True).json()
    assert shown["skipped"] == {"annotated": 1}


def test_dry_run_is_checked_like_a_request(api: Api, yolo: str, task: Task) -> None:
    answer = create(api, task=task.pk, dry_run=True, frames=[[0, 999]])
    assert (answer.status_code, answer.json()["code"]) == (400, "frame_out_of_scope")
