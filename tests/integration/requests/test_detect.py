"""A run of a detector: invocations, annotations, outcomes and counts."""

from __future__ import annotations

import base64
import io
import threading
from typing import Any

import pytest
from django.db import connection
from PIL import Image
from pytest_django import Settings

from cvat_lambda import signals
from cvat_lambda.annotations.types import LabeledData, Tag, Track, TrackedShape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone.models import Data, Job
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway import concurrency
from cvat_lambda.requests.store.models import FrameStatus, Outcome, Provenance
from tests.http_server import Reply

from .conftest import MakeTask, Start, run, store_function
from .function_server import FunctionServer, frame_of, rectangle_of


def test_each_frame_is_invoked_once_and_its_shapes_are_written(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(7)
    request = run(start(task_id=task.pk))
    assert (request.status, request.error_message) == ("finished", "")
    assert (request.total, request.done, request.failed, request.skipped) == (7, 7, 0, 0)
    assert request.shapes == 7
    assert sorted(function.seen) == list(range(7))
    shapes = get_engine().annotations(task.pk).shapes
    assert sorted(
        (shape.frame, shape.points[0], shape.source, shape.score) for shape in shapes
    ) == [(frame, float(frame), "auto", 0.75) for frame in range(7)]
    outcomes = Outcome.objects.filter(request=request)
    assert [(row.frame, row.status, row.attempts) for row in outcomes] == [
        (frame, FrameStatus.DONE, 1) for frame in range(7)
    ]
    made = Provenance.objects.filter(request=request)
    assert {(row.frame, row.object_id, row.score) for row in made} == {
        (shape.frame, shape.id, 0.75) for shape in shapes
    }


def test_threshold_of_zero_is_sent_to_the_function_of_a_request(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(1)
    run(start(task_id=task.pk, threshold=0.0))
    run(start(task_id=task.pk))
    assert function.payloads == [{"threshold": 0.0}, {}]


def test_invocations_in_flight_reach_the_concurrency_limit(
    transactional_db: None,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(concurrency, "ONE_WAITING_S", 3600.0)  # each function counts as fast
    monkeypatch.setattr(concurrency, "NONE_WAITING_S", 3600.0)
    store_function(function.url, workers=3)
    all_here = threading.Event()

    def wait_for_five(payload: dict[str, Any]) -> Any:
        if function.at_once == 5:
            all_here.set()
        if frame_of(payload) >= 3:  # as long as no answer is known, three invocations are sent
            all_here.wait(60)
        return []

    function.behave = wait_for_five
    request = run(start(task_id=make_task(20).pk))
    assert request.status == "finished"
    assert function.most_at_once == 5  # three workers, and two waiting invocations


def test_progress_counts_the_frames_of_this_request_only(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(10, segment_size=5)
    second = Job.objects.filter(segment__task=task).order_by("segment__start_frame")[1]
    request = run(start(job_id=second.pk))
    assert (request.total, request.done) == (5, 5)
    assert (request.task_id, request.job_id) == (task.pk, second.pk)
    shapes = get_engine().annotations(task.pk).shapes
    assert sorted(shape.frame for shape in shapes) == [5, 6, 7, 8, 9]


def test_frames_are_written_in_batches_during_the_run(
    finder: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    """Bug in CVAT: it saved at frames 0, 100, 200, ... only, and kept all others in memory."""
    settings.CVAT_LAMBDA_BATCH_FRAMES = 2
    settings.CVAT_LAMBDA_BATCH_S = 60.0  # batches are limited by their number of frames only
    stored: list[tuple[int, int, int]] = []  # after each write: frames, outcomes, shapes

    def look(*, frames: tuple[int, ...], **_: Any) -> None:
        shapes = len(get_engine().annotations(task.pk).shapes)
        stored.append((len(frames), Outcome.objects.count(), shapes))

    task = make_task(12)
    request = start(task_id=task.pk, frames=[[3, 7], [9, 10]])
    signals.frames_written.connect(look)
    try:
        run(request)
    finally:
        signals.frames_written.disconnect(look)
    assert stored == [(2, 2, 2), (2, 4, 4), (2, 6, 6), (1, 7, 7)]
    assert sorted(function.seen) == [3, 4, 5, 6, 7, 9, 10]


def test_deleted_frames_are_skipped_with_a_reason(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(5)
    Data.objects.filter(task=task).update(deleted_frames=[1, 4])
    request = run(start(task_id=task.pk))
    assert (request.total, request.done, request.skipped) == (5, 3, 2)
    skipped = Outcome.objects.filter(request=request, status="skipped")
    assert [(row.frame, row.code) for row in skipped] == [(1, "deleted"), (4, "deleted")]
    assert sorted(function.seen) == [0, 2, 3]


def test_only_unannotated_skips_annotated_frames(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4)
    run(start(task_id=task.pk, frames=[[1, 2]]))
    function.seen.clear()
    request = run(start(task_id=task.pk, only_unannotated=True))
    assert sorted(function.seen) == [0, 3]
    assert (request.done, request.skipped) == (2, 2)
    assert len(get_engine().annotations(task.pk).shapes) == 4


def test_only_unannotated_skips_a_frame_that_is_annotated_during_the_run(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(5)
    engine = get_engine()
    label = engine.task(task.pk).labels[0].id or 0
    keys = (
        TrackedShape(type="rectangle", frame=2, points=(1, 1, 5, 5)),
        TrackedShape(type="rectangle", frame=4, points=(1, 1, 5, 5), outside=True),
    )
    drawn = {
        1: LabeledData(tags=(Tag(frame=1, label_id=label, source="manual"),)),
        2: LabeledData(tracks=(Track(frame=2, label_id=label, shapes=keys, source="manual"),)),
    }

    def behave(payload: dict[str, Any]) -> Any:
        frame = frame_of(payload)
        if frame in drawn:
            with engine.atomic():
                engine.apply(Change(task_id=task.pk, frames=(frame,), add=drawn[frame]))
            connection.close()
        return rectangle_of(frame)

    function.behave = behave
    request = run(start(task_id=task.pk, only_unannotated=True))
    assert (request.status, request.done, request.skipped) == ("finished", 3, 2)
    assert request.shapes == 3
    skipped = Outcome.objects.filter(request=request, status="skipped")
    assert [(row.frame, row.code) for row in skipped] == [(1, "annotated"), (2, "annotated")]
    shapes = engine.annotations(task.pk).shapes
    assert sorted(shape.frame for shape in shapes) == [0, 3, 4]


def test_a_request_without_frames_to_run_finishes(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2)
    Data.objects.filter(task=task).update(deleted_frames=[0, 1])
    request = run(start(task_id=task.pk))
    assert (request.status, request.skipped, function.seen) == ("finished", 2, [])


def test_several_shards_write_the_same_annotations_as_one(
    finder: Function, make_task: MakeTask, start: Start, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_SHARD_FRAMES = 4
    task = make_task(10)
    request = start(task_id=task.pk)
    assert [shard.frames for shard in request.shards.all()] == [[[0, 2]], [[3, 5]], [[6, 9]]]
    run(request)
    assert (request.status, request.done, request.total) == ("finished", 10, 10)
    assert len(get_engine().annotations(task.pk).shapes) == 10


def test_function_that_accepts_several_images_gets_them_in_one_invocation(
    transactional_db: None, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    store_function(function.url, max_batch="4")
    sizes: list[int] = []

    def behave(payload: dict[str, Any]) -> Any:
        images = payload.get("images") or [payload["image"]]
        sizes.append(len(images))
        numbers = [frame_of({"image": image}) for image in images]
        answers = [
            {"error": "too dark"} if number == 5 else rectangle_of(number) for number in numbers
        ]
        return {"results": answers} if "images" in payload else answers[0]

    function.behave = behave
    task = make_task(9)
    request = run(start(task_id=task.pk, max_failure_rate=1.0))
    assert sorted(sizes) == [1, 4, 4]
    assert (request.status, request.done, request.failed) == ("finished", 8, 1)
    failed = Outcome.objects.get(request=request, status="failed")
    assert (failed.frame, failed.message) == (5, "function 'finder' failed: too dark")


def test_failed_group_of_frames_is_invoked_frame_by_frame(
    transactional_db: None, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    store_function(function.url, max_batch="4")

    def behave(payload: dict[str, Any]) -> Any:
        if "images" in payload or frame_of(payload) == 2:
            return Reply(status=500, body=b'Exception caught in handler - "no"')
        return rectangle_of(frame_of(payload))

    function.behave = behave
    request = run(start(task_id=make_task(4).pk, max_failure_rate=1.0))
    assert (request.done, request.failed) == (3, 1)


def test_sixteen_frames_of_another_size_are_each_clipped_to_their_image(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: [
        {"label": "car", "type": "rectangle", "points": [-20, -20, 900, 900]}
    ]
    task = make_task(16)
    run(start(task_id=task.pk))
    points = {shape.points for shape in get_engine().annotations(task.pk).shapes}
    assert points == {(0.0, 0.0, 64.0, 48.0)}


def test_function_with_an_image_limit_gets_small_images_and_its_results_are_scaled(
    transactional_db: None, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    store_function(function.url, max_image_side="32")
    sizes: list[tuple[int, int]] = []

    def behave(payload: dict[str, Any]) -> Any:
        sizes.append(Image.open(io.BytesIO(base64.b64decode(payload["image"]))).size)
        return [{"label": "car", "type": "rectangle", "points": [4, 4, 16, 12]}]

    function.behave = behave
    task = make_task(1)  # 64 x 48
    run(start(task_id=task.pk))
    assert sizes == [(32, 24)]
    assert get_engine().annotations(task.pk).shapes[0].points == (8, 8, 32, 24)
