"""Calls and requests of native detectors, answered by scripted agents."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from cvat_lambda.agents import presence, queue
from cvat_lambda.agents.models import Category, QueueEntry
from cvat_lambda.engine.standalone import models
from cvat_lambda.functions import registry
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import Outcome, Request
from tests.database_thread import DatabaseThread
from tests.waiting import wait_for

from .conftest import run
from .scripted import AgentThread, Failure, ScriptedAgent, car_at
from .test_queue import answered, cancelled_while_assigned, enqueue, worked_too_long

Call = Callable[..., Any]
Start = Callable[..., Request]


def test_call_returns_the_annotations_of_an_agent(
    agent: ScriptedAgent, call: Call, car_id: int, task: models.Task
) -> None:
    with AgentThread(agent, lambda params: car_at(params, car_id, score=0.5)) as served:
        response = call(frame=2, threshold=0.25)
    assert response.status_code == 200, response.content
    (shape,) = response.json()["shapes"]
    assert (shape["frame"], shape["label_id"], shape["points"]) == (2, car_id, [1, 2, 30, 40])
    assert shape["score"] == 0.5
    assert served.served == [
        {
            "type": "annotate_frame",
            "task": task.pk,
            "frame": 2,
            "mapping": {"car": {"name": "car", "attributes": {}}},
            "threshold": 0.25,
            "conv_mask_to_poly": False,
        }
    ]


def test_call_with_a_region_places_the_result_in_the_frame(
    agent: ScriptedAgent, call: Call, car_id: int
) -> None:
    with AgentThread(agent, lambda params: car_at(params, car_id, 0, 0, 5, 6)) as served:
        response = call(roi=[10, 20, 900, 900])
    assert served.served[0]["roi"] == [10, 20, 64, 48]
    assert response.json()["shapes"][0]["points"] == [10, 20, 15, 26]


def test_call_without_an_agent_answers_503_with_a_reason(call: Call) -> None:
    response = call()
    assert (response.status_code, response.json()["code"]) == (503, "function_unavailable")
    assert "run-agent" in response.json()["message"]
    assert set(QueueEntry.objects.values_list("state", flat=True)) == {"cancelled"}


def test_call_while_all_agents_are_busy_answers_503(
    agent: ScriptedAgent, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cvat_lambda.functions import metadata

    monkeypatch.setattr(metadata, "AVAILABILITY_TIMEOUT_S", 180.0)
    agent.acquire()  # from now on its function has an agent
    caller = DatabaseThread(target=call)
    caller.start()
    agent.wait_for_work("interactive")
    monkeypatch.setattr(metadata, "AVAILABILITY_TIMEOUT_S", 0.5)
    Function.objects.get().save()  # its time limits are read again
    response = call()
    assert (response.status_code, response.json()["code"]) == (503, "function_busy")
    QueueEntry.objects.filter(state="assigned").update(state="failed", error_code="agent_failed")
    caller.join()


def test_call_while_the_agent_works_on_a_call_that_was_given_up_answers_busy(
    agent: ScriptedAgent, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cvat_lambda.functions import metadata

    monkeypatch.setattr(metadata, "AVAILABILITY_TIMEOUT_S", 0.5)
    entry_id = enqueue(agent.native_pk, Category.INTERACTIVE)
    agent.acquire("interactive")
    queue.cancel(entry_id)
    response = call()
    assert (response.status_code, response.json()["code"]) == (503, "function_busy")


def test_call_after_the_agent_died_with_a_cancelled_frame_answers_that_no_agent_takes_it(
    settings: Settings,
    agent: ScriptedAgent,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lease of the frame lasts for a minute, and the agent answers within milliseconds."""
    from cvat_lambda.functions import metadata

    settings.CVAT_LAMBDA_AGENT_LEASE_S = 60.0
    monkeypatch.setattr(metadata, "AVAILABILITY_TIMEOUT_S", 0.5)
    answered(agent, within_s=0.1)
    cancelled_while_assigned(agent, since_s=20.0)
    response = call()
    assert (response.status_code, response.json()["code"]) == (503, "function_unavailable")
    assert "run-agent" in response.json()["message"]


def test_request_annotates_each_frame_through_an_agent(
    agent: ScriptedAgent, start: Start, car_id: int, task: models.Task
) -> None:
    with AgentThread(agent, lambda params: car_at(params, car_id)) as served:
        request = run(start())
    assert (request.status, request.done, request.failed) == ("finished", 6, 0)
    assert sorted(params["frame"] for params in served.served) == list(range(6))
    shapes = models.LabeledShape.objects.filter(task=task).order_by("frame")
    assert [(shape.frame, shape.label_id, shape.points) for shape in shapes] == [
        (frame, car_id, (1, 2, 30, 40)) for frame in range(6)
    ]
    undo_request(request)
    assert not models.LabeledShape.objects.exists()


def test_failed_frame_has_the_agents_sentence_and_can_be_retried(
    agent: ScriptedAgent, start: Start, car_id: int
) -> None:
    def fail_once(params: dict[str, Any]) -> dict[str, Any]:
        if params["frame"] == 3:
            raise Failure("Underlying function returned incorrect result: no luck")
        return car_at(params, car_id)

    with AgentThread(agent, fail_once):
        request = run(start())
    outcome = Outcome.objects.get(request=request, status="failed")
    assert (outcome.frame, outcome.code) == (3, "function_failed")
    assert "no luck" in outcome.message
    with AgentThread(agent, lambda params: car_at(params, car_id)) as served:
        retry_request(request)
        request = run(request)
    assert (request.status, request.done, request.failed) == ("finished", 6, 0)
    assert [params["frame"] for params in served.served] == [3]


def test_agent_without_the_right_to_the_task_is_named_as_the_cause(
    agent: ScriptedAgent, call: Call
) -> None:
    def refuse(params: dict[str, Any]) -> dict[str, Any]:
        raise Failure("Received HTTP status 403")

    with AgentThread(agent, refuse):
        response = call()
    assert response.status_code == 502
    assert "may not have the right to view the task" in response.json()["message"]


def test_silent_agent_is_replaced_by_another(
    agent: ScriptedAgent, start: Start, car_id: int, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_AGENT_LEASE_S = 2.0
    request = start()
    runner = DatabaseThread(target=run, args=(request,))
    runner.start()
    agent.wait_for_work()  # and never says anything again
    settings.CVAT_LAMBDA_AGENT_LEASE_S = 120.0
    second = ScriptedAgent(agent.client, agent.native_pk)
    with AgentThread(second, lambda params: car_at(params, car_id)):
        runner.join(180)
    request.refresh_from_db()
    assert (request.status, request.done, request.failed) == ("finished", 6, 0)
    attempts = Outcome.objects.filter(request=request).values_list("attempts", flat=True)
    assert sorted(attempts) == [1, 1, 1, 1, 1, 2]


def test_request_waits_for_its_only_agent_which_works_on_a_frame_for_long(
    agent: ScriptedAgent, start: Start, car_id: int, settings: Settings
) -> None:
    """An agent that works does not poll. Its other frames wait longer than for a new agent."""
    settings.CVAT_LAMBDA_COLD_START_S = 0.5
    agent.acquire()  # from now on its function has an agent
    request = start()
    runner = DatabaseThread(target=run, args=(request,))
    runner.start()
    found = agent.wait_for_work()
    Function.objects.update(seen_at=timezone.now() - timedelta(seconds=100))
    presence.mark_lost()
    assert registry.get(f"native-{agent.native_pk}").state == "ready"
    runner.join(3)
    agent.post(f"{found['ar_id']}/complete", **car_at(found["ar_params"], car_id))
    with AgentThread(agent, lambda params: car_at(params, car_id)):
        runner.join(180)
    request.refresh_from_db()
    assert (request.status, request.done, request.failed) == ("finished", 6, 0)


def test_frame_of_an_agent_that_renews_its_lease_for_ever_is_given_to_another(
    agent: ScriptedAgent, start: Start, car_id: int, settings: Settings
) -> None:
    request = start()
    runner = DatabaseThread(target=run, args=(request,))
    runner.start()
    found = agent.wait_for_work()
    assert agent.post(f"{found['ar_id']}/update", progress=0.5).status_code == 200
    worked_too_long(found["ar_id"])
    assert agent.post(f"{found['ar_id']}/update", progress=0.5).status_code == 409
    second = ScriptedAgent(agent.client, agent.native_pk)
    with AgentThread(second, lambda params: car_at(params, car_id)):
        runner.join(180)
    request.refresh_from_db()
    assert (request.status, request.done, request.failed) == ("finished", 6, 0)
    attempts = Outcome.objects.filter(request=request).values_list("attempts", flat=True)
    assert sorted(attempts) == [1, 1, 1, 1, 1, 2]


def test_frame_that_no_agent_ends_fails_with_a_sentence(
    agent: ScriptedAgent, start: Start, settings: Settings
) -> None:
    request = start(frames=[[2, 2]], max_failure_rate=1.0)
    runner = DatabaseThread(target=run, args=(request,))
    runner.start()
    for _ in range(4):
        found = agent.wait_for_work()
        worked_too_long(found["ar_id"])
        assert agent.post(f"{found['ar_id']}/update", progress=0.5).status_code == 409
    runner.join(180)
    outcome = Outcome.objects.get(request=request)
    assert (outcome.frame, outcome.status, outcome.attempts) == (2, "failed", 4)
    assert "the agent worked on this input for more than 600 s" in outcome.message


def test_request_fails_if_agents_are_connected_but_none_takes_its_frames(
    agent: ScriptedAgent, start: Start, settings: Settings
) -> None:
    """An agent that hangs may keep its event stream open, so that its function is not missing."""
    settings.CVAT_LAMBDA_COLD_START_S = 0.5
    settings.CVAT_LAMBDA_AGENT_MAX_WORK_S = 1.0
    agent.acquire()
    request = run(start())
    assert registry.get(f"native-{agent.native_pk}").state == "ready"
    assert (request.status, request.error_code) == ("failed", "function_unavailable")
    assert "took the request within 1 s" in request.error_message


def test_request_without_an_agent_fails_with_a_reason(start: Start) -> None:
    request = run(start())
    assert (request.status, request.error_code) == ("failed", "function_unavailable")
    assert "run-agent" in request.error_message


def test_deleted_function_ends_its_request_at_once(agent: ScriptedAgent, start: Start) -> None:
    request = start()
    runner = DatabaseThread(target=run, args=(request,))
    runner.start()
    agent.wait_for_work()
    agent.client.delete(f"/api/functions/{agent.native_pk}")
    runner.join(180)
    request.refresh_from_db()
    assert (request.status, request.error_code) == ("failed", "function_not_found")


def test_cancelled_request_leaves_nothing_for_the_agents(
    agent: ScriptedAgent, start: Start, car_id: int
) -> None:
    request = start()
    runner = DatabaseThread(target=run, args=(request,))
    runner.start()
    found = agent.wait_for_work()
    cancel_request(request)
    runner.join(180)
    assert not runner.is_alive()
    assert (
        agent.post(f"{found['ar_id']}/complete", **car_at(found["ar_params"], car_id)).status_code
        == 200
    )
    assert agent.acquire() is None
    assert not models.LabeledShape.objects.exists()


def test_call_of_a_person_is_served_before_a_waiting_request(
    agent: ScriptedAgent, start: Start, call: Call, car_id: int
) -> None:
    request = start()
    runner = DatabaseThread(target=run, args=(request,))
    runner.start()
    held = agent.wait_for_work()
    answers: list[Any] = []
    caller = DatabaseThread(target=lambda: answers.append(call()))
    caller.start()
    wait_for("the entry of the call", QueueEntry.objects.filter(category="interactive").exists)
    agent.post(f"{held['ar_id']}/complete", **car_at(held["ar_params"], car_id))
    with AgentThread(agent, lambda params: car_at(params, car_id)) as served:
        caller.join(180)
        runner.join(180)
    assert answers[0].status_code == 200
    assert served.served[0]["frame"] == 0
    request.refresh_from_db()
    assert request.done == 6


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"label_id": 987654}, "field 'label_id'"),
    ({"label_id": "1"}, "field 'label_id'"),
    ({"label_id": True}, "field 'label_id'"),
    ({"frame": 5}, "field 'frame'"),
    ({"frame": None}, "field 'frame'"),
    ({"type": "circle"}, "field 'type'"),
    ({"points": [1, 2, 3]}, "field 'points'"),
    ({"points": [1, 2, "3", 4]}, "field 'points'"),
    ({"points": None}, "field 'points'"),
    ({"points": [1, 2, 1e12, 4]}, "field 'points'"),
    ({"rotation": "left"}, "field 'rotation'"),
    ({"attributes": [{"spec_id": 5, "value": "x"}]}, "field 'attributes[0].spec_id'"),
    ({"attributes": {"spec_id": 5}}, "field 'attributes'"),
    ({"group": -1}, "field 'group_id'"),
    ({"type": "skeleton"}, "field 'elements'"),
]


@pytest.mark.parametrize(("fields", "named"), WRONG)
def test_wrong_annotation_fails_the_frame_and_names_function_frame_and_field(
    agent: ScriptedAgent, start: Start, car_id: int, fields: dict[str, Any], named: str
) -> None:
    def answer(params: dict[str, Any]) -> dict[str, Any]:
        return car_at(params, car_id, **(fields if params["frame"] == 2 else {}))

    with AgentThread(agent, answer):
        request = run(start(max_failure_rate=1.0))
    assert (request.status, request.done, request.failed) == ("finished", 5, 1)
    outcome = Outcome.objects.get(request=request, status="failed")
    assert (outcome.frame, outcome.code) == (2, "function_answer_invalid")
    assert f"function 'native-{agent.native_pk}', frame 2: item 0, {named}" in outcome.message


@pytest.mark.parametrize(
    "result",
    [{}, {"annotations": []}, {"annotations": {"shapes": 5}}, {"annotations": {"tags": [None]}}],
    ids=str,
)
def test_result_of_a_wrong_form_is_a_wrong_answer(
    agent: ScriptedAgent, call: Call, result: dict[str, Any]
) -> None:
    with AgentThread(agent, lambda params: result):
        response = call()
    assert (response.status_code, response.json()["code"]) == (502, "function_answer_invalid")
    assert f"native-{agent.native_pk}" in response.json()["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_result_with_a_number_that_is_not_finite_fails_the_frame_at_once(
    agent: ScriptedAgent, call: Call, car_id: int, number: str
) -> None:
    answers: list[Any] = []
    caller = DatabaseThread(target=lambda: answers.append(call()))
    caller.start()
    found = agent.wait_for_work("interactive")
    text = f'{{"agent_id": "{agent.agent_id}", "annotations": {{"shapes": [{number}]}}}}'
    response = agent.client.post(
        f"/api/functions/queues/function:{agent.native_pk}/requests/{found['ar_id']}/complete",
        text,
        content_type="application/json",
    )
    assert response.status_code == 400
    caller.join(180)
    assert answers[0].status_code == 502
    assert answers[0].json()["code"] == "function_answer_invalid"
    assert math.isfinite(answers[0].json()["frame"])
