"""Permissions of owner, assignee, other user and anonymous at every page and method."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.store.models import Request, Shard
from tests.conftest import IMAGES, ClientFor
from tests.permission_table import wrong_cases
from tests.routes import METHODS, Endpoint, routes

LOGIN = {"username": "alice", "password": "alice-secret"}
TO_LOGIN = 302

# method, path, form; status for alice (owner), bob (assignee of the job), charlie, anonymous
TABLE = [
    ("GET", "/", None, (200, 200, 200, TO_LOGIN)),
    ("GET", "/tasks/{task}", None, (200, 200, 403, TO_LOGIN)),
    ("GET", "/tasks/new", None, (200, 200, 200, TO_LOGIN)),
    ("GET", "/tasks/{task}/frames/0", None, (200, 200, 403, TO_LOGIN)),
    ("GET", "/tasks/{task}/frames/0/data", None, (200, 200, 403, TO_LOGIN)),
    ("GET", "/tasks/{task}/tracks/{track}", None, (200, 200, 403, TO_LOGIN)),
    ("GET", "/functions", None, (200, 200, 200, TO_LOGIN)),
    ("POST", "/functions", {}, (302, 302, 302, TO_LOGIN)),
    ("GET", "/functions/finder", None, (200, 200, 200, TO_LOGIN)),
    ("POST", "/functions/finder", {"action": "disable"}, (403, 403, 403, TO_LOGIN)),
    ("GET", "/functions/finder/log", None, (403, 403, 403, TO_LOGIN)),
    ("POST", "/functions/finder/try", {}, (400, 400, 400, TO_LOGIN)),
    ("GET", "/start", None, (200, 200, 200, TO_LOGIN)),
    ("GET", "/start?task={task}", None, (200, 200, 403, TO_LOGIN)),
    ("GET", "/start?job={job}", None, (200, 200, 403, TO_LOGIN)),
    ("GET", "/start?tasks={task}&tasks={second_task}", None, (200, 403, 403, TO_LOGIN)),
    ("GET", "/start/functions", None, (200, 200, 200, TO_LOGIN)),
    ("GET", "/start/functions?task={task}", None, (200, 200, 403, TO_LOGIN)),
    ("GET", "/start/functions/finder", None, (200, 200, 200, TO_LOGIN)),
    ("GET", "/start/functions/finder?task={task}", None, (200, 200, 403, TO_LOGIN)),
    ("GET", "/start/functions/unknown", None, (404, 404, 404, TO_LOGIN)),
    ("GET", "/open/{task}/0", None, (302, 302, 403, TO_LOGIN)),
    ("GET", "/thumbnails/{task}/0", None, (200, 200, 403, TO_LOGIN)),
    ("GET", "/assets/any/style.css", None, (200, 200, 200, 200)),
    ("GET", "/requests", None, (200, 200, 200, TO_LOGIN)),
    ("GET", "/requests/{request}", None, (200, 200, 404, TO_LOGIN)),
    ("POST", "/requests/{request}", {"action": "cancel"}, (302, 403, 404, TO_LOGIN)),
    ("POST", "/requests/{request}", {"action": "resume"}, (409, 403, 404, TO_LOGIN)),
    ("POST", "/requests/{request}", {"action": "undo"}, (409, 403, 404, TO_LOGIN)),
    ("GET", "/requests/{request}/live", None, (200, 200, 404, TO_LOGIN)),
    ("GET", "/requests/{request}/progress", None, (200, 200, 404, TO_LOGIN)),
    ("GET", "/requests/{request}/failures", None, (200, 200, 404, TO_LOGIN)),
    ("GET", "/requests/{request}/outcomes.csv", None, (200, 200, 404, TO_LOGIN)),
    ("GET", "/requests/{request}/outcomes.json", None, (200, 200, 404, TO_LOGIN)),
    ("GET", "/requests/none/progress", None, (404, 404, 404, TO_LOGIN)),
    ("GET", "/health", None, (200, 200, 200, 200)),
    ("GET", "/health/ready", None, (503, 503, 503, 503)),  # the tests run no worker
    (
        "GET",
        "/metrics",
        None,
        (404, 404, 404, 404),
    ),  # from another address, without an administrator's login
    ("GET", "/login", None, (302, 302, 302, 200)),
    ("POST", "/login", LOGIN, (302, 302, 302, 302)),
    ("PUT", "/login", None, (302, 302, 302, 200)),  # Django's login view shows an empty form
    ("POST", "/logout", None, (302, 302, 302, 302)),
]
FINDER = {
    "metadata": {
        "name": "finder",
        "annotations": {"type": "detector", "spec": '[{"name": "person", "type": "rectangle"}]'},
    },
    "spec": {},
    "status": {"state": "ready"},
}
OURS = ("cvat_lambda.web", "cvat_lambda.server", "django.contrib.auth.views")
PAGES = {
    name: view
    for name, view in routes("").items()
    if getattr(view, "__module__", "").startswith(OURS)
}
SAMPLES = {Endpoint.of("GET", path).name: path for _, path, _, _ in TABLE}
KNOWN = {Endpoint.of(method, path) for method, path, _, _ in TABLE}
OPEN = ("health", "health-ready", "cvat_lambda_metrics", "logout", "asset")


@pytest.fixture
def places(alice: User, bob: User, charlie: User) -> dict[str, int | str]:
    """Two tasks of alice, one with a queued request. Bob is the assignee of its only job."""
    labels = [{"name": "person", "type": "rectangle"}]
    task = create_task(alice, "Photographs", labels, [IMAGES / "coffee.png"])
    second = create_task(alice, "More photographs", labels, [IMAGES / "coffee.png"])
    (job,) = models.Job.objects.filter(segment__task=task)
    label = models.Label.objects.get(task=task)
    track = models.LabeledTrack.objects.create(task=task, label=label, frame=0, source="manual")
    models.Job.objects.filter(pk=job.pk).update(assignee=bob)
    Function.objects.create(id="finder", kind="detector", metadata=FINDER)
    request = Request.objects.create(
        owner=alice, task_id=task.pk, function_id="f", function_kind="detector", total=1
    )
    Shard.objects.create(
        request=request, index=0, task_id=task.pk, frames=[[0, 0]], first_frame=0, last_frame=0
    )
    return {
        "task": task.pk,
        "second_task": second.pk,
        "job": job.pk,
        "track": track.pk,
        "request": request.pk,
    }


def send(client: Client, method: str, path: str, form: dict[str, str] | None) -> Any:
    return getattr(client, method.lower())(path, form or {}, REMOTE_ADDR="192.0.2.1")


def test_every_page_answers_each_user_with_the_status_of_the_table(
    client_for: ClientFor, places: dict[str, int | str], alice: User, bob: User, charlie: User
) -> None:
    def sent(client: Client, method: str, path: str, form: Any) -> Any:
        return send(client, method, path.format(**places), form)

    wrong = wrong_cases(TABLE, [alice, bob, charlie, None], client_for, sent)
    assert not wrong, "\n".join(wrong)


def test_every_page_is_in_the_table() -> None:
    assert {endpoint.name for endpoint in KNOWN} == PAGES.keys()


def test_every_method_that_is_not_in_the_table_answers_405(
    client_for: ClientFor, places: dict[str, int | str], alice: User, bob: User, charlie: User
) -> None:
    clients = [client_for(person) for person in (alice, bob, charlie, None)]
    found, expected = {}, {}
    for name, method in itertools.product(sorted(SAMPLES), METHODS):
        endpoint = Endpoint(name, method)
        if endpoint in KNOWN:
            continue
        path = SAMPLES[name].format(**places)
        found[endpoint] = [send(client, method, path, None).status_code for client in clients]
        if name == "login":  # a logged-in user is redirected with every method
            expected[endpoint] = [302, 302, 302, 405]
        else:
            expected[endpoint] = [405, 405, 405, 405 if name in OPEN else TO_LOGIN]
    assert found
    assert found == expected
