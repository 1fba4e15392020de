"""The app in CVAT's API: URLs, permissions, lists of requests, plugins, API document."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cvat.apps.engine import models
from cvat.apps.engine.rq import BaseRQMeta
from cvat.apps.iam.utils import get_opa_bundle
from django.utils import timezone

from cvat_lambda import signals
from cvat_lambda.errors import PermissionDenied
from tests.inside_cvat.scenarios import CvatScenarios

Clients = Callable[[str], Any]


@pytest.fixture
def detector(db: None) -> str:
    from cvat_lambda.models import Function

    spec = '[{"name": "car", "type": "rectangle"}]'
    Function.objects.create(
        id="cars",
        platform="endpoint",
        kind="detector",
        endpoint_url="http://127.0.0.1:9/",
        metadata={
            "metadata": {"name": "cars", "annotations": {"type": "detector", "spec": spec}},
            "status": {"state": "ready"},
        },
    )
    return "cars"


def request_of(cvat: CvatScenarios, name: str, task_id: int, **more: Any) -> Any:
    """A request row as the service creates it."""
    from cvat_lambda.models import Request, Shard

    access = cvat.access(name)
    meta = access.job_meta(function_id="cars", task_id=task_id, job_id=None)
    request = Request.objects.create(
        owner=cvat.people[name],
        function_id="cars",
        function_kind="detector",
        task_id=task_id,
        total=4,
        meta=meta,
        **more,
    )
    Shard.objects.create(
        request=request, index=0, task_id=task_id, frames=[[0, 3]], first_frame=0, last_frame=3
    )
    return request


def test_functions_are_listed_to_users_and_not_to_anonymous_clients(
    client_for: Clients, detector: str
) -> None:
    from rest_framework.test import APIClient

    answer = client_for("alice").get("/api/lambda/functions")
    assert [function["id"] for function in answer.json()] == [detector]
    assert APIClient().get("/api/lambda/functions").status_code == 401


def test_models_page_is_enabled(client_for: Clients) -> None:
    assert client_for("alice").get("/api/server/plugins").json()["MODELS"] is True


def test_rules_are_in_the_bundle_of_the_policy_server() -> None:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(get_opa_bundle()[0])) as bundle:
        names = bundle.getnames()
    assert "rules/cvat_lambda.rego" in names
    assert "rules/lambda.rego" not in names


def test_api_document_has_the_paths_of_cvat_and_of_the_app(client_for: Clients) -> None:
    accept = "application/vnd.oai.openapi+json"
    answer = client_for("alice").get("/api/schema/", HTTP_ACCEPT=accept)
    paths = json.loads(answer.content)["paths"]
    assert {"/api/lambda/functions", "/api/lambda/requests", "/api/requests"} <= set(paths)
    assert "/api/lambda/requests/{id}/retry" in paths


def test_request_needs_the_right_to_change_annotations(
    cvat: CvatScenarios, client_for: Clients, detector: str
) -> None:
    task_id = cvat.task(frames=2)
    body = {"function": detector, "task": task_id}
    path = "/api/lambda/requests"
    assert client_for("charlie").post(path, body, format="json").status_code == 403
    unknown = {**body, "task": 999_999}
    assert client_for("charlie").post(path, unknown, format="json").status_code == 400


@pytest.mark.parametrize("read_only", [True, False])
def test_read_only_access_token_can_view_and_not_change(
    cvat: CvatScenarios, people: dict[str, Any], detector: str, read_only: bool
) -> None:
    """For a token CVAT asks its rules about each permission once more."""
    from cvat.apps.access_tokens.models import AccessToken
    from rest_framework.test import APIClient

    task_id = cvat.task(frames=2)
    request = request_of(cvat, "alice", task_id)
    _, key = AccessToken.objects.create_key(
        name="token", owner=people["alice"], read_only=read_only
    )
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    one = f"/api/lambda/requests/{request.pk}"
    for path in ("/api/lambda/functions", "/api/lambda/requests", one):
        assert client.get(path).status_code == 200, path
    # The function does not answer, and a queued request cannot be retried or undone.
    body = {"task": task_id, "frame": 0, "function": detector}
    asked = {
        "/api/lambda/functions/cars": 503,
        f"{one}/retry": 409,
        f"{one}/undo": 409,
    }
    for path, allowed in asked.items():
        answer = client.post(path, body, format="json")
        assert answer.status_code == (403 if read_only else allowed), path
    assert client.delete(one).status_code == (403 if read_only else 204)
    wanted = {"task": task_id, "function": detector}
    made = client.post("/api/lambda/requests", wanted, format="json").status_code
    assert made == (403 if read_only else 200)


def test_request_is_in_cvats_list_of_its_owner_only(
    cvat: CvatScenarios, client_for: Clients
) -> None:
    task_id = cvat.task(frames=4)
    request = request_of(cvat, "alice", task_id, status="started", done=1)
    (found,) = [
        row
        for row in client_for("alice").get("/api/requests").json()["results"]
        if row["id"] == request.pk
    ]
    assert found["status"] == "started"
    assert float(found["progress"]) == 0.25
    assert found["operation"]["type"] == "autoannotate:task"
    assert found["operation"]["task_id"] == task_id
    assert found["operation"]["function_id"] == "cars"
    one = client_for("alice").get(f"/api/requests/{request.pk}")
    assert (one.status_code, one.json()["id"]) == (200, request.pk)
    assert client_for("charlie").get(f"/api/requests/{request.pk}").status_code == 403
    others = client_for("charlie").get("/api/requests").json()["results"]
    assert request.pk not in [row["id"] for row in others]


@pytest.mark.parametrize(
    ("failed", "message"), [(0, ""), (1, "Finished, but 1 of 4 frames failed")]
)
def test_finished_request_stays_in_cvats_list_with_its_number_of_failed_frames(
    cvat: CvatScenarios, client_for: Clients, failed: int, message: str
) -> None:
    request = request_of(cvat, "alice", cvat.task(frames=4), status="finished", failed=failed)
    request.started_at = request.ended_at = timezone.now()
    request.save()
    found = client_for("alice").get(f"/api/requests/{request.pk}").json()
    assert (found["status"], found["message"]) == ("finished", message)
    assert found["finished_date"] is not None
    assert found["expiry_date"] is None  # CVAT's RQ jobs expire within minutes, requests do not


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("bob", 200),  # the initiator
        ("dora", 200),  # an administrator
        ("alice", 403),  # owns the task and the organization
        ("erik", 403),  # a maintainer of the organization
        ("charlie", 403),  # a stranger
        (None, 401),
    ],
)
def test_queued_request_is_cancelled_through_cvats_list_by_its_initiator_or_an_administrator(
    cvat: CvatScenarios,
    client_for: Clients,
    people: dict[str, Any],
    name: str | None,
    code: int,
) -> None:
    from cvat.apps.organizations.models import Membership, Organization
    from django.contrib.auth.models import Group
    from rest_framework.test import APIClient

    users: Any = type(people["alice"]).objects
    for new, group in (("dora", "admin"), ("erik", "user")):
        people[new] = users.create_user(new, f"{new}@example.com", f"{new}-secret")
        people[new].groups.set([Group.objects.get_or_create(name=group)[0]])
    organization = Organization.objects.create(name="o", slug="o", owner=people["alice"])
    for member, role in (("alice", "owner"), ("bob", "supervisor"), ("erik", "maintainer")):
        Membership.objects.create(
            user=people[member], organization=organization, role=role, is_active=True
        )
    task_id = cvat.task(frames=4)
    models.Task.objects.filter(pk=task_id).update(organization=organization, assignee=people["bob"])
    request = request_of(cvat, "bob", task_id)
    client = APIClient() if name is None else client_for(name)
    actions: list[dict[str, Any]] = []

    def note(sender: object, **action: Any) -> None:
        actions.append(action)

    signals.action_taken.connect(note)
    try:
        answer = client.post(f"/api/requests/{request.pk}/cancel")
    finally:
        signals.action_taken.disconnect(note)
    assert answer.status_code == code, answer.content
    request.refresh_from_db()
    if code != 200:
        assert (request.status, request.shards.get().status, actions) == ("queued", "queued", [])
        return
    assert (request.status, request.shards.get().status) == ("cancelled", "cancelled")
    assert name is not None
    (action,) = actions
    assert (action["action"], action["object_id"]) == ("cancelled", request.pk)
    assert action["details"] == {"user_id": people[name].pk}
    assert client.get(f"/api/requests/{request.pk}").status_code == 404


@pytest.mark.parametrize("status", ["started", "finished", "failed"])
def test_started_request_is_not_cancelled_through_cvats_list_even_by_an_administrator(
    cvat: CvatScenarios, people: dict[str, Any], client_for: Clients, status: str
) -> None:
    """CVAT's own rule for its list. `DELETE /api/lambda/requests/ID` cancels a started request."""
    from django.contrib.auth.models import Group

    request = request_of(cvat, "alice", cvat.task(frames=4), status=status)
    people["bob"].groups.set([Group.objects.get_or_create(name="admin")[0]])
    for name in ("alice", "bob"):
        answer = client_for(name).post(f"/api/requests/{request.pk}/cancel")
        assert (answer.status_code, b"not yet been started" in answer.content) == (400, True)
    request.refresh_from_db()
    assert request.status == status


def test_job_meta_has_the_members_that_cvats_handlers_read(cvat: CvatScenarios) -> None:
    task_id = cvat.task(frames=2)
    meta = cvat.access("alice").job_meta(function_id="cars", task_id=task_id, job_id=None)
    read = BaseRQMeta.for_meta(meta)
    assert read.user is not None
    assert (read.user.username, read.task_id, meta["lambda"]) == ("alice", task_id, True)


def test_role_in_the_organization_of_the_task_decides_access(
    cvat: CvatScenarios, people: dict[str, Any]
) -> None:
    from cvat.apps.organizations.models import Membership, Organization

    organization = Organization.objects.create(name="o", slug="o", owner=people["alice"])
    for name, role in (("alice", "owner"), ("bob", "maintainer"), ("charlie", "worker")):
        Membership.objects.create(
            user=people[name], organization=organization, role=role, is_active=True
        )
    task_id = cvat.task(frames=2)
    models.Task.objects.filter(pk=task_id).update(organization=organization)
    cvat.access("bob").require_task(task_id, "edit")
    with pytest.raises(PermissionDenied):
        cvat.access("charlie").require_task(task_id, "view")
    bob = cvat.engine.access(cvat.request_of("bob", organization=organization))
    assert task_id in set(bob.visible_task_ids().values_list("pk", flat=True))
