"""``/api/labels``, ``/api/tasks`` and ``/api/projects``: changes, filters, sorting, pagination."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from cvat_lambda.annotations.labels import LABEL_TYPES
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_project, create_task
from tests.rows_read import rows_read


@pytest.fixture
def client(client: Client, alice: User) -> Client:
    client.force_login(alice)
    return client


def patch(client: Client, path: str, body: Any) -> Any:
    return client.patch(path, json.dumps(body), content_type="application/json")


def test_labels_of_a_job_are_those_of_its_task(
    client: Client, task: models.Task, jobs: list[models.Job]
) -> None:
    create_task(None, "another", ["other"])
    for query in ({"task_id": task.pk}, {"job_id": jobs[0].pk}):
        found = client.get("/api/labels", query).json()["results"]
        assert [label["name"] for label in found] == ["car", "person"]
    assert found[0]["attributes"][0]["values"] == ["0", "9", "1"]
    assert [sublabel["name"] for sublabel in found[1]["sublabels"]] == ["head"]


def test_label_is_renamed_and_gets_an_attribute(client: Client, car: models.Label) -> None:
    (old,) = car.attributes.all()
    body = {
        "name": "truck",
        "color": "#102030",
        "attributes": [
            {"id": old.pk, "values": ["0", "99", "1"]},
            {"name": "parked", "input_type": "checkbox", "values": ["false"]},
        ],
    }
    answer = patch(client, f"/api/labels/{car.pk}", body)
    assert answer.status_code == 200
    shown = answer.json()
    assert (shown["name"], shown["color"]) == ("truck", "#102030")
    assert [(item["name"], item["values"]) for item in shown["attributes"]] == [
        ("age", ["0", "99", "1"]),
        ("parked", ["false"]),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "person"},  # taken
        {"name": ""},
        {"color": "blue"},
        {"type": "blob"},
        {"type": "skeleton"},
        {"attributes": [{"id": 999999}]},
        {"attributes": [{"name": "age", "input_type": "text"}]},  # taken
        {"attributes": [{"name": "x", "input_type": "dial"}]},
        # No value meets these limits, so every annotation would lose the attribute.
        {"attributes": [{"name": "x", "input_type": "number", "values": ["0", "inf", "1"]}]},
        {"attributes": [{"name": "x", "input_type": "number", "values": ["9", "0", "1"]}]},
        {"attributes": [{"name": "x", "input_type": "number", "values": ["0", "9", "1e-30"]}]},
    ],
)
def test_invalid_change_of_a_label_changes_nothing(
    client: Client, car: models.Label, body: dict[str, Any]
) -> None:
    assert patch(client, f"/api/labels/{car.pk}", body).status_code == 400
    car.refresh_from_db()
    assert (car.name, car.type, car.attributes.count()) == ("car", "any", 1)


@pytest.mark.parametrize("text", ["\ud800", "a\x00b"])
@pytest.mark.parametrize(
    "label",
    [
        {"name": "TEXT"},
        {"name": "a", "type": "TEXT"},
        {"name": "a", "color": "TEXT"},
        {"name": "a", "svg": "TEXT"},
        {"name": "a", "attributes": [{"name": "TEXT", "input_type": "text"}]},
        {"name": "a", "attributes": [{"name": "b", "input_type": "TEXT"}]},
        {"name": "a", "attributes": [{"name": "b", "input_type": "text", "values": ["TEXT"]}]},
        {
            "name": "a",
            "attributes": [{"name": "b", "input_type": "text", "default_value": "TEXT"}],
        },
        {"name": "a", "type": "skeleton", "sublabels": [{"name": "TEXT"}]},
    ],
)
def test_label_with_text_that_cannot_be_stored_answers_400_at_every_endpoint(
    client: Client, task: models.Task, car: models.Label, label: dict[str, Any], text: str
) -> None:
    wrong = json.dumps(label).replace('"TEXT"', json.dumps(text))
    new = f'{{"name": "new", "labels": [{wrong}]}}'
    project = create_project(task.owner, "p", ["b"])
    answers = {
        "post tasks": client.post("/api/tasks", new, content_type="application/json"),
        "post projects": client.post("/api/projects", new, content_type="application/json"),
        "patch task": client.patch(
            f"/api/tasks/{task.pk}", f'{{"labels": [{wrong}]}}', content_type="application/json"
        ),
        "patch project": client.patch(
            f"/api/projects/{project.pk}",
            f'{{"labels": [{wrong}]}}',
            content_type="application/json",
        ),
    }
    if "svg" not in label and "sublabels" not in label:  # PATCH of a label ignores these members
        answers["patch label"] = client.patch(
            f"/api/labels/{car.pk}", wrong, content_type="application/json"
        )
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(
        answers, 400
    )


@pytest.mark.parametrize("number", [-1, 2**31, 2**63, 10**400, 1.5, "x", True])
def test_unknown_or_inactive_assignee_answers_400(
    client: Client, task: models.Task, jobs: list[models.Job], number: object
) -> None:
    """The server passed numbers over 64 bits to the database, which raised an error."""
    for path, field in (
        (f"/api/tasks/{task.pk}", "assignee_id"),
        (f"/api/jobs/{jobs[0].pk}", "assignee"),
    ):
        answer = patch(client, path, {field: number})
        assert (answer.status_code, list(answer.json())) == (400, [field])


def test_assignee_is_set_and_removed(
    client: Client, task: models.Task, jobs: list[models.Job], bob: User
) -> None:
    made = client.post(
        "/api/projects", {"name": "p", "assignee_id": bob.pk}, content_type="application/json"
    )
    assert (made.status_code, made.json()["assignee"]["username"]) == (201, "bob")
    for path, field in (
        (f"/api/projects/{made.json()['id']}", "assignee_id"),
        (f"/api/tasks/{task.pk}", "assignee_id"),
        (f"/api/jobs/{jobs[0].pk}", "assignee"),
    ):
        answer = patch(client, path, {field: bob.pk})
        assert (answer.status_code, answer.json()["assignee"]["username"]) == (200, "bob")
        answer = patch(client, path, {field: None})
        assert (answer.status_code, answer.json()["assignee"]) == (200, None)


def test_labels_that_are_nested_too_deeply_answer_400(client: Client) -> None:
    nested = '{"name": "a", "type": "skeleton", "sublabels": [' * 450 + "]}" * 450
    body = f'{{"name": "new", "labels": [{nested}]}}'
    answer = client.post("/api/tasks", body, content_type="application/json")
    assert answer.status_code == 400


def test_patch_of_a_task_changes_its_labels(
    client: Client, task: models.Task, car: models.Label
) -> None:
    body = {"labels": [{"id": car.pk, "deleted": True}, {"name": "bus"}]}
    assert patch(client, f"/api/tasks/{task.pk}", body).status_code == 200
    names = set(models.Label.objects.filter(task=task).values_list("name", flat=True))
    assert names == {"bus", "person", "head"}
    again = patch(client, f"/api/tasks/{task.pk}", {"labels": [{"name": "bus"}]})
    assert again.status_code == 400


@pytest.mark.parametrize("how", ["change", "deletion"])
@pytest.mark.parametrize("whose", ["task", "project"])
def test_change_of_labels_updates_the_date_of_the_task(
    client: Client, alice: User, how: str, whose: str
) -> None:
    """cvat-sdk reads labels again only if the task's `updated_date` is later than before."""
    if whose == "project":
        project = create_project(alice, "project", ["car"])
        task = create_task(alice, "task", project=project)
    else:
        project, task = None, create_task(alice, "task", ["car"])
    label = models.Label.objects.get(name="car")
    before = client.get(f"/api/tasks/{task.pk}").json()["updated_date"]
    if how == "change":
        assert patch(client, f"/api/labels/{label.pk}", {"name": "bus"}).status_code == 200
    else:
        assert client.delete(f"/api/labels/{label.pk}").status_code == 204
    changed = client.get(f"/api/tasks/{task.pk}").json()["updated_date"]
    assert changed > before
    if project is not None:
        body = {"labels": [{"name": "tram"}]}
        assert patch(client, f"/api/projects/{project.pk}", body).status_code == 200
        assert client.get(f"/api/tasks/{task.pk}").json()["updated_date"] > changed


def test_task_with_invalid_labels_is_refused(client: Client) -> None:
    body = {"name": "x", "labels": [{"name": "a"}, {"name": "a"}]}
    answer = client.post("/api/tasks", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert not models.Task.objects.exists()


def test_lists_are_paginated_and_filtered(client: Client, alice: User) -> None:
    for number in range(12):
        create_task(alice, f"task {number}", [])
    first = client.get("/api/tasks").json()
    assert (first["count"], len(first["results"]), first["previous"]) == (12, 10, None)
    second = client.get(first["next"]).json()
    assert (len(second["results"]), second["next"]) == (2, None)
    assert client.get("/api/tasks", {"name": "task 3"}).json()["count"] == 1
    assert client.get("/api/tasks", {"search": "task 1"}).json()["count"] == 3
    assert client.get("/api/tasks", {"page": 99}).status_code == 404
    assert client.get("/api/tasks", {"project_id": "x"}).status_code == 400


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("", ["b", "a", "b"]),  # the newest first
        ("id", ["b", "a", "b"]),
        ("-id", ["b", "a", "b"]),
        ("name", ["a", "b", "b"]),
        ("-name,id", ["b", "b", "a"]),
        ("owner,-created_date", ["b", "a", "b"]),
    ],
)
def test_lists_are_sorted_by_the_given_fields(
    client: Client, alice: User, sort: str, names: list[str]
) -> None:
    made = [create_task(alice, name, []).pk for name in ("b", "a", "b")]
    found = client.get("/api/tasks", {"sort": sort}).json()["results"]
    assert [task["name"] for task in found] == names
    ids = [task["id"] for task in found]
    if sort in ("id", "-id"):
        assert ids == sorted(made, reverse=sort == "-id")
    if sort == "-name,id":
        assert ids[0] < ids[1]


@pytest.mark.parametrize(
    "path", ["/api/tasks", "/api/jobs", "/api/labels", "/api/projects", "/api/requests"]
)
def test_list_with_an_unsupported_filter_or_sort_answers_400(
    client: Client, task: models.Task, path: str
) -> None:
    """A client that deletes the results of a filter must not get the unfiltered list."""
    for query in (
        {"filter": '{"==": [{"var": "name"}, "none"]}'},
        {"status": "completed"},
        {"sort": "mood"},
        {"sort": "id,--id"},
        {"sort": "password"},
    ):
        (name,) = query
        refused = client.get(path, query)
        assert (refused.status_code, list(refused.json())) == (400, [name])
    assert client.get(path, {"sort": "", "filter": "", "org": ""}).status_code == 200


def test_list_can_be_sorted_by_every_documented_name(client: Client, task: models.Task) -> None:
    names = {
        "tasks": "id,name,owner,assignee,subset,project_id,created_date,updated_date",
        "jobs": "id,task_id,project_id,type,state,stage,assignee,created_date,updated_date",
        "labels": "id,name,type,color",
        "projects": "id,name,owner,assignee,created_date,updated_date",
        "requests": "created_date,status",
    }
    for path, sort in names.items():
        for name in sort.split(","):
            for word in (name, f"-{name}"):
                assert client.get(f"/api/{path}", {"sort": word}).status_code == 200, (path, word)


def test_labels_are_sorted_by_color(client: Client, alice: User) -> None:
    colors = {"sky": "#0000ff", "grass": "#00ff00", "car": "#ff0000", "road": "#00ff00"}
    labels = [{"name": name, "color": color} for name, color in colors.items()]
    task = create_task(alice, "street", labels)
    query = {"task_id": str(task.pk), "sort": "-color,name"}
    found = client.get("/api/labels", query).json()["results"]
    assert [label["name"] for label in found] == ["car", "grass", "road", "sky"]


def test_list_of_many_tasks_takes_as_many_queries_as_of_few(
    client: Client,
    alice: User,
    pictures: list[Any],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(9):
        create_task(alice, "task", ["car"], pictures[:2], segment_size=1)
    with django_assert_max_num_queries(8):
        assert len(client.get("/api/tasks").json()["results"]) == 9
    with django_assert_max_num_queries(6):
        assert client.get("/api/jobs", {"page_size": 50}).json()["count"] == 18


def test_task_of_a_project_has_the_labels_of_the_project(
    client: Client, alice: User, pictures: list[Any]
) -> None:
    project = create_project(alice, "project", ["tree"])
    task = create_task(alice, "in it", (), pictures[:1], project=project)
    for query in ({"task_id": task.pk}, {"project_id": project.pk}):
        found = client.get("/api/labels", query).json()["results"]
        assert [label["name"] for label in found] == ["tree"]
    refused = patch(client, f"/api/tasks/{task.pk}", {"labels": [{"name": "mine"}]})
    assert refused.status_code == 400
    shown = client.get(f"/api/projects/{project.pk}").json()
    assert shown["tasks"]["count"] == 1


@pytest.mark.parametrize("in_project", [False, True])
def test_labels_of_a_task_are_the_same_in_its_list_in_other_lists_and_alone(
    client: Client, alice: User, pictures: list[Any], in_project: bool
) -> None:
    """The list of a task, which agents read for each frame, is read with SQL of its own."""
    inputs = {"select": ["a", "b"], "radio": ["a"], "checkbox": ["true"], "number": ["0", "9", "1"]}
    attributes = [
        {"name": name, "input_type": name, "mutable": name == "radio", "values": values}
        for name, values in {**inputs, "text": ["x"]}.items()
    ]
    parts = [
        {"name": "nose", "type": "points", "attributes": attributes[:2]},
        {"name": "tail", "type": "points"},
    ]
    kinds = sorted(LABEL_TYPES - {"skeleton"})
    labels: list[Any] = [{"name": kind, "type": kind, "attributes": attributes} for kind in kinds]
    labels += [{"name": "person", "type": "skeleton", "sublabels": parts}, {"name": "plain"}]
    project = create_project(alice, "project", labels) if in_project else None
    task = create_task(alice, "task", () if project else labels, pictures[:1], project=project)
    create_task(alice, "another", ["other"])
    query: dict[str, Any] = {"task_id": task.pk, "page_size": 100}
    shown = client.get("/api/labels", query).json()
    assert [label["name"] for label in shown["results"]] == [*kinds, "person", "plain"]
    assert [part["name"] for part in shown["results"][-2]["sublabels"]] == ["nose", "tail"]
    assert len(shown["results"][0]["attributes"]) == len(attributes)
    assert client.get("/api/labels", {**query, "sort": "id"}).json() == shown
    for label in shown["results"]:
        assert client.get(f"/api/labels/{label['id']}").json() == label
        assert (label["task_id"], label["project_id"]) == (
            (None, project.pk) if project else (task.pk, None)
        )


def test_ground_truth_job_is_created_and_deleted(client: Client, task: models.Task) -> None:
    body = {"type": "ground_truth", "task_id": task.pk, "frames": [1, 4]}
    made = client.post("/api/jobs", body, content_type="application/json")
    assert (made.status_code, made.json()["frame_count"]) == (201, 2)
    path = f"/api/jobs/{made.json()['id']}"
    meta = client.get(f"{path}/data/meta").json()
    assert (meta["included_frames"], meta["size"]) == ([1, 4], 2)
    assert client.post("/api/jobs", body, content_type="application/json").status_code == 409
    assert client.delete(path).status_code == 204
    outside = {**body, "frames": [6]}
    assert client.post("/api/jobs", outside, content_type="application/json").status_code == 400


def test_access_token_command_creates_a_valid_token(
    alice: User, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("access_token", "alice", "--name", "robot", "--days", "1")
    key = capsys.readouterr().out.strip()
    answer = Client().get("/api/users/self", headers={"Authorization": f"Bearer {key}"})
    assert answer.json()["username"] == "alice"
    row = models.AccessToken.objects.get()
    assert key not in (row.digest, row.name)
    models.AccessToken.objects.update(expires_at=row.created_at)
    expired = Client().get("/api/users/self", headers={"Authorization": f"Bearer {key}"})
    assert expired.status_code == 401
    with pytest.raises(CommandError, match="'nobody' was not found"):
        call_command("access_token", "nobody")
    for days in ("0", "36501"):
        with pytest.raises(CommandError, match="--days must be from 1 to 36500"):
            call_command("access_token", "alice", "--days", days)
    assert models.AccessToken.objects.count() == 1


@pytest.mark.parametrize("table", ["project", "task", "job", "label", "datarequest", "accesstoken"])
def test_admin_shows_every_table(
    admin_client: Client, task: models.Task, alice: User, table: str
) -> None:
    create_project(alice, "project", ["tree"])
    models.DataRequest.objects.create(task=task, user=alice)
    models.AccessToken.create(alice, name="robot")
    page = admin_client.get(f"/admin/engine/{table}/")
    assert page.status_code == 200
    row = page.context["cl"].result_list[0]
    assert admin_client.get(f"/admin/engine/{table}/{row.pk}/change/").status_code == 200


@pytest.mark.parametrize("what", ["tasks", "projects"])
@pytest.mark.parametrize("name", ["owner_id", "project_id", "organization_id"])
def test_unsupported_change_answers_400_and_changes_nothing(
    client: Client, task: models.Task, what: str, name: str
) -> None:
    project = create_project(task.owner, "p", ["b"])
    row: Any = {"tasks": task, "projects": project}[what]
    path = f"/api/{what}/{row.pk}"
    refused = patch(client, path, {"name": "moved", name: 4711})
    assert (refused.status_code, list(refused.json())) == (400, [name])
    row.refresh_from_db()
    assert row.name != "moved"
    same = {"name": "same", name: getattr(row, name, None)}
    assert patch(client, path, same).json()["name"] == "same"


def test_list_of_projects_counts_their_tasks_without_reading_them(
    client: Client, alice: User
) -> None:
    """Each project of a page came with the rows of all its tasks."""
    for number in range(3):
        project = create_project(alice, f"project {number}", ["car"])
        for subset in ["", "Train", "Test", "Train"][: number + 1]:
            create_task(alice, "task", (), project=project, subset=subset)
    with rows_read(models.Task) as read:
        found = client.get("/api/projects").json()["results"]
    assert dict(read) == {}
    shown = [(row["tasks"]["count"], row["task_subsets"]) for row in found]
    assert shown == [(3, ["Test", "Train"]), (2, ["Train"]), (1, [])]


def test_list_of_tasks_counts_their_jobs_without_reading_them(
    client: Client, task: models.Task, jobs: list[models.Job]
) -> None:
    jobs[0].state = models.JobState.COMPLETED
    jobs[0].save()
    with rows_read(models.Job, models.Segment) as read:
        (found,) = client.get("/api/tasks").json()["results"]
    assert dict(read) == {}
    assert (found["jobs"]["count"], found["jobs"]["completed"]) == (len(jobs), 1)


def test_sublabel_is_not_deleted_without_its_skeleton(client: Client, task: models.Task) -> None:
    head = models.Label.objects.get(parent__task=task, name="head")
    refused = client.delete(f"/api/labels/{head.pk}")
    assert refused.status_code == 400
    assert refused.json() == {"id": ["A sublabel is deleted only with its skeleton."]}
    assert models.Label.objects.filter(pk=head.pk).exists()


def test_task_whose_segments_would_overlap_wholly_is_refused(client: Client) -> None:
    body = {"name": "new", "labels": [{"name": "car"}], "segment_size": 10, "overlap": 10}
    refused = client.post("/api/tasks", json.dumps(body), content_type="application/json")
    assert (refused.status_code, refused.json()) == (
        400,
        {"overlap": ["Must be less than segment_size."]},
    )
    assert not models.Task.objects.filter(name="new").exists()
