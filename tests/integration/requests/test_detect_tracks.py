"""Detections of a request with ``output: tracks`` become tracks."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.models import Data
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.store.models import Provenance
from tests.http_server import Reply

from .conftest import MakeTask, Start, run, store_function
from .function_server import FunctionServer, frame_of


@pytest.fixture
def mover(transactional_db: None, function: FunctionServer) -> Function:
    """A detector of two cars that move apart. The second car is hidden on frames 4 and 5."""

    def behave(payload: dict[str, Any]) -> Any:
        number = frame_of(payload)
        cars = [(2 + number, 5)]
        if number not in (4, 5):
            cars.append((40 - number, 30))
        return [
            {
                "label": "car",
                "type": "rectangle",
                "points": [left, top, left + 12, top + 10],
                "confidence": 0.9,
            }
            for left, top in cars
        ]

    function.behave = behave
    return store_function(function.url, workers=1)


def tracks_of(task_id: int) -> list[list[tuple[int, float, bool]]]:
    found = get_engine().annotations(task_id).tracks
    return sorted(
        [(key.frame, key.points[0], key.outside) for key in track.shapes] for track in found
    )


def test_detections_before_and_after_a_gap_become_one_track(
    mover: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(9)
    request = run(start(task_id=task.pk, output="tracks"))
    assert (request.status, request.done, request.shapes) == ("finished", 9, 2)
    assert get_engine().annotations(task.pk).shapes == ()
    assert tracks_of(task.pk) == [
        [(0, 2, False), (8, 10, False)],
        [(0, 40, False), (8, 32, False)],  # interpolated over the gap
    ]
    assert set(Provenance.objects.values_list("kind", flat=True)) == {"track"}


def test_undo_removes_the_tracks_of_a_detector_request(
    mover: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    request = run(start(task_id=task.pk, output="tracks"))
    undo_request(request)
    data = get_engine().annotations(task.pk)
    assert (data.shapes, data.tracks) == ((), ())


def test_second_run_replaces_the_tracks_of_the_first(
    mover: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4)
    run(start(task_id=task.pk, output="tracks"))
    run(start(task_id=task.pk, output="tracks"))
    assert len(tracks_of(task.pk)) == 2


def test_track_ends_after_its_last_detection(
    mover: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(5)
    run(start(task_id=task.pk, output="tracks", frames=[(0, 2)]))
    assert [track[-1] for track in tracks_of(task.pk)] == [(3, 4, True), (3, 38, True)]


def test_track_of_detections_before_a_deleted_frame_ends_on_the_frame_after_it(
    mover: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6)
    Data.objects.filter(task=task).update(deleted_frames=[3])
    run(start(task_id=task.pk, output="tracks", frames=[(0, 2)]))
    assert [track[-1] for track in tracks_of(task.pk)] == [(4, 4, True), (4, 38, True)]


def test_single_detection_stays_a_shape(
    function: FunctionServer, transactional_db: None, make_task: MakeTask, start: Start
) -> None:
    item = {"label": "car", "type": "rectangle", "points": [1, 1, 9, 9], "confidence": 0.9}
    function.behave = lambda payload: [item] if frame_of(payload) == 1 else []
    store_function(function.url, workers=1)
    task = make_task(3)
    request = run(start(task_id=task.pk, output="tracks"))
    data = get_engine().annotations(task.pk)
    assert (len(data.shapes), len(data.tracks), request.shapes) == (1, 0, 1)


def test_failed_frame_is_interpolated_and_a_retry_adds_its_shapes(
    mover: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    behave = function.behave
    function.behave = lambda p: Reply(500, b"no") if frame_of(p) == 1 else behave(p)
    task = make_task(4)
    request = run(start(task_id=task.pk, output="tracks"))
    assert (request.failed, len(tracks_of(task.pk))) == (1, 2)
    function.behave = behave
    retry_request(request)
    run(request)
    # The tracks exist already, so the retry adds shapes.
    assert [shape.frame for shape in get_engine().annotations(task.pk).shapes] == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "videos"}, "output must be one of"),
        ({"output": "tracks", "shard_frames": 2}, "remove shard_frames"),
    ],
)
def test_unknown_value_of_output_is_refused(
    mover: Function, make_task: MakeTask, start: Start, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        start(task_id=make_task(2).pk, **options)


def test_output_of_a_reid_request_is_refused(
    matcher: Function, make_task: MakeTask, start: Start
) -> None:
    with pytest.raises(InvalidRequest, match="is not a detector"):
        start(function_id="matcher", task_id=make_task(2).pk, output="tracks")
