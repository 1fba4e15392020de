"""Tracker calls: states kept by the client, new and lost objects, functions written for CVAT."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.models import Task
from tests.http_server import Reply
from tests.integration.interactive.functions import Functions

from .conftest import BROWSER, Api, ApiOf

RECT = {"type": "rectangle", "points": [1, 2, 11, 12]}


def moving(payload: dict[str, Any]) -> dict[str, Any]:
    """Answer as a tracker that moves each object right by a speed kept in its state."""
    shapes, states = [], []
    for index, shape in enumerate(payload["shapes"]):
        state: Any = payload["states"][index] if payload["states"] else None
        if shape is not None:
            state = {"points": shape["points"], "speed": index + 1}
        x0, y0, x1, y1 = state["points"]
        points = [x0 + state["speed"], y0, x1 + state["speed"], y1]
        shapes.append({"type": "rectangle", "points": points})
        states.append({**state, "points": points})
    return {"shapes": shapes, "states": states}


@pytest.fixture
def siam(functions: Functions) -> str:
    return str(functions.add("siam", moving, type="tracker", supported_shape_types="rectangle"))


@pytest.mark.usefixtures("siam")
def test_track_starts_with_a_shape_and_continues_with_the_state(
    api: Api, functions: Functions, task: Task
) -> None:
    begun = api.call("siam", type="init_tracking", task=task.pk, frame=0, shapes=[RECT, RECT])
    states = begun.json()["states"]
    assert functions.asked["siam"][0]["shapes"] == [RECT, RECT]
    assert functions.asked["siam"][0]["states"] == []
    step = api.call("siam", type="track", task=task.pk, frame=1, states=states).json()
    assert step["shapes"] == [
        {"type": "rectangle", "points": [3, 2, 13, 12]},
        {"type": "rectangle", "points": [5, 2, 15, 12]},
    ]
    assert functions.asked["siam"][1]["shapes"] == [None, None]
    assert functions.asked["siam"][1]["states"][1] == {"points": [3, 2, 13, 12], "speed": 2}


@pytest.mark.usefixtures("siam")
def test_tampered_state_is_refused(api: Api, functions: Functions, task: Task) -> None:
    state = api.call("siam", task=task.pk, frame=0, shapes=[RECT]).json()["states"][0]
    forged = state.replace('"speed":1', '"speed":9')
    assert forged != state
    answer = api.call("siam", task=task.pk, frame=1, states=[forged])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_tracker_state")
    assert len(functions.asked["siam"]) == 1


@pytest.fixture
def state(api: Api, siam: str, task: Task) -> str:
    """A state that alice got from the tracker `siam` on her task."""
    return str(api.call(siam, task=task.pk, frame=0, shapes=[RECT]).json()["states"][0])


def test_a_state_of_another_function_is_refused(
    api: Api, functions: Functions, task: Task, state: str
) -> None:
    functions.add("other", moving, type="tracker")
    answer = api.call("other", task=task.pk, frame=1, states=[state])
    assert answer.json()["code"] == "invalid_tracker_state"


def test_state_of_the_predecessor_of_a_redeployed_tracker_is_refused(
    api: Api, functions: Functions, task: Task, siam: str
) -> None:
    functions.revisions[siam] = "r1"
    begun = api.call(siam, task=task.pk, frame=0, shapes=[RECT]).json()
    step = api.call(siam, task=task.pk, frame=1, states=begun["states"])
    assert step.status_code == 200
    functions.revisions[siam] = "r2"
    answer = api.call(siam, task=task.pk, frame=2, states=step.json()["states"])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_tracker_state")
    assert "was deployed again since the track began" in answer.json()["message"]
    begun = api.call(siam, task=task.pk, frame=2, shapes=[RECT]).json()
    assert api.call(siam, task=task.pk, frame=2, states=begun["states"]).status_code == 200


def test_a_state_of_another_task_is_refused(api: Api, other_task: Task, state: str) -> None:
    answer = api.call("siam", task=other_task.pk, frame=0, states=[state])
    assert answer.json()["code"] == "invalid_tracker_state"


def test_a_state_of_another_user_is_refused(
    api_of: ApiOf, bob: User, task: Task, state: str
) -> None:
    models.Task.objects.filter(pk=task.pk).update(assignee=bob)
    answer = api_of(bob).call("siam", task=task.pk, frame=1, states=[state])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_tracker_state")


def test_state_that_is_too_old_is_refused_with_its_age(
    api: Api, task: Task, state: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_TRACKER_STATE_MAX_AGE_S = 60
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    answer = api.call("siam", task=task.pk, frame=1, states=[state])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_tracker_state")
    assert "older than" in answer.json()["message"]


def test_lost_objects_are_not_sent_to_the_function(
    api: Api, functions: Functions, task: Task, state: str
) -> None:
    step = api.call("siam", task=task.pk, frame=1, states=[None, state, None]).json()
    assert [shape is None for shape in step["shapes"]] == [True, False, True]
    assert [text is None for text in step["states"]] == [True, False, True]
    assert functions.asked["siam"][-1]["shapes"] == [None]


@pytest.mark.usefixtures("siam")
def test_call_with_lost_objects_only_invokes_no_function(
    api: Api, functions: Functions, task: Task
) -> None:
    assert api.call("siam", task=task.pk, frame=0, shapes=[]).json() == {"shapes": [], "states": []}
    assert api.call("siam", task=task.pk, frame=0, shapes=[None]).json() == {
        "shapes": [None],
        "states": [None],
    }
    assert functions.asked["siam"] == []


def test_object_that_the_function_lost_is_answered_with_null(
    api: Api, functions: Functions, task: Task
) -> None:
    answer = {"shapes": [None], "states": [{"lost": True}]}
    functions.add("siam", lambda payload: answer, type="tracker", supported_shape_types="rectangle")
    found = api.call("siam", task=task.pk, frame=0, shapes=[RECT]).json()
    assert found["shapes"] == [None]
    assert found["states"][0].rsplit(":", 2)[0].endswith(',{"lost":true}]')


def test_new_and_tracked_objects_are_sent_in_one_invocation(
    api: Api, functions: Functions, task: Task, state: str
) -> None:
    answer = api.call("siam", task=task.pk, frame=1, shapes=[None, RECT], states=[state, None])
    assert answer.status_code == 200
    payload = functions.asked["siam"][-1]
    assert payload["shapes"] == [None, RECT]
    assert payload["states"] == [{"points": [2, 2, 12, 12], "speed": 1}, None]


def test_different_numbers_of_shapes_and_states_are_refused(
    api: Api, task: Task, state: str
) -> None:
    answer = api.call("siam", task=task.pk, frame=1, shapes=[RECT, RECT], states=[state])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "2 shapes, but 1 states" in answer.json()["message"]


@pytest.mark.usefixtures("siam")
def test_call_without_shapes_and_states_is_refused(api: Api, task: Task) -> None:
    answer = api.call("siam", task=task.pk, frame=0)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@pytest.mark.usefixtures("siam")
def test_shape_of_a_type_that_the_function_does_not_track_is_refused(api: Api, task: Task) -> None:
    polygon = {"type": "polygon", "points": [0, 0, 1, 1, 2, 0]}
    answer = api.call("siam", task=task.pk, frame=0, shapes=[polygon])
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "shapes[0].type: function 'siam' does not track polygon shapes, only rectangle",
    )


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ({"type": "rectangle", "points": [1, 2]}, "a rectangle has 4 numbers, but 2 were given"),
        ({"type": "rectangle", "points": [1, 2, 3, 4, 5]}, "4 numbers, but 5 were given"),
        ({"type": "polygon", "points": [1, 2, 3, 4]}, "6 numbers or more, but 4 were given"),
        ({"type": "polygon", "points": [1, 2, 3, 4, 5, 6, 7]}, "an even count"),
        ({"type": "points", "points": [1, 2, 3]}, "an even count"),
        ({"type": "mask", "points": [0, 5, 0, 0, 1, 1]}, "the run lengths add up to 5"),
        ({"type": "rectangle", "points": [1, 2, 3, 1e10]}, "finite numbers"),
    ],
)
def test_malformed_start_shape_is_refused(
    api: Api, functions: Functions, task: Task, shape: Any, sentence: str
) -> None:
    types = "rectangle,polygon,points,mask"
    functions.add("siam", moving, type="tracker", supported_shape_types=types)
    answer = api.call("siam", task=task.pk, frame=0, shapes=[None, RECT, shape])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["message"].startswith("shapes[2].points: ")
    assert sentence in answer.json()["message"]
    assert functions.asked["siam"] == []


def test_invalid_answer_names_the_object_by_its_index_in_the_call(
    api: Api, functions: Functions, task: Task, state: str
) -> None:
    """Lost objects are not sent, so indexes of the function's answer differ from the call's."""
    answer = {"shapes": [RECT, {"type": "rectangle", "points": [1]}], "states": [1, 2]}
    functions.behaviours["siam"] = lambda payload: answer
    found = api.call("siam", task=task.pk, frame=1, states=[None, state, None, state]).json()
    assert {name: found[name] for name in ("function", "frame", "item", "field")} == {
        "function": "siam",
        "frame": 1,
        "item": 3,
        "field": "shapes.points",
    }


def test_state_that_is_not_json_names_function_frame_item_and_field(
    api: Api, functions: Functions, task: Task, state: str
) -> None:
    body = '{"shapes": [null], "states": [{"score": 1e999}]}'
    functions.behaviours["siam"] = lambda payload: Reply(200, body)
    answer = api.call("siam", task=task.pk, frame=1, states=[None, state])
    found = answer.json()
    assert (answer.status_code, found["code"]) == (502, "function_answer_invalid")
    assert (found["function"], found["frame"], found["item"], found["field"]) == (
        "siam",
        1,
        1,
        "states",
    )


def test_tracked_shape_is_clipped_to_the_image_and_one_outside_is_not_null(
    api: Api, functions: Functions, task: Task
) -> None:
    """CVAT's page reads ``points`` of every shape. After a null it moves no object of the call."""
    boxes = [[-9, 2, 11, 12], [500, 2, 510, 12]]
    answer = {"shapes": [{"type": "rectangle", "points": p} for p in boxes], "states": [1, 2]}
    functions.add("siam", lambda payload: answer, type="tracker", supported_shape_types="rectangle")
    found = api.call("siam", task=task.pk, frame=0, shapes=[RECT, RECT]).json()
    assert found["shapes"] == [
        {"type": "rectangle", "points": [0, 2, 11, 12]},
        {"type": "rectangle", "points": [64, 2, 64, 12]},
    ]


def test_older_tracker_gets_and_answers_bare_points(
    api: Api, functions: Functions, task: Task
) -> None:
    """CVAT 2.54's TransT has no `supported_shape_types`, and uses arrays of points."""
    answer = {"shapes": [[5, 6, 7, 8]], "states": ["anything"]}
    functions.add("transt", lambda payload: answer, type="tracker")
    begun = api.call("transt", task=task.pk, frame=0, shapes=[RECT]).json()
    assert functions.asked["transt"][0]["shapes"] == [[1, 2, 11, 12]]
    assert begun["shapes"] == [{"type": "rectangle", "points": [5, 6, 7, 8]}]
    api.call("transt", task=task.pk, frame=1, states=begun["states"])
    assert functions.asked["transt"][1]["shapes"] == [None]
    assert functions.asked["transt"][1]["states"] == ["anything"]


@pytest.mark.parametrize(
    "answer",
    [
        {"shapes": [RECT], "states": []},
        {"shapes": [], "states": [1]},
        {"shapes": [{"type": "polygon", "points": [0, 0, 1, 1, 2, 0]}], "states": [1]},
        {"shapes": [{"type": "rectangle", "points": [0, 0]}], "states": [1]},
        {"shapes": "all", "states": [1]},
        [],
        None,
    ],
)
def test_invalid_answer_of_a_tracker_answers_502(
    api: Api, functions: Functions, task: Task, answer: Any
) -> None:
    functions.add("siam", lambda payload: answer, type="tracker", supported_shape_types="rectangle")
    found = api.call("siam", task=task.pk, frame=0, shapes=[RECT])
    assert (found.status_code, found.json()["code"]) == (502, "function_answer_invalid")


def test_browser_gets_a_rectangle_without_area_for_a_lost_object(
    api: Api, functions: Functions, task: Task
) -> None:
    """After a null, CVAT's page moves no object. It skips a rectangle without area."""
    gone = {"type": "rectangle", "points": [-30, 2, -20, 12]}
    answer = {"shapes": [None, gone, RECT], "states": ["a", "b", "c"]}
    functions.add("siam", lambda payload: answer, type="tracker", supported_shape_types="rectangle")
    body = {"task": task.pk, "frame": 0, "shapes": [RECT, RECT, RECT]}
    found = api.post("functions/siam", body, BROWSER).json()
    nothing = {"type": "rectangle", "points": [0, 0, 0, 0]}
    on_the_border = {"type": "rectangle", "points": [0, 2, 0, 12]}
    assert found["shapes"] == [nothing, on_the_border, RECT]
    assert api.call("siam", **body).json()["shapes"] == [None, on_the_border, RECT]
