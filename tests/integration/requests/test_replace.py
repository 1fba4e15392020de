"""What a request replaces and keeps, and what an undo removes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from cvat_lambda.annotations.types import LabeledData, Shape, Track, TrackedShape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone.editing import Editor
from cvat_lambda.engine.standalone.tasks import create_ground_truth_job
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.models import Function
from cvat_lambda.requests import rq_tasks as jobs
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import Provenance
from tests.http_server import Reply

from .conftest import MakeTask, Start, run, store_function
from .function_server import FunctionServer, frame_of, rectangle_of


def add(task_id: int, data: LabeledData) -> None:
    """Add annotations that no request made."""
    frames = tuple(range(get_engine().task(task_id).size))
    with get_engine().atomic():
        get_engine().apply(Change(task_id=task_id, frames=frames, add=data))


def box(task_id: int, frame: int, source: Any) -> LabeledData:
    """Return a rectangle on a frame."""
    label = get_engine().task(task_id).labels[0].id or 0
    shape = Shape(
        type="rectangle", frame=frame, label_id=label, points=(30, 30, 40, 40), source=source
    )
    return LabeledData(shapes=(shape,))


def track(task_id: int, first: int, last: int, source: Any = "auto") -> LabeledData:
    """Return a track that is visible from frame `first` until before frame `last`."""
    label = get_engine().task(task_id).labels[0].id or 0
    keys = (
        TrackedShape(type="rectangle", frame=first, points=(1, 1, 5, 5)),
        TrackedShape(type="rectangle", frame=last, points=(1, 1, 5, 5), outside=True),
    )
    made = Track(frame=first, label_id=label, shapes=keys, source=source)
    return LabeledData(tracks=(made,))


def add_manual_and_automatic_shapes(task_id: int) -> None:
    """Add a manual and an automatic shape to each of the frames 0, 1 and 2."""
    for frame in range(3):
        add(task_id, box(task_id, frame, "manual") + box(task_id, frame, "auto"))


def sources(task_id: int) -> list[tuple[int, str, float]]:
    """Return frame, source and left edge of each shape."""
    shapes = get_engine().annotations(task_id).shapes
    return sorted((shape.frame, shape.source, shape.points[0]) for shape in shapes)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, ["auto", "manual"]),
        ({"replace": "none"}, ["auto", "manual"]),
        ({"replace": "all"}, []),
        ({"cleanup": True}, []),
        ({"replace": "automatic"}, ["manual"]),
        ({"replace": "function"}, ["auto", "manual"]),  # this function made none of them
    ],
)
def test_replacement_policy_decides_which_shapes_are_removed(
    finder: Function, make_task: MakeTask, start: Start, options: dict[str, Any], kept: list[str]
) -> None:
    task = make_task(3)
    add_manual_and_automatic_shapes(task.pk)
    run(start(task_id=task.pk, **options))
    wanted = [(frame, source, 30.0) for frame in range(3) for source in kept]
    wanted += [(frame, "auto", float(frame)) for frame in range(3)]
    assert sources(task.pk) == sorted(wanted)


@pytest.mark.parametrize("options", [{}, {"cleanup": False}, {"replace": "function"}])
def test_second_run_replaces_shapes_without_duplicates(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    options: dict[str, Any],
) -> None:
    """Bug in CVAT: a second run made 1200 of 600 shapes. Its page sends ``cleanup: false``."""
    task = make_task(4)
    store_function(function.url, "other")
    run(start(task_id=task.pk, **options))
    run(start(task_id=task.pk, function_id="other", **options))
    run(start(task_id=task.pk, **options))
    # Shapes of the other function are kept beside the new ones.
    assert len(sources(task.pk)) == 8
    assert Provenance.objects.filter(request__function_id="finder").count() == 4


def test_second_run_with_replace_none_adds_its_shapes(
    finder: Function, make_task: MakeTask, start: Start, settings: Settings
) -> None:
    task = make_task(2)
    run(start(task_id=task.pk))
    run(start(task_id=task.pk, replace="none"))
    assert len(sources(task.pk)) == 4
    settings.CVAT_LAMBDA_DEFAULT_REPLACE = "none"
    run(start(task_id=task.pk, cleanup=False))
    assert len(sources(task.pk)) == 6


def test_second_run_keeps_a_shape_that_a_user_moved(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    run(start(task_id=task.pk))
    editor = Editor(task, None, user_id=None)
    (changed,) = (shape for shape in editor.read().shapes if shape.frame == 1)
    editor.update(LabeledData(shapes=(replace(changed, points=(5.0, 6.0, 7.0, 8.0)),)))
    run(start(task_id=task.pk))
    assert sources(task.pk) == [
        (0, "auto", 0.0),
        (1, "auto", 1.0),
        (1, "auto", 5.0),  # a moved shape counts as the user's
        (2, "auto", 2.0),
    ]


def test_second_run_replaces_the_shapes_of_the_first(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    run(start(task_id=task.pk))
    function.behave = lambda payload: (
        [] if frame_of(payload) == 1 else rectangle_of(frame_of(payload) + 10)
    )
    run(start(task_id=task.pk))
    assert sources(task.pk) == [(0, "auto", 10.0), (2, "auto", 12.0)]


def test_run_replaces_only_older_shapes_on_its_own_frames(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4)
    run(start(task_id=task.pk, frames=[[0, 1]]))
    run(start(task_id=task.pk))
    assert [frame for frame, _, _ in sources(task.pk)] == [0, 1, 2, 3]


def test_reid_ignores_the_default_replacement_policy(
    function: FunctionServer, transactional_db: None, make_task: MakeTask, start: Start
) -> None:
    store_function(function.url, kind="reid", labels=[])
    assert start(task_id=make_task(2).pk, cleanup=False).params["replace"] == "none"


def test_failed_frames_keep_their_annotations(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    add_manual_and_automatic_shapes(task.pk)
    function.behave = lambda payload: (
        Reply(status=500, body=b'Exception caught in handler - "no"')
        if frame_of(payload) == 1
        else rectangle_of(frame_of(payload))
    )
    run(start(task_id=task.pk, replace="all"))
    assert sources(task.pk) == [
        (0, "auto", 0.0),
        (1, "auto", 30.0),
        (1, "manual", 30.0),
        (2, "auto", 2.0),
    ]


def test_frames_outside_the_scope_are_not_touched(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    add_manual_and_automatic_shapes(task.pk)
    run(start(task_id=task.pk, replace="all", frames=[[1, 1]]))
    assert [frame for frame, _, left in sources(task.pk) if left == 30.0] == [0, 0, 2, 2]


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        ("none", ["inside, auto", "inside, manual", "reaches out"]),
        ("all", ["reaches out"]),
        ("automatic", ["inside, manual", "reaches out"]),
        ("function", ["inside, auto", "inside, manual", "reaches out"]),
    ],
)
def test_replacement_policy_decides_which_tracks_are_removed(
    finder: Function, make_task: MakeTask, start: Start, policy: str, left: list[str]
) -> None:
    task = make_task(8)
    add(task.pk, track(task.pk, 1, 3) + track(task.pk, 2, 4, "manual") + track(task.pk, 3, 7))
    run(start(task_id=task.pk, frames=[[0, 5]], replace=policy))
    names = {1: "inside, auto", 2: "inside, manual", 3: "reaches out"}
    tracks = get_engine().annotations(task.pk).tracks
    assert sorted(names[found.frame] for found in tracks) == left


def test_replace_keeps_a_track_drawn_during_the_run(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_BATCH_FRAMES = 1
    task = make_task(6)
    add(task.pk, track(task.pk, 0, 3, "manual"))

    def behave(payload: dict[str, Any]) -> Any:
        if frame_of(payload) == 5:
            add(task.pk, track(task.pk, 1, 3, "manual"))
            connection.close()  # of this thread of the server
        return rectangle_of(frame_of(payload))

    function.behave = behave
    assert run(start(task_id=task.pk, replace="all")).status == "finished"
    assert [found.frame for found in get_engine().annotations(task.pk).tracks] == [1]


def test_retry_keeps_a_track_drawn_after_the_first_run(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(8)
    add(task.pk, track(task.pk, 4, 7, "manual"))  # on the frame that failed in the first run
    function.behave = lambda payload: (
        Reply(status=500, body=b'Exception caught in handler - "no"')
        if frame_of(payload) == 5
        else rectangle_of(frame_of(payload))
    )
    request = run(start(task_id=task.pk, replace="all"))
    assert (request.status, request.failed) == ("finished", 1)
    add(task.pk, track(task.pk, 0, 3, "manual"))
    function.behave = lambda payload: rectangle_of(frame_of(payload))
    assert run(retry_request(request)).failed == 0
    assert [found.frame for found in get_engine().annotations(task.pk).tracks] == [0]


@pytest.mark.parametrize("shard_frames", [0, 3])
def test_shards_of_a_task_keep_tracks_drawn_after_the_first_shard_ran(
    finder: Function, make_task: MakeTask, start: Start, settings: Settings, shard_frames: int
) -> None:
    settings.CVAT_LAMBDA_SHARD_FRAMES = shard_frames
    task = make_task(6)
    add(task.pk, track(task.pk, 0, 5, "manual"))
    request = start(task_id=task.pk, replace="all")
    first, *others = request.shards.order_by("index")
    jobs.run_shard(first.pk)
    add(task.pk, track(task.pk, 1, 2, "manual"))  # on frames of the first shard
    for shard in others:
        jobs.run_shard(shard.pk)
    request.refresh_from_db()
    assert request.status == "finished"
    assert [found.frame for found in get_engine().annotations(task.pk).tracks] == [1]


def jobs_of(task: Any) -> list[int]:
    """Return the ids of a task's jobs in the order of their frames."""
    return [job.id for job in get_engine().task(task.pk).jobs]


@pytest.mark.parametrize("named", [[0, 1], [0, 1, 2]])
def test_replace_removes_tracks_on_frames_that_named_jobs_share(
    finder: Function, make_task: MakeTask, start: Start, named: list[int]
) -> None:
    """Shared frames have a shard of their own, so that no shard has all frames of a job."""
    task = make_task(14, segment_size=6, overlap=2)  # jobs on frames 0-5, 4-9 and 8-13
    add(task.pk, track(task.pk, 0, 6) + track(task.pk, 4, 5) + track(task.pk, 2, 7))
    add(task.pk, track(task.pk, 7, 13))  # the track continues in the third job
    jobs = jobs_of(task)
    request = run(start(job_ids=[jobs[number] for number in named], replace="all"))
    assert (request.status, request.done) == ("finished", 10 if len(named) == 2 else 14)
    left = [found.frame for found in get_engine().annotations(task.pk).tracks]
    assert left == ([7] if len(named) == 2 else [])


def test_replace_function_keeps_annotations_of_ground_truth_jobs(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    """A ground-truth job has its own annotations on frames of the task."""
    task = make_task(3)
    truth = create_ground_truth_job(task, [1, 2]).pk
    run(start(job_id=truth))
    before = get_engine().annotations(task.pk, job_id=truth)
    assert len(before.shapes) == 2
    run(start(task_id=task.pk, replace="function"))
    function.behave = lambda payload: rectangle_of(frame_of(payload) + 10)
    run(start(task_id=task.pk, replace="function"))
    assert get_engine().annotations(task.pk, job_id=truth) == before
    assert [left for _, _, left in sources(task.pk)] == [10.0, 11.0, 12.0]
    function.behave = lambda payload: rectangle_of(frame_of(payload) + 20)
    run(start(job_id=truth, replace="function"))
    there = get_engine().annotations(task.pk, job_id=truth).shapes
    assert sorted(shape.points[0] for shape in there) == [21.0, 22.0]
    assert [left for _, _, left in sources(task.pk)] == [10.0, 11.0, 12.0]


@pytest.mark.parametrize("policy", ["all", "automatic", "function"])
def test_replace_deletes_the_provenance_of_what_it_removes(
    finder: Function, make_task: MakeTask, start: Start, policy: str
) -> None:
    task = make_task(3)
    first = run(start(task_id=task.pk))
    for _ in range(2):
        last = run(start(task_id=task.pk, replace=policy))
    assert not Provenance.objects.filter(request=first).exists()
    ids = {shape.id for shape in get_engine().annotations(task.pk).shapes}
    rows = Provenance.objects.values_list("request_id", "object_id")
    assert set(rows) == {(last.pk, number) for number in ids}


def test_undo_removes_exactly_what_the_request_added(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    add_manual_and_automatic_shapes(task.pk)
    before = sources(task.pk)
    first = run(start(task_id=task.pk, replace="none"))
    second = run(start(task_id=task.pk, replace="none"))
    assert undo_request(first) == 3
    assert len(sources(task.pk)) == len(before) + 3
    assert undo_request(second) == 3
    assert sources(task.pk) == before
    assert undo_request(second) == 0


def test_cleanup_with_another_policy_is_refused(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    with pytest.raises(InvalidRequest, match="cleanup"):
        start(task_id=make_task(1).pk, cleanup=True, replace="function")
