"""Trackers that take several frames in one invocation, and trackers that keep their states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import Outcome
from tests.http_server import Reply

from .conftest import MakeTask, Start, run, run_until_lost, store_function
from .function_server import FunctionServer, frame_of
from .test_track import STEP, behave, box, follow, paths


def frames_of(payload: dict[str, Any]) -> list[int]:
    """Return the frame numbers of a call, from the colours of its images."""
    images = payload.get("images", [payload.get("image")])
    return [frame_of({"image": image}) for image in images]


def follow_clip(payload: dict[str, Any], failing: frozenset[int] = frozenset()) -> Any:
    """Answer a clip as single calls of `behave` would; images of ``failing`` have an error."""
    if "images" not in payload:
        return behave(payload)
    results: list[Any] = []
    shapes, states = payload["shapes"], payload["states"]
    for frame in frames_of(payload):
        if frame in failing:
            results.append({"error": f"frame {frame} is dark"})
            continue
        answer = behave({"shapes": shapes, "states": states})
        results.append(answer["shapes"])
        shapes, states = [None] * len(shapes), answer["states"]
    return {"results": results, "states": states}


@pytest.fixture
def tracker(transactional_db: None, function: FunctionServer) -> Function:
    """A tracker that takes up to four frames in one call."""
    calls.clear()

    def recorded(payload: dict[str, Any]) -> Any:
        calls.append(frames_of(payload))
        return follow_clip(payload)

    function.behave = recorded
    return store_function(
        function.url,
        "tracker",
        kind="tracker",
        labels=[],
        supported_shape_types="rectangle",
        max_frames="4",
    )


calls: list[list[int]] = []  # the frames of each call of the tracker


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("forward", [[5, 6, 7, 8], [9]]),
        ("backward", [[5, 4, 3, 2], [1, 0]]),
        # The backward leg begins with the state after the start frame.
        ("both", [[5], [6, 7, 8, 9], [4, 3, 2, 1], [0]]),
    ],
)
def test_frames_are_sent_in_clips_in_the_order_of_the_direction(
    tracker: Function, make_task: MakeTask, start: Start, direction: str, expected: list[list[int]]
) -> None:
    task = make_task(10)
    tracking = follow(box(5, 20), direction=direction)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert request.status == "finished"
    assert calls == expected


def test_clips_give_the_tracks_of_single_frames(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(11)
    tracking = follow(box(1, 5), box(4, 20, top=30), tolerance_px=0)
    clips = run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    found = paths(task.pk)
    assert [len(frames) for frames in calls] == [3, 4, 3]  # a clip begins where an object starts
    undo_request(clips)
    del tracker.metadata["metadata"]["annotations"]["max_frames"]
    tracker.save()
    run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert paths(task.pk) == found
    assert found == [
        [(1, 5, False), (10, 5 + 9 * STEP, False)],
        [(4, 20, False), (10, 20 + 6 * STEP, False)],
    ]


def test_frame_with_an_error_in_a_clip_fails_alone_with_the_message_of_the_function(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: follow_clip(payload, failing=frozenset({2}))
    task = make_task(6)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    assert (request.status, request.done, request.failed) == ("finished", 5, 1)
    outcome = Outcome.objects.get(request=request, status="failed")
    assert (outcome.frame, outcome.code) == (2, "function_failed")
    assert "frame 2 is dark" in outcome.message


@pytest.mark.parametrize(
    "answer",
    [
        Reply(500, b"out of memory"),
        {"results": [], "states": []},
        {"results": [[None]] * 4, "states": [1, 2]},
        {"results": [{"error": "the first image is dark"}] + [[None]] * 3, "states": [None]},
    ],
)
def test_clip_that_fails_is_repeated_with_single_frames(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start, answer: object
) -> None:
    function.behave = lambda payload: answer if "images" in payload else behave(payload)
    task = make_task(6)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    assert (request.status, request.done, request.failed) == ("finished", 6, 0)
    assert paths(task.pk) == [[(0, 5, False), (5, 5 + 5 * STEP, False)]]


def test_object_that_is_lost_inside_a_clip_is_outside_until_it_is_found(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    def lose(payload: dict[str, Any]) -> Any:
        answer = follow_clip(payload)
        for index, frame in enumerate(frames_of(payload)):
            if frame in (1, 2):
                answer["results"][index] = [None]
        return answer

    function.behave = lose
    task = make_task(4)
    run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    assert paths(task.pk) == [[(0, 5, False), (1, 5, True), (3, 5 + 3 * STEP, False)]]


def test_object_that_is_lost_inside_a_clip_ends_with_stop_when_lost(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    def lose(payload: dict[str, Any]) -> Any:
        answer = follow_clip(payload)
        answer["results"][1] = [None]
        return answer

    function.behave = lose
    task = make_task(6)
    tracking = follow(box(0, 5), stop_when_lost=True)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert paths(task.pk) == [[(0, 5, False), (1, 5, True)]]
    assert (request.done, len(function.payloads)) == (6, 1)


def test_resumed_run_with_clips_writes_the_tracks_of_an_undisturbed_run(
    tracker: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_BATCH_FRAMES = 3  # less than a clip: a clip is written as a whole
    task = make_task(20)
    tracking = follow(box(3, 5), tolerance_px=0)
    undo_request(run(start(function_id="tracker", task_id=task.pk, tracking=tracking)))
    request = start(function_id="tracker", task_id=task.pk, tracking=tracking)
    for limit in (1, 2):  # number of invocations before the worker is lost
        run_until_lost(request, function, follow_clip, invocations=limit)
    run(request)
    assert request.status == "finished"
    assert paths(task.pk) == [[(3, 5, False), (19, 5 + 16 * STEP, False)]]
    moved = {
        frame: (result or {})["objects"]["0"][1][0]
        for frame, result in Outcome.objects.filter(request=request, status="done").values_list(
            "frame", "result"
        )
    }
    assert moved == {frame: 5 + STEP * (frame - 3) for frame in range(3, 20)}


class Memory:
    """A tracker that keeps the states, and hands out handles."""

    def __init__(self) -> None:
        self.states: dict[str, Any] = {}
        self.forgotten = 0  # calls with an unknown handle
        self.answer_of_forgotten: Callable[[list[int]], Reply] = unknown

    def __call__(self, payload: dict[str, Any]) -> Any:
        handles = payload["states"] or [None] * len(payload["shapes"])
        lost = [
            index
            for index, handle in enumerate(handles)
            if handle is not None and handle["handle"] not in self.states
        ]
        if lost:
            self.forgotten += 1
            return self.answer_of_forgotten(lost)
        known = [None if handle is None else self.states[handle["handle"]] for handle in handles]
        answer = behave({"shapes": payload["shapes"], "states": known})
        answer["states"] = [self._keep(state) for state in answer["states"]]
        return answer

    def _keep(self, state: Any) -> dict[str, str]:
        handle = f"h{len(self.states)}"
        self.states[handle] = state
        return {"handle": handle}


def unknown(objects: list[int]) -> Reply:
    text = f'{{"code": "state_unknown", "error": "evicted", "objects": {objects}}}'
    return Reply(410, text.encode())


@pytest.fixture
def memory(transactional_db: None, function: FunctionServer) -> Memory:
    """A tracker with handles, one frame in each call."""
    kept = Memory()
    function.behave = kept
    store_function(
        function.url, "tracker", kind="tracker", labels=[], supported_shape_types="rectangle"
    )
    return kept


@pytest.mark.parametrize(
    "reply",
    [
        unknown,
        lambda objects: Reply(410, b""),
        lambda objects: Reply(500, b'{"code": "state_unknown", "error": "evicted"}'),
    ],
)
def test_object_with_an_unknown_handle_is_started_anew_from_its_last_shape(
    memory: Memory,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    reply: Callable[[list[int]], Reply],
) -> None:
    memory.answer_of_forgotten = reply

    def restarts(payload: dict[str, Any]) -> Any:
        if frames_of(payload) == [3] and not memory.forgotten:
            memory.states.clear()
        return memory(payload)

    function.behave = restarts
    task = make_task(6)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    assert (request.status, request.done, memory.forgotten) == ("finished", 6, 1)
    assert paths(task.pk) == [[(0, 5, False), (5, 5 + 5 * STEP, False)]]
    # Frame 2 was sent again with the shape that the tracker had found there.
    assert function.seen == [0, 1, 2, 3, 2, 3, 4, 5]
    assert function.payloads[4]["shapes"] == [
        {"type": "rectangle", "points": [5 + 2 * STEP, 10, 11 + 2 * STEP, 14]}
    ]
    notes = Outcome.objects.get(request=request, frame=3).notes or {}
    note = notes["tracking_restarted"]
    assert note["count"] == 1
    assert "object 0" in note["reason"]
    assert "frame 2" in note["reason"]
    assert Outcome.objects.get(request=request, frame=3).attempts == 3


def test_only_the_objects_whose_handles_are_unknown_are_started_anew(
    memory: Memory, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    def evict_one(payload: dict[str, Any]) -> Any:
        if frames_of(payload) == [2] and not memory.forgotten:
            memory.states.pop(payload["states"][1]["handle"])
        return memory(payload)

    function.behave = evict_one
    task = make_task(4)
    tracking = follow(box(0, 5), box(0, 30))
    request = run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert (request.status, memory.forgotten) == ("finished", 1)
    assert len(function.payloads[3]["shapes"]) == 1
    assert paths(task.pk) == [
        [(0, 5, False), (3, 5 + 3 * STEP, False)],
        [(0, 30, False), (3, 30 + 3 * STEP, False)],
    ]


def test_function_that_knows_no_handle_fails_its_frames_with_this_reason(
    memory: Memory, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    def forget_all(payload: dict[str, Any]) -> Any:
        memory.states.clear()
        return memory(payload)

    function.behave = forget_all
    task = make_task(3)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    assert (request.done, request.failed) == (1, 2)
    codes = Outcome.objects.filter(request=request, status="failed").values_list("code", flat=True)
    assert set(codes) == {"state_unknown"}


def test_frame_fails_if_the_function_asks_for_a_shape_that_it_got(
    memory: Memory, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: Reply(410, b"")
    task = make_task(2)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    outcome = Outcome.objects.get(request=request, frame=0)
    assert (outcome.status, outcome.code) == ("failed", "function_answer_invalid")
    assert "function 'tracker', frame 0: it asks for a shape" in outcome.message
