"""The database queries of the requests that cvat-cli 2.80 sends for each frame."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.labels import save_labels, to_label
from cvat_lambda.engine.standalone.models import AccessToken

from .scripted import ScriptedAgent, car_at
from .test_queue import enqueue

MANY = 30


@pytest.fixture
def token_client(alice: User, task: models.Task) -> Client:
    """A client with a personal access token, whose last use is noted already."""
    _, key = AccessToken.create(alice, name="agent")
    client = Client(headers={"authorization": f"Bearer {key}"})
    assert client.get(f"/api/tasks/{task.pk}").status_code == 200
    return client


def add_labels(task: models.Task) -> None:
    """Add many labels with attributes, and a skeleton."""
    color = {"name": "color", "input_type": "text", "mutable": False, "values": []}
    points = [{"name": name, "type": "points"} for name in ("nose", "tail")]
    labels = [{"name": f"label {number}", "attributes": [color]} for number in range(MANY)]
    skeleton = {"name": "person", "type": "skeleton", "sublabels": points}
    save_labels([to_label(label) for label in [*labels, skeleton]], task=task)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/tasks/{task}", 3),  # the token with its user, the task, its jobs
        ("/api/labels?task_id={task}", 4),  # the token, the task, its labels, their attributes
        ("/api/tasks/{task}/data/meta", 3),  # the token, the task, its images
        ("/api/tasks/{task}/data?type=frame&quality=original&number=1", 3),  # the same
    ],
)
def test_read_of_an_agent_needs_few_queries(
    token_client: Client, task: models.Task, path: str, expected: int
) -> None:
    with CaptureQueriesContext(connection) as queries:
        response = token_client.get(path.format(task=task.pk))
    assert response.status_code == 200, response.content
    assert len(queries) == expected, [query["sql"] for query in queries]


def test_labels_of_a_page_need_no_query_for_each_label(
    token_client: Client, task: models.Task
) -> None:
    add_labels(task)
    with CaptureQueriesContext(connection) as queries:
        response = token_client.get(f"/api/labels?task_id={task.pk}&page_size=100")
    found = {label["name"]: label for label in response.json()["results"]}
    assert response.json()["count"] == len(found) == MANY + 2
    assert [part["name"] for part in found["person"]["sublabels"]] == ["nose", "tail"]
    assert found["label 7"]["attributes"][0]["name"] == "color"
    # The sublabels of skeletons and their attributes are two queries more.
    assert len(queries) == 6, [query["sql"] for query in queries]


def test_labels_of_several_pages_are_counted(token_client: Client, task: models.Task) -> None:
    add_labels(task)
    path = f"/api/labels?task_id={task.pk}&page_size=20"
    first, second = (token_client.get(f"{path}&page={page}").json() for page in (1, 2))
    assert [page["count"] for page in (first, second)] == [MANY + 2, MANY + 2]
    names = [label["name"] for page in (first, second) for label in page["results"]]
    assert len(names) == len(set(names)) == MANY + 2
    assert (first["previous"], second["next"]) == (None, None)


def test_acquire_and_complete_of_an_agent_need_few_queries(
    token_client: Client, native_pk: int
) -> None:
    agent = ScriptedAgent(token_client, native_pk)
    agent.acquire()  # a first poll notes the agent
    enqueue(native_pk)
    with CaptureQueriesContext(connection) as acquired:
        found = agent.acquire()
    assert found is not None
    with CaptureQueriesContext(connection) as completed:
        agent.post(f"{found['ar_id']}/complete", **car_at({"frame": 1}, 1))
    # The token, the function, the agent's last sign of life, the queue, the assignment.
    assert len(acquired) == 5, [query["sql"] for query in acquired]
    # The token, the function, the result.
    assert len(completed) == 3, [query["sql"] for query in completed]
