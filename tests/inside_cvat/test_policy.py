"""Requests to the policy server, and the database queries of a call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from cvat.apps.engine import models
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from cvat_lambda.engine.cvat import compat, policy
from cvat_lambda.engine.cvat.policy import PolicyUnavailable
from tests.http_server import HttpRequest, Reply, http_server
from tests.inside_cvat.scenarios import CvatScenarios
from tests.inside_cvat.test_server import request_of
from tests.integration.requests.function_server import function_server


@dataclass
class Policy:
    """A policy server with a fixed answer, or one for each path."""

    url: str = ""
    answers: dict[str, bytes] = field(default_factory=dict)
    answer: bytes = b'{"result": {"allow": true}}'
    status: int = 200
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)  # the clients' ports


@pytest.fixture
def server() -> Iterator[Policy]:
    found = Policy()

    def answer(request: HttpRequest) -> Reply:
        found.asked.append((request.path, request.json()["input"]))
        found.connections.add(request.client_port)
        return Reply(found.status, found.answers.get(request.path, found.answer))

    with http_server(answer) as running:
        found.url = running.url
        yield found
        policy.connection_pool.clear()
        policy.allowed_questions.clear()


class Permission:
    """The members of CVAT's permission that are used here."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.payload = {"input": {"scope": "view"}}


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        (b'{"result": true}', True),
        (b'{"result": false}', False),
        (b'{"result": {"allow": true, "reasons": []}}', True),
        (b'{"result": {"allow": false, "reasons": ["no"]}}', False),
    ],
)
def test_boolean_answer_of_the_policy_server_decides(
    server: Policy, answer: bytes, allowed: bool
) -> None:
    server.answer = answer
    assert policy.allows(Permission(f"{server.url}/v1/data/tasks/allow")) is allowed


@pytest.mark.parametrize("status", [201, 302, 404, 500])
def test_answer_with_another_status_permits_nothing(server: Policy, status: int) -> None:
    server.status = status
    with pytest.raises(PolicyUnavailable, match=f"status {status}"):
        policy.allows(Permission(f"{server.url}/v1/data/tasks/allow"))


@pytest.mark.parametrize(
    "answer", [b"[]", b"3", b"no JSON", b'{"result": "yes"}', b'{"result": {"allow": 1}}']
)
def test_answer_without_a_boolean_permits_nothing(server: Policy, answer: bytes) -> None:
    server.answer = answer
    with pytest.raises(PolicyUnavailable, match="unexpected answer"):
        policy.allows(Permission(f"{server.url}/v1/data/tasks/allow"))


def test_policy_server_that_does_not_answer_permits_nothing() -> None:
    with pytest.raises(PolicyUnavailable, match="does not answer"):
        policy.allows(Permission("http://127.0.0.1:9/v1/data/tasks/allow"))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/lambda/functions"),
        ("post", "/api/lambda/functions/cars"),
        ("get", "/api/lambda/requests"),
        ("post", "/api/lambda/requests"),
    ],
)
def test_policy_server_without_the_rules_of_the_app_gives_503_with_a_sentence(
    cvat: CvatScenarios, server: Policy, settings: Settings, method: str, path: str
) -> None:
    task_id = cvat.task(frames=1)
    settings.IAM_OPA_DATA_URL = f"{server.url}/v1/data"
    server.answer = b"{}"  # as OPA for a package that it does not have
    answer = cvat.try_to_send(method, path, {"function": "cars", "task": task_id, "frame": 0})
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.json()["code"] == "engine_unavailable"
    assert "has not loaded the rules of this app yet" in answer.json()["message"]


def test_list_of_requests_without_the_rules_of_tasks_gives_503(
    cvat: CvatScenarios, server: Policy, settings: Settings
) -> None:
    settings.IAM_OPA_DATA_URL = f"{server.url}/v1/data"
    server.answers = {"/v1/data/cvat_lambda/allow": b'{"result": true}'}
    server.answer = b"{}"
    answer = cvat.try_to_send("get", "/api/lambda/requests")
    assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")


def test_requests_are_judged_by_cvats_own_rules_where_the_server_has_them(
    cvat: CvatScenarios, server: Policy, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVAT has the package ``lambda_requests`` from version 2.72 on."""
    request = request_of(cvat, "alice", cvat.task(frames=4))
    monkeypatch.setattr(compat, "REQUEST_RULES", Path(__file__).parent)
    settings.IAM_OPA_DATA_URL = f"{server.url}/v1/data"
    filter_all = b'{"result": []}'
    server.answers = {"/v1/data/tasks/filter": filter_all, "/v1/data/jobs/filter": filter_all}
    one = f"/api/lambda/requests/{request.pk}"
    owner = {"id": cvat.people["alice"].pk}
    resource = {"id": request.pk, "owner": owner}
    for method, path, scope, about in (
        ("get", "/api/lambda/requests", "list", None),
        ("post", "/api/lambda/requests", "create", {"id": None, "owner": owner}),
        ("get", one, "view", resource),
        ("get", f"{one}/outcomes", "view", resource),
        ("post", f"{one}/retry", "delete", resource),
        ("post", f"{one}/undo", "delete", resource),
        ("delete", one, "delete", resource),
    ):
        server.asked.clear()
        cvat.try_to_send(method, path, {})
        asked, question = server.asked[0]
        assert asked == "/v1/data/lambda_requests/allow", path
        assert (question["scope"], question["resource"]) == (scope, about), path
    server.answers["/v1/data/lambda_requests/allow"] = b'{"result": false}'
    assert cvat.try_to_send("delete", one).status_code == 403


@pytest.fixture
def rules_of_requests(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules of CVAT's package ``lambda_requests``, evaluated by the policy server."""
    url = f"{settings.IAM_OPA_DATA_URL}/lambda_requests/allow"
    question = {"input": {"scope": "list", "auth": {"user": {"id": 1, "privilege": "user"}}}}
    if "result" not in requests.post(url, json=question, timeout=60).json():
        pytest.skip("the policy server has no rules of CVAT 2.72 for requests (lambda_requests)")
    monkeypatch.setattr(compat, "REQUEST_RULES", Path(__file__).parent)


#: action -> method, the end of the path, the status code for who may do it
ACTIONS = {
    "list": ("get", None, 200),
    "view": ("get", "", 200),
    "outcomes": ("get", "/outcomes", 200),
    "retry": ("post", "/retry", 409),  # nothing failed
    "undo": ("post", "/undo", 409),  # it is queued
    "cancel": ("delete", "", 204),
}
VIEW = {"list", "view", "outcomes"}


@pytest.mark.parametrize(
    ("name", "group", "allowed", "other_code"),
    [
        ("alice", "user", set(ACTIONS), 0),  # the initiator
        ("alice", "worker", set(ACTIONS), 0),
        ("alice", None, set(), 403),  # of no group of CVAT
        ("bob", "user", VIEW, 403),  # assigned to the task: may change its annotations
        ("bob", "admin", set(ACTIONS), 0),
        ("charlie", "user", {"list"}, 403),  # may not even view the task: 404 or 403
    ],
)
def test_cvats_rules_of_requests_decide_who_may_view_and_who_may_cancel_retry_and_undo(
    cvat: CvatScenarios,
    rules_of_requests: None,
    name: str,
    group: str | None,
    allowed: set[str],
    other_code: int,
) -> None:
    from django.contrib.auth.models import Group
    from rest_framework.test import APIClient

    task_id = cvat.task(frames=4)
    models.Task.objects.filter(pk=task_id).update(assignee=cvat.people["bob"])
    request = request_of(cvat, "alice", task_id)
    groups = [] if group is None else [Group.objects.get_or_create(name=group)[0]]
    cvat.people[name].groups.set(groups)
    client = APIClient()
    client.force_login(cvat.people[name])
    for action, (method, end, code) in ACTIONS.items():
        path = "/api/lambda/requests" + ("" if end is None else f"/{request.pk}{end}")
        answer = getattr(client, method)(path)
        if action in allowed:
            assert answer.status_code == code, (action, answer.content)
            continue
        hidden = name == "charlie" and action in VIEW  # as a request that does not exist
        assert answer.status_code == (404 if hidden else other_code), (action, answer.content)
        request.refresh_from_db()
        assert request.status == "queued"


CALLS = "/api/lambda/functions/cars"


@pytest.fixture
def cars(cvat: CvatScenarios) -> Iterator[None]:
    """A detector "cars" that finds nothing."""
    from cvat_lambda.functions.models import Function
    from cvat_lambda.gateway.gateway import get_gateway

    label = '[{"name": "car", "type": "rectangle"}]'
    annotations = {"type": "detector", "spec": label}
    with function_server() as function:
        function.behave = lambda payload: []
        Function.objects.create(
            id="cars",
            platform="endpoint",
            kind="detector",
            endpoint_url=function.url,
            metadata={
                "metadata": {"name": "cars", "annotations": annotations},
                "status": {"state": "ready"},
            },
        )
        yield
        get_gateway().reset()


def test_call_sends_two_policy_requests_over_one_connection_and_few_queries(
    cvat: CvatScenarios, server: Policy, settings: Settings, cars: None
) -> None:
    task_id = cvat.task(frames=2)
    settings.IAM_OPA_DATA_URL = f"{server.url}/v1/data"
    body = {"task": task_id, "frame": 1}
    cvat.send("post", CALLS, body)  # fills the caches of the process
    policy.allowed_questions.clear()
    server.asked.clear()
    server.connections.clear()
    with CaptureQueriesContext(connection) as queries:
        cvat.send("post", CALLS, body)
    assert [path for path, _ in server.asked] == [
        "/v1/data/cvat_lambda/allow",
        "/v1/data/tasks/allow",
    ]
    assert len(server.connections) == 1
    assert server.asked[1][1]["scope"] == "view:data"
    assert server.asked[1][1]["resource"]["id"] == task_id
    # CVAT reads the user (4). The app reads the function, the task, the frame, and once a minute
    # the labels (4).
    statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(statements) <= 11, statements


def test_second_call_within_seconds_repeats_no_question_to_the_policy_server(
    cvat: CvatScenarios, server: Policy, settings: Settings, cars: None
) -> None:
    settings.CVAT_LAMBDA_KEPT_PERMISSIONS_S = 3600.0
    body = {"task": cvat.task(frames=2), "frame": 1}
    settings.IAM_OPA_DATA_URL = f"{server.url}/v1/data"
    cvat.send("post", CALLS, body)
    assert len(server.asked) == 2
    cvat.send("post", CALLS, {**body, "frame": 0})
    assert len(server.asked) == 2
    settings.CVAT_LAMBDA_KEPT_PERMISSIONS_S = 0.0
    cvat.send("post", CALLS, body)
    assert len(server.asked) == 4


def test_refusal_of_a_call_is_asked_again_by_the_next_call(
    cvat: CvatScenarios, server: Policy, settings: Settings, cars: None
) -> None:
    settings.CVAT_LAMBDA_KEPT_PERMISSIONS_S = 3600.0
    body = {"task": cvat.task(frames=1), "frame": 0}
    settings.IAM_OPA_DATA_URL = f"{server.url}/v1/data"
    for path in ("cvat_lambda", "tasks"):
        server.answers = {f"/v1/data/{path}/allow": b'{"result": false}'}
        assert cvat.try_to_send("post", CALLS, body).status_code == 403
        assert cvat.try_to_send("post", CALLS, body).status_code == 403
    server.answers = {}
    assert cvat.try_to_send("post", CALLS, body).status_code == 200


@pytest.mark.parametrize("of_a_job", [False, True], ids=["task", "job"])
def test_call_is_refused_at_once_when_a_right_is_taken_although_permissions_are_kept(
    cvat: CvatScenarios, settings: Settings, cars: None, of_a_job: bool
) -> None:
    """The rules are those of CVAT; only the rows of the database change."""
    from rest_framework.test import APIClient

    settings.CVAT_LAMBDA_KEPT_PERMISSIONS_S = 3600.0
    bob = cvat.people["bob"]
    task_id = cvat.task(frames=1)
    tasks, jobs = models.Task.objects, models.Job.objects
    target = jobs.filter(segment__task_id=task_id) if of_a_job else tasks.filter(pk=task_id)
    client = APIClient()
    client.force_login(bob)
    body = {"job" if of_a_job else "task": target.get().pk, "frame": 0}

    def status() -> int:
        return int(client.post(CALLS, body, format="json").status_code)

    assert status() == 403
    target.update(assignee=bob)
    assert (status(), status()) == (200, 200)
    target.update(assignee=None)
    assert status() == 403
    target.update(assignee=bob)
    assert status() == 200
    groups = list(bob.groups.all())
    bob.groups.clear()  # no group of CVAT may call functions
    assert status() == 403
    bob.groups.set(groups)
    assert status() == 200


def test_call_without_a_session_or_of_a_deactivated_user_is_refused_although_permissions_are_kept(
    cvat: CvatScenarios, settings: Settings, cars: None
) -> None:
    from rest_framework.test import APIClient

    settings.CVAT_LAMBDA_KEPT_PERMISSIONS_S = 3600.0
    bob = cvat.people["bob"]
    task_id = cvat.task(frames=1)
    models.Task.objects.filter(pk=task_id).update(assignee=bob)
    body = {"task": task_id, "frame": 0}
    here, elsewhere = APIClient(), APIClient()
    for client in (here, elsewhere):
        client.force_login(bob)
        assert client.post(CALLS, body, format="json").status_code == 200
    here.session.flush()
    assert here.post(CALLS, body, format="json").status_code == 401
    assert elsewhere.post(CALLS, body, format="json").status_code == 200
    bob.is_active = False
    bob.save()
    assert elsewhere.post(CALLS, body, format="json").status_code == 401


def test_kept_questions_are_bounded_and_the_newest_one_is_kept(settings: Settings) -> None:
    settings.CVAT_LAMBDA_KEPT_PERMISSIONS_S = 3600.0
    kept = policy.AllowedQuestions()
    now = time.monotonic()
    for number in range(5000):
        kept.add("http://opa/allow", str(number), now)
    assert not kept.is_fresh("http://opa/allow", "0")
    assert kept.is_fresh("http://opa/allow", "4999")
    assert not kept.is_fresh("http://opa/other", "4999")


def test_question_is_repeated_after_the_time_of_the_setting(settings: Settings) -> None:
    kept = policy.AllowedQuestions()
    settings.CVAT_LAMBDA_KEPT_PERMISSIONS_S = 3600.0
    kept.add("http://opa/allow", "recent", time.monotonic())
    kept.add("http://opa/allow", "old", time.monotonic() - 3600.1)
    assert kept.is_fresh("http://opa/allow", "recent")
    assert not kept.is_fresh("http://opa/allow", "old")
