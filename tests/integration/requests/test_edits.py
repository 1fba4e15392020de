"""Requests keep annotations that people edited after a function made them.

The standalone engine gives an edited annotation a new id. CVAT keeps the id: these tests edit rows
in place, as CVAT's update does.
"""

from __future__ import annotations

from typing import Any

import pytest

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.models import LabeledShape, LabeledTrack, Task, TrackedShape
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.control import transitions
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.run.lease import claim
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.store.models import MergedRectangle, Provenance

from .conftest import MakeTask, Start, run
from .function_server import FunctionServer, frame_of, rectangle_of

EDITS: list[dict[str, Any]] = [
    {"points": (50.0, 2.0, 60.0, 9.0)},
    {"source": "semi-auto"},
    {"occluded": True},
    {"z_order": 3},
    {"rotation": 10.0},
    {"group": 5},
    {"extra": '{"remark":"left"}'},  # a member that only a newer client knows
]


def edit(task_id: int, frame: int, **values: Any) -> int:
    """Edit the only shape of a frame in place; return its id."""
    row = LabeledShape.objects.get(task_id=task_id, frame=frame)
    LabeledShape.objects.filter(pk=row.pk).update(**values)
    return int(row.pk)


def shape_ids(task_id: int, frame: int) -> set[int]:
    return set(
        LabeledShape.objects.filter(task_id=task_id, frame=frame).values_list("pk", flat=True)
    )


@pytest.mark.parametrize("values", EDITS, ids=lambda values: next(iter(values)))
def test_second_run_keeps_a_shape_that_was_edited_in_place(
    finder: Function, make_task: MakeTask, start: Start, values: dict[str, Any]
) -> None:
    task = make_task(3)
    run(start(task_id=task.pk))
    before = shape_ids(task.pk, 0)
    edited = edit(task.pk, 1, **values)
    run(start(task_id=task.pk))
    assert edited in shape_ids(task.pk, 1)
    assert len(shape_ids(task.pk, 1)) == 2  # the edited shape, and the one of the second run
    assert len(shape_ids(task.pk, 0)) == 1
    assert shape_ids(task.pk, 0) != before


@pytest.mark.parametrize("values", EDITS, ids=lambda values: next(iter(values)))
def test_undo_keeps_a_shape_that_was_edited_in_place(
    finder: Function, make_task: MakeTask, start: Start, values: dict[str, Any]
) -> None:
    task = make_task(3)
    request = run(start(task_id=task.pk))
    edited = edit(task.pk, 1, **values)
    assert undo_request(request) == 2
    assert [shape.id for shape in get_engine().annotations(task.pk).shapes] == [edited]
    assert not Provenance.objects.exists()


def test_replace_automatic_keeps_an_edited_shape_whose_source_is_still_auto(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2)
    run(start(task_id=task.pk))
    edited = edit(task.pk, 1, points=(50.0, 2.0, 60.0, 9.0))
    run(start(task_id=task.pk, replace="automatic"))
    assert edited in shape_ids(task.pk, 1)
    assert [len(shape_ids(task.pk, frame)) for frame in (0, 1)] == [1, 2]


def test_replace_all_removes_edited_shapes_too(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2)
    run(start(task_id=task.pk))
    edited = edit(task.pk, 1, points=(50.0, 2.0, 60.0, 9.0))
    run(start(task_id=task.pk, replace="all"))
    assert edited not in shape_ids(task.pk, 1)


def test_shape_without_a_stored_fingerprint_is_replaced_by_its_id(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    """Rows of old versions have no fingerprint."""
    task = make_task(2)
    run(start(task_id=task.pk))
    Provenance.objects.update(fingerprint=None)
    old = edit(task.pk, 1, points=(50.0, 2.0, 60.0, 9.0))
    run(start(task_id=task.pk))
    assert old not in shape_ids(task.pk, 1)


@pytest.fixture
def two_rectangles(matcher: Function, make_task: MakeTask) -> Task:
    """A task with a row of three equal rectangles at height 10, and another at height 30."""
    task: Task = make_task(3)
    label = get_engine().task(task.pk).labels[0].id or 0
    for frame in range(3):
        for top in (10.0, 30.0):
            LabeledShape.objects.create(
                task_id=task.pk,
                type="rectangle",
                frame=frame,
                label_id=label,
                points=(1.0, top, 9.0, top + 8),  # type: ignore[misc]  # packed by the field
                source="manual",
            )
    return task


def test_undo_of_reid_keeps_an_edited_track_and_does_not_restore_its_rectangles(
    two_rectangles: Task, start: Start
) -> None:
    task = two_rectangles
    request = run(start(function_id="matcher", task_id=task.pk))
    edited, other = LabeledTrack.objects.filter(task_id=task.pk).order_by("pk")
    TrackedShape.objects.filter(track=edited, frame=1).update(points=(2.0, 10.0, 9.0, 18.0))
    assert undo_request(request) == 1
    data = get_engine().annotations(task.pk)
    assert [track.id for track in data.tracks] == [edited.pk]
    (top,) = {shape.points[1] for shape in data.shapes}
    assert (top, len(data.shapes)) == (30.0, 3)
    assert other.pk != edited.pk
    assert not MergedRectangle.objects.exists()


def test_reid_does_not_merge_a_rectangle_that_is_edited_while_tracks_are_prepared(
    two_rectangles: Task, start: Start
) -> None:
    task = two_rectangles
    request = start(function_id="matcher", task_id=task.pk)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    loaded = load_run(lease)
    work = rq_tasks.work_of(loaded)
    rq_tasks.run_frames(loaded, work, CancelToken())
    work.prepare_finish(lambda: None)
    edited = LabeledShape.objects.filter(task_id=task.pk, frame=2).order_by("pk")[0]
    LabeledShape.objects.filter(pk=edited.pk).update(points=(2.0, 10.0, 9.0, 18.0))
    with get_engine().atomic():
        work.finish()
        transitions.finish_shard(lease)
    data = get_engine().annotations(task.pk)
    assert [shape.id for shape in data.shapes] == [edited.pk]
    assert sorted(max(key.frame for key in track.shapes) for track in data.tracks) == [2, 2]


def test_second_run_replaces_its_shapes_beside_an_edited_one_on_the_same_frame(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: [
        *rectangle_of(frame_of(payload)),
        *rectangle_of(frame_of(payload) + 20),
    ]
    task = make_task(1)
    run(start(task_id=task.pk))
    first = LabeledShape.objects.filter(task_id=task.pk).order_by("pk")[0]
    LabeledShape.objects.filter(pk=first.pk).update(occluded=True)
    run(start(task_id=task.pk))
    left = LabeledShape.objects.filter(task_id=task.pk).order_by("pk")
    assert [row.pk for row in left if row.occluded] == [first.pk]
    assert sorted(row.points[0] for row in left) == [0.0, 0.0, 20.0]
