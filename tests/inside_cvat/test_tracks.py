"""Requests that write tracks inside CVAT, read back through CVAT's API."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cvat.apps.dataset_manager.annotation import TrackManager
from cvat.apps.engine import models

from cvat_lambda.functions.models import Function
from cvat_lambda.models import Request
from tests.inside_cvat.scenarios import CvatScenarios
from tests.inside_cvat.test_frames import honeypots
from tests.inside_cvat.test_requests import function
from tests.inside_cvat.test_storages import POINTS
from tests.integration.requests.function_server import FunctionServer, function_server

__all__ = ["function"]  # a fixture

Json = dict[str, Any]
Keys = list[tuple[int, float, bool]]  # frame, left edge, outside

pytestmark = pytest.mark.django_db(transaction=True)


def moving(payload: Json) -> Json:
    """Move each object by two pixels a frame. The state is its left edge."""
    states = payload["states"] or [None] * len(payload["shapes"])
    lefts = [
        shape["points"][0] if state is None else state["left"] + 2
        for shape, state in zip(payload["shapes"], states, strict=True)
    ]
    return {
        "shapes": [{"type": "rectangle", "points": [left, 1, left + 10, 11]} for left in lefts],
        "states": [{"left": left} for left in lefts],
    }


@pytest.fixture
def tracker() -> Iterator[FunctionServer]:
    """A tracker of rectangles that move to the right."""
    with function_server() as server:
        server.behave = moving
        Function.objects.create(
            id="tracker",
            platform="endpoint",
            kind="tracker",
            endpoint_url=server.url,
            metadata={
                "metadata": {
                    "name": "tracker",
                    "annotations": {"type": "tracker", "supported_shape_types": "rectangle"},
                },
                "status": {"state": "ready"},
            },
        )
        yield server


def run(cvat: CvatScenarios, **body: Any) -> Request:
    made = cvat.send("post", "/api/lambda/requests", body)
    request = Request.objects.get(pk=made["id"])
    assert (request.status, request.error_message) == ("finished", "")
    return request


def keys_of(cvat: CvatScenarios, path: str) -> list[Keys]:
    """The keyframes of each track in the answer of CVAT's API."""
    tracks = cvat.send("get", f"/api/{path}/annotations")["tracks"]
    return sorted(
        [(shape["frame"], shape["points"][0], shape["outside"]) for shape in track["shapes"]]
        for track in tracks
    )


WAVE: dict[str, list[float]] = {  # the corners of objects that rest, and then move in a curve
    "rectangle": [5, 5, 15, 15],
    "ellipse": [10, 10, 15, 5],
    "points": [5, 5, 15, 5, 15, 15],
    "polygon": [5, 5, 15, 5, 15.5, 5.5, 15, 15, 5, 15],
}
TOLERANCE_PX = 0.5


def wave(kind: str, frame: int) -> list[float]:
    """Where an object is on a frame: it rests on ten frames, moves on ten frames, and so on."""
    moved = 10 * (frame // 20) + max(0, frame % 20 - 10)
    across, down = 0.5 * moved, 6 * math.sin(moved / 4)
    return [value + (down + 8 if i % 2 else across) for i, value in enumerate(WAVE[kind])]


def waving(payload: Json) -> Json:
    """Move each object in its curve. The state is its kind and its frame."""
    states = payload["states"] or [
        {"kind": shape["type"], "frame": -1} for shape in payload["shapes"]
    ]
    states = [{**state, "frame": state["frame"] + 1} for state in states]
    shapes = [
        {"type": state["kind"], "points": wave(state["kind"], state["frame"])} for state in states
    ]
    return {"shapes": shapes, "states": states}


def interpolated(tracks: list[Json], frames: int, **options: Any) -> dict[int, list[float]]:
    """Where CVAT sees a track on each frame on which it is visible."""
    shapes = TrackManager(tracks, dimension="2d").to_shapes(frames, **options)
    return {shape["frame"]: list(shape["points"]) for shape in shapes if not shape["outside"]}


def shape(frame: int, left: float) -> Json:
    points = [left, 1, left + 10, 11]
    return {"frame": frame, "label": "car", "type": "rectangle", "points": points}


def job_ids(task_id: int) -> list[int]:
    jobs = models.Job.objects.filter(segment__task=task_id, type="annotation")
    return list(jobs.order_by("segment__start_frame").values_list("pk", flat=True))


def test_tracked_object_is_a_track_of_its_job(cvat: CvatScenarios, tracker: FunctionServer) -> None:
    task_id = cvat.task(frames=6, video=True)
    request = run(cvat, function="tracker", task=task_id, shapes=[shape(1, 5)], tolerance_px=0.1)
    assert (request.done, request.skipped) == (5, 1)
    (job,) = job_ids(task_id)
    assert keys_of(cvat, f"jobs/{job}") == [[(1, 5.0, False), (5, 13.0, False)]]


def test_object_of_a_task_request_crosses_the_end_of_a_job(
    cvat: CvatScenarios, tracker: FunctionServer
) -> None:
    task_id = cvat.task(frames=6, segment_size=3)
    run(cvat, function="tracker", task=task_id, shapes=[shape(0, 5)], tolerance_px=0.1)
    first, second = job_ids(task_id)
    assert keys_of(cvat, f"jobs/{first}")[0][0] == (0, 5.0, False)
    assert keys_of(cvat, f"jobs/{second}")[0][-1] == (5, 15.0, False)


def test_object_is_handed_on_to_the_next_job_of_a_request(
    cvat: CvatScenarios, tracker: FunctionServer
) -> None:
    task_id = cvat.task(frames=6, segment_size=3)
    first, second = job_ids(task_id)
    request = run(
        cvat, function="tracker", jobs=[first, second], shapes=[shape(1, 5)], tolerance_px=0.1
    )
    assert request.done == 5
    assert keys_of(cvat, f"jobs/{first}") == [[(1, 5.0, False), (2, 7.0, False)]]
    assert keys_of(cvat, f"jobs/{second}") == [[(3, 9.0, False), (5, 13.0, False)]]


def test_track_of_a_job_is_continued_and_an_undo_restores_it(
    cvat: CvatScenarios, tracker: FunctionServer
) -> None:
    task_id = cvat.task(frames=5, video=True)
    (job,) = job_ids(task_id)
    label = cvat.send("get", f"/api/labels?task_id={task_id}")["results"][0]["id"]
    key = {"type": "rectangle", "frame": 0, "points": [5, 1, 15, 11], "outside": False}
    track = {"frame": 0, "label_id": label, "group": 0, "source": "manual", "shapes": [key]}
    body = {"version": 0, "tags": [], "shapes": [], "tracks": [{**track, "attributes": []}]}
    cvat.send("put", f"/api/jobs/{job}/annotations", body)
    request = run(cvat, function="tracker", job=job, start="annotations", tolerance_px=0.1)
    assert keys_of(cvat, f"jobs/{job}") == [[(0, 5.0, False), (4, 13.0, False)]]
    cvat.send("post", f"/api/lambda/requests/{request.pk}/undo")
    assert keys_of(cvat, f"jobs/{job}") == [[(0, 5.0, False)]]


def test_detections_of_a_request_with_output_tracks_become_a_track(
    cvat: CvatScenarios, function: FunctionServer
) -> None:
    """The detector's car moves by a pixel a frame."""
    task_id = cvat.task(frames=5, video=True)
    (job,) = job_ids(task_id)
    request = run(cvat, function="cars", task=task_id, output="tracks")
    assert request.done == 5
    assert keys_of(cvat, f"jobs/{job}") == [[(0, 0.0, False), (4, 4.0, False)]]


@pytest.mark.parametrize(
    ("kind", "segment_size"),
    # CVAT joins the tracks of overlapping jobs only if they are rectangles or polygons.
    [*((kind, 0) for kind in WAVE), ("rectangle", 16), ("polygon", 16)],
)
def test_cvat_sees_a_tracked_object_where_the_function_found_it_on_every_frame(
    cvat: CvatScenarios, tracker: FunctionServer, kind: str, segment_size: int
) -> None:
    """The frames are in several chunks, and in several jobs that overlap."""
    frames = 40
    tracker.behave = waving
    spec = Function.objects.get(id="tracker")
    spec.metadata["metadata"]["annotations"]["supported_shape_types"] = kind
    spec.save()
    task_id = cvat.task(
        frames=frames,
        video=True,
        segment_size=segment_size,
        overlap=4 if segment_size else 0,
        data={"chunk_size": 8},
    )
    start = {"frame": 0, "label": "car", "type": kind, "points": wave(kind, 0)}
    run(cvat, function="tracker", task=task_id, shapes=[start], tolerance_px=TOLERANCE_PX)
    (track,) = cvat.send("get", f"/api/tasks/{task_id}/annotations")["tracks"]
    seen = interpolated([track], frames)
    assert sorted(seen) == list(range(frames))
    for frame, points in seen.items():
        assert points == pytest.approx(wave(kind, frame), abs=TOLERANCE_PX + 0.01), frame
    if kind not in ("polygon", "points"):
        assert len(track["shapes"]) < frames / 2


def test_track_that_ends_before_a_deleted_frame_is_not_visible_after_it(
    cvat: CvatScenarios, tracker: FunctionServer
) -> None:
    task_id = cvat.task(frames=6, video=True, deleted=[3])
    run(cvat, function="tracker", task=task_id, frames=[[0, 2]], shapes=[shape(0, 5)])
    tracks = cvat.send("get", f"/api/tasks/{task_id}/annotations")["tracks"]
    assert sorted(interpolated(tracks, 6, deleted_frames=[3])) == [0, 1, 2]


@pytest.mark.parametrize("job_type", [None, "annotation"])
def test_tracker_in_a_task_with_honeypots_is_rejected(
    cvat: CvatScenarios, tracker: FunctionServer, job_type: str | None
) -> None:
    """CVAT accepts no tracks in such a task."""
    task_id = honeypots(cvat)
    body: Json = {"function": "tracker", "task": task_id, "shapes": [shape(0, 5)]}
    if job_type is not None:
        jobs = cvat.engine.task(task_id).jobs
        body["job"] = next(job.id for job in jobs if job.type == job_type)
    answer = cvat.try_to_send("post", "/api/lambda/requests", body)
    assert (answer.status_code, tracker.payloads) == (400, [])
    assert "takes no tracks" in answer.content.decode()


def test_tracker_on_a_point_cloud_is_rejected(
    cvat: CvatScenarios, tracker: FunctionServer, tmp_path: Path
) -> None:
    path = tmp_path / "points.pcd"
    path.write_text(POINTS)
    body = {"function": "tracker", "task": cvat.task(files=[path]), "shapes": [shape(0, 5)]}
    answer = cvat.try_to_send("post", "/api/lambda/requests", body)
    assert answer.status_code == 400
    assert "is a 3D task: functions work on images and video" in answer.json()["message"]
    assert tracker.payloads == []
