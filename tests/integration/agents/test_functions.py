"""Native functions: creating them, and who may see, run and delete them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cvat_lambda.engine.standalone import models
from cvat_lambda.functions.models import Function

from .conftest import create
from .scripted import CAR, ScriptedAgent

ClientFor = Callable[["User | None"], Client]
POINT = {"name": "nose", "type": "points", "attributes": []}


def test_created_detector_is_shown_complete(client_for: ClientFor, alice: User) -> None:
    attribute = {"name": "age", "input_type": "number", "values": ["0", "9", "1"]}
    labels = [
        {"name": "car", "attributes": [attribute]},
        {"name": "person", "type": "skeleton", "attributes": [], "sublabels": [POINT]},
    ]
    created = create(client_for(alice), labels_v2=labels)
    assert created.status_code == 201
    found = client_for(alice).get(f"/api/functions/{created.json()['id']}").json()
    assert found["provider"] == "native"
    assert (found["kind"], found["name"], found["visibility"]) == ("detector", "finder", "private")
    assert found["labels_v2"] == [
        {"name": "car", "type": "any", "attributes": [attribute]},
        {"name": "person", "type": "skeleton", "attributes": [], "sublabels": [POINT]},
    ]


def test_created_interactor_gets_the_defaults_of_its_fields(
    client_for: ClientFor, alice: User
) -> None:
    created = create(client_for(alice), kind="interactor", min_pos_points=1)
    found = client_for(alice).get(f"/api/functions/{created.json()['id']}").json()
    prompts = ("min_pos_points", "min_neg_points", "startswith_box", "startswith_box_optional")
    assert [found[name] for name in prompts] == [1, -1, False, False]


def test_created_tracker_shows_its_shape_types(client_for: ClientFor, alice: User) -> None:
    created = create(
        client_for(alice), kind="tracker", supported_shape_types=["polygon", "rectangle"]
    )
    shown = client_for(alice).get(f"/api/lambda/functions/{created.json()['function_id']}").json()
    assert shown["supported_shape_types"] == ["polygon", "rectangle"]
    assert (shown["kind"], shown["state"]) == ("tracker", "missing")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"provider": "cvat"}, "provider"),
        ({"name": ""}, "name"),
        ({"visibility": "secret"}, "visibility"),
        ({"kind": "reid"}, "kind"),
        ({"labels_v2": []}, "labels_v2"),
        ({"labels_v2": [{"name": "car", "type": "circle"}]}, "circle"),
        ({"labels_v2": [CAR, CAR]}, "twice"),
        ({"labels_v2": ["car"]}, "label 0"),
        ({"labels_v2": [{"name": "man", "type": "skeleton", "sublabels": [5]}]}, "sublabel 0"),
        ({"kind": "interactor"}, "min_pos_points"),
        ({"kind": "interactor", "min_pos_points": "1"}, "min_pos_points"),
        ({"kind": "interactor", "min_pos_points": 1, "startswith_box": 1}, "startswith_box"),
        ({"kind": "tracker"}, "supported_shape_types"),
        ({"kind": "tracker", "supported_shape_types": ["circle"]}, "circle"),
    ],
)
def test_wrong_description_is_refused_and_names_the_field(
    client_for: ClientFor, alice: User, fields: dict[str, Any], named: str
) -> None:
    response = create(client_for(alice), **fields)
    assert response.status_code == 400
    assert named in response.content.decode()
    assert not Function.objects.exists()


def test_detector_without_labels_is_refused(client_for: ClientFor, alice: User) -> None:
    response = create(client_for(alice), labels_v2=None)
    assert response.status_code == 400
    assert "labels_v2" in response.json()


def test_anonymous_client_is_refused(client_for: ClientFor, native_pk: int) -> None:
    assert create(client_for(None)).status_code == 401
    assert client_for(None).get(f"/api/functions/{native_pk}").status_code == 401


def test_private_function_does_not_exist_for_a_stranger(
    client_for: ClientFor, charlie: User, native_pk: int, task: models.Task
) -> None:
    client = client_for(charlie)
    assert client.get(f"/api/functions/{native_pk}").status_code == 404
    assert client.delete(f"/api/functions/{native_pk}").status_code == 404
    assert client.get(f"/api/functions/queues/function:{native_pk}/watch").status_code == 404
    stranger = ScriptedAgent(client, native_pk)
    for path in ("acquire", "1/update", "1/complete", "1/fail"):
        response = stranger.post(path, request_category="batch", progress=0.5, exc_info="")
        assert response.status_code == 404
    assert client.get("/api/lambda/functions").json() == []
    function_id = f"native-{native_pk}"
    assert client.get(f"/api/lambda/functions/{function_id}").status_code == 404
    called = client.post(
        f"/api/lambda/functions/{function_id}", {"task": task.pk}, content_type="application/json"
    )
    assert (called.status_code, called.json()["code"]) == (404, "function_not_found")


def test_private_function_that_cannot_be_used_does_not_exist_for_a_stranger(
    client_for: ClientFor, alice: User, charlie: User, native_pk: int, task: models.Task
) -> None:
    row = Function.objects.get(pk=f"native-{native_pk}")
    row.metadata["metadata"]["annotations"]["type"] = "of a version to come"
    row.save()
    path, body = f"/api/lambda/functions/native-{native_pk}", {"task": task.pk, "frame": 0}
    for person, status in ((alice, 502), (charlie, 404)):
        client = client_for(person)
        assert client.get(path).status_code == status
        called = client.post(path, body, content_type="application/json")
        assert called.status_code == status


def test_request_with_a_private_function_of_another_user_is_not_found(
    client_for: ClientFor, bob: User, native_pk: int, task: models.Task
) -> None:
    models.Task.objects.filter(pk=task.pk).update(assignee=bob)
    response = client_for(bob).post(
        "/api/lambda/requests",
        {"function": f"native-{native_pk}", "task": task.pk},
        content_type="application/json",
    )
    assert (response.status_code, response.json()["code"]) == (404, "function_not_found")


@pytest.mark.parametrize("action", ["retry", "resume"])
def test_request_is_not_run_again_with_a_function_that_is_private_now(
    client_for: ClientFor, alice: User, bob: User, task: models.Task, action: str
) -> None:
    """People who left the organization of a private function could still retry with it."""
    models.Task.objects.filter(pk=task.pk).update(assignee=bob)
    function_id = create(client_for(alice), visibility="public").json()["function_id"]
    client = client_for(bob)
    body = {"function": function_id, "task": task.pk}
    started = client.post("/api/lambda/requests", body, content_type="application/json")
    address = f"/api/lambda/requests/{started.json()['id']}"
    assert client.delete(address).status_code == 204
    Function.objects.filter(pk=function_id).update(private=True, owner=alice)
    refused = client.post(f"{address}/{action}")
    assert (refused.status_code, refused.json()["code"]) == (404, "function_not_found")
    page = client.post(address.replace("/api/lambda", ""), {"action": action})
    assert page.status_code == 404
    assert f"{function_id}&#x27; was not found" in page.content.decode()
    assert client.get(address).json()["status"] == "cancelled"
    Function.objects.filter(pk=function_id).update(private=False)
    assert client.post(f"{address}/{action}").status_code == 200


def test_public_function_is_visible_to_all_but_run_by_its_owner_only(
    client_for: ClientFor, alice: User, charlie: User
) -> None:
    pk = create(client_for(alice), visibility="public").json()["id"]
    client = client_for(charlie)
    assert client.get(f"/api/functions/{pk}").json()["visibility"] == "public"
    assert [row["id"] for row in client.get("/api/lambda/functions").json()] == [f"native-{pk}"]
    assert client.delete(f"/api/functions/{pk}").status_code == 403
    stranger = ScriptedAgent(client, pk)
    response = stranger.post("acquire", request_category="batch")
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    assert "only its owner and administrators" in response.json()["message"]


def test_administrator_sees_runs_and_deletes_a_private_function(
    client_for: ClientFor, native_pk: int
) -> None:
    client = client_for(User.objects.create_superuser("root", "root@example.com", "root-secret"))
    assert client.get(f"/api/functions/{native_pk}").status_code == 200
    assert ScriptedAgent(client, native_pk).acquire() is None
    assert client.delete(f"/api/functions/{native_pk}").status_code == 204


def test_admin_site_shows_functions_agents_and_the_queue(
    client_for: ClientFor, agent: ScriptedAgent
) -> None:
    client = client_for(User.objects.create_superuser("root", "root@example.com", "root-secret"))
    agent.acquire()
    assert "finder" in client.get("/admin/cvat_lambda/nativefunction/").content.decode()
    page = client.get(f"/admin/cvat_lambda/nativefunction/{agent.native_pk}/change/")
    assert agent.agent_id in page.content.decode()
    assert client.get("/admin/cvat_lambda/queueentry/").status_code == 200
    assert client.get(f"/admin/cvat_lambda/function/native-{agent.native_pk}/change/").status_code
    client.post(f"/admin/cvat_lambda/nativefunction/{agent.native_pk}/delete/", {"post": "yes"})
    assert not Function.objects.exists()


def test_pages_show_a_private_function_to_its_owner_only(
    client_for: ClientFor, alice: User, charlie: User, native_pk: int
) -> None:
    path = f"/functions/native-{native_pk}"
    assert f"native-{native_pk}" in client_for(alice).get("/functions").content.decode()
    assert client_for(alice).get(path).status_code == 200
    assert f"native-{native_pk}" not in client_for(charlie).get("/functions").content.decode()
    assert client_for(charlie).get(path).status_code == 404


def test_forms_of_tasks_and_frames_do_not_name_private_functions_of_other_users(
    client_for: ClientFor, alice: User, charlie: User, agent: ScriptedAgent, task: models.Task
) -> None:
    """The form of a new task offers labels of functions, and the workbench offers tools."""
    created = create(client_for(alice), name="clicker", kind="interactor", min_pos_points=1)
    clicker = ScriptedAgent(client_for(alice), created.json()["id"])
    for each in (agent, clicker):
        each.acquire()
    models.Task.objects.filter(pk=task.pk).update(assignee=charlie)
    for path, native in (("/tasks/new", agent), (f"/tasks/{task.pk}/frames/0", clicker)):
        name = f"native-{native.native_pk}"
        assert name in client_for(alice).get(path).content.decode(), path
        page = client_for(charlie).get(path)
        assert (page.status_code, name in page.content.decode()) == (200, False), path


@pytest.mark.parametrize("number", [2**63, 10**25])
def test_id_that_the_database_cannot_hold_is_not_found(
    client_for: ClientFor, native_pk: int, alice: User, number: int
) -> None:
    client = client_for(alice)
    assert client.get(f"/api/functions/{number}").status_code == 404
    assert (
        ScriptedAgent(client, number).post("acquire", request_category="batch").status_code == 404
    )
    entry = ScriptedAgent(client, native_pk).post(f"{number}/update", progress=0.5)
    assert entry.status_code == 404
