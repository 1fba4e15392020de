"""The functions that the forms offer: what the pages contain with few and with many of them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_project, create_task
from cvat_lambda.functions.models import NATIVE, Function
from cvat_lambda.requests.control.compatibility import MAX_CHOICES
from cvat_lambda.requests.store.models import Request
from tests.conftest import IMAGES, ClientFor

START, NEW_TASK = "start-data", "new-task-data"


@pytest.fixture
def task(alice: User) -> models.Task:
    """A task of one photograph."""
    labels = [{"name": "person", "type": "rectangle"}]
    return create_task(alice, "Photographs", labels, [IMAGES / "coffee.png"])


def known(
    *function_ids: str, label: str, kind: str = "detector", state: str = "ready", **row: Any
) -> None:
    """Add functions to the registry."""
    annotations = {"type": kind, "spec": json.dumps([{"name": label, "type": "rectangle"}])}
    Function.objects.bulk_create(
        Function(
            id=function_id,
            kind=kind,
            state=state,
            metadata={
                "metadata": {"name": function_id, "annotations": annotations},
                "spec": {},
                "status": {"state": state},
            },
            **row,
        )
        for function_id in function_ids
    )


def data_of(client: Client, path: str, element: str) -> dict[str, Any]:
    """Return what a page gives to its script."""
    page = client.get(path).content.decode()
    (data,) = re.findall(rf'<script id="{element}" type="application/json">(.*?)</script>', page)
    found: dict[str, Any] = json.loads(data)
    return found


def ids_of(data: dict[str, Any]) -> list[str]:
    return [function["id"] for function in data["functions"]]


def test_start_page_lists_functions_that_can_run_first_and_says_why_others_cannot(
    client_for: ClientFor, alice: User, task: models.Task
) -> None:
    known("broken", label="person", state="error")
    known("cars", label="car")
    known("clicks", label="person", kind="interactor")
    known("persons", label="person")
    known("sleeps", label="person", state="scaled_to_zero")  # a request starts it
    client = client_for(alice)
    data = data_of(client, f"/start?task={task.pk}", START)
    assert [(function["id"], function["reason"]) for function in data["functions"]] == [
        ("persons", ""),
        ("sleeps", ""),
        ("cars", ""),  # a person may map its label to "person"
        ("broken", "error"),
    ]
    guesses = {
        name: client.get(f"/start/functions/{name}?task={task.pk}").json()["guess"]
        for name in ids_of(data)
    }
    person = {"person": "person"}
    assert guesses == {"persons": person, "sleeps": person, "broken": person, "cars": {}}


def test_start_page_contains_the_labels_of_the_first_or_the_wanted_function_only(
    client_for: ClientFor, alice: User, task: models.Task
) -> None:
    known("cars", label="car")
    known("persons", label="person")
    client = client_for(alice)
    data = data_of(client, f"/start?task={task.pk}", START)
    assert data["functions"] == [
        {"id": name, "name": name, "kind": "detector", "reason": ""} for name in ("persons", "cars")
    ]
    assert (data["chosen"]["id"], data["chosen"]["guess"]) == ("persons", {"person": "person"})
    wanted = data_of(client, f"/start?task={task.pk}&function=cars", START)["chosen"]
    assert (wanted["id"], [label["name"] for label in wanted["labels"]]) == ("cars", ["car"])
    assert data_of(client, f"/start?task={task.pk}&function=no", START)["chosen"] is None


def test_function_of_the_form_has_the_mapping_of_its_latest_request(
    client_for: ClientFor, alice: User, task: models.Task
) -> None:
    known("cars", label="car")
    for name in ("old", "person"):
        mapping: dict[str, Any] = {"car": {"name": name, "attributes": {}}}
        Request.objects.create(
            owner=alice,
            task_id=task.pk,
            function_id="cars",
            function_kind="detector",
            params={"mapping": mapping},
        )
    found = client_for(alice).get(f"/start/functions/cars?task={task.pk}").json()
    assert found["saved"] == {"car": {"name": "person", "attributes": {}}}
    without_task = client_for(alice).get("/start/functions/cars").json()
    assert (without_task["saved"], without_task["guess"]) == (None, {})


def test_function_of_the_form_has_the_mapping_of_the_latest_request_on_the_project(
    client_for: ClientFor, alice: User
) -> None:
    project = create_project(alice, "Streets", [{"name": "person"}])
    task = create_task(alice, "Street", files=[IMAGES / "coffee.png"], project=project)
    known("cars", label="car")
    mapping = {"car": {"name": "person", "attributes": {}}}
    Request.objects.create(
        owner=alice,
        project_id=project.pk,
        function_id="cars",
        function_kind="detector",
        params={"mapping": mapping},
    )
    found = client_for(alice).get(f"/start/functions/cars?task={task.pk}").json()
    assert found["saved"] == mapping


@pytest.mark.parametrize(
    "path",
    ["/start?task={}", "/start/functions?task={}&search=f", "/tasks/new", "/tasks/{}/frames/0"],
)
def test_queries_of_pages_with_functions_do_not_grow_with_their_number(
    client_for: ClientFor, alice: User, task: models.Task, path: str
) -> None:
    client = client_for(alice)
    queries = []
    for names in (["first"], [f"f{number:03}" for number in range(100)]):
        for kind in ("detector", "interactor"):
            known(*(f"{kind}-{name}" for name in names), label="person", kind=kind)
        for cached in (False, True):
            with CaptureQueriesContext(connection) as seen:
                assert client.get(path.format(task.pk)).status_code == 200
            if cached:
                queries.append(len(seen))
    assert queries[0] == queries[1]


@pytest.mark.parametrize(("path", "element"), [("/start?task={}", START), ("/tasks/new", NEW_TASK)])
def test_page_has_a_bounded_list_of_functions_and_a_search_finds_the_others(
    client_for: ClientFor, alice: User, task: models.Task, path: str, element: str
) -> None:
    known(*(f"f{number:03}" for number in range(MAX_CHOICES)), label="person")
    client, path = client_for(alice), path.format(task.pk)
    complete = data_of(client, path, element)
    assert (len(complete["functions"]), complete["more"]) == (MAX_CHOICES, False)
    known(*(f"z{number:03}" for number in range(50)), label="a label of z")
    bounded = data_of(client, path, element)
    assert (ids_of(bounded), bounded["more"]) == (ids_of(complete), True)
    assert "a label of z" not in client.get(path).content.decode()
    query = f"task={task.pk}&" if element == START else ""
    found = client.get(f"/start/functions?{query}search=Z04").json()
    assert (ids_of(found), found["more"]) == ([f"z04{digit}" for digit in range(10)], False)
    assert ids_of(client.get(f"/start/functions?{query}search=%00z049").json()) == ["z049"]


def test_function_that_the_address_names_is_offered_beyond_the_bounded_list(
    client_for: ClientFor, alice: User, task: models.Task
) -> None:
    known(*(f"f{number:03}" for number in range(MAX_CHOICES + 1)), label="person")
    last = f"f{MAX_CHOICES:03}"
    data = data_of(client_for(alice), f"/start?task={task.pk}&function={last}", START)
    assert (last in ids_of(data), data["chosen"]["id"]) == (True, last)


def test_functions_that_can_be_called_come_before_others_in_a_bounded_list(
    client_for: ClientFor, alice: User, task: models.Task
) -> None:
    known(*(f"a{number:03}" for number in range(MAX_CHOICES)), label="person", state="error")
    known("ready", label="person")
    data = data_of(client_for(alice), f"/start?task={task.pk}", START)
    assert ids_of(data)[0] == data["chosen"]["id"] == "ready"


def test_private_functions_of_others_are_on_no_form_and_in_no_workbench(
    client_for: ClientFor, alice: User, bob: User, task: models.Task
) -> None:
    native: dict[str, Any] = {"platform": NATIVE, "owner": bob, "private": True}
    known("secret-finder", label="person", **native)
    known("secret-clicks", label="person", kind="interactor", **native)
    client = client_for(alice)
    for path in (f"/start?task={task.pk}", "/tasks/new", f"/tasks/{task.pk}/frames/0"):
        assert "secret-" not in client.get(path).content.decode()
    assert client.get("/start/functions?search=secret").json()["functions"] == []
    assert client.get("/start/functions/secret-finder").status_code == 404
    assert ids_of(client_for(bob).get("/start/functions").json()) == ["secret-finder"]


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("task=street", 404, "is not the number of a task"),
        ("task=-1", 404, "is not the number of a task"),
        ("task=1234567890123456789", 404, "is not the number of a task"),
        ("job=one", 404, "is not the number of a job"),
        ("tasks=1&tasks=two", 404, "is not the number of a task"),
        ("&".join(f"tasks={number}" for number in range(1001)), 400, "choose at most 1000 tasks"),
    ],
)
def test_start_page_of_what_is_no_task_or_job_says_so(
    client_for: ClientFor, alice: User, settings: Settings, query: str, status: int, sentence: str
) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = None  # as in CVAT
    answer = client_for(alice).get(f"/start?{query}")
    assert (answer.status_code, sentence in answer.content.decode()) == (status, True)


def test_start_page_of_one_task_in_a_list_is_that_of_the_task(
    client_for: ClientFor, alice: User, task: models.Task
) -> None:
    known("persons", label="person")
    client = client_for(alice)
    listed = data_of(client, f"/start?tasks={task.pk}&tasks={task.pk}", START)
    assert listed == data_of(client, f"/start?task={task.pk}", START)
