"""The tracks on some frames are those of all tracks, read from the keyframes that they need."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from cvat_lambda.annotations.tracks import shapes_on_frame
from cvat_lambda.annotations.types import LabeledData, Shape, Track, TrackedShape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change, Task
from cvat_lambda.engine.standalone.models import LabeledTrack
from cvat_lambda.engine.standalone.models import TrackedShape as KeyframeRow
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.engine.standalone.tracks_on_frames import tracks_on_frames
from tests.integration.requests.conftest import make_images
from tests.rows_read import rows_read

FRAMES = 40
PERSON = {
    "name": "person",
    "type": "skeleton",
    "sublabels": [{"name": "head", "type": "points"}],
}


@pytest.fixture
def task(alice: User, tmp_path: Path) -> Task:
    """A task of 40 frames in overlapping jobs."""
    files = make_images(tmp_path, FRAMES)
    labels: list[Any] = [{"name": "car", "type": "rectangle"}, PERSON]
    made = create_task(alice, "Street", labels, files, segment_size=15, overlap=4)
    return get_engine().task(made.pk)


def add(task: Task, *tracks: Track) -> None:
    engine = get_engine()
    with engine.atomic():
        engine.apply(Change(task_id=task.id, frames=(), add=LabeledData(tracks=tracks)))


def car(task: Task, *keys: tuple[int, bool]) -> Track:
    """Return a track of a rectangle with keyframes: frame, and whether the car is outside."""
    shapes = tuple(
        TrackedShape(type="rectangle", frame=frame, points=(frame, 0, frame + 5, 9), outside=out)
        for frame, out in keys
    )
    return Track(label_id=task.labels[0].id or 0, frame=shapes[0].frame, shapes=shapes)


def person(task: Task, frames: list[int], heads: list[int]) -> Track:
    """Return a track of a skeleton, whose head has keyframes of its own."""
    label = task.labels[1]
    points = tuple(TrackedShape(type="points", frame=at, points=(at, at)) for at in heads)
    head = Track(label_id=label.sublabels[0].id or 0, frame=heads[0], shapes=points)
    shapes = tuple(TrackedShape(type="skeleton", frame=at, points=()) for at in frames)
    return Track(label_id=label.id or 0, frame=frames[0], shapes=shapes, elements=(head,))


def expected(task: Task, number: int) -> dict[int | None, Shape]:
    """Return the shapes of all tracks of the jobs that show a frame, which are read as a whole."""
    found: dict[int | None, Shape] = {}
    for job in task.jobs:
        if number in job.frames:
            tracks = get_engine().tracks(task.id, job_id=job.id)
            found.update((shape.id, shape) for shape in shapes_on_frame(number, tracks))
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [1, 7])
def test_tracks_on_frames_are_the_visible_ones_of_all_tracks(
    task: Task, seed: int, width: int
) -> None:
    chance = random.Random(seed)
    for _ in range(12):
        frames = sorted(chance.sample(range(FRAMES), chance.randint(1, 6)))
        add(task, car(task, *((frame, chance.random() < 0.3) for frame in frames)))
        heads = sorted(chance.sample(range(FRAMES), chance.randint(1, 4)))
        add(task, person(task, frames, heads))
    keys = set(KeyframeRow.objects.values_list("track_id", "frame"))
    wanted = {number: expected(task, number) for number in range(FRAMES)}
    for first in range(FRAMES - width + 1):
        numbers = range(first, first + width)
        found = tracks_on_frames(task, numbers)
        for number in numbers:
            shapes = {track.shape.id: track.shape for track in found[number]}
            assert shapes == wanted[number]
            for track in found[number]:
                assert track.is_keyframe == ((track.shape.id, number) in keys)


def test_rows_that_are_read_for_a_frame_do_not_grow_with_tracks_and_keyframes_elsewhere(
    task: Task,
) -> None:
    """All tracks of the job with all their keyframes were read for each frame."""
    add(task, car(task, (2, False), (10, False), (14, True)))
    counts = []
    for _ in range(2):
        with rows_read(LabeledTrack, KeyframeRow) as read:
            assert len(tracks_on_frames(task, [5])[5]) == 1
        counts.append(dict(read))
        ended = [car(task, (0, False), (1, False), (4, True)) for _ in range(20)]
        later = [car(task, *((frame, False) for frame in range(6, FRAMES))) for _ in range(20)]
        add(task, *ended, *later, car(task, (30, False)))
    assert counts == [{"LabeledTrack": 1, "TrackedShape": 2}] * 2


def test_keyframes_next_to_a_frame_are_found_by_an_index(task: Task) -> None:
    add(task, car(task, (2, False), (10, False)))
    with CaptureQueriesContext(connection) as queries:
        tracks_on_frames(task, [5])
    sql = queries[0]["sql"]
    with connection.cursor() as cursor:
        explain = "EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # a small table is read as a whole
            cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute(explain + sql)
        plan = str(cursor.fetchall())
    assert "engine_keyframe_idx" in plan
    assert "SCAN engine_trackedshape" not in plan
