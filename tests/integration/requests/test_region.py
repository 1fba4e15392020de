"""Requests of a detector on a region of each frame: the member ``roi``."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import Image

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.store.models import Outcome, Request

from .conftest import CAR, MakeTask, Start, make_images, run, store_function
from .function_server import FunctionServer, rectangle_of

ROI = (10, 20, 50, 44)


def sizes_seen(function: FunctionServer) -> list[tuple[int, int]]:
    """Let the function answer one rectangle. Return the sizes of the images that it receives."""
    sizes: list[tuple[int, int]] = []

    def behave(payload: dict[str, Any]) -> Any:
        sizes.append(Image.open(io.BytesIO(base64.b64decode(payload["image"]))).size)
        return rectangle_of(0)

    function.behave = behave
    return sizes


def test_function_gets_the_region_and_its_shapes_are_placed_in_the_frame(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    sizes = sizes_seen(function)
    task = make_task(2)
    request = run(start(task_id=task.pk, roi=ROI))
    assert (request.status, request.done) == ("finished", 2)
    assert sizes == [(40, 24)] * 2
    assert request.params["roi"] == list(ROI)
    shapes = get_engine().annotations(task.pk).shapes
    assert [shape.points for shape in shapes] == [(10.0, 21.0, 20.0, 31.0)] * 2


def test_region_beyond_the_border_of_the_frame_is_clipped(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    sizes = sizes_seen(function)
    run(start(task_id=make_task(1).pk, roi=(54, 38, 4000, 4000)))
    assert sizes == [(10, 10)]


def test_region_outside_all_frames_is_rejected(
    finder: Function, make_task: MakeTask, start: Start
) -> None:
    task = make_task(2)
    with pytest.raises(InvalidRequest, match=r"outside the frames of task \d+, of 64 x 48 pixels"):
        start(task_id=task.pk, roi=(64, 0, 80, 10))
    with pytest.raises(InvalidRequest, match="is empty"):
        start(task_id=task.pk, roi=(5, 5, 5, 9))
    assert not Request.objects.exists()


def test_region_outside_one_frame_fails_that_frame_only(
    finder: Function, function: FunctionServer, alice: User, start: Start, tmp_path: Path
) -> None:
    small = make_images(tmp_path / "small", 1, (16, 16))
    large = make_images(tmp_path / "large", 2, (64, 48))
    task = create_task(alice, "mixed", CAR, [*small, large[1]])
    request = run(start(task_id=task.pk, roi=(20, 20, 40, 40)))
    assert (request.status, request.done, request.failed) == ("finished", 1, 1)
    (outcome,) = Outcome.objects.filter(request=request, status="failed")
    assert (outcome.code, "lies outside the image of 16 x 16" in outcome.message) == (
        "invalid_request",
        True,
    )


def test_second_request_replaces_what_requests_on_the_same_region_made(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    task = make_task(1)

    def lefts(**options: Any) -> list[float]:
        run(start(task_id=task.pk, replace="function", **options))
        return sorted(shape.points[0] for shape in get_engine().annotations(task.pk).shapes)

    assert lefts(roi=(0, 0, 32, 48)) == [0.0]
    assert lefts(roi=(32, 0, 64, 48)) == [0.0, 32.0]  # another region: the first shape stays
    assert lefts(roi=(32, 0, 64, 48)) == [0.0, 32.0]
    assert lefts() == [0.0]  # the whole frame: both shapes are replaced


def test_retry_uses_the_region_of_the_request(
    finder: Function, function: FunctionServer, make_task: MakeTask, start: Start
) -> None:
    from cvat_lambda.requests.control.retry import retry_request

    task = make_task(1)
    function.behave = lambda payload: {"no": "list"}
    request = run(start(task_id=task.pk, roi=ROI))
    assert request.failed == 1
    sizes = sizes_seen(function)
    run(retry_request(request))
    assert sizes == [(40, 24)]


@pytest.mark.parametrize("kind", ["reid", "tracker"])
def test_region_with_a_function_other_than_a_detector_is_refused(
    transactional_db: None, make_task: MakeTask, start: Start, kind: str
) -> None:
    store_function("http://127.0.0.1:9/", "other", kind=kind, labels=[])
    with pytest.raises(InvalidRequest, match="is not a detector: remove roi"):
        start(function_id="other", task_id=make_task(1).pk, roi=ROI)
