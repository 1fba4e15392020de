"""Objects that leave the image and return, on a generated clip whose boxes are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.requests.store.tracking import Link, StartDetector, Tracking
from tests.bench.moving_objects import HEIGHT, WIDTH, Clip, cut, make_clip

from .conftest import CAR, Start, make_images, run, store_function
from .function_server import FunctionServer, frame_of, function_server

FRAMES = 100
EVERY = 5  # frames from one detection to the next
SEED = 0
LEAVER = 0  # the object that leaves the image in the middle of the clip, and returns


@pytest.fixture(scope="module")
def clip() -> Clip:
    return make_clip(SEED, FRAMES)


@pytest.fixture
def task(transactional_db: None, alice: User, tmp_path: Path) -> Task:
    """A task whose images have the size of the clip; their colours are their numbers."""
    return create_task(alice, "clip", CAR, make_images(tmp_path, FRAMES, (WIDTH, HEIGHT)))


@pytest.fixture
def functions(transactional_db: None, clip: Clip, function: FunctionServer) -> Iterator[None]:
    """A detector, a tracker and a ReID function that know the boxes of the clip."""

    def box(number: int, frame: int) -> list[float] | None:
        truth = clip.truths[frame][number]
        return cut(truth.box, clip) if truth.is_seen else None

    def detect(payload: dict[str, Any]) -> Any:
        found = box(LEAVER, frame_of(payload))
        return [] if found is None else [{"label": "car", "type": "rectangle", "points": found}]

    def follow(payload: dict[str, Any]) -> Any:
        """Follow the object; give it up for ever when it is not seen."""
        found = box(LEAVER, frame_of(payload))
        count = len(payload["shapes"])
        shape = None if found is None else {"type": "rectangle", "points": found}
        return {"shapes": [shape] * count, "states": [shape and {"on": True}] * count}

    function.behave = follow
    store_function(
        function.url, "tracker", kind="tracker", labels=[], supported_shape_types="rectangle"
    )
    with function_server() as detector, function_server() as matcher:
        detector.behave = detect
        matcher.behave = lambda payload: [0] * len(payload["boxes0"])
        store_function(detector.url, "detector")
        store_function(matcher.url, "matcher", kind="reid", labels=[])
        yield


def visible_ranges(task: Task) -> list[list[tuple[int, int]]]:
    """Return for each track the ranges of frames on which it is visible."""
    found = []
    for track in get_engine().annotations(task.pk).tracks:
        ranges: list[tuple[int, int]] = []
        for key, following in zip(track.shapes, [*track.shapes[1:], None], strict=True):
            end = FRAMES - 1 if following is None else following.frame - 1
            if key.outside:
                continue
            if ranges and ranges[-1][1] == key.frame - 1:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((key.frame, end))
        found.append(ranges)
    return sorted(found)


def tracked(**fields: Any) -> dict[str, Any]:
    start = StartDetector(detector="detector", every=EVERY)
    return {"function_id": "tracker", "tracking": Tracking(start=start, tolerance_px=1), **fields}


def seen_ranges(clip: Clip) -> list[tuple[int, int]]:
    """Return the ranges on which the object is seen, each from the first detection in it on."""
    ranges: list[tuple[int, int]] = []
    first = None
    for number, truths in enumerate([*clip.truths, None]):
        if truths is not None and truths[LEAVER].is_seen:
            if first is None and number % EVERY == 0:
                first = number
        elif first is not None:
            ranges.append((first, number - 1))
            first = None
    return ranges


@pytest.mark.usefixtures("functions")
def test_object_that_returns_elsewhere_is_found_by_the_detector_as_a_new_track(
    start: Start, task: Task, clip: Clip
) -> None:
    request = run(start(task_id=task.pk, **tracked()))
    assert (request.status, request.done) == ("finished", FRAMES)
    before, after = seen_ranges(clip)
    assert visible_ranges(task) == [[before], [after]]


@pytest.mark.usefixtures("functions")
def test_object_that_returns_elsewhere_keeps_its_identity_with_link(
    start: Start, task: Task, clip: Clip
) -> None:
    run(start(task_id=task.pk, **tracked(link=Link(reid="matcher", max_gap=FRAMES))))
    assert visible_ranges(task) == [seen_ranges(clip)]
