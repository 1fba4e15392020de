"""Texts, examples and label subsets in the bodies of calls and requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.requests.store.models import Request
from tests.integration.interactive.functions import Functions

from .conftest import Api

BOX = {"type": "rectangle", "points": [1, 2, 30, 20], "confidence": 0.5}
TWO = json.dumps([{"name": name, "type": "rectangle"} for name in ("car", "person")])


def add_seeker(functions: Functions, **annotations: str) -> str:
    """Add a detector that answers one rectangle for each text and example of a call."""

    def find(payload: dict[str, Any]) -> Any:
        names = payload.get("text", []) + [each["label"] for each in payload.get("exemplars", [])]
        return [{**BOX, "label": name} for name in names]

    found = {"type": "detector", "spec": "[]", "prompts": "text,exemplar", **annotations}
    return str(functions.add("seeker", find, **found))


def names_in(answer: Any, task: Task) -> list[str]:
    """Return the names of the labels of a call's shapes."""
    names = {label.id: label.name for label in get_engine().task(task.pk).labels}
    return [names[shape["label_id"]] for shape in answer.json()["shapes"]]


def test_a_function_states_the_prompts_that_it_takes(api: Api, functions: Functions) -> None:
    add_seeker(functions)
    functions.add("yolo", type="detector", spec=TWO)
    listed = {found["id"]: found for found in api.get("functions").json()}
    assert listed["seeker"]["prompts"] == ["text", "exemplar"]
    assert "prompts" not in listed["yolo"]


def test_a_call_finds_what_its_texts_describe(api: Api, functions: Functions, task: Task) -> None:
    add_seeker(functions)
    body = {"text": ["a man", "car"], "mapping": {"a man": {"name": "person"}}}
    answer = api.call("seeker", task=task.pk, frame=0, **body)
    assert answer.status_code == 200
    assert names_in(answer, task) == ["person", "car"]
    assert functions.asked["seeker"][0]["text"] == ["a man", "car"]


def test_a_call_sends_exemplars_in_pixels_of_its_region(
    api: Api, functions: Functions, task: Task
) -> None:
    add_seeker(functions)
    exemplar = {"frame": 1, "box": [20, 12, 30, 22], "label": "car"}
    answer = api.call("seeker", task=task.pk, frame=1, roi=[10, 2, 60, 40], exemplars=[exemplar])
    assert names_in(answer, task) == ["car"]
    assert functions.asked["seeker"][0]["exemplars"] == [
        {"box": [10, 10, 20, 20], "label": "car", "negative": False}
    ]
    assert "text" not in functions.asked["seeker"][0]


def test_a_call_with_some_labels_returns_only_these(
    api: Api, functions: Functions, task: Task
) -> None:
    both = [{**BOX, "label": name} for name in ("car", "person")]
    functions.add("yolo", lambda payload: both, type="detector", spec=TWO)
    answer = api.call("yolo", task=task.pk, frame=0, labels=["person"])
    assert names_in(answer, task) == ["person"]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"text": []}, "text"),
        ({"text": [""]}, "text"),
        ({"text": "a car"}, "text"),
        ({"text": ["x" * 201]}, "text"),
        ({"text": [f"car {number}" for number in range(65)]}, "text"),
        ({"text": ["a boat"]}, "which the task has not"),
        ({}, "describe what to find, in text or exemplars"),
        ({"text": ["car"], "labels": ["car"]}, "remove labels"),
        ({"exemplars": [{"frame": 0, "box": [1, 1, 1, 9], "label": "car"}]}, "box"),
        ({"exemplars": [{"frame": 0, "box": [1, 1, 9], "label": "car"}]}, "box"),
        ({"exemplars": [{"frame": 0, "box": [1, 1, 9, 9]}]}, "label"),
        (
            {"exemplars": [{"frame": 1, "box": [1, 1, 9, 9], "label": "car"}]},
            "on its own frame 0, not on 1",
        ),
    ],
)
def test_prompts_of_a_call_that_cannot_be_used_are_answered_with_400(
    api: Api, functions: Functions, task: Task, body: dict[str, Any], part: str
) -> None:
    add_seeker(functions)
    answer = api.call("seeker", task=task.pk, frame=0, **body)
    assert answer.status_code == 400
    assert part in answer.content.decode()
    assert functions.asked["seeker"] == []


@pytest.mark.parametrize("member", ["text", "exemplars"])
def test_prompts_are_refused_for_functions_that_take_none(
    api: Api, functions: Functions, task: Task, member: str
) -> None:
    functions.add("yolo", type="detector", spec=TWO)
    given = {
        "text": ["car"],
        "exemplars": [{"frame": 0, "box": [1, 1, 9, 9], "label": "car"}],
    }
    answer = api.call("yolo", task=task.pk, frame=0, **{member: given[member]})
    assert answer.status_code == 400
    assert answer.json()["message"] == f"function 'yolo' takes no {member}: remove {member}"


def test_a_request_shows_its_prompts(api: Api, functions: Functions, task: Task) -> None:
    add_seeker(functions)
    exemplars = [{"frame": 1, "box": [1, 1, 9, 9], "label": "car", "negative": True}]
    body = {"function": "seeker", "task": task.pk, "text": ["car"], "exemplars": exemplars}
    answer = api.post("requests", {**body, "replace": "all", "replace_labels": ["car"]})
    assert answer.status_code == 200
    shown = answer.json()["function"]
    assert shown["text"] == ["car"]
    assert shown["exemplars"] == [{**exemplars[0], "box": [1.0, 1.0, 9.0, 9.0]}]
    assert shown["replace_labels"] == ["car"]


def test_a_request_whose_text_has_no_label_is_answered_with_400(
    api: Api, functions: Functions, task: Task
) -> None:
    add_seeker(functions)
    answer = api.post("requests", {"function": "seeker", "task": task.pk, "text": ["a boat"]})
    assert answer.status_code == 400
    assert "'a boat', which the task has not" in answer.json()["message"]
    assert not Request.objects.exists()


def test_a_function_with_unknown_prompts_is_listed_as_broken(
    api: Api, functions: Functions
) -> None:
    add_seeker(functions, prompts="text,voice")
    assert [found["id"] for found in api.get("functions").json()] == []
    answer = api.get("functions/seeker")
    assert answer.status_code >= 400
    assert "prompts names 'voice'" in answer.content.decode()
