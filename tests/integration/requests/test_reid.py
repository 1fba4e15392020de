"""A run of a ReID function merges rectangles into tracks and keeps people's edits."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from cvat_lambda.annotations.types import LabeledData, Shape, Track
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change, Removal
from cvat_lambda.engine.standalone.models import Data
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.control import transitions
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.control.undo import remove_added, undo_request
from cvat_lambda.requests.run.lease import claim
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.store.models import Outcome, Provenance
from tests.http_server import Reply

from .conftest import MakeTask, Start, run, store_function
from .function_server import FunctionServer


def draw(task_id: int, boxes: dict[int, list[int]], **more: Any) -> None:
    """Add rectangles at the given heights to each frame."""
    label = get_engine().task(task_id).labels[0].id or 0
    shapes = tuple(
        Shape(
            type="rectangle",
            frame=frame,
            label_id=label,
            points=(frame, height, frame + 5, height + 4),
            source="manual",
            **more,
        )
        for frame, heights in boxes.items()
        for height in heights
    )
    with get_engine().atomic():
        change = Change(task_id=task_id, frames=tuple(boxes), add=LabeledData(shapes=shapes))
        get_engine().apply(change)


def paths(task_id: int) -> list[list[tuple[int, float, bool]]]:
    """Return the keyframes of each track as frame, height and outside."""
    found: tuple[Track, ...] = get_engine().annotations(task_id).tracks
    return sorted(
        [(key.frame, key.points[1], key.outside) for key in track.shapes] for track in found
    )


def lone(task_id: int) -> list[tuple[int, float]]:
    """Return frame and height of each rectangle that is not in a track."""
    shapes = get_engine().annotations(task_id).shapes
    return sorted((shape.frame, shape.points[1]) for shape in shapes)


def test_reid_merges_rectangles_into_tracks_and_keeps_single_ones(
    matcher: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4)
    draw(task.pk, {0: [10, 20], 1: [10], 2: [10, 30], 3: []})
    request = run(start(function_id="matcher", task_id=task.pk, threshold=0.5, max_distance=9))
    assert (request.status, request.done, request.shapes) == ("finished", 4, 1)
    assert paths(task.pk) == [[(0, 10, False), (1, 10, False), (2, 10, False), (3, 10, True)]]
    assert lone(task.pk) == [(0, 20.0), (2, 30.0)]
    assert sorted(function.seen) == [0, 1]  # frame 3 has no boxes, so the function is not invoked
    assert function.payloads[0]["threshold"] == 0.5
    assert function.payloads[0]["max_distance"] == 9
    assert Provenance.objects.filter(request=request, kind="track").count() == 1


def test_reid_tracks_continue_across_deleted_frames(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    draw(task.pk, {0: [10], 1: [10], 2: [10]})
    Data.objects.filter(task=task).update(deleted_frames=[1])
    request = run(start(function_id="matcher", task_id=task.pk))
    assert (request.done, request.skipped) == (2, 1)
    assert paths(task.pk) == [[(0, 10, False), (2, 10, False)]]


@pytest.mark.parametrize("looked", [False, True])
def test_reid_keeps_rectangles_that_were_edited_during_the_run(
    matcher: Function, make_task: MakeTask, start: Start, looked: bool
) -> None:
    task = make_task(4)
    draw(task.pk, {0: [10, 20], 1: [10, 20], 2: [10, 20], 3: [10, 20]})
    request = start(function_id="matcher", task_id=task.pk)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    loaded = load_run(lease)
    work = rq_tasks.work_of(loaded)
    rq_tasks.run_frames(loaded, work, CancelToken())
    if looked:
        work.prepare_finish(lambda: None)
    # During the run a user deleted a box of the second track and drew another one.
    gone = [
        shape.id
        for shape in get_engine().annotations(task.pk).shapes
        if shape.frame == 2 and shape.points[1] == 20
    ]
    with get_engine().atomic():
        removal = Removal(policy="ids", shape_ids=[number for number in gone if number])
        get_engine().apply(Change(task_id=task.pk, frames=(2,), remove=removal))
    draw(task.pk, {2: [33]})
    with get_engine().atomic():
        work.finish()
        transitions.finish_shard(lease)
    assert paths(task.pk) == [
        [(0, 10, False), (1, 10, False), (2, 10, False), (3, 10, False)],
        [(0, 20, False), (1, 20, False), (2, 20, True)],
    ]
    assert lone(task.pk) == [(2, 33.0), (3, 20.0)]


def test_failed_pair_ends_its_tracks_and_a_retry_keeps_them(
    matcher: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4)
    draw(task.pk, {0: [10], 1: [10], 2: [10], 3: [10]})
    good = function.behave
    function.behave = lambda payload: (
        Reply(status=500, body=b'Exception caught in handler - "no"')
        if payload["boxes0"][0]["frame"] == 1
        else good(payload)
    )
    request = run(start(function_id="matcher", task_id=task.pk))
    assert (request.status, request.done, request.failed) == ("finished", 3, 1)
    parts = [
        [(0, 10, False), (1, 10, False), (2, 10, True)],
        [(2, 10, False), (3, 10, False)],
    ]
    assert paths(task.pk) == parts
    function.behave = good
    request = run(retry_request(request))
    assert (request.status, request.done, request.failed) == ("finished", 4, 0)
    assert paths(task.pk) == parts
    undo_request(request)
    request = run(start(function_id="matcher", task_id=task.pk))
    assert paths(task.pk) == [[(frame, 10, False) for frame in range(4)]]


def test_undo_of_reid_restores_the_rectangles(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    draw(task.pk, {0: [10, 20], 1: [10], 2: [10]})
    before = lone(task.pk)
    request = run(start(function_id="matcher", task_id=task.pk))
    assert lone(task.pk) == [(0, 20.0)]
    undo_request(request)
    assert (paths(task.pk), lone(task.pk)) == ([], before)
    sources = {shape.source for shape in get_engine().annotations(task.pk).shapes}
    assert sources == {"manual"}
    undo_request(request)
    assert lone(task.pk) == before


def test_undo_of_reid_after_a_retry_restores_the_rectangles_of_every_run(
    matcher: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4)
    draw(task.pk, {0: [10], 1: [10, 20], 2: [20, 30], 3: [30]})
    before = lone(task.pk)
    good = function.behave
    function.behave = lambda payload: (
        Reply(status=500, body=b'Exception caught in handler - "no"')
        if payload["boxes0"][0]["frame"] == 1
        else good(payload)
    )
    request = run(start(function_id="matcher", task_id=task.pk))
    assert (request.failed, lone(task.pk)) == (1, [(1, 20.0), (2, 20.0)])
    function.behave = good
    request = run(retry_request(request))
    assert (request.status, request.shapes, lone(task.pk)) == ("finished", 3, [])
    undo_request(request)
    assert (paths(task.pk), lone(task.pk)) == ([], before)
    undo_request(request)
    assert lone(task.pk) == before


def detected(payload: dict[str, Any]) -> Any:
    """Return one car at the same height on every frame, as a detector."""
    return [{"label": "car", "type": "rectangle", "points": [1, 10, 40, 40], "confidence": 0.5}]


@pytest.fixture
def detector_and_matcher(matcher: Function, function: FunctionServer) -> None:
    """A detector and a ReID function. Rectangles at the same height match."""
    matching = function.behave
    store_function(function.url)
    function.behave = lambda payload: (
        matching(payload) if "boxes0" in payload else detected(payload)
    )


def test_restored_rectangles_have_the_provenance_of_their_detector_request(
    detector_and_matcher: None, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    made = run(start(task_id=task.pk))
    joining = run(start(function_id="matcher", task_id=task.pk))
    assert (len(paths(task.pk)), lone(task.pk)) == (1, [])
    undo_request(joining)
    assert len(lone(task.pk)) == 3
    rows = Provenance.objects.filter(request=made, kind="shape")
    ids = {shape.id for shape in get_engine().annotations(task.pk).shapes}
    assert set(rows.values_list("object_id", flat=True)) == ids
    run(start(task_id=task.pk, replace="function"))
    assert len(lone(task.pk)) == 3


def test_undo_of_reid_does_not_restore_rectangles_of_an_undone_request(
    detector_and_matcher: None, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    made = run(start(task_id=task.pk))
    joining = run(start(function_id="matcher", task_id=task.pk))
    undo_request(made)
    undo_request(joining)
    assert (paths(task.pk), lone(task.pk)) == ([], [])
    assert not Provenance.objects.exists()


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ("none", [(0, 10.0), (0, 30.0), (1, 10.0), (1, 30.0)]),
        ("all", []),
        ("automatic", [(0, 30.0), (1, 30.0)]),
        ("function", [(0, 30.0), (1, 30.0)]),
    ],
)
def test_undo_of_reid_does_not_restore_rectangles_that_were_replaced(
    detector_and_matcher: None, make_task: MakeTask, start: Start, policy: str, kept: list[Any]
) -> None:
    task = make_task(2)
    draw(task.pk, {0: [30], 1: [30]})
    run(start(task_id=task.pk))
    joining = run(start(function_id="matcher", task_id=task.pk))
    assert (len(paths(task.pk)), lone(task.pk)) == (2, [])
    again = run(start(task_id=task.pk, replace=policy))
    undo_request(joining)
    assert lone(task.pk) == sorted([*kept, (0, 10.0), (1, 10.0)])
    undo_request(again)
    assert lone(task.pk) == kept


def test_two_concurrent_undos_restore_each_rectangle_once(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    draw(task.pk, {0: [10, 20], 1: [10], 2: [10]})
    before = lone(task.pk)
    request = run(start(function_id="matcher", task_id=task.pk))
    both = threading.Barrier(2)

    def undo() -> None:
        both.wait()
        try:
            remove_added(request.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=undo) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (paths(task.pk), lone(task.pk)) == ([], before)


def test_tracks_do_not_cross_jobs_without_shared_frames(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4, segment_size=2)
    draw(task.pk, {0: [10], 1: [10], 2: [10], 3: [10]})
    request = start(function_id="matcher", task_id=task.pk)
    assert request.shards.count() == 2
    run(request)
    assert paths(task.pk) == [
        [(0, 10, False), (1, 10, False)],
        [(2, 10, False), (3, 10, False)],
    ]


@pytest.mark.parametrize(("segment_size", "overlap"), [(3, 1), (4, 2)])
@pytest.mark.parametrize("named", ["task", "jobs"])
def test_overlapping_jobs_get_one_track_over_their_frames_without_remaining_rectangles(
    matcher: Function,
    make_task: MakeTask,
    start: Start,
    segment_size: int,
    overlap: int,
    named: str,
) -> None:
    """The first of the two jobs used to take all rectangles on a shared frame."""
    task = make_task(8, segment_size=segment_size, overlap=overlap)
    draw(task.pk, {frame: [10] for frame in range(8)})
    jobs = [job.id for job in get_engine().task(task.pk).jobs]
    options = {"task_id": task.pk} if named == "task" else {"job_ids": jobs}
    request = run(start(function_id="matcher", **options))
    assert (request.status, request.done) == ("finished", 8)
    assert paths(task.pk) == [[(frame, 10, False) for frame in range(8)]]
    assert lone(task.pk) == []
    undo_request(request)
    assert (paths(task.pk), lone(task.pk)) == ([], [(frame, 10.0) for frame in range(8)])


def test_tracks_on_selected_frames_of_overlapping_jobs_end_after_these_frames(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(8, segment_size=4, overlap=2)
    draw(task.pk, {frame: [10] for frame in range(8)})
    run(start(function_id="matcher", task_id=task.pk, frames=[[1, 4]]))
    assert paths(task.pk) == [[*((frame, 10, False) for frame in range(1, 5)), (5, 10, True)]]
    assert lone(task.pk) == [(frame, 10.0) for frame in (0, 5, 6, 7)]


def test_tracks_on_a_range_of_frames_end_after_the_range(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    """The tracks had no end, so that the objects were shown on all later frames."""
    task = make_task(6)
    draw(task.pk, {frame: [10] for frame in range(6)})
    run(start(function_id="matcher", task_id=task.pk, frames=[[1, 2]]))
    assert paths(task.pk) == [[(1, 10, False), (2, 10, False), (3, 10, True)]]
    assert lone(task.pk) == [(0, 10), (3, 10), (4, 10), (5, 10)]


def test_request_on_a_task_of_deleted_frames_finishes_without_done_frames(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2)
    Data.objects.filter(task=task).update(deleted_frames=[0, 1])
    request = run(start(function_id="matcher", task_id=task.pk))
    assert (request.status, request.done, request.skipped) == ("finished", 0, 2)


def test_answer_that_matches_a_box_twice_fails_its_frame(
    matcher: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: [0, 0]
    task = make_task(2)
    draw(task.pk, {0: [10, 20], 1: [10, 20]})
    request = run(start(function_id="matcher", task_id=task.pk))
    row = Outcome.objects.get(request=request, status="failed")
    assert (row.frame, row.code) == (0, "function_answer_invalid")
    assert len(lone(task.pk)) == 4


def test_reid_request_with_a_replacement_policy_is_refused(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    with pytest.raises(InvalidRequest, match="joins the rectangles"):
        start(function_id="matcher", task_id=make_task(1).pk, cleanup=True)
