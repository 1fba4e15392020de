"""Notes about answers, and the revisions of the function, in outcomes and requests."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from cvat_lambda.api.render import outcome_to_json, request_to_json
from cvat_lambda.engine import get_engine
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.store.models import Outcome, Provenance, Request
from tests.http_server import Reply
from tests.waiting import wait_for

from .conftest import MakeTask, Start, run, store_function
from .function_server import FunctionServer, frame_of, rectangle_of

MASKS = [{"name": "car", "type": "mask"}]


def unknown_label(payload: dict[str, Any]) -> Any:
    (item,) = rectangle_of(frame_of(payload))
    return [{**item, "label": "Car"}, {**item, "label": "Bus"}]


def test_request_whose_items_were_all_left_out_has_notes(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    """Such a request finished with 0 shapes and without any explanation."""
    function.behave = unknown_label
    request = run(start(task_id=make_task(3).pk))
    shown = request_to_json(request)
    assert (shown["status"], shown["done"], shown["shapes"], shown["dropped"]) == (
        "finished",
        3,
        0,
        6,
    )
    (note,) = shown["notes"]
    assert (note["kind"], note["count"]) == ("unknown_label", 6)
    assert "does not announce a label 'Car'" in note["reason"]
    assert shown["summary"] == "finished without annotations: 6 items of the answers were left out"
    outcome = outcome_to_json(request.outcomes.select_related("version").get(frame=1))
    assert [(item["kind"], item["count"]) for item in outcome["notes"]] == [("unknown_label", 2)]


def test_rectangle_for_a_label_of_masks_is_noted(
    function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    store_function(function.url, labels=MASKS)
    request = run(start(task_id=make_task(2, labels=MASKS).pk))
    (note,) = request_to_json(request)["notes"]
    assert (note["kind"], note["count"]) == ("label_type", 2)
    assert "a rectangle cannot be a 'car', a label of type mask" in note["reason"]


def test_request_without_notes_has_none(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    request = run(start(task_id=make_task(2).pk))
    shown = request_to_json(request)
    assert (shown["notes"], shown["dropped"], shown["summary"]) == ([], 0, "finished")
    assert Outcome.objects.filter(notes__isnull=True).count() == 2


def test_summary_of_a_finished_request_shows_its_failed_frames(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: (
        rectangle_of(0) if frame_of(payload) == 0 else Reply(status=500, body=b"no")
    )
    request = run(start(task_id=make_task(4).pk, max_failure_rate=1.0))
    assert request_to_json(request)["summary"] == "finished, but 3 of 4 frames failed"


def redeploy(revision: int) -> None:
    """Store another version of the function in the registry."""
    row = Function.objects.get(pk="finder")
    row.metadata["metadata"]["annotations"]["version"] = str(revision)
    row.changed_at = row.changed_at.replace(microsecond=revision)
    row.save()


@pytest.fixture
def redeployed_at_frame_4(function: FunctionServer, settings: Settings, finder: Function) -> None:
    """Deploy another version while the request is at frame 4, and the first four are written."""
    settings.CVAT_LAMBDA_BATCH_FRAMES = 1
    settings.CVAT_LAMBDA_FUNCTIONS_REFRESH_S = 0.01
    settings.CVAT_LAMBDA_MAX_IN_FLIGHT = 1

    def behave(payload: dict[str, Any]) -> Any:
        if frame_of(payload) == 4:
            try:
                wait_for("four outcomes", Outcome.objects.count, (4).__le__)
                redeploy(2)
            finally:
                connection.close()  # of this thread of the server
        time.sleep(0.1)
        return rectangle_of(frame_of(payload))

    function.behave = behave


def versions(request: Request) -> dict[int, int]:
    """Return the version of the function for each frame."""
    rows = request.outcomes.order_by("frame").values_list("frame", "version__version")
    return dict(rows)


def test_request_during_a_redeploy_has_both_versions(
    redeployed_at_frame_4: None, make_task: MakeTask, start: Start
) -> None:
    """All frames used to have the version at the start of the request."""
    task = make_task(24)
    request = run(start(task_id=task.pk))
    found = versions(request)
    assert (request.status, found[0], found[23]) == ("finished", 1, 2)
    assert [item["version"] for item in request_to_json(request)["revisions"]] == [1, 2]
    (note,) = request_to_json(request)["notes"]
    assert (note["kind"], note["count"]) == ("redeployed", 1)
    made = dict(Provenance.objects.values_list("frame", "version__version"))
    assert made == found
    assert request.function_version == 2


@pytest.mark.parametrize(
    ("on_redeploy", "status", "revisions"),
    [("continue", "finished", ["one", "two"]), ("stop", "failed", ["one"])],
)
def test_frame_has_the_revision_of_the_answer_before_the_registry_has_it(
    function: FunctionServer,
    finder: Function,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
    on_redeploy: str,
    status: str,
    revisions: list[str],
) -> None:
    settings.CVAT_LAMBDA_MAX_IN_FLIGHT = 1
    settings.CVAT_LAMBDA_BATCH_FRAMES = 1

    def behave(payload: dict[str, Any]) -> Reply:
        number = frame_of(payload)
        return Reply(
            body=json.dumps(rectangle_of(number)).encode(),
            headers={"X-Cvat-Lambda-Revision": "one" if number < 3 else "two"},
        )

    function.behave = behave
    finder.metadata["metadata"]["annotations"]["cvat-lambda/revision"] = "one"
    finder.changed_at = finder.changed_at.replace(microsecond=1)
    finder.save()
    request = run(start(task_id=make_task(6).pk, on_redeploy=on_redeploy))
    assert request.status == status
    rows = request.outcomes.order_by("frame").values_list("frame", "version__revision")
    known = {frame: "one" if frame < 3 else "two" for frame in range(6)}
    # A run that stops may end before its last results are written.
    assert set(rows) <= {(frame, known[frame]) for frame in known if known[frame] in revisions}
    assert on_redeploy == "stop" or len(rows) == 6


def test_request_with_on_redeploy_stop_fails_and_a_retry_runs_the_rest(
    redeployed_at_frame_4: None, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(24)
    request = run(start(task_id=task.pk, on_redeploy="stop"))
    assert (request.status, request.error_code) == ("failed", "function_redeployed")
    assert 4 <= request.done < 24
    assert set(versions(request).values()) == {1}
    function.behave = lambda payload: rectangle_of(frame_of(payload))
    request = run(retry_request(request))
    assert (request.status, request.done) == ("finished", 24)
    assert set(versions(request).values()) == {1, 2}
    assert len(get_engine().annotations(task.pk).shapes) == 24
