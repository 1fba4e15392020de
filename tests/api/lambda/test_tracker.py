"""Tracker calls: states kept by the client, new and lost objects, functions written for CVAT."""

from __future__ import annotations

import json
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
        "This function does not support shapes of type 'polygon' (shapes[0]): "
        "'siam' tracks rectangle",
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
    api: Api, functions: Functions, task: Task, shape: object, sentence: str
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
    api: Api, functions: Functions, task: Task, answer: object
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


def forgetful(known: set[str]) -> Any:
    """Return a tracker that moves objects, and knows only the handles in ``known``."""
    places: dict[str, list[float]] = {}

    def answer(payload: dict[str, Any]) -> Any:
        handles = payload["states"] or [None] * len(payload["shapes"])
        unknown = [i for i, h in enumerate(handles) if h is not None and h["handle"] not in known]
        if unknown:
            body = {"code": "state_unknown", "error": "evicted", "objects": unknown}
            return Reply(410, json.dumps(body).encode())
        shapes, states = [], []
        for shape, handle in zip(payload["shapes"], handles, strict=True):
            if shape is not None:
                points = shape["points"]
            else:
                x0, y0, x1, y1 = places[handle["handle"]]
                points = [x0 + 1, y0, x1 + 1, y1]
            name = f"h{len(places)}"
            places[name] = points
            known.add(name)
            shapes.append({"type": "rectangle", "points": points})
            states.append({"handle": name})
        return {"shapes": shapes, "states": states}

    return answer


def test_object_whose_handle_is_unknown_is_started_anew_from_its_last_shape(
    api: Api, functions: Functions, task: Task
) -> None:
    known: set[str] = set()
    functions.add("sam", forgetful(known), type="tracker", supported_shape_types="rectangle")
    begun = api.call("sam", task=task.pk, frame=0, shapes=[RECT, RECT]).json()
    known.discard("h1")
    step = api.call("sam", task=task.pk, frame=1, states=begun["states"]).json()
    moved = {"type": "rectangle", "points": [2, 2, 12, 12]}
    assert (step["shapes"], step["restarted"]) == ([moved, moved], [1])
    sent = [payload["shapes"] for payload in functions.asked["sam"]]
    assert sent == [[RECT, RECT], [None, None], [RECT], [None, None]]


@pytest.mark.parametrize("reply", [Reply(410, b""), Reply(500, b'{"code": "state_unknown"}')])
def test_tracker_that_asks_for_a_shape_that_it_got_is_named_in_the_error(
    api: Api, functions: Functions, task: Task, reply: Reply
) -> None:
    """The caller got status 410, and no state that it could send."""
    functions.add("sam", lambda payload: reply, type="tracker", supported_shape_types="rectangle")
    answer = api.call("sam", task=task.pk, frame=0, shapes=[RECT])
    assert (answer.status_code, answer.json()["code"]) == (502, "function_answer_invalid")
    assert "function 'sam' asks for a shape" in answer.json()["message"]


def test_page_is_not_told_that_an_object_was_started_anew(
    api: Api, functions: Functions, task: Task
) -> None:
    known: set[str] = set()
    functions.add("sam", forgetful(known), type="tracker", supported_shape_types="rectangle")
    begun = api.call("sam", task=task.pk, frame=0, shapes=[RECT]).json()
    known.clear()
    body = {"task": task.pk, "frame": 1, "states": begun["states"]}
    step = api.post("functions/sam", body, headers=BROWSER).json()
    assert step.keys() == {"shapes", "states"}


def lines(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.getvalue().splitlines()]


@pytest.mark.usefixtures("siam")
def test_call_with_frames_streams_the_shapes_of_each_frame(
    api: Api, functions: Functions, task: Task
) -> None:
    answer = api.call("siam", task=task.pk, frame=0, shapes=[RECT], frames=3)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/x-ndjson")
    found = lines(answer)
    assert [(item["frame"], item["shapes"][0]["points"][0]) for item in found] == [
        (0, 2),
        (1, 3),
        (2, 4),
    ]
    assert ["states" in item for item in found] == [False, False, True]
    step = api.call("siam", task=task.pk, frame=2, states=found[-1]["states"]).json()
    assert step["shapes"][0]["points"][0] == 5


@pytest.mark.usefixtures("siam")
def test_stream_is_of_server_sent_events_if_the_client_accepts_them(api: Api, task: Task) -> None:
    body = {"task": task.pk, "frame": 1, "shapes": [RECT], "frames": 5}
    answer = api.post("functions/siam", body, headers={"Accept": "text/event-stream"})
    assert answer["Content-Type"] == "text/event-stream"
    events = answer.getvalue().decode().split("\n\n")
    assert [event.splitlines()[0] for event in events if event] == ["event: frame"] * 2
    data = json.loads(events[1].splitlines()[1].removeprefix("data: "))
    assert (data["frame"], data["shapes"][0]["points"]) == (2, [3, 2, 13, 12])


def test_stream_sends_clips_to_a_function_that_takes_several_frames(
    api: Api, functions: Functions, task: Task
) -> None:
    def clip(payload: dict[str, Any]) -> Any:
        if "images" not in payload:
            return moving(payload)
        results, given = [], payload
        for _ in payload["images"]:
            answer = moving(given)
            results.append(answer["shapes"])
            given = {"shapes": [None], "states": answer["states"]}
        return {"results": results, "states": given["states"]}

    functions.add("siam", clip, type="tracker", supported_shape_types="rectangle", max_frames="8")
    found = lines(api.call("siam", task=task.pk, frame=0, shapes=[RECT], frames=3))
    assert [item["shapes"][0]["points"][0] for item in found] == [2, 3, 4]
    assert [len(payload.get("images", [0])) for payload in functions.asked["siam"]] == [1, 2]


def test_error_on_a_later_frame_ends_the_stream_with_the_states_before(
    api: Api, functions: Functions, task: Task
) -> None:
    answers = iter([None, Reply(500, b"no memory")])

    def fail(payload: dict[str, Any]) -> Any:
        return next(answers) or moving(payload)

    functions.add("siam", fail, type="tracker", supported_shape_types="rectangle")
    found = lines(api.call("siam", task=task.pk, frame=0, shapes=[RECT], frames=3))
    assert [item["frame"] for item in found] == [0, 1]
    assert found[1]["error"]["code"] == "function_failed"
    assert len(found[1]["states"]) == 1


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"frame": 9, "shapes": [RECT]}, "Frame 9 is not in task"),
        ({"frame": 0}, "needs 'shapes' to start"),
        ({"frame": 0, "shapes": [RECT], "frames": 0}, "greater than or equal to 1"),
        ({"frame": 0, "shapes": [RECT], "frames": 1001}, "less than or equal to 1000"),
        (
            {"frame": 0, "shapes": [{"type": "mask", "points": [1, 2]}]},
            "does not support shapes of type 'mask'",
        ),
    ],
)
@pytest.mark.usefixtures("siam")
def test_invalid_call_with_frames_is_refused_before_the_stream_begins(
    api: Api, task: Task, members: dict[str, Any], message: str
) -> None:
    answer = api.post("functions/siam", {"task": task.pk, "frames": 2, **members})
    assert answer.status_code == 400
    assert message in answer.content.decode()


def test_stream_of_a_detector_is_refused(api: Api, functions: Functions, task: Task) -> None:
    functions.add("finder", type="detector", spec="[]")
    answer = api.post(
        "functions/finder",
        {"task": task.pk, "frame": 0, "frames": 2},
        headers={"Accept": "text/event-stream"},
    )
    assert answer.status_code == 400
    assert "is not a tracker" in answer.json()["message"]


@pytest.mark.usefixtures("siam")
def test_stream_on_a_task_that_is_unknown_or_of_another_user_is_refused_with_400_or_403(
    api_of: ApiOf, bob: User, task: Task
) -> None:
    for task_id, status in ((task.pk, 403), (99999, 400)):
        answer = api_of(bob).call("siam", task=task_id, frame=0, shapes=[RECT], frames=2)
        assert answer.status_code == status


@pytest.mark.django_db(transaction=True)  # the end of the response closes the connection
@pytest.mark.usefixtures("siam")
def test_stream_ends_and_frees_its_place_if_the_client_leaves(
    api: Api, functions: Functions, task: Task, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_MAX_CALLS_PER_USER = 1
    body = {"task": task.pk, "frame": 0, "shapes": [RECT], "frames": 3}
    answer = api.post("functions/siam", body)
    parts = iter(answer.streaming_content)
    assert json.loads(next(parts))["frame"] == 0
    assert api.call("siam", task=task.pk, frame=0, shapes=[RECT]).status_code == 429
    answer.close()
    assert len(functions.asked["siam"]) == 1
    assert api.call("siam", task=task.pk, frame=0, shapes=[RECT]).status_code == 200
