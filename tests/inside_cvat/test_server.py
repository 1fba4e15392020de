"""The app in CVAT's API: its URLs, policy, lists of requests, plugins and API document."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cvat.apps.engine import models
from cvat.apps.engine.rq import BaseRQMeta
from cvat.apps.iam.utils import get_opa_bundle
from django.utils import timezone

from cvat_lambda.errors import TaskNotFound
from tests.inside_cvat.host import Host

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


def request_of(host: Host, name: str, task_id: int, **more: Any) -> Any:
    """A stored request, as the service stores it."""
    from cvat_lambda.models import Request, Shard

    access = host.access(name)
    meta = access.job_meta(function_id="cars", task_id=task_id, job_id=None)
    request = Request.objects.create(
        owner=host.people[name],
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


def test_functions_are_listed_to_people_and_not_to_strangers(
    client_for: Clients, detector: str
) -> None:
    from rest_framework.test import APIClient

    answer = client_for("alice").get("/api/lambda/functions")
    assert [function["id"] for function in answer.json()] == [detector]
    assert APIClient().get("/api/lambda/functions").status_code == 401


def test_pages_offer_models(client_for: Clients) -> None:
    assert client_for("alice").get("/api/server/plugins").json()["MODELS"] is True


def test_rules_are_in_the_bundle_of_the_policy_server() -> None:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(get_opa_bundle()[0])) as bundle:
        names = bundle.getnames()
    assert "rules/cvat_lambda.rego" in names
    assert "rules/lambda.rego" not in names


def test_api_document_has_both(client_for: Clients) -> None:
    accept = "application/vnd.oai.openapi+json"
    answer = client_for("alice").get("/api/schema/", HTTP_ACCEPT=accept)
    paths = json.loads(answer.content)["paths"]
    assert {"/api/lambda/functions", "/api/lambda/requests", "/api/requests"} <= set(paths)
    assert "/api/lambda/requests/{id}/retry" in paths


def test_request_needs_the_right_to_change_annotations(
    host: Host, client_for: Clients, detector: str
) -> None:
    task_id = host.task(frames=2)
    body = {"function": detector, "task": task_id}
    assert (
        client_for("charlie").post("/api/lambda/requests", body, format="json").status_code == 404
    )


@pytest.mark.parametrize("read_only", [True, False])
def test_read_only_access_token_looks_and_does_nothing(
    host: Host, people: dict[str, Any], detector: str, read_only: bool
) -> None:
    """CVAT asks its rules about each permission of ours once more for a token."""
    from cvat.apps.access_tokens.models import AccessToken
    from rest_framework.test import APIClient

    task_id = host.task(frames=2)
    request = request_of(host, "alice", task_id)
    _, key = AccessToken.objects.create_key(
        name="token", owner=people["alice"], read_only=read_only
    )
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    one = f"/api/lambda/requests/{request.pk}"
    for path in ("/api/lambda/functions", "/api/lambda/requests", one):
        assert client.get(path).status_code == 200, path
    # The function does not answer, and a request that waits cannot be retried or undone.
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
    made = client.post("/api/lambda/requests", body, format="json").status_code
    assert made == (403 if read_only else 200)


def test_requests_are_in_cvats_own_list(host: Host, client_for: Clients) -> None:
    task_id = host.task(frames=4)
    request = request_of(host, "alice", task_id, status="started", done=1)
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
def test_finished_request_stays_in_cvats_own_list_and_tells_what_failed(
    host: Host, client_for: Clients, failed: int, message: str
) -> None:
    request = request_of(host, "alice", host.task(frames=4), status="finished", failed=failed)
    request.started_at = request.ended_at = timezone.now()
    request.save()
    found = client_for("alice").get(f"/api/requests/{request.pk}").json()
    assert (found["status"], found["message"]) == ("finished", message)
    assert found["finished_date"] is not None
    assert found["expiry_date"] is None  # CVAT's jobs expire within minutes, these do not


def test_queued_request_is_cancelled_by_cvats_own_list(host: Host, client_for: Clients) -> None:
    request = request_of(host, "alice", host.task(frames=4))
    path = f"/api/requests/{request.pk}/cancel"
    assert client_for("charlie").post(path).status_code == 403
    assert client_for("alice").post(path).status_code == 200
    request.refresh_from_db()
    assert request.status == "cancelled"
    assert client_for("alice").get(f"/api/requests/{request.pk}").status_code == 404


def test_meta_of_jobs_is_what_cvats_handlers_read(host: Host) -> None:
    task_id = host.task(frames=2)
    meta = host.access("alice").job_meta(function_id="cars", task_id=task_id, job_id=None)
    read = BaseRQMeta.for_meta(meta)
    assert read.user is not None
    assert (read.user.username, read.task_id, meta["lambda"]) == ("alice", task_id, True)


def test_members_of_an_organization_are_judged_in_it(host: Host, people: dict[str, Any]) -> None:
    from cvat.apps.organizations.models import Membership, Organization

    organization = Organization.objects.create(name="o", slug="o", owner=people["alice"])
    for name, role in (("alice", "owner"), ("bob", "maintainer"), ("charlie", "worker")):
        Membership.objects.create(
            user=people[name], organization=organization, role=role, is_active=True
        )
    task_id = host.task(frames=2)
    models.Task.objects.filter(pk=task_id).update(organization=organization)
    host.access("bob").require_task(task_id, "edit")
    with pytest.raises(TaskNotFound):
        host.access("charlie").require_task(task_id, "view")
    bob = host.engine.access(host.request_of("bob", organization=organization))
    assert task_id in set(bob.visible_task_ids().values_list("pk", flat=True))
