"""``/annotations`` of tasks and jobs: read, create, update, delete, and error messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cvat_lambda.engine.standalone import models
from tests.conftest import ClientFor


@pytest.fixture
def client(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


def box(label: models.Label, frame: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "type": "rectangle",
        "frame": frame,
        "label_id": label.pk,
        "points": [1, 2, 3, 4],
        **more,
    }


def send(client: Client, method: str, path: str, body: Any) -> Any:
    return client.generic(method, path, json.dumps(body), "application/json")


def test_create_annotations_returns_the_new_ids(
    client: Client, task: models.Task, car: models.Label
) -> None:
    path = f"/api/tasks/{task.pk}/annotations"
    made = send(client, "PATCH", f"{path}?action=create", {"shapes": [box(car, score=0.5)]})
    assert made.status_code == 200
    (shape,) = made.json()["shapes"]
    assert shape["id"] > 0
    assert (shape["points"], shape["score"], shape["source"]) == ([1, 2, 3, 4], 0.5, "manual")
    assert client.get(path).json()["shapes"] == [shape]


def test_update_annotations_replaces_those_with_the_given_ids_only(
    client: Client, task: models.Task, car: models.Label
) -> None:
    path = f"/api/tasks/{task.pk}/annotations"
    made = send(
        client, "PATCH", f"{path}?action=create", {"shapes": [box(car), box(car, 1)]}
    ).json()["shapes"]
    changed = {**made[0], "points": [5, 6, 7, 8]}
    assert send(client, "PATCH", f"{path}?action=update", {"shapes": [changed]}).status_code == 200
    found = client.get(path).json()["shapes"]
    assert sorted(shape["points"] for shape in found) == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert send(client, "PATCH", f"{path}?action=delete", {"shapes": found}).status_code == 200
    assert client.get(path).json()["shapes"] == []


def test_put_annotations_of_a_job_keeps_those_of_other_jobs(
    client: Client, task: models.Task, jobs: list[models.Job], car: models.Label
) -> None:
    path = f"/api/tasks/{task.pk}/annotations"
    send(client, "PUT", path, {"shapes": [box(car, 0), box(car, 5)]})
    done = send(client, "PUT", f"/api/jobs/{jobs[0].pk}/annotations", {"shapes": [box(car, 1)]})
    assert [shape["frame"] for shape in done.json()["shapes"]] == [1]
    assert [shape["frame"] for shape in client.get(path).json()["shapes"]] == [5, 1]
    assert client.delete(f"/api/jobs/{jobs[1].pk}/annotations").status_code == 204
    assert [shape["frame"] for shape in client.get(path).json()["shapes"]] == [1]


@pytest.mark.parametrize("action", ["delete", "update"])
def test_assignee_of_a_job_cannot_change_shapes_of_another_job_by_id(
    client_for: ClientFor,
    alice: User,
    bob: User,
    task: models.Task,
    jobs: list[models.Job],
    car: models.Label,
    action: str,
) -> None:
    """The first job has the frames 0 to 2. Ids of other jobs' shapes can be guessed."""
    models.Job.objects.filter(pk=jobs[0].pk).update(assignee=bob)
    everything = {
        "shapes": [box(car, 1), box(car, 4)],
        "tags": [{"frame": frame, "label_id": car.pk} for frame in (1, 4)],
        "tracks": [
            {"frame": frame, "label_id": car.pk, "shapes": [box(car, frame)]} for frame in (1, 4)
        ],
    }
    path = f"/api/tasks/{task.pk}/annotations"
    made = send(client_for(alice), "PUT", path, everything).json()
    named = {kind: made[kind] for kind in ("shapes", "tags", "tracks")}
    if action == "update":  # The body claims that the shapes are on a frame of the job.
        named = {kind: [{**item, "frame": 1} for item in items] for kind, items in named.items()}
        for track in named["tracks"]:
            track["shapes"] = [box(car, 1)]
    mine = f"/api/jobs/{jobs[0].pk}/annotations?action={action}"
    assert send(client_for(bob), "PATCH", mine, named).status_code == 200
    left = client_for(alice).get(path).json()
    for kind, items in left.items():
        if kind != "version":
            # All old annotations of the second job are kept, and none of the first.
            old = {item["id"] for item in made[kind]}
            assert {item["frame"] for item in items if item["id"] in old} == {4}


BAD = [
    ({"frame": 6}, "frame 6"),
    ({"frame": -1}, "shapes[0].frame"),
    ({"label_id": 999999}, "label #999999"),
    ({"points": [1, 2, 3]}, "shapes[0].points"),
    ({"points": [1, 2, 3, None]}, "shapes[0].points"),
    ({"type": "blob"}, "shapes[0].type"),
    ({"attributes": [{"spec_id": 999999, "value": "1"}]}, "attribute #999999"),
    ({"attributes": [{"spec_id": 1, "value": "\x00"}]}, "shapes[0].attributes[0].value"),
    ({"z_order": 2**40}, "shapes[0].z_order"),
    ({"group": "one"}, "shapes[0].group"),
    ({"elements": [{}]}, "shapes[0].elements"),
]


@pytest.mark.parametrize(("wrong", "sentence"), BAD)
def test_put_of_an_invalid_shape_names_its_field_and_writes_nothing(
    client: Client, task: models.Task, car: models.Label, wrong: dict[str, Any], sentence: str
) -> None:
    path = f"/api/tasks/{task.pk}/annotations"
    kept = [box(car, 2)]
    assert send(client, "PUT", path, {"shapes": kept}).status_code == 200
    for method, query in (("PUT", ""), ("PATCH", "?action=create")):
        answer = send(client, method, path + query, {"shapes": [{**box(car), **wrong}, box(car)]})
        assert answer.status_code == 400
        assert sentence in answer.json()["message"]
    assert [shape["frame"] for shape in client.get(path).json()["shapes"]] == [2]


@pytest.mark.parametrize("body", [[], "text", 7, {"shapes": {}}, {"tracks": [3]}])
def test_put_of_a_body_without_annotations_answers_400(
    client: Client, task: models.Task, body: object
) -> None:
    assert send(client, "PUT", f"/api/tasks/{task.pk}/annotations", body).status_code == 400


def test_put_of_a_body_that_is_not_json_answers_400(client: Client, task: models.Task) -> None:
    path = f"/api/tasks/{task.pk}/annotations"
    assert client.generic("PUT", path, "{", "application/json").status_code == 400


@pytest.mark.parametrize("action", ["", "replace"])
def test_patch_with_an_unknown_action_answers_400(
    client: Client, task: models.Task, action: str
) -> None:
    path = f"/api/tasks/{task.pk}/annotations?action={action}"
    assert send(client, "PATCH", path, {}).status_code == 400


def test_shape_on_a_frame_of_another_job_answers_400(
    client: Client, jobs: list[models.Job], car: models.Label
) -> None:
    path = f"/api/jobs/{jobs[0].pk}/annotations?action=create"
    assert send(client, "PATCH", path, {"shapes": [box(car, 4)]}).status_code == 400


def test_change_of_annotations_updates_the_dates_of_task_and_job(
    client: Client, task: models.Task, jobs: list[models.Job], car: models.Label
) -> None:
    path = f"/api/tasks/{task.pk}/annotations?action=create"
    send(client, "PATCH", path, {"shapes": [box(car, 0)]})
    later = models.Task.objects.get(pk=task.pk).updated_at
    assert later > task.updated_at
    assert models.Job.objects.get(pk=jobs[0].pk).updated_at == later
    assert models.Job.objects.get(pk=jobs[1].pk).updated_at < later
