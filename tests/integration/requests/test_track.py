"""Requests with a tracker: the run follows objects over frames and writes tracks."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from cvat_lambda.annotations.types import LabeledData, Shape, Source, Track
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone.models import Data
from cvat_lambda.errors import FrameOutOfScope, InvalidRequest
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import Outcome, Provenance, Request
from cvat_lambda.requests.store.tracking import StartFilter, StartShape, Tracking
from tests.http_server import Reply

from .conftest import MakeTask, Start, run, run_until_lost, store_function
from .function_server import FunctionServer

Path = list[tuple[int, float, bool]]  # a keyframe: frame, left edge, outside

STEP = 2.0  # pixels that an object moves per frame


def behave(payload: dict[str, Any]) -> Any:
    """Move each object by STEP per frame. The state is its last position."""
    shapes, states = [], []
    known = payload["states"] or [None] * len(payload["shapes"])
    for shape, state in zip(payload["shapes"], known, strict=True):
        left = shape["points"][0] if state is None else state["left"] + STEP
        top = shape["points"][1] if state is None else state["top"]
        shapes.append({"type": "rectangle", "points": [left, top, left + 6, top + 4]})
        states.append({"left": left, "top": top})
    return {"shapes": shapes, "states": states}


@pytest.fixture
def tracker(transactional_db: None, function: FunctionServer) -> Function:
    """A tracker of rectangles that move to the right."""
    function.behave = behave
    return store_function(
        function.url, "tracker", kind="tracker", labels=[], supported_shape_types="rectangle"
    )


def box(frame: int, left: float, top: float = 10, **fields: Any) -> StartShape:
    points = (left, top, left + 6, top + 4)
    return StartShape(frame=frame, label="car", type="rectangle", points=points, **fields)


def follow(*shapes: StartShape, **fields: Any) -> Tracking:
    return Tracking(shapes=shapes, **{"tolerance_px": 0.1, **fields})


def paths(task_id: int) -> list[Path]:
    found: tuple[Track, ...] = get_engine().annotations(task_id).tracks
    return sorted(
        [(key.frame, key.points[0], key.outside) for key in track.shapes] for track in found
    )


def draw(task_id: int, frame: int, left: float, *, source: Source = "manual") -> int:
    """Add a rectangle. Return its id."""
    label = get_engine().task(task_id).labels[0].id or 0
    shape = Shape(
        type="rectangle",
        frame=frame,
        label_id=label,
        points=(left, 10, left + 6, 14),
        source=source,
    )
    with get_engine().atomic():
        change = Change(task_id=task_id, frames=(frame,), add=LabeledData(shapes=(shape,)))
        return get_engine().apply(change).shape_ids[0][0]


def test_given_shape_is_followed_to_the_last_frame(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(8)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(2, 5))))
    assert (request.status, request.done, request.skipped, request.shapes) == ("finished", 6, 2, 1)
    assert paths(task.pk) == [
        [(2, 5, False), (7, 15, False)]
    ]  # the frames between are interpolated
    assert Provenance.objects.filter(request=request, kind="track").count() == 1


def test_objects_may_start_on_different_frames(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6)
    tracking = follow(box(1, 5), box(3, 20, top=30))
    run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert paths(task.pk) == [
        [(1, 5, False), (5, 13, False)],
        [(3, 20, False), (5, 24, False)],
    ]
    asked = [(len(p["shapes"]), p["states"]) for p in function.payloads]
    assert asked[0] == (1, [])
    assert asked[2] == (2, [{"left": 7.0, "top": 10.0}, None])


@pytest.mark.parametrize(
    ("direction", "path"),
    [
        ("forward", [(3, 5, False), (6, 11, False)]),
        # No frame after the start frame was tracked, so the track ends there.
        ("backward", [(0, 11, False), (3, 5, False), (4, 5, True)]),
        ("both", [(0, 11, False), (3, 5, False), (6, 11, False)]),
    ],
)
def test_direction_decides_which_frames_are_followed(
    tracker: Function, make_task: MakeTask, start: Start, direction: str, path: Path
) -> None:
    task = make_task(7)
    tracking = follow(box(3, 5), direction=direction)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert (request.status, request.done + request.skipped) == ("finished", 7)
    assert request.done == {"forward": 4, "backward": 4, "both": 7}[direction]
    assert paths(task.pk) == [path]


def test_annotations_of_the_start_frame_become_tracks_and_an_undo_restores_them(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(5)
    draw(task.pk, 0, 5)
    draw(task.pk, 3, 40)  # on another frame, so not selected
    tracking = Tracking(start=StartFilter(), tolerance_px=0.1)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert paths(task.pk) == [[(0, 5, False), (4, 13, False)]]
    assert [shape.frame for shape in get_engine().annotations(task.pk).shapes] == [3]
    undo_request(request)
    assert paths(task.pk) == []
    left = get_engine().annotations(task.pk).shapes
    assert sorted((shape.frame, shape.points[0], shape.source) for shape in left) == [
        (0, 5, "manual"),
        (3, 40, "manual"),
    ]


def test_start_filter_selects_shapes_by_id(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    draw(task.pk, 1, 5)
    wanted = draw(task.pk, 1, 30)
    tracking = Tracking(start=StartFilter(frame=1, ids=(wanted,)))
    run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert paths(task.pk) == [[(1, 30, False), (2, 32, False)]]


@pytest.mark.parametrize(
    ("stop", "path"),
    [
        (False, [(0, 5, False), (1, 7, False), (2, 7, True), (4, 13, False), (5, 15, False)]),
        (True, [(0, 5, False), (1, 7, False), (2, 7, True)]),
    ],
)
def test_lost_object_is_outside_until_it_is_found_again(
    tracker: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    stop: bool,
    path: Path,
) -> None:
    def lose(payload: dict[str, Any]) -> Any:
        answer = behave(payload)
        if answer["states"][0]["left"] in (9, 11):  # frames 2 and 3
            answer["shapes"] = [None]
        return answer

    function.behave = lose
    task = make_task(6)
    tracking = follow(box(0, 5), stop_when_lost=stop)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert paths(task.pk) == [path]
    assert (request.status, request.done) == ("finished", 6)
    assert len(function.payloads) == (3 if stop else 6)


def test_failed_frame_is_interpolated_and_not_run_again_by_a_retry(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    def fail_once(payload: dict[str, Any]) -> Any:
        if payload["states"] == [{"left": 7.0, "top": 10.0}] and not failed:
            failed.append(True)
            return Reply(500, b"no")
        return behave(payload)

    failed: list[bool] = []
    function.behave = fail_once
    task = make_task(5)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    assert (request.status, request.done, request.failed) == ("finished", 4, 1)
    # The state of frame 1 was used on frame 3.
    assert paths(task.pk) == [[(0, 5, False), (1, 7, False), (3, 9, False), (4, 11, False)]]
    retry_request(request)
    run(request)
    assert (request.status, request.failed, request.skipped) == ("finished", 0, 1)
    assert Outcome.objects.get(request=request, status="skipped").code == "passed"


def test_failed_start_frame_fails_the_request_and_writes_nothing(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: Reply(500, b"no")
    task = make_task(3)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    assert (request.status, request.failed) == ("failed", 3)
    messages = Outcome.objects.filter(request=request).values_list("message", flat=True)
    assert "could not start on frame 0" in messages[2]
    assert paths(task.pk) == []


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_resumed_run_writes_the_tracks_of_an_undisturbed_run(
    tracker: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
    direction: str,
) -> None:
    settings.CVAT_LAMBDA_BATCH_FRAMES = 2
    task = make_task(17)
    tracking = follow(box(8, 5), direction=direction, tolerance_px=0)
    undisturbed = run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    expected = paths(task.pk)
    undo_request(undisturbed)
    request = start(function_id="tracker", task_id=task.pk, tracking=tracking)
    for stop_after in (2, 3):  # number of invocations before the worker is lost
        run_until_lost(request, function, behave, invocations=stop_after)
    run(request)
    assert request.status == "finished"
    assert paths(task.pk) == expected


def test_deleted_frame_is_skipped_and_interpolated(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4)
    Data.objects.filter(task=task).update(deleted_frames=[1])
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    assert (request.done, request.skipped) == (3, 1)
    assert paths(task.pk) == [[(0, 5, False), (2, 7, False), (3, 9, False)]]


def test_track_that_ends_before_its_task_has_an_outside_keyframe(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6)
    options = {"task_id": task.pk, "frames": [(0, 2)], "tracking": follow(box(0, 5))}
    run(start(function_id="tracker", **options))
    assert paths(task.pk) == [[(0, 5, False), (2, 9, False), (3, 9, True)]]


def test_track_that_ends_before_a_deleted_frame_is_closed_on_the_frame_after_it(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    """CVAT ignores the keyframes of deleted frames: the track would be visible to the end."""
    task = make_task(6)
    Data.objects.filter(task=task).update(deleted_frames=[3])
    options = {"task_id": task.pk, "frames": [(0, 2)], "tracking": follow(box(0, 5))}
    run(start(function_id="tracker", **options))
    assert paths(task.pk) == [[(0, 5, False), (2, 9, False), (4, 9, True)]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tracking": None}, InvalidRequest, "name what to track"),
        ({"tracking": follow(box(7, 5))}, FrameOutOfScope, "frame 7 is not in the scope"),
        ({"tracking": follow(box(0, 500))}, InvalidRequest, "outside the image of 64 x 48"),
        (
            {
                "tracking": follow(
                    StartShape(frame=0, label="dog", type="rectangle", points=(1,) * 4)
                )
            },
            InvalidRequest,
            "no label 'dog'",
        ),
        (
            {"tracking": follow(StartShape(frame=0, label="car", type="points", points=(1, 1)))},
            InvalidRequest,
            "does not track points shapes",
        ),
        (
            {"tracking": follow(box(0, 5, attributes=((999, "red"),)))},
            InvalidRequest,
            "has no attribute 999",
        ),
        ({"tracking": Tracking(start=StartFilter())}, InvalidRequest, "nothing to track: frame 0"),
        ({"tracking": Tracking(start=StartFilter(frame=9))}, FrameOutOfScope, "not in the scope"),
        ({"replace": "all"}, InvalidRequest, "remove replace"),
        ({"threshold": 0.0}, InvalidRequest, "remove threshold"),
        ({"shard_frames": 2}, InvalidRequest, "remove shard_frames"),
    ],
    ids=[
        "no start shapes",
        "frame not in the scope",
        "shape outside the image",
        "unknown label",
        "type that is not tracked",
        "unknown attribute",
        "frame without annotations",
        "start frame not in the scope",
        "replace",
        "threshold",
        "shard_frames",
    ],
)
def test_invalid_tracking_request_is_refused_and_nothing_is_stored(
    tracker: Function,
    make_task: MakeTask,
    start: Start,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    task = make_task(4)
    with pytest.raises(error, match=message):
        start(
            **{"function_id": "tracker", "task_id": task.pk, "tracking": follow(box(0, 5))}
            | options
        )
    assert not Request.objects.exists()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"shapes": [], "states": []}, "1 was expected"),
        ({"shapes": [None] * 2, "states": [1] * 2}, "1 was expected"),
        ({"shapes": [None], "states": [1] * 2}, "1 was expected"),
        ({"shapes": [{"type": "mask", "points": [1]}], "states": [1]}, "not a shape type"),
        ("nonsense", "object"),
    ],
)
def test_invalid_answer_of_a_tracker_fails_its_frame_with_a_message(
    tracker: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    answer: object,
    message: str,
) -> None:
    function.behave = lambda payload: answer if payload["states"] else behave(payload)
    task = make_task(2)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    outcome = Outcome.objects.get(request=request, frame=1)
    assert (outcome.status, outcome.code) == ("failed", "function_answer_invalid")
    assert message in outcome.message


def test_state_above_the_limit_fails_its_frame(
    tracker: Function, make_task: MakeTask, start: Start, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_MAX_CHECKPOINT_BYTES = 10
    task = make_task(1)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5))))
    assert request.status == "failed"
    assert "MAX_CHECKPOINT_BYTES" in Outcome.objects.get(request=request).message


def test_detector_with_shapes_to_track_is_refused(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    with pytest.raises(InvalidRequest, match="is not a tracker"):
        start(task_id=make_task(1).pk, tracking=follow(box(0, 5)))
