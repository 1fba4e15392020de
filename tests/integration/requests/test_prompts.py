"""Requests of detectors that find what texts and examples describe."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_lambda.annotations.prompts import Exemplar
from cvat_lambda.engine import get_engine
from cvat_lambda.errors import InvalidMapping, InvalidRequest
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.store.models import Provenance, Request
from tests.http_server import Reply

from .conftest import MakeTask, Start, run, store_function
from .function_server import FunctionServer

LABELS = [{"name": name, "type": "rectangle"} for name in ("car", "person", "a red car")]


def found_on(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Answer one rectangle for each text and for each example of a call."""
    names = payload.get("text", []) + [each["label"] for each in payload.get("exemplars", [])]
    return [
        {"label": name, "type": "rectangle", "points": [number, 1, 20, 11], "confidence": 0.5}
        for number, name in enumerate(names)
    ]


@pytest.fixture
def seeker(transactional_db: None, function: FunctionServer) -> Function:
    """A detector without labels that is prompted by text and by examples."""
    function.behave = found_on
    return store_function(function.url, labels=[], prompts="text,exemplar")


def labels_on(task_id: int) -> list[tuple[int, str]]:
    """Return the frame and the label's name of each shape of a task."""
    names = {label.id: label.name for label in get_engine().task(task_id).labels}
    shapes = get_engine().annotations(task_id).shapes
    return sorted((shape.frame, names[shape.label_id]) for shape in shapes)


def test_each_text_becomes_the_label_that_the_mapping_names_or_that_has_its_name(
    seeker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2, labels=LABELS)
    mapping = {"a man": {"name": "person"}}
    request = run(start(task_id=task.pk, text=["a red car", "a man"], mapping=mapping))
    assert (request.status, request.error_message) == ("finished", "")
    assert function.payloads == [{"text": ["a red car", "a man"]}] * 2
    assert labels_on(task.pk) == [
        (0, "a red car"),
        (0, "person"),
        (1, "a red car"),
        (1, "person"),
    ]


def test_texts_are_stored_with_the_request_and_found_from_each_shape(
    seeker: Function, make_task: MakeTask, start: Start
) -> None:
    request = run(start(task_id=make_task(1, labels=LABELS).pk, text=["car"]))
    made = Provenance.objects.get()
    assert made.request_id == request.pk
    assert made.request.params["text"] == ["car"]


def test_a_retry_sends_the_same_texts(
    seeker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: Reply(status=400, body=b"no")
    request = run(start(task_id=make_task(1, labels=LABELS).pk, text=["car"]))
    assert request.failed == 1
    function.behave = found_on
    run(retry_request(request))
    assert function.payloads == [{"text": ["car"]}] * 2


def test_exemplars_are_sent_with_their_own_frame_in_pixels_of_the_region(
    seeker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3, labels=LABELS)
    exemplars = [Exemplar(frame=1, box=(20, 12, 30, 22), label="car")]
    run(start(task_id=task.pk, text=["person"], exemplars=exemplars, roi=(10, 2, 60, 40)))
    shown = {"box": [10, 10, 20, 20], "label": "car", "negative": False}
    assert sorted(function.payloads, key=len) == [
        {"text": ["person"]},
        {"text": ["person"]},
        {"text": ["person"], "exemplars": [shown]},
    ]
    assert labels_on(task.pk) == [(0, "person"), (1, "car"), (1, "person"), (2, "person")]


def test_a_request_without_text_runs_on_the_frames_of_its_exemplars_only(
    seeker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(5, labels=LABELS)
    exemplars = [Exemplar(frame=frame, box=(1, 1, 9, 9), label="car") for frame in (3, 1)]
    request = run(start(task_id=task.pk, exemplars=exemplars))
    assert sorted(function.seen) == [1, 3]
    assert (request.total, request.done) == (2, 2)


def test_a_batch_of_frames_gets_the_texts_once(
    function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: {"results": [found_on(payload) for _ in payload["images"]]}
    store_function(function.url, labels=[], prompts="text", max_batch="4", workers=1)
    task = make_task(4, labels=LABELS)
    run(start(task_id=task.pk, text=["car"]))
    assert labels_on(task.pk) == [(frame, "car") for frame in range(4)]


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"text": ["a boat"]}, InvalidMapping, "'a boat', which the task has not"),
        ({}, InvalidRequest, "describe what to find, in text or exemplars"),
        ({"text": ["car"], "labels": ["car"]}, InvalidRequest, "remove labels"),
        (
            {"text": ["car"], "mapping": {"boat": {"name": "car"}}},
            InvalidMapping,
            "the function has no label 'boat'",
        ),
        (
            {"exemplars": [Exemplar(frame=9, box=(1, 1, 9, 9), label="car")], "text": ["car"]},
            InvalidRequest,
            "frame 9 of an exemplar is not in the request",
        ),
        (
            {
                "exemplars": [Exemplar(frame=1, box=(1, 1, 9, 9), label="car")],
                "frames": [[0, 0]],
            },
            InvalidRequest,
            "no exemplar is on a frame of the request",
        ),
    ],
)
def test_prompts_that_cannot_be_used_are_refused_before_the_request_is_stored(
    seeker: Function,
    make_task: MakeTask,
    start: Start,
    options: dict[str, Any],
    error: type[Exception],
    sentence: str,
) -> None:
    task = make_task(2, labels=LABELS)
    with pytest.raises(error, match=sentence):
        start(task_id=task.pk, **options)
    assert not Request.objects.exists()


@pytest.mark.parametrize(
    "options",
    [{"text": ["car"]}, {"exemplars": [Exemplar(frame=0, box=(1, 1, 9, 9), label="car")]}],
)
def test_prompts_are_refused_for_a_function_that_announces_none(
    finder: Function, make_task: MakeTask, start: Start, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest, match=r"takes no (text|exemplars)"):
        start(task_id=make_task(1).pk, **options)


def test_a_second_text_replaces_only_what_the_function_made_of_its_own_label(
    seeker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(1, labels=LABELS)
    run(start(task_id=task.pk, text=["car"], replace="function"))
    run(start(task_id=task.pk, text=["person"], replace="function"))
    assert labels_on(task.pk) == [(0, "car"), (0, "person")]
    run(start(task_id=task.pk, text=["person"], replace="function"))
    assert labels_on(task.pk) == [(0, "car"), (0, "person")]
