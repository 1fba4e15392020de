"""``/annotations`` of tasks and jobs: read, create, update, delete, and error messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.test import Client
from PIL import Image

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_task
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


def test_annotations_are_restored_from_a_dump_of_the_table(
    client: Client, task: models.Task, car: models.Label
) -> None:
    """Administrators copy a small server with ``manage.py dumpdata`` and ``loaddata``."""
    path = f"/api/tasks/{task.pk}/annotations"
    (age,) = car.attributes.all()
    shapes = [box(car, attributes=[{"spec_id": age.pk, "value": "7"}]), box(car, 1)]
    before = send(client, "PATCH", f"{path}?action=create", {"shapes": shapes}).json()["shapes"]
    dump = serializers.serialize("json", models.LabeledShape.objects.all())
    models.LabeledShape.objects.all().delete()
    assert client.get(path).json()["shapes"] == []
    for row in serializers.deserialize("json", dump):
        row.save()
    assert client.get(path).json()["shapes"] == before


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


INTERVAL = {"label_id": 1, "start": 0.5, "stop": 2.25, "attributes": [], "source": "manual"}


def without_ids(value: Any) -> Any:
    """Return annotations without the ids of their rows."""
    if isinstance(value, list):
        return [without_ids(each) for each in value]
    if isinstance(value, dict):
        return {name: without_ids(each) for name, each in value.items() if name != "id"}
    return value


def test_unknown_members_survive_a_write_a_read_and_a_second_write(
    client: Client, task: models.Task, car: models.Label
) -> None:
    """Members that only a newer version of CVAT reads, as its clients send them."""
    path = f"/api/tasks/{task.pk}/annotations"
    key = {"type": "rectangle", "frame": 0, "points": [1, 2, 3, 4], "blur": {"sigma": [1.5, None]}}
    sent = {
        "tags": [{"frame": 0, "label_id": car.pk, "reviewed_by": "zoë"}],
        "shapes": [box(car, depth=3, notes=["a\0b", True])],
        "tracks": [{"frame": 0, "label_id": car.pk, "shapes": [key], "speed": 1.25}],
        "intervals": [INTERVAL],
    }
    assert send(client, "PUT", path, sent).status_code == 200
    first = client.get(path).json()
    assert first["tags"][0]["reviewed_by"] == "zoë"
    shape, track = first["shapes"][0], first["tracks"][0]
    assert (shape["depth"], shape["notes"], shape["points"]) == (3, ["a\0b", True], [1, 2, 3, 4])
    assert (track["speed"], track["shapes"][0]["blur"]) == (1.25, {"sigma": [1.5, None]})
    assert without_ids(first["intervals"]) == [INTERVAL]
    moved = {**shape, "points": [5, 6, 7, 8]}
    answer = send(client, "PATCH", f"{path}?action=update", {"shapes": [moved]}).json()
    assert answer["shapes"][0]["depth"] == 3
    assert send(client, "PUT", path, client.get(path).json()).status_code == 200
    moved_first = {**first, "shapes": [moved]}
    assert without_ids(client.get(path).json()) == without_ids(moved_first)


def test_unknown_members_of_skeletons_survive_in_their_elements(
    client: Client, alice: User, tmp_path: Path
) -> None:
    points = [{"name": "nose", "type": "points"}]
    skeleton = {"name": "person", "type": "skeleton", "sublabels": points}
    file = tmp_path / "0.png"
    Image.new("L", (16, 16)).save(file)
    task = create_task(alice, "t", [skeleton], [file])
    person, nose = (models.Label.objects.get(name=name) for name in ("person", "nose"))
    element = {"type": "points", "frame": 0, "label_id": nose.pk, "points": [1, 2], "seen": 2}
    shape = {"type": "skeleton", "frame": 0, "label_id": person.pk, "elements": [element]}
    path = f"/api/tasks/{task.pk}/annotations"
    assert send(client, "PUT", path, {"shapes": [shape]}).status_code == 200
    assert client.get(path).json()["shapes"][0]["elements"][0]["seen"] == 2


def test_intervals_are_changed_and_deleted_by_their_ids(client: Client, task: models.Task) -> None:
    path = f"/api/tasks/{task.pk}/annotations"
    body = {"intervals": [INTERVAL, {**INTERVAL, "start": 1}]}
    made = send(client, "PATCH", f"{path}?action=create", body).json()["intervals"]
    changed = {**made[0], "stop": 9}
    updated = send(client, "PATCH", f"{path}?action=update", {"intervals": [changed]}).json()
    assert without_ids(updated["intervals"]) == [{**INTERVAL, "stop": 9}]
    deleted = send(client, "PATCH", f"{path}?action=delete", {"intervals": [made[1]]})
    assert deleted.status_code == 200
    assert without_ids(client.get(path).json()["intervals"]) == [{**INTERVAL, "stop": 9}]
    assert client.delete(path).status_code == 204
    assert "intervals" not in client.get(path).json()
    assert client.delete(f"/api/tasks/{task.pk}").status_code == 204


def test_unknown_members_and_intervals_of_a_job_survive_a_read_and_a_write(
    client: Client, task: models.Task, car: models.Label
) -> None:
    jobs = models.Job.objects.filter(segment__task=task).order_by("pk")
    first, second = (f"/api/jobs/{job.pk}/annotations" for job in jobs[:2])
    sent = {"shapes": [box(car, depth=3)], "intervals": [INTERVAL]}
    assert send(client, "PUT", first, sent).status_code == 200
    read = client.get(first).json()
    assert send(client, "PUT", first, read).status_code == 200
    assert without_ids(client.get(first).json()) == without_ids(read)
    assert read["shapes"][0]["depth"] == 3
    assert without_ids(read["intervals"]) == [INTERVAL]
    of_task = client.get(f"/api/tasks/{task.pk}/annotations").json()
    assert of_task["shapes"][0]["depth"] == 3
    for other in (of_task, client.get(second).json()):
        assert "intervals" not in other


@pytest.mark.parametrize("where", ["shapes", "intervals"])
def test_too_large_unknown_members_answer_400_and_write_nothing(
    client: Client, task: models.Task, car: models.Label, where: str
) -> None:
    path = f"/api/tasks/{task.pk}/annotations"
    large: Any = {"novel": "x" * 5000}
    items = {"shapes": [box(car), box(car, **large)], "intervals": [INTERVAL, large]}
    refused = send(client, "PUT", path, {where: items[where]})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_annotations")
    assert f"{where}[1]" in refused.json()["message"]
    assert "novel" in refused.json()["message"]
    assert client.get(path).json()["shapes"] == []
