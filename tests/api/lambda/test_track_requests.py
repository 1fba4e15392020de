"""``POST requests`` with a tracker: which shapes it tracks, and which members are refused."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from cvat_lambda.engine.standalone.models import Label, Task
from cvat_lambda.requests.rq_tasks import run_shard
from cvat_lambda.requests.store.models import Request
from tests.integration.interactive.functions import Functions

from .conftest import Api, ApiOf

BOX = {"frame": 0, "label": "car", "type": "rectangle", "points": [2, 3, 12, 13]}


def stay(payload: dict[str, Any]) -> Any:
    """Answer as a tracker for which no object moves."""
    known = payload["states"] or [None] * len(payload["shapes"])
    boxes = [
        shape["points"] if state is None else state
        for shape, state in zip(payload["shapes"], known, strict=True)
    ]
    return {"shapes": [{"type": "rectangle", "points": box} for box in boxes], "states": boxes}


@pytest.fixture
def tracker(functions: Functions) -> str:
    return str(functions.add("tracker", stay, type="tracker", supported_shape_types="rectangle"))


def create(api: Api, **body: Any) -> Any:
    return api.post("requests", {"function": "tracker", **body})


@pytest.mark.django_db(transaction=True)  # threads of the run read the task
def test_shapes_given_with_the_request_become_tracks(api: Api, tracker: str, task: Task) -> None:
    answer = create(api, task=task.pk, shapes=[BOX], direction="forward", tolerance_px=2)
    assert answer.status_code == 200, answer.json()
    request = Request.objects.get(pk=answer.json()["id"])
    run_shard(request.shards.get().pk)
    shown = api.get(f"requests/{request.pk}").json()
    assert (shown["status"], shown["done"], shown["shapes"]) == ("finished", 3, 1)
    (track,) = api.client.get(f"/api/tasks/{task.pk}/annotations").json()["tracks"]
    assert track["frame"] == 0
    assert {key["frame"] for key in track["shapes"]} == {0, 2}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("start", ["annotations", {"frame": 0, "sources": ["manual"]}])
def test_annotations_of_a_frame_become_tracks(
    api: Api, tracker: str, task: Task, start: object
) -> None:
    label_id = Label.objects.get(task=task, name="car").pk
    shape = {
        "type": "rectangle",
        "frame": 0,
        "label_id": label_id,
        "points": [2, 3, 12, 13],
        "group": 0,
        "source": "manual",
        "attributes": [],
    }
    body = {"version": 0, "tags": [], "tracks": [], "shapes": [shape]}
    path = f"/api/tasks/{task.pk}/annotations"
    assert api.client.put(path, body, content_type="application/json").status_code == 200
    answer = create(api, task=task.pk, start=start)
    assert answer.status_code == 200, answer.json()
    run_shard(Request.objects.get(pk=answer.json()["id"]).shards.get().pk)
    stored = api.client.get(path).json()
    assert (len(stored["shapes"]), len(stored["tracks"])) == (0, 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"shapes": []}, "shapes"),
        ({"shapes": [{**BOX, "type": "blob"}]}, "shapes"),
        ({"shapes": [{**BOX, "points": ["1", 2, 3, 4]}]}, "shapes"),
        ({"shapes": [{k: v for k, v in BOX.items() if k != "label"}]}, "shapes"),
        ({"shapes": [{**BOX, "label_id": 1}]}, "shapes"),  # both
        ({"shapes": [BOX], "direction": "sideways"}, "direction"),
        ({"shapes": [BOX], "tolerance_px": -1}, "tolerance_px"),
        ({"shapes": [BOX], "tolerance_px": "1"}, "tolerance_px"),
        ({"shapes": [BOX], "stop_when_lost": "yes"}, "stop_when_lost"),
        ({"start": "everything"}, "start"),
        ({"start": {"frame": -1}}, "start"),
        ({"start": {"sources": ["nobody"]}}, "start"),
        ({}, "message"),
        ({"shapes": [BOX], "start": "annotations"}, "message"),
        ({"shapes": [{**BOX, "points": [200, 200, 210, 210]}]}, "message"),
        ({"shapes": [{**BOX, "points": [1, 2, 3]}]}, "message"),
        ({"start": "annotations"}, "message"),  # there are none
        ({"shapes": [BOX], "replace": "all"}, "message"),
    ],
)
def test_invalid_member_is_refused_and_named(
    api: Api, tracker: str, task: Task, body: dict[str, Any], field: str
) -> None:
    answer = create(api, task=task.pk, **body)
    assert answer.status_code == 400, answer.json()
    assert field in answer.json()
    assert not Request.objects.exists()


def test_track_request_on_a_task_of_another_user_answers_403(
    api_of: ApiOf, charlie: User, tracker: str, task: Task
) -> None:
    assert create(api_of(charlie), task=task.pk, shapes=[BOX]).status_code == 403
