"""Track requests that continue tracks, start with a detector, cross jobs, or return masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from cvat_lambda.annotations.rle import decode, encode
from cvat_lambda.annotations.types import LabeledData, Track, TrackedShape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone.access import StandaloneAccess
from cvat_lambda.engine.standalone.models import Data, LabeledTrack
from cvat_lambda.errors import InvalidMapping, InvalidRequest
from cvat_lambda.functions.models import Function
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.requests import rq_tasks
from cvat_lambda.requests.control.cancel import cancel_request
from cvat_lambda.requests.control.preview import preview_request
from cvat_lambda.requests.control.retry import retry_request
from cvat_lambda.requests.control.undo import undo_request
from cvat_lambda.requests.run.lease import claim
from cvat_lambda.requests.run.shard_context import load_run
from cvat_lambda.requests.store.models import Outcome, Request
from cvat_lambda.requests.store.tracking import Link, StartDetector, StartFilter, Tracking
from tests.http_server import Reply
from tests.waiting import wait_for

from .conftest import MakeTask, Start, run, store_function
from .function_server import FunctionServer, frame_of, function_server
from .test_track import STEP, behave, box, draw, follow, paths, tracker

__all__ = ["tracker"]  # a fixture


def draw_track(task_id: int, *keys: tuple[int, float, bool]) -> int:
    """Add a manual track of keyframes (frame, left edge, outside). Return its id."""
    label = get_engine().task(task_id).labels[0].id or 0
    track = Track(
        frame=keys[0][0],
        label_id=label,
        source="manual",
        shapes=tuple(
            TrackedShape(
                type="rectangle", frame=frame, points=(left, 10, left + 6, 14), outside=outside
            )
            for frame, left, outside in keys
        ),
    )
    with get_engine().atomic():
        change = Change(task_id=task_id, frames=(), add=LabeledData(tracks=(track,)))
        return get_engine().apply(change).track_ids[0][0]


def test_visible_track_of_the_start_frame_is_continued_and_an_undo_restores_it(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(8)
    before = draw_track(task.pk, (0, 1, False), (2, 5, False))
    draw_track(task.pk, (0, 40, False), (1, 40, True))  # not visible on the start frame
    tracking = Tracking(start=StartFilter(frame=2), tolerance_px=0.1)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert request.status == "finished"
    assert paths(task.pk) == [
        [(0, 1, False), (2, 5, False), (7, 5 + 5 * STEP, False)],
        [(0, 40, False), (1, 40, True)],
    ]
    continued = [t for t in get_engine().annotations(task.pk).tracks if len(t.shapes) == 3]
    assert continued[0].source == "semi-auto"
    undo_request(request)
    assert paths(task.pk) == [
        [(0, 1, False), (2, 5, False)],
        [(0, 40, False), (1, 40, True)],
    ]
    assert before not in {track.id for track in get_engine().annotations(task.pk).tracks}


def test_keyframes_of_a_continued_track_after_the_scope_are_kept(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(10)
    draw_track(task.pk, (0, 5, False), (3, 50, False), (8, 50, False))
    tracking = Tracking(start=StartFilter(), tolerance_px=0.1)
    run(start(function_id="tracker", task_id=task.pk, frames=[(0, 4)], tracking=tracking))
    assert paths(task.pk) == [
        [(0, 5, False), (4, 5 + 4 * STEP, False), (5, 50, False), (8, 50, False)]
    ]


def test_continued_track_is_back_in_its_place_on_the_first_frame_that_is_not_deleted(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(10)
    Data.objects.filter(task=task).update(deleted_frames=[5])
    draw_track(task.pk, (0, 5, False), (3, 50, False), (8, 50, False))
    tracking = Tracking(start=StartFilter(), tolerance_px=0.1)
    run(start(function_id="tracker", task_id=task.pk, frames=[(0, 4)], tracking=tracking))
    assert paths(task.pk) == [
        [(0, 5, False), (4, 5 + 4 * STEP, False), (6, 50, False), (8, 50, False)]
    ]


def test_start_filter_selects_tracks_by_id_and_source(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(4)
    wanted = draw_track(task.pk, (0, 5, False))
    draw_track(task.pk, (0, 30, False))
    draw(task.pk, 0, 50, source="file")  # in an empty database it has the id of a track
    tracking = Tracking(start=StartFilter(ids=(wanted,), sources=("manual",)), tolerance_px=0.1)
    run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert [path for path in paths(task.pk) if len(path) > 1] == [
        [(0, 5, False), (3, 5 + 3 * STEP, False)]
    ]


def test_track_that_a_person_edits_during_the_run_is_kept(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3)
    track_id = draw_track(task.pk, (0, 5, False))
    tracking = Tracking(start=StartFilter())
    request = start(function_id="tracker", task_id=task.pk, tracking=tracking)
    lease = claim(request.shards.get().pk)
    assert lease is not None
    loaded = load_run(lease)
    work = rq_tasks.work_of(loaded)
    rq_tasks.run_frames(loaded, work, CancelToken())
    work.prepare_finish(lambda: None)
    LabeledTrack.objects.filter(pk=track_id).update(group=3)  # a person edits it
    rq_tasks.finish(loaded, work)
    assert paths(task.pk) == [[(0, 5, False)], [(0, 5, False), (2, 5 + 2 * STEP, False)]]
    assert track_id in {track.id for track in get_engine().annotations(task.pk).tracks}


class Detections:
    """A detector whose cars are boxes at given left edges on given frames."""

    def __init__(self, cars: Callable[[int], list[float]]) -> None:
        self.cars = cars
        self.frames: list[int] = []
        self.payloads: list[dict[str, Any]] = []

    def __call__(self, payload: dict[str, Any]) -> Any:
        frame = frame_of(payload)
        self.frames.append(frame)
        self.payloads.append({k: v for k, v in payload.items() if k != "image"})
        return [
            {"label": "car", "type": "rectangle", "points": [left, 10, left + 6, 14]}
            for left in self.cars(frame)
        ]


DetectCars = Callable[[Callable[[int], list[float]]], Detections]


@pytest.fixture
def detector(transactional_db: None) -> Iterator[DetectCars]:
    """Return a function that stores a detector with the given behaviour."""
    with function_server() as server:
        store_function(server.url, "detector")

        def use(cars: Callable[[int], list[float]]) -> Detections:
            server.behave = detections = Detections(cars)
            return detections

        yield use


def detected(every: int = 3, **fields: Any) -> Tracking:
    start = StartDetector(detector="detector", every=every, threshold=0.25)
    return Tracking(start=start, tolerance_px=0.1, **fields)


def test_detector_starts_objects_on_every_kth_frame_and_the_tracker_follows_between(
    tracker: Function, detector: DetectCars, make_task: MakeTask, start: Start
) -> None:
    """A second car comes into view on frame 4; the detector sees it on frame 6."""
    detections = detector(lambda frame: [5 + STEP * frame, *([40] if frame >= 4 else [])])
    task = make_task(9)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=detected()))
    assert (request.status, request.done) == ("finished", 9)
    assert detections.frames == [0, 3, 6]
    assert detections.payloads[0] == {"threshold": 0.25}
    assert paths(task.pk) == [
        [(0, 5, False), (8, 5 + 8 * STEP, False)],
        [(6, 40, False), (8, 40 + 2 * STEP, False)],
    ]


def test_object_that_the_detector_misses_twice_ends_and_may_be_found_again(
    tracker: Function, detector: DetectCars, make_task: MakeTask, start: Start
) -> None:
    detector(lambda frame: [] if frame in (2, 4) else [5 + STEP * min(frame, 4)])
    task = make_task(8)
    run(start(function_id="tracker", task_id=task.pk, tracking=detected(every=2)))
    # It is closed where it was missed first. Frame 6 finds it near its last shape.
    assert len(paths(task.pk)) == 1
    assert [(frame, outside) for frame, _, outside in paths(task.pk)[0]] == [
        (0, False),
        (1, False),
        (2, True),
        (6, False),
        (7, False),
    ]


def test_tracker_that_drifts_is_corrected_by_the_detector(
    tracker: Function, detector: DetectCars, make_task: MakeTask, start: Start
) -> None:
    detector(lambda frame: [5 + (STEP - 1) * frame])  # the car is slower than the tracker says
    task = make_task(4)
    run(start(function_id="tracker", task_id=task.pk, tracking=detected(every=2)))
    lefts = {
        frame: (result or {})["objects"]["0"][1][0]
        for frame, result in Outcome.objects.values_list("frame", "result")
    }
    assert lefts == {0: 5, 1: 7, 2: 7, 3: 9}


def test_failed_detection_fails_its_frame_and_the_tracker_continues(
    tracker: Function, detector: DetectCars, make_task: MakeTask, start: Start
) -> None:
    detections = detector(lambda frame: [5 + STEP * frame])
    detections.cars = lambda frame: [1 / 0] if frame == 3 else [5 + STEP * frame]
    task = make_task(6)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=detected()))
    assert (request.done, request.failed) == (5, 1)
    assert Outcome.objects.get(request=request, status="failed").frame == 3
    assert paths(task.pk) == [[(0, 5, False), (5, 5 + 5 * STEP, False)]]


@pytest.mark.parametrize(
    ("tracking", "error", "message"),
    [
        (
            Tracking(start=StartDetector(detector="tracker")),
            InvalidRequest,
            "start.detector: function 'tracker' is not a detector",
        ),
        (
            Tracking(start=StartDetector(detector="detector", mapping={"bus": {"name": "car"}})),
            InvalidMapping,
            "bus",
        ),
    ],
)
def test_unusable_detector_of_a_start_is_refused(
    tracker: Function,
    detector: DetectCars,
    make_task: MakeTask,
    start: Start,
    tracking: Tracking,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        start(function_id="tracker", task_id=make_task(2).pk, tracking=tracking)
    assert not Request.objects.exists()


def test_tracking_in_both_directions_from_a_detector_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="direction 'both' needs shapes"):
        detected(direction="both")


def test_object_is_handed_on_to_the_next_job_of_the_request(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(9, segment_size=3)
    jobs = [job.id for job in get_engine().task(task.pk).jobs]
    request = start(
        function_id="tracker", job_ids=jobs, tracking=follow(box(1, 5), box(4, 30, top=30))
    )
    first, second, third = request.shards.order_by("index")
    assert [shard.after_id for shard in (first, second, third)] == [None, first.pk, second.pk]
    run(request)
    assert (request.status, request.done, request.skipped) == ("finished", 8, 1)
    assert paths(task.pk) == [
        [(1, 5, False), (2, 5 + STEP, False)],
        [(3, 5 + 2 * STEP, False), (5, 5 + 4 * STEP, False)],
        [(4, 30, False), (5, 30 + STEP, False)],
        [(6, 5 + 5 * STEP, False), (8, 5 + 7 * STEP, False)],
        [(6, 30 + 2 * STEP, False), (8, 30 + 4 * STEP, False)],
    ]
    assert function.seen == list(range(1, 9))  # no frame was sent twice


def test_backward_request_hands_objects_on_to_the_job_before(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6, segment_size=3)
    jobs = [job.id for job in get_engine().task(task.pk).jobs]
    request = start(
        function_id="tracker", job_ids=jobs, tracking=follow(box(4, 5), direction="backward")
    )
    for shard in reversed(request.shards.order_by("index")):
        rq_tasks.run_shard(shard.pk)
    assert function.seen == [4, 3, 2, 1, 0]
    request.refresh_from_db()
    assert request.status == "finished"


def test_shard_is_not_claimed_before_the_shard_that_it_goes_on_from_has_ended(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6, segment_size=3)
    jobs = [job.id for job in get_engine().task(task.pk).jobs]
    request = start(function_id="tracker", job_ids=jobs, tracking=follow(box(0, 5)))
    first, second = request.shards.order_by("index")
    assert claim(second.pk) is None
    rq_tasks.run_shard(first.pk)
    assert claim(second.pk) is not None


def test_annotation_that_is_the_object_handed_on_does_not_become_a_second_track(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6, segment_size=3)
    draw(task.pk, 0, 5)
    draw(task.pk, 3, 5 + 2 * STEP)  # the object where the tracker leaves the first job
    draw(task.pk, 3, 50)  # another one
    jobs = [job.id for job in get_engine().task(task.pk).jobs]
    tracking = Tracking(start=StartFilter(), tolerance_px=0.1)
    run(start(function_id="tracker", job_ids=jobs, tracking=tracking))
    assert paths(task.pk) == [
        [(0, 5, False), (2, 5 + 2 * STEP, False)],
        [(3, 5 + 3 * STEP, False), (5, 5 + 5 * STEP, False)],
        [(3, 50, False), (5, 50 + 2 * STEP, False)],
    ]
    assert get_engine().annotations(task.pk).shapes == ()


def test_both_directions_over_several_jobs_are_refused(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(6, segment_size=3)
    jobs = [job.id for job in get_engine().task(task.pk).jobs]
    with pytest.raises(InvalidRequest, match="direction 'both' works on a task or on one job"):
        start(function_id="tracker", job_ids=jobs, tracking=follow(box(1, 5), direction="both"))


def lose_between(payload: dict[str, Any]) -> Any:
    """Track cars, and lose the one that starts at 5 on frame 3 for ever."""
    answer = behave(payload)
    if frame_of(payload) >= 3:
        for index, state in enumerate(answer["states"]):
            if state["top"] == 10:
                answer["shapes"][index], answer["states"][index] = None, None
    return answer


def test_reid_joins_a_lost_track_with_one_that_begins_later(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lose_between
    with function_server() as server:
        store_function(server.url, "matcher", kind="reid", labels=[])
        server.behave = lambda payload: [0] * len(payload["boxes0"])
        task = make_task(8)
        request = run(
            start(
                function_id="tracker",
                task_id=task.pk,
                tracking=follow(box(0, 5), box(5, 20, top=30)),
                link=Link(reid="matcher", threshold=0.4),
            )
        )
        asked = server.payloads
    assert request.status == "finished"
    assert paths(task.pk) == [
        [
            (0, 5, False),
            (2, 5 + 2 * STEP, False),
            (3, 5 + 2 * STEP, True),
            (5, 20, False),
            (7, 20 + 2 * STEP, False),
        ]
    ]
    assert [(p["boxes0"][0]["frame"], p["boxes1"][0]["frame"]) for p in asked] == [(2, 5)]
    assert asked[0]["threshold"] == 0.4


def test_reid_does_not_join_tracks_over_a_gap_above_the_limit(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lose_between
    with function_server() as server:
        store_function(server.url, "matcher", kind="reid", labels=[])
        task = make_task(8)
        tracking = follow(box(0, 5), box(5, 20, top=30))
        link = Link(reid="matcher", max_gap=2)
        run(start(function_id="tracker", task_id=task.pk, tracking=tracking, link=link))
        assert server.payloads == []
    assert len(paths(task.pk)) == 2


def test_link_with_a_function_that_does_not_re_identify_is_refused(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    with pytest.raises(InvalidRequest, match=r"link\.reid: function 'tracker' does not"):
        start(
            function_id="tracker",
            task_id=make_task(2).pk,
            tracking=follow(box(0, 5)),
            link=Link(reid="tracker"),
        )


def masks(payload: dict[str, Any]) -> Any:
    """Answer a mask of 6 x 4 pixels that moves right."""
    answer = behave(payload)
    for index, shape in enumerate(answer["shapes"]):
        left, top, right, bottom = (int(value) for value in shape["points"])
        answer["shapes"][index] = {
            "type": "mask",
            "points": [0, (right - left) * (bottom - top), left, top, right - 1, bottom - 1],
        }
    return answer


@pytest.fixture
def mask_tracker(transactional_db: None, function: FunctionServer) -> Function:
    """A tracker that starts from rectangles and answers masks."""
    function.behave = masks
    return store_function(
        function.url,
        "masker",
        kind="tracker",
        labels=[],
        supported_shape_types="rectangle,mask,polygon",
    )


ANY_CAR = [{"name": "car", "type": "any"}]


def test_masks_of_a_tracker_become_a_track_of_polygons(
    mask_tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3, labels=ANY_CAR)
    run(start(function_id="masker", task_id=task.pk, tracking=follow(box(0, 5))))
    (track,) = get_engine().annotations(task.pk).tracks
    assert [(key.frame, key.type) for key in track.shapes] == [
        (0, "polygon"),
        (1, "polygon"),
        (2, "polygon"),
    ]
    xs, ys = track.shapes[1].points[::2], track.shapes[1].points[1::2]
    assert (min(xs), max(xs), min(ys), max(ys)) == (7, 13, 10, 14)


def test_masks_of_a_tracker_become_a_mask_on_each_frame_in_a_group_of_the_object(
    mask_tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(3, labels=ANY_CAR)
    draw(task.pk, 0, 5)
    tracking = Tracking(start=StartFilter(), mask_output="masks")
    request = run(start(function_id="masker", task_id=task.pk, tracking=tracking))
    data = get_engine().annotations(task.pk)
    assert data.tracks == ()
    assert [(shape.frame, shape.type) for shape in data.shapes] == [
        (0, "mask"),
        (1, "mask"),
        (2, "mask"),
    ]
    assert {shape.group for shape in data.shapes} == {1}
    bitmap, left, top = decode(data.shapes[1].points)
    assert (bitmap.shape, left, top) == ((4, 6), 7, 10)
    assert encode(bitmap, left, top) == data.shapes[1].points
    assert (request.status, request.shapes) == ("finished", 3)
    undo_request(request)
    restored = get_engine().annotations(task.pk).shapes
    assert [(shape.type, shape.frame) for shape in restored] == [("rectangle", 0)]


def test_cancelled_request_keeps_what_was_tracked_and_a_retry_completes_it(
    tracker: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_BATCH_FRAMES = 1
    task = make_task(8)
    draw(task.pk, 0, 5)
    tracking = Tracking(start=StartFilter(), tolerance_px=0.1)
    request = start(function_id="tracker", task_id=task.pk, tracking=tracking)

    def cancel_on_frame_4(payload: dict[str, Any]) -> Any:
        if frame_of(payload) == 4:
            wait_for("written frames", Outcome.objects.filter(request=request).count, (2).__le__)
            cancel_request(Request.objects.get(pk=request.pk))
            connection.close()  # of this thread of the server
            cancelled.set()
        return behave(payload)

    cancelled = Event()
    function.behave = cancel_on_frame_4
    run(request)
    assert cancelled.wait(180)
    assert request.status == "cancelled"
    (path,) = paths(task.pk)
    last = max(Outcome.objects.filter(request=request).values_list("frame", flat=True))
    assert path[0] == (0, 5, False)
    assert path[-1] == (last, 5 + last * STEP, False)
    assert get_engine().annotations(task.pk).shapes == ()
    function.behave = behave
    retry_request(request)
    run(request)
    assert request.status == "finished"
    assert paths(task.pk) == [[(0, 5, False), (7, 5 + 7 * STEP, False)]]
    undo_request(request)
    assert paths(task.pk) == []
    assert [shape.points[0] for shape in get_engine().annotations(task.pk).shapes] == [5]


def test_cancel_with_undo_keeps_no_tracks(
    tracker: Function,
    function: FunctionServer,
    make_task: MakeTask,
    start: Start,
    settings: Settings,
) -> None:
    settings.CVAT_LAMBDA_BATCH_FRAMES = 1
    task = make_task(6)
    request = start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5)))

    def cancel_on_frame_3(payload: dict[str, Any]) -> Any:
        if frame_of(payload) == 3:
            cancel_request(Request.objects.get(pk=request.pk), undo=True)
            connection.close()  # of this thread of the server
            cancelled.set()
        return behave(payload)

    cancelled = Event()
    function.behave = cancel_on_frame_3
    run(request)
    assert cancelled.wait(180)
    assert request.status == "cancelled"
    assert paths(task.pk) == []


def test_retry_of_a_finished_request_replaces_its_tracks(
    tracker: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    function.behave = lambda payload: (
        Reply(500, b"no") if frame_of(payload) == 2 else behave(payload)
    )
    task = make_task(5)
    draw_track(task.pk, (0, 5, False))
    tracking = Tracking(start=StartFilter(), tolerance_px=0.1)
    request = run(start(function_id="tracker", task_id=task.pk, tracking=tracking))
    assert request.failed == 1
    found = paths(task.pk)
    retry_request(request)
    run(request)
    assert request.failed == 0
    assert paths(task.pk) == found
    assert request.shapes == 1
    undo_request(request)
    assert paths(task.pk) == [[(0, 5, False)]]


@pytest.mark.parametrize(
    ("tracking", "tracked", "shapes", "tracks"),
    [
        (follow(box(0, 5), box(0, 20)), 2, 0, 0),
        (Tracking(start=StartFilter()), 2, 1, 1),
    ],
)
def test_dry_run_counts_the_objects_of_a_tracker_and_what_their_tracks_replace(
    tracker: Function,
    make_task: MakeTask,
    access: StandaloneAccess,
    tracking: Tracking,
    tracked: int,
    shapes: int,
    tracks: int,
) -> None:
    task = make_task(3)
    draw(task.pk, 0, 5)
    draw_track(task.pk, (0, 30, False))
    found = preview_request(access, function_id="tracker", task_id=task.pk, tracking=tracking)
    assert (found.tracked, found.replaced_shapes, found.replaced_tracks) == (
        tracked,
        shapes,
        tracks,
    )
    assert not Request.objects.exists()


def test_dry_run_counts_the_tracks_that_a_detector_replaces(
    finder: Function, make_task: MakeTask, access: StandaloneAccess
) -> None:
    task = make_task(3)
    draw_track(task.pk, (0, 30, False))
    for replace, expected in (("all", 1), ("automatic", 0), ("function", 0), ("none", 0)):
        found = preview_request(access, function_id="finder", task_id=task.pk, replace=replace)
        assert (found.replaced_tracks, found.tracked) == (expected, 0)


def test_track_request_on_a_task_without_frames_is_refused(
    tracker: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2)
    Data.objects.filter(task=task).update(size=0)
    with pytest.raises(InvalidRequest, match="has no frames yet"):
        start(function_id="tracker", task_id=task.pk, tracking=follow(box(0, 5)))
    assert not Request.objects.exists()
