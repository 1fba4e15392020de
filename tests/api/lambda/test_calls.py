"""``POST functions/ID``: one synchronous answer, for each kind of function."""

from __future__ import annotations

import base64
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image
from pytest_django import DjangoAssertNumQueries, Settings

from cvat_lambda import signals
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.engine.standalone.tasks import create_task
from cvat_lambda.interactive.caches import get_caches
from tests.http_server import Reply
from tests.integration.interactive.functions import Functions

from .conftest import Api

CAR = json.dumps([{"name": "car", "type": "rectangle"}, {"name": "bus", "type": "rectangle"}])
BOX = {"label": "car", "type": "rectangle", "points": [1, 2, 30, 20], "confidence": "0.75"}


def sent_image(payload: dict[str, Any], key: str = "image") -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(payload[key])))


def grey(frame: int) -> tuple[int, int, int]:
    return (frame * 50 + 20,) * 3  # see the fixture `images`


# Task, job and frame


def test_call_sends_the_stored_image_of_the_requested_frame(
    api: Api, functions: Functions, task: Task, images: list[Path]
) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    assert api.call("yolo", task=task.pk, frame=2).status_code == 200
    assert base64.b64decode(functions.asked["yolo"][0]["image"]) == images[2].read_bytes()


def test_frame_number_may_be_a_float(api: Api, functions: Functions, task: Task) -> None:
    """cvat-sdk 2.80 sends every number of a call as a float."""
    functions.add("yolo", type="detector", spec=CAR)
    answer = api.call("yolo", task=float(task.pk), frame=1.0, roi=[0.0, 0.0, 9.0, 9.0])
    assert answer.status_code == 200
    assert api.call("yolo", task=task.pk, frame=1.5).json() == {
        "frame": ["A valid integer is required."]
    }


def test_call_with_a_job_alone_finds_the_task(
    api: Api, functions: Functions, task: Task, jobs: list[int]
) -> None:
    functions.add("yolo", lambda payload: [BOX], type="detector", spec=CAR)
    answer = api.call("yolo", job=jobs[1], frame=2)
    assert [shape["frame"] for shape in answer.json()["shapes"]] == [2]


@pytest.mark.parametrize("kind", ["detector", "interactor", "tracker"])
def test_call_with_a_job_of_another_task_is_refused(
    api: Api, functions: Functions, jobs: list[int], other_task: Task, kind: str
) -> None:
    """Bug in CVAT: it checked the permissions on the task, but then ignored the task."""
    functions.add("f", type=kind)
    answer = api.call("f", job=jobs[0], task=other_task.pk, frame=0)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert f"Job {jobs[0]} does not belong to task {other_task.pk}" in answer.json()["message"]


@pytest.mark.parametrize(("where", "frame"), [("task", 3), ("task", 200), ("job", 2), ("job", 3)])
def test_call_on_a_frame_outside_the_task_or_job_is_refused(
    api: Api, functions: Functions, task: Task, jobs: list[int], where: str, frame: int
) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    scope = {"task": task.pk} if where == "task" else {"job": jobs[0]}
    answer = api.call("yolo", frame=frame, **scope)
    assert (answer.status_code, answer.json()["code"]) == (400, "frame_out_of_scope")
    assert functions.asked["yolo"] == []


def test_frame_outside_the_task_is_refused_with_the_range_of_frames(
    api: Api, functions: Functions, task: Task
) -> None:
    """Bug in CVAT: for a task of 200 frames the message gave the range [0, 200]."""
    functions.add("yolo", type="detector", spec=CAR)
    assert "0 to 2" in api.call("yolo", task=task.pk, frame=3).json()["message"]


def test_call_on_a_task_without_frames_is_refused(
    api: Api, functions: Functions, alice: User
) -> None:
    empty = create_task(alice, "empty", [{"name": "car"}])
    functions.add("yolo", type="detector", spec=CAR)
    answer = api.call("yolo", task=empty.pk, frame=0)
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        f"Task {empty.pk} has no frames.",
    )


def token_client(user: User) -> Client:
    """A client that authenticates with a token, as cvat-sdk does."""
    user.set_password("secret")
    user.save()
    login = {"username": user.username, "password": "secret"}
    answer = Client().post("/api/auth/login", json.dumps(login), content_type="application/json")
    return Client(HTTP_AUTHORIZATION=f"Token {answer.json()['key']}")


@pytest.mark.parametrize("kind", ["interactor", "detector"])
@pytest.mark.parametrize("by_job", [False, True])
def test_call_takes_three_queries_at_most(
    functions: Functions,
    task: Task,
    jobs: list[int],
    alice: User,
    kind: str,
    by_job: bool,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    """1. Token and user. 2. Function. 3. Permission, frame and labels."""
    answer = {"mask": MASK, "bounds": [0, 0, 1, 1]} if kind == "interactor" else []
    functions.add("f", lambda payload: answer, type=kind, spec=CAR)
    client = token_client(alice)
    where = {"job": jobs[0]} if by_job else {"task": task.pk}
    body = json.dumps({**where, "frame": 0, "pos_points": [[1, 1]], "neg_points": []})
    call = partial(client.post, "/api/lambda/functions/f", body, content_type="application/json")
    assert call().status_code == 200
    get_caches().frames.clear()  # a call on a new frame needs no further query
    with django_assert_max_num_queries(3):
        assert call().status_code == 200


def test_detector_call_after_a_change_of_labels_uses_the_new_labels(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", lambda payload: [BOX], type="detector", spec=CAR)
    assert len(api.call("yolo", task=task.pk, frame=0).json()["shapes"]) == 1
    label = models.Label.objects.get(task=task, name="car")
    patch = api.client.patch(
        f"/api/labels/{label.pk}", json.dumps({"name": "lorry"}), content_type="application/json"
    )
    assert patch.status_code == 200
    assert api.call("yolo", task=task.pk, frame=0).json()["shapes"] == []


@pytest.mark.parametrize("by_job", [False, True])
def test_function_called_signal_has_task_and_job(
    api: Api, functions: Functions, task: Task, jobs: list[int], by_job: bool
) -> None:
    """Bug in CVAT: its events of function calls had neither task nor job."""
    functions.add("yolo", type="detector", spec=CAR)
    told: list[dict[str, Any]] = []

    def listen(**kwargs: Any) -> None:
        told.append({name: kwargs[name] for name in ("function_id", "kind", "task_id", "job_id")})

    signals.function_called.connect(listen)
    try:
        scope = {"job": jobs[0]} if by_job else {"task": task.pk}
        assert api.call("yolo", frame=0, **scope).status_code == 200
    finally:
        signals.function_called.disconnect(listen)
    job = jobs[0] if by_job else None
    expected = {"function_id": "yolo", "kind": "detector", "task_id": task.pk, "job_id": job}
    assert told == [expected]


def test_function_called_signal_of_a_crashed_call_has_an_error(
    api: Api, functions: Functions, task: Task, settings: Settings
) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    settings.CVAT_LAMBDA_MAX_IN_FLIGHT = "many"  # a mistake that only a call finds
    told: list[Any] = []

    def listen(error: Any, **_: Any) -> None:
        told.append(error)

    for signal in (signals.function_called, signals.view_failed):
        signal.connect(listen)
    try:
        answer = api.call("yolo", task=task.pk, frame=0)
    finally:
        for signal in (signals.function_called, signals.view_failed):
            signal.disconnect(listen)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    of_the_call, of_the_view = told
    assert of_the_call is not None
    assert isinstance(of_the_view, TypeError)


def test_call_without_task_and_job_is_refused(api: Api, functions: Functions) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    answer = api.call("yolo", frame=0)
    assert (answer.status_code, answer.json()["message"]) == (400, "A call needs 'task' or 'job'.")


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("detector", ["frame"]),
        ("interactor", ["frame", "pos_points", "neg_points"]),
        ("tracker", ["frame"]),
        ("reid", ["frame0", "frame1", "boxes0", "boxes1"]),
    ],
)
def test_missing_members_are_listed_in_the_error(
    api: Api, functions: Functions, task: Task, kind: str, missing: list[str]
) -> None:
    functions.add("f", type=kind)
    answer = api.call("f", task=task.pk)
    assert answer.status_code == 400
    assert all(f"'{name}'" in answer.json()["message"] for name in missing)


# Detectors


@pytest.mark.parametrize("name", ["boxes0", "boxes1", "shapes", "states", "pos_points"])
def test_list_that_is_too_long_is_refused_before_its_items_are_read(
    api: Api, functions: Functions, task: Task, name: str
) -> None:
    """The server read 200,000 boxes for 15 to 44 s before it refused them."""
    functions.add("any", type="reid")
    answer = api.call("any", task=task.pk, **{name: ["wrong"] * 20_000})
    assert answer.status_code == 400
    assert "Give no more than 10000 elements." in answer.content.decode()
    assert "wrong" not in answer.content.decode()
    assert len(answer.content) < 1000


def test_mapping_with_too_many_labels_is_refused_before_they_are_read(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    mapping = {str(number): None for number in range(25_001)}
    answer = api.call("yolo", task=task.pk, frame=0, mapping=mapping)
    assert answer.status_code == 400
    assert "Give no more than 25000 members." in answer.content.decode()
    assert len(answer.content) < 1000


def test_call_of_a_detector_returns_annotations_of_the_frame(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", lambda payload: [BOX], type="detector", spec=CAR)
    labels = {label.name: label.id for label in get_engine().task(task.pk).labels}
    answer = api.call("yolo", task=task.pk, frame=1, type="annotate_frame", threshold=None)
    assert answer.json() == {
        "version": 0,
        "tags": [],
        "shapes": [
            {
                "type": "rectangle",
                "occluded": False,
                "outside": False,
                "z_order": 0,
                "rotation": 0.0,
                "points": [1.0, 2.0, 30.0, 20.0],
                "id": None,
                "frame": 1,
                "label_id": labels["car"],
                "group": 0,
                "source": "auto",
                "attributes": [],
                "elements": [],
                "score": 0.75,
            }
        ],
        "tracks": [],
    }


@pytest.mark.parametrize("threshold", [0, 0.0, 0.3, 1])
def test_threshold_of_zero_is_sent_to_the_function(
    api: Api, functions: Functions, task: Task, threshold: float
) -> None:
    """Bug in CVAT: it dropped a threshold of 0."""
    functions.add("yolo", type="detector", spec=CAR)
    api.call("yolo", task=task.pk, frame=0, threshold=threshold)
    assert functions.asked["yolo"][0]["threshold"] == threshold


def test_call_without_a_threshold_sends_none(api: Api, functions: Functions, task: Task) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    api.call("yolo", task=task.pk, frame=0)
    assert list(functions.asked["yolo"][0]) == ["image"]


def test_answer_has_notes_about_clipped_and_left_out_shapes(
    api: Api, functions: Functions, task: Task
) -> None:
    wide = {**BOX, "points": [10, 10, 500, 20]}
    far = {**BOX, "points": [500, 10, 600, 20]}
    functions.add("yolo", lambda payload: [BOX, wide, far], type="detector", spec=CAR)
    answer = api.call("yolo", task=task.pk, frame=0).json()
    assert [shape["points"] for shape in answer["shapes"]] == [[1, 2, 30, 20], [10, 10, 64, 20]]
    assert answer["notes"] == [
        "item 1: the rectangle reaches beyond the image",
        "item 2: the rectangle is empty or lies outside the image",
    ]


def test_mapping_renames_labels_and_attributes(api: Api, functions: Functions, task: Task) -> None:
    functions.add("yolo", lambda payload: [BOX], type="detector", spec=CAR)
    labels = {label.name: label.id for label in get_engine().task(task.pk).labels}
    answer = api.call("yolo", task=task.pk, frame=0, mapping={"car": {"name": "person"}})
    assert [shape["label_id"] for shape in answer.json()["shapes"]] == [labels["person"]]


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"bike": {"name": "car"}}, "bike"),
        ({"car": {"name": "lorry"}}, "lorry"),
        ({"car": {"name": "car", "attributes": {"colour": "paint"}}}, "colour"),
    ],
)
def test_invalid_mapping_is_refused_before_the_function_is_invoked(
    api: Api, functions: Functions, task: Task, mapping: object, words: str
) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    answer = api.call("yolo", task=task.pk, frame=0, mapping=mapping)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_mapping")
    assert words in answer.json()["message"]
    assert functions.asked["yolo"] == []


def test_call_of_a_detector_without_labels_names_the_missing_annotation(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", lambda payload: [BOX], type="detector")
    answer = api.call("yolo", task=task.pk, frame=0)
    assert answer.status_code == 400
    assert "announces no labels: write them in the annotation 'spec'" in answer.json()["message"]


@pytest.mark.parametrize("name", ["conv_mask_to_poly", "convMaskToPoly"])
def test_masks_become_polygons_with_either_name_of_the_option(
    api: Api, functions: Functions, task: Task, name: str
) -> None:
    square = {"label": "car", "type": "mask", "mask": [1] * 100 + [10, 10, 19, 19]}
    spec = json.dumps([{"name": "car", "type": "mask"}])
    functions.add("rcnn", lambda payload: [square], type="detector", spec=spec)
    found = {
        value: api.call("rcnn", task=task.pk, frame=0, **{name: value}).json()["shapes"][0]["type"]
        for value in (True, False)
    }
    assert found == {True: "polygon", False: "mask"}


def deep_task(alice: User, path: Path, pixels: Any) -> models.Task:
    """A task of one grey image with more than 8 bits per pixel."""
    Image.fromarray(pixels).save(path)
    return create_task(alice, "deep", [{"name": "car", "type": "any", "attributes": []}], [path])


def test_function_gets_a_deep_image_with_the_brightness_of_the_page(
    api: Api, functions: Functions, alice: User, tmp_path: Path
) -> None:
    """The function got a black image, while the page showed a bright one."""
    ramp = np.tile(np.linspace(0, 4080, 64), (48, 1)).astype(np.uint16)
    task = deep_task(alice, tmp_path / "twelve_bits.png", ramp)
    functions.add("yolo", lambda payload: [], type="detector", spec=CAR)
    api.call("yolo", task=task.pk, frame=0)
    shown = api.client.get(f"/api/tasks/{task.pk}/data?type=frame&number=0&quality=compressed")
    seen = [Image.open(io.BytesIO(shown.content)), sent_image(functions.asked["yolo"][0])]
    found = [[image.convert("L").getpixel((x, 20)) for x in (0, 20, 40, 63)] for image in seen]
    assert found[1] == pytest.approx(found[0], abs=6)  # the page gets a JPEG
    assert found[1] == [0, 80, 161, 255]


def test_a_region_of_a_32_bit_tiff_is_sent(
    api: Api, functions: Functions, alice: User, tmp_path: Path
) -> None:
    """Pillow cannot write mode I as PNG, so the call ended with a server error."""
    ramp = np.tile(np.linspace(0, 1_000_000, 64), (48, 1)).astype(np.int32)
    task = deep_task(alice, tmp_path / "i32.tif", ramp)
    functions.add("yolo", lambda payload: [BOX], type="detector", spec=CAR)
    answer = api.call("yolo", task=task.pk, frame=0, roi=[32, 0, 64, 48])
    assert answer.status_code == 200
    image = sent_image(functions.asked["yolo"][0])
    assert (image.size, image.getpixel((31, 0))) == ((32, 48), 255)
    assert image.getpixel((0, 0)) == 129  # as in the whole image


def test_region_alone_is_sent_and_results_are_in_image_coordinates(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", lambda payload: [BOX], type="detector", spec=CAR)
    answer = api.call("yolo", task=task.pk, frame=1, roi=[10, 20, 50, 45])
    assert answer.json()["shapes"][0]["points"] == [11, 22, 40, 40]
    image = sent_image(functions.asked["yolo"][0])
    assert (image.size, image.getpixel((0, 0))) == ((40, 25), grey(1))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("tracker", {"frame": 0, "shapes": [{"type": "rectangle", "points": [1, 1, 9, 9]}]}),
        ("reid", {"frame0": 0, "frame1": 1, "boxes0": [], "boxes1": []}),
    ],
)
def test_region_is_refused_for_kinds_that_need_whole_frames(
    api: Api, functions: Functions, task: Task, kind: str, body: dict[str, Any]
) -> None:
    functions.add("f", type=kind)
    answer = api.call("f", task=task.pk, roi=[0, 0, 9, 9], **body)
    assert answer.status_code == 400
    assert answer.json()["message"] == f"A call of {kind} 'f' needs whole frames: remove 'roi'."
    assert functions.asked["f"] == []


@pytest.mark.parametrize("roi", [[5, 5, 5, 9], [64, 0, 70, 9], [0, 0, 9], [0, 0, 9, "9"], "all"])
def test_invalid_region_is_refused(api: Api, functions: Functions, task: Task, roi: object) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    assert api.call("yolo", task=task.pk, frame=0, roi=roi).status_code == 400
    assert functions.asked["yolo"] == []


def test_item_that_breaks_the_contract_is_left_out_and_noted(
    api: Api, functions: Functions, task: Task
) -> None:
    wrong = [BOX, {**BOX, "points": [1, 2, 3]}]
    functions.add("yolo", lambda payload: wrong, type="detector", spec=CAR)
    answer = api.call("yolo", task=task.pk, frame=1)
    assert answer.status_code == 200
    assert [shape["points"] for shape in answer.json()["shapes"]] == [[1, 2, 30, 20]]
    assert answer.json()["notes"] == [
        "item 1, field 'points': a rectangle has 4 numbers, but 3 were given; the item was left out"
    ]


def test_answer_with_items_that_are_not_objects_names_function_frame_and_item(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", lambda payload: [[1, 2, 3, 4]], type="detector", spec=CAR)
    answer = api.call("yolo", task=task.pk, frame=1)
    error = answer.json()
    assert (answer.status_code, error["code"]) == (502, "function_answer_invalid")
    assert (error["function"], error["frame"], error["item"]) == ("yolo", 1, 0)
    assert error["message"].startswith("function 'yolo', frame 1: item 0")


# Interactors

MASK = [[0, 255], [255, 255]]


@pytest.mark.parametrize("box", [{}, {"obj_bbox": []}])
def test_call_of_an_interactor_without_any_click_is_refused(
    api: Api, functions: Functions, task: Task, box: dict[str, object]
) -> None:
    functions.add("sam", lambda payload: Reply(500, "no points"), type="interactor")
    answer = api.call("sam", task=task.pk, frame=0, pos_points=[], neg_points=[], **box)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "needs at least one point in 'pos_points' or a box" in answer.json()["message"]
    assert functions.asked["sam"] == []


def test_call_without_a_click_is_sent_to_an_interactor_that_needs_none(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add(
        "all", lambda payload: {"mask": [[1] * 64] * 48}, type="interactor", min_pos_points="0"
    )
    answer = api.call("all", task=task.pk, frame=0, pos_points=[], neg_points=[])
    assert answer.status_code == 200


def test_interactor_gets_points_and_box_of_the_call(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("sam", lambda payload: {"mask": MASK, "bounds": [3, 4, 4, 5]}, type="interactor")
    answer = api.call(
        "sam",
        task=task.pk,
        frame=0,
        pos_points=[[3, 4]],
        neg_points=[],
        obj_bbox=[],
        threshold=0.5,
    )
    assert answer.json() == {"mask": MASK, "bounds": [3, 4, 4, 5]}
    payload = functions.asked["sam"][0]
    assert sent_image(payload).getpixel((0, 0)) == grey(0)
    del payload["image"]
    assert payload == {
        "pos_points": [[3, 4]],
        "neg_points": [],
        "obj_bbox": [],
        "threshold": 0.5,
    }


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json; indent=4"])
@pytest.mark.parametrize("one", [1, 255, 7, True, 1.0])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" , ", " : ")])
def test_whole_image_mask_is_returned_equal_in_every_json_form(
    api: Api, functions: Functions, task: Task, accept: str, one: float, separators: tuple[str, str]
) -> None:
    """Masks in common JSON forms are passed on as text. The answer must look the same."""
    rows = [[one * (x % 5 == y % 3) for x in range(64)] for y in range(48)]
    answer = {"points": [[0, 0], [64, 0], [9, 9]], "mask": rows, "more": "of no use"}
    text = json.dumps(answer, separators=separators)
    functions.add("sam", lambda payload: Reply(200, text), type="interactor")
    found = api.post(
        "functions/sam",
        {"task": task.pk, "frame": 0, "pos_points": [[1, 1]], "neg_points": []},
        headers={"Accept": accept},
    )
    listed = api.client.get("/api/lambda/functions", headers={"Accept": accept})
    assert found.json() == {"points": answer["points"], "mask": rows}
    assert found.headers["Content-Type"] == listed.headers["Content-Type"]
    assert "Accept" in found.headers["Vary"]


def test_interactor_gets_clicks_in_coordinates_of_the_region(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add(
        "sam",
        lambda payload: {"mask": MASK, "bounds": [3, 4, 4, 5], "points": [[3, 4], [4, 4], [4, 5]]},
        type="interactor",
    )
    answer = api.call(
        "sam",
        task=task.pk,
        frame=0,
        roi=[10, 20, 40, 40],
        pos_points=[[13, 24]],
        neg_points=[[30, 35]],
        obj_bbox=[[10, 20], [39, 39]],
    )
    assert answer.json()["bounds"] == [13, 24, 14, 25]
    assert answer.json()["points"] == [[13, 24], [14, 24], [14, 25]]
    payload = functions.asked["sam"][0]
    assert payload["pos_points"] == [[3, 4]]
    assert payload["neg_points"] == [[20, 15]]
    assert payload["obj_bbox"] == [[0, 0], [29, 19]]
    assert sent_image(payload).size == (30, 20)


def test_obj_bbox_other_than_null_or_two_corners_is_refused(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("sam", lambda payload: {"mask": MASK, "bounds": [0, 0, 1, 1]}, type="interactor")
    points = {"task": task.pk, "frame": 0, "pos_points": [[1, 1]], "neg_points": []}
    assert api.call("sam", **points, obj_bbox=None).status_code == 200
    assert functions.asked["sam"][0]["obj_bbox"] is None
    assert list(api.call("sam", **points, obj_bbox=[[1, 1]]).json()) == ["obj_bbox"]


def test_mask_whose_size_differs_from_its_bounds_is_refused(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("sam", lambda payload: {"mask": MASK, "bounds": [0, 0, 5, 5]}, type="interactor")
    answer = api.call("sam", task=task.pk, frame=0, pos_points=[[1, 1]], neg_points=[])
    assert (answer.status_code, answer.json()["field"]) == (502, "bounds")


def test_blob_for_the_browser_plugin_of_cvat_is_passed_on(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add(
        "pth-facebookresearch-sam-vit-h", lambda payload: {"blob": "AAAA"}, type="interactor"
    )
    answer = api.call(
        "pth-facebookresearch-sam-vit-h", task=task.pk, frame=0, pos_points=[], neg_points=[]
    )
    assert answer.json() == {"blob": "AAAA"}


@pytest.mark.parametrize("blob", ['"\\ud800"', '"text!"', '""', "5"])
def test_blob_that_is_not_base64_answers_502(
    api: Api, functions: Functions, task: Task, blob: str
) -> None:
    functions.add("sam", lambda payload: Reply(200, f'{{"blob": {blob}}}'), type="interactor")
    answer = api.call("sam", task=task.pk, frame=0, pos_points=[[1, 1]], neg_points=[])
    assert (answer.status_code, answer.json()["field"]) == (502, "blob")


def test_a_blob_of_a_region_is_refused(api: Api, functions: Functions, task: Task) -> None:
    """The browser would use it for the whole image."""
    functions.add("sam", lambda payload: {"blob": "AAAA"}, type="interactor")
    answer = api.call(
        "sam", task=task.pk, frame=0, pos_points=[[1, 1]], neg_points=[], roi=[0, 0, 32, 32]
    )
    assert (answer.status_code, answer.json()["field"]) == (502, "blob")


@pytest.mark.parametrize(
    ("mask", "shown"),
    [([[True, False]], [[1, 0]]), ([[0.0, 1.0]], [[0, 1]]), ([[0, 0.5]], None), ([[0, -1]], None)],
)
def test_mask_values_are_returned_as_integers_or_refused(
    api: Api, functions: Functions, task: Task, mask: object, shown: object
) -> None:
    answer = {"mask": mask, "bounds": [0, 0, 1, 0]}
    functions.add("sam", lambda payload: answer, type="interactor")
    found = api.call("sam", task=task.pk, frame=0, pos_points=[[1, 1]], neg_points=[])
    if shown is None:
        assert (found.status_code, found.json()["field"]) == (502, "mask[0]")
    else:
        assert json.dumps(found.json()["mask"]) == json.dumps(shown)


# Re-identification


def boxes(*corners: list[float]) -> list[dict[str, Any]]:
    return [{"points": points, "label_id": 1, "type": "rectangle"} for points in corners]


def test_reid_matches_the_boxes_of_two_frames(api: Api, functions: Functions, task: Task) -> None:
    functions.add("reid", lambda payload: [1, -1], type="reid")
    answer = api.call(
        "reid",
        task=task.pk,
        frame0=0,
        frame1=1,
        boxes0=boxes([0, 0, 1, 1], [2, 2, 3, 3]),
        boxes1=boxes([9, 9, 10, 10], [0, 0, 1, 1]),
        threshold=0,
        max_distance=50.0,
    )
    assert answer.json() == [1, -1]
    payload = functions.asked["reid"][0]
    assert sent_image(payload, "image0").getpixel((0, 0)) == grey(0)
    assert sent_image(payload, "image1").getpixel((0, 0)) == grey(1)
    assert payload["boxes1"] == boxes([9, 9, 10, 10], [0, 0, 1, 1])
    assert (payload["threshold"], payload["max_distance"]) == (0, 50)


def test_reid_without_boxes_does_not_invoke_the_function(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("reid", type="reid")
    scope = {"task": task.pk, "frame0": 0, "frame1": 1}
    answer = api.call("reid", **scope, boxes0=boxes([0, 0, 1, 1]), boxes1=[])
    assert (answer.json(), functions.asked["reid"]) == ([-1], [])


def test_reid_with_the_second_frame_outside_the_job_is_refused(
    api: Api, functions: Functions, task: Task, jobs: list[int]
) -> None:
    functions.add("reid", type="reid")
    answer = api.call("reid", job=jobs[0], frame0=1, frame1=2, boxes0=[], boxes1=[])
    assert answer.json()["code"] == "frame_out_of_scope"


# Failures of the function


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (Reply(500, 'Exception caught in handler - "no": Traceback'), 502, "function_failed"),
        (Reply(400, "the image is too dark"), 400, "function_rejected"),
        (Reply(200, "[1, NaN]"), 502, "function_answer_invalid"),
        (Reply(200, ""), 502, "function_answer_invalid"),
        ({"label": "car"}, 502, "function_answer_invalid"),
    ],
)
def test_failed_invocation_is_answered_with_code_and_message(
    api: Api, functions: Functions, task: Task, answer: object, status: int, code: str
) -> None:
    functions.add("yolo", lambda payload: answer, type="detector", spec=CAR)
    found = api.call("yolo", task=task.pk, frame=0)
    assert (found.status_code, found.json()["code"]) == (status, code)
    assert "yolo" in found.json()["message"]


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, "{"),
        Reply(200, "[1e]"),
        Reply(200, ""),
        Reply(302, ""),
        Reply(204, ""),
    ],
)
@pytest.mark.parametrize("kind", ["detector", "interactor", "tracker", "reid"])
def test_answer_that_is_not_json_names_function_and_frame(
    api: Api, functions: Functions, task: Task, kind: str, answer: object
) -> None:
    functions.add("fn", lambda payload: answer, type=kind, spec=CAR)
    asked: dict[str, dict[str, Any]] = {
        "detector": {"frame": 1},
        "interactor": {"frame": 1, "pos_points": [[1, 1]], "neg_points": []},
        "tracker": {"frame": 1, "shapes": [{"type": "rectangle", "points": [1, 2, 3, 4]}]},
        "reid": {
            "frame0": 0,
            "frame1": 1,
            "boxes0": boxes([1, 2, 3, 4]),
            "boxes1": boxes([1, 2, 3, 4]),
        },
    }
    found = api.call("fn", task=task.pk, **asked[kind])
    error = found.json()
    assert (found.status_code, error["code"]) == (502, "function_answer_invalid")
    assert (error["function"], error["frame"]) == ("fn", 1)
    assert error["message"].startswith("frame 1: function 'fn'")


def test_malformed_mask_of_a_downscaled_image_is_left_out_and_noted(
    api: Api, functions: Functions, task: Task
) -> None:
    item = {"label": "car", "type": "mask", "rle": [0, 1 << 28, 0, 0, 16383, 16383]}
    functions.add("yolo", lambda payload: [item], type="detector", spec=CAR, max_image_side="32")
    answer = api.call("yolo", task=task.pk, frame=1).json()
    assert answer["shapes"] == []
    assert answer["notes"][0].startswith("item 0, field 'rle': the box [0, 0, 16383, 16383]")


def test_error_answer_has_no_internal_address_and_no_traceback(
    api: Api, functions: Functions, task: Task
) -> None:
    """Bug in CVAT: its answers contained the function's URL and tracebacks."""
    trace = (
        f'Exception caught in handler - "no": Traceback (most recent call last): {functions.url}'
    )
    functions.add("yolo", lambda payload: Reply(500, trace), type="detector", spec=CAR)
    text = api.call("yolo", task=task.pk, frame=0).content.decode()
    assert "Traceback" not in text
    assert "127.0.0.1" not in text
    assert str(functions.port) not in text


def test_image_over_the_limit_of_the_function_answers_413(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", type="detector", spec=CAR)
    functions.limit_body("yolo", 100)
    answer = api.call("yolo", task=task.pk, frame=0)
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_image_over_the_limit_is_downscaled_where_the_function_allows_it(
    api: Api, functions: Functions, task: Task
) -> None:
    functions.add("yolo", lambda payload: [BOX], type="detector", spec=CAR, max_image_side="32")
    answer = api.call("yolo", task=task.pk, frame=0)
    assert sent_image(functions.asked["yolo"][0]).size == (32, 24)
    assert answer.json()["shapes"][0]["points"] == [2, 4, 60, 40]
