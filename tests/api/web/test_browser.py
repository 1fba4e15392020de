"""The pages in a real browser: requests that run, the start form, and the width of a phone."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import Image
from playwright.sync_api import Page, expect

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_project, create_task
from cvat_lambda.functions.models import Function
from cvat_lambda.requests.control.compatibility import MAX_CHOICES
from cvat_lambda.requests.store.models import Request, Shard, Status
from cvat_lambda.server.processes import Child
from tests.api.web.conftest import TIMEOUT_MS
from tests.api.web.test_function_choice import known
from tests.conftest import IMAGES
from tests.http_server import Reply
from tests.integration.requests.conftest import make_images, store_function
from tests.integration.requests.function_server import FunctionServer, frame_of, rectangle_of
from tests.integration.requests.test_track import behave, draw

Worker = Callable[..., Child]
Open = Callable[..., Page]
FAILED = Reply(status=500, body=b'"the lens is dirty"')
LABELS = [{"name": "Cars", "type": "rectangle"}, {"name": "person", "type": "rectangle"}]


@pytest.fixture
def task(transactional_db: None, alice: User, tmp_path: Path) -> models.Task:
    """A task of eight small frames, whose colours are their numbers."""
    return create_task(alice, "Street", LABELS, make_images(tmp_path / "images", 8))


@pytest.fixture
def finder(transactional_db: None, function: FunctionServer) -> Function:
    """A detector of cars."""
    return store_function(function.url, workers=1)


@pytest.fixture
def worker(worker_process: Worker) -> Child:
    """An RQ worker, which writes after each frame."""
    return worker_process(
        CVAT_LAMBDA_BATCH_FRAMES="1",
        CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS="127.0.0.1/32",
    )


@pytest.mark.usefixtures("finder", "worker")
def test_request_runs_is_cancelled_resumed_retried_and_undone_on_its_page(
    open_page: Open, alice: User, task: models.Task, function: FunctionServer
) -> None:
    may_answer = threading.Semaphore(2)

    def slow(payload: dict[str, Any]) -> Any:
        if frame_of(payload) == 1:  # fails at once: calls run side by side, in no fixed order
            return FAILED
        may_answer.acquire()
        return rectangle_of(frame_of(payload))

    function.behave = slow
    page = open_page(alice, f"/start?task={task.pk}")
    expect(page.locator("#estimate")).to_have_text("8 frames will run. Nothing will be replaced.")
    page.get_by_role("button", name="Run").click()

    badge = page.locator("[data-badge]")
    expect(page.locator(".words")).to_contain_text("1 failed of 8")
    expect(page.locator(".cause")).to_contain_text("the lens is dirty")
    page.get_by_role("button", name="Cancel").click()
    expect(badge).to_have_text("cancelled")

    may_answer.release(100)
    page.get_by_role("button", name="Resume").click()
    expect(badge).to_have_text("finished with 1 failed frame")
    expect(page.locator("[data-shapes]")).to_have_text("7")

    function.behave = lambda payload: rectangle_of(frame_of(payload))
    page.get_by_role("button", name="Run the failed frames again").click()
    expect(badge).to_have_text("finished")

    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Undo: remove 8 shapes").click()
    expect(page.get_by_text("undone", exact=True)).to_be_visible()
    assert get_engine().annotations(task.pk).shapes == ()


@pytest.mark.usefixtures("finder", "worker")
def test_list_of_requests_follows_a_request_of_somebody_else(
    open_page: Open, alice: User, bob: User, task: models.Task, function: FunctionServer
) -> None:
    models.Job.objects.filter(segment__task=task).update(assignee=bob)
    answer = threading.Event()

    def wait(payload: dict[str, Any]) -> Any:
        answer.wait(TIMEOUT_MS / 1000)
        return rectangle_of(frame_of(payload))

    function.behave = wait
    start = open_page(alice, f"/start?task={task.pk}")
    start.get_by_role("button", name="Run").click()
    start.wait_for_url("**/requests/req-*")
    watched = open_page(bob, "/requests")
    expect(watched.locator("[data-badge]")).to_have_text("started")
    answer.set()
    expect(watched.locator("[data-badge]")).to_have_text("finished")
    expect(watched.locator("[data-shapes]")).to_have_text("8")


@pytest.mark.usefixtures("finder")
def test_preview_draws_what_the_function_finds_and_writes_nothing(
    open_page: Open, alice: User, task: models.Task, function: FunctionServer
) -> None:
    function.behave = lambda payload: [
        *rectangle_of(1, score=0.9),
        *rectangle_of(20, score=0.3),
    ]
    page = open_page(alice, f"/start?task={task.pk}")
    expect(page.get_by_label("car", exact=True)).to_have_value("Cars")  # guessed
    page.get_by_label("Frames", exact=True).fill("2, 5")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview figcaption")).to_have_text(
        ["Frame 2: 1 found", "Frame 5: 1 found"]
    )
    calls = len(function.seen)
    page.get_by_role("slider", name="Confidence threshold").fill("0.2")
    expect(page.locator("#preview figcaption")).to_have_text(
        ["Frame 2: 2 found", "Frame 5: 2 found"]
    )
    assert (len(function.seen), sorted(function.seen)) == (calls, [2, 5])
    assert get_engine().annotations(task.pk).shapes == ()


def test_preview_names_the_tags_above_the_threshold(
    open_page: Open, alice: User, function: FunctionServer, transactional_db: None, tmp_path: Path
) -> None:
    labels = [{"name": name, "type": "tag"} for name in ("day", "night")]
    task = create_task(alice, "Weather", labels, make_images(tmp_path / "images", 1))
    store_function(function.url, labels=labels)
    function.behave = lambda payload: [
        {"type": "tag", "label": "day", "confidence": 0.9},
        {"type": "tag", "label": "night", "confidence": 0.3},
    ]
    page = open_page(alice, f"/start?task={task.pk}")
    page.get_by_role("button", name="Preview").click()
    caption = page.locator("#preview figcaption")
    expect(caption).to_have_text("Frame 0: 1 found; tags: day 0.90")
    page.get_by_role("slider", name="Confidence threshold").fill("0.2")
    expect(caption).to_have_text("Frame 0: 2 found; tags: day 0.90, night 0.30")


@pytest.mark.usefixtures("finder")
def test_start_form_keeps_the_choices_of_the_last_request(
    open_page: Open, alice: User, task: models.Task
) -> None:
    page = open_page(alice, f"/start?task={task.pk}")
    page.get_by_label("car", exact=True).select_option("person")
    page.get_by_label("Which frames").select_option("frames")
    page.locator("[name=frames]").fill("0-1, 4")
    page.get_by_label("Replace everything").check()
    expect(page.locator("#estimate")).to_contain_text("3 frames will run.")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/requests/req-*")
    request = Request.objects.get()
    assert request.params["mapping"]["car"]["name"] == "person"
    assert (request.total, request.params["replace"]) == (3, "all")
    page.goto(f"/start?task={task.pk}")
    expect(page.get_by_label("car", exact=True)).to_have_value("person")


def test_function_that_the_start_form_does_not_list_is_found_and_its_labels_are_loaded(
    open_page: Open, alice: User, task: models.Task, function: FunctionServer
) -> None:
    known(*(f"f{number:03}" for number in range(MAX_CHOICES)), label="car")
    store_function(function.url, "zebras", labels=[{"name": "stripe", "type": "rectangle"}])
    page = open_page(alice, f"/start?task={task.pk}")
    expect(page.get_by_label("car", exact=True)).to_have_value("Cars")
    search = page.get_by_label("Find a function by name or id")
    chosen = page.locator("[name=function]")
    search.fill("unknown")
    expect(page.locator("#function-hint")).to_contain_text("has “unknown” in its name or id.")
    expect(page.get_by_role("button", name="Run")).to_be_disabled()
    search.fill("ebra")
    expect(chosen).to_have_value("zebras")
    page.get_by_label("stripe", exact=True).select_option("person")
    expect(page.locator("#estimate")).to_contain_text("8 frames will run.")
    search.press("Enter")  # does not send the form
    search.fill("")
    expect(chosen.locator("option")).to_have_count(MAX_CHOICES)
    expect(page.get_by_label("car", exact=True)).to_have_value("Cars")
    chosen.select_option("f007")
    expect(page.get_by_label("car", exact=True)).to_have_value("Cars")
    search.fill("zebras")
    page.get_by_label("stripe", exact=True).select_option("person")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/requests/req-*")
    assert Request.objects.get().function_id == "zebras"


def test_start_form_maps_the_texts_that_a_function_is_asked_to_find(
    open_page: Open, alice: User, task: models.Task, function: FunctionServer
) -> None:
    store_function(function.url, labels=[], prompts="text")
    page = open_page(alice, f"/start?task={task.pk}")
    page.get_by_label("What to find").fill("person, a red car, a dog")
    page.get_by_label("What to find").blur()
    expect(page.get_by_label("person", exact=True)).to_have_value("person")
    page.get_by_label("a red car", exact=True).select_option("Cars")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/requests/req-*")
    params = Request.objects.get().params
    assert params["text"] == ["person", "a red car"]
    assert {text: label["name"] for text, label in params["mapping"].items()} == {
        "person": "person",
        "a red car": "Cars",
    }


def test_start_form_sends_examples_of_what_is_to_be_found(
    open_page: Open, alice: User, task: models.Task, function: FunctionServer
) -> None:
    store_function(function.url, labels=[], prompts="text,exemplar")
    page = open_page(alice, f"/start?task={task.pk}")
    examples = page.get_by_label("Examples, one a line")
    examples.fill("1, 2, 3, 40, thing")
    examples.blur()
    expect(page.locator("#estimate")).to_contain_text("“1, 2, 3, 40, thing” is not.")
    examples.fill("1, 2, 3, 40, 30.5, thing\n1, 50, 3, 60, 30, not thing")
    examples.blur()
    page.get_by_label("thing", exact=True).select_option("person")
    expect(page.locator("#estimate")).to_contain_text("1 frame will run.")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/requests/req-*")
    params = Request.objects.get().params
    assert params.get("text") is None
    assert params["mapping"]["thing"]["name"] == "person"
    assert [(one["frame"], one["box"], one["negative"]) for one in params["exemplars"]] == [
        (1, [2, 3, 40, 30.5], False),
        (1, [50, 3, 60, 30], True),
    ]


@pytest.mark.usefixtures("finder")
def test_start_form_replaces_annotations_of_chosen_labels_and_uses_some_labels_of_the_function(
    open_page: Open, alice: User, task: models.Task
) -> None:
    page = open_page(alice, f"/start?task={task.pk}")
    only = page.locator("#replace-labels")
    page.get_by_label("Replace nothing").check()
    expect(only).to_be_hidden()
    page.get_by_label("Replace all automatic annotations").check()
    only.locator("summary").click()
    only.get_by_label("replace Cars").check()
    page.get_by_label("car", exact=True).select_option("Cars")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/requests/req-*")
    params = Request.objects.get().params
    assert (params["replace"], params["replace_labels"]) == ("automatic", ["Cars"])
    assert {label["name"] for label in params["mapping"].values()} == {"Cars"}


@pytest.mark.usefixtures("finder")
def test_region_that_is_drawn_on_the_preview_is_sent_with_preview_and_request(
    open_page: Open, alice: User, task: models.Task, function: FunctionServer
) -> None:
    sizes: list[tuple[int, int]] = []

    def behave_in_region(payload: dict[str, Any]) -> Any:
        sizes.append(Image.open(io.BytesIO(base64.b64decode(payload["image"]))).size)
        return rectangle_of(1)

    function.behave = behave_in_region
    page = open_page(alice, f"/start?task={task.pk}")
    page.get_by_label("Frames", exact=True).fill("2")
    page.get_by_role("button", name="Draw the region").click()
    picture = page.locator("#preview svg.picture")
    expect(page.locator("#preview figcaption")).to_have_text("Frame 2")
    assert sizes == []
    picture.scroll_into_view_if_needed()
    place = picture.bounding_box()
    assert place is not None
    scale = place["width"] / 64  # the frames are 64 x 48
    page.mouse.move(place["x"] + 10 * scale, place["y"] + 8 * scale)
    page.mouse.down()
    page.mouse.move(place["x"] + 30 * scale, place["y"] + 20 * scale)
    page.mouse.move(place["x"] + 42 * scale, place["y"] + 40 * scale)
    page.mouse.up()
    field = page.locator("[name=roi]")
    expect(field).to_have_value("10, 8, 42, 40")
    expect(page.locator("#preview .region")).to_have_attribute("width", "32")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview figcaption")).to_have_text("Frame 2: 1 found")
    assert sizes == [(32, 32)]
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/requests/req-*")
    assert Request.objects.get().params["roi"] == [10, 8, 42, 40]
    page.go_back()
    page.locator("[name=roi]").fill("1, 2, 3")
    page.locator("[name=roi]").blur()
    expect(page.locator("#estimate")).to_have_text(
        "A region is four numbers: left, top, right, bottom."
    )
    page.get_by_role("button", name="Whole frame").click()
    expect(page.locator("#estimate")).to_contain_text("8 frames will run.")


@pytest.mark.usefixtures("finder")
def test_assignee_of_a_job_previews_and_starts_on_this_job_only(
    open_page: Open, alice: User, bob: User, tmp_path: Path, function: FunctionServer
) -> None:
    made = create_task(alice, "Two jobs", LABELS, make_images(tmp_path, 6), segment_size=3)
    job = models.Job.objects.filter(segment__task=made).order_by("pk")[1]
    models.Job.objects.filter(pk=job.pk).update(assignee=bob)
    page = open_page(bob, f"/tasks/{made.pk}")
    page.get_by_role("link", name="Run a function").click()
    heading = f"Run a function on jobs of task #{made.pk}, 3 frames"
    expect(page.get_by_role("heading", name=heading)).to_be_visible()
    assert page.locator("[name=scope] option").all_inner_texts() == ["some jobs", "some frames"]
    expect(page.locator("#jobs label")).to_have_text([f"job #{job.pk}: frames 3 to 5"])
    expect(page.locator("#estimate")).to_have_text("3 frames will run. Nothing will be replaced.")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview figcaption")).to_have_text(
        [f"Frame {frame}: 1 found" for frame in (3, 4, 5)]
    )
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/requests/req-*")
    request = Request.objects.get()
    assert (request.total, request.shards.get().job_id) == (3, job.pk)


@pytest.mark.usefixtures("finder")
def test_one_request_is_started_on_several_tasks_that_are_chosen_in_the_list(
    open_page: Open, alice: User, task: models.Task, tmp_path: Path
) -> None:
    labels = [{"name": "Cars", "type": "rectangle"}]
    second = create_task(alice, "Second", labels, make_images(tmp_path / "second", 3))
    page = open_page(alice, "/start")
    for chosen in (task, second):
        page.get_by_label(f"Choose task #{chosen.pk}").check()
    page.get_by_role("button", name="Run on the chosen tasks").click()
    expect(page.get_by_role("heading", name="Run a function on 2 tasks, 11 frames")).to_be_visible()
    options = page.get_by_label("car", exact=True).locator("option")
    expect(options).to_have_text(["leave out", "Cars"])  # the second task has no label "person"
    expect(page.locator("#estimate")).to_have_text("11 frames will run. Nothing will be replaced.")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/requests/req-*")
    shards = Request.objects.get().shards.order_by("task_id").values_list("task_id", flat=True)
    assert sorted(shards) == sorted([task.pk, second.pk])


@pytest.mark.usefixtures("finder")
def test_request_is_started_on_all_tasks_of_the_project(
    open_page: Open, alice: User, tmp_path: Path
) -> None:
    project = create_project(alice, "Streets", LABELS)
    tasks = [
        create_task(alice, name, [], make_images(tmp_path / name, 2), project=project)
        for name in ("north", "south")
    ]
    page = open_page(alice, f"/start?task={tasks[0].pk}")
    page.get_by_label("Which frames").select_option("all tasks of the project")
    expect(page.locator("#estimate")).to_have_text("4 frames will run. Nothing will be replaced.")
    page.get_by_role("button", name="Run").click()
    page.wait_for_url("**/requests/req-*")
    shards = Request.objects.get().shards.values_list("task_id", flat=True)
    assert sorted(shards) == sorted(task.pk for task in tasks)


def test_requests_of_trackers_and_reid_functions_are_started_on_the_form(
    open_page: Open, alice: User, task: models.Task, function: FunctionServer
) -> None:
    store_function(
        function.url, "tracker", kind="tracker", labels=[], supported_shape_types="rectangle"
    )
    store_function(function.url, "matcher", kind="reid", labels=[])
    for frame in (0, 2):
        draw(task.pk, frame, 5)
    page = open_page(alice, f"/start?task={task.pk}&function=tracker")
    page.get_by_label("Start with the annotations of frame").fill("2")
    page.get_by_label("Direction").select_option("backward")
    page.get_by_label("End a track where its object is lost").check()
    expect(page.locator("#estimate")).to_contain_text("1 object will be tracked.")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/requests/req-*")
    tracking = Request.objects.get().params["tracking"]
    assert (tracking["direction"], tracking["stop_when_lost"]) == ("backward", True)
    assert tracking["start"]["frame"] == 2
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-badge]")).to_have_text("cancelled")

    page.goto(f"/start?task={task.pk}&function=matcher")
    page.get_by_label("Largest distance between two frames").fill("30")
    expect(page.locator("#estimate")).to_contain_text("8 frames will run.")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/requests/req-*")
    assert Request.objects.get(function_id="matcher").params["max_distance"] == 30


@pytest.mark.usefixtures("finder")
def test_start_form_shows_what_is_wrong_before_anything_is_sent(
    open_page: Open, alice: User, task: models.Task
) -> None:
    page = open_page(alice, f"/start?task={task.pk}")
    page.get_by_label("Which frames").select_option("frames")
    page.locator("[name=frames]").fill("0-x")
    page.locator("[name=frames]").blur()
    expect(page.locator("#estimate")).to_contain_text("“0-x” is neither a frame nor a range")
    expect(page.get_by_role("button", name="Run")).to_be_disabled()


@pytest.mark.usefixtures("transactional_db")
def test_function_is_tried_on_a_picture_of_ones_own(
    open_page: Open, alice: User, finder: Function, function: FunctionServer
) -> None:
    function.behave = lambda payload: rectangle_of(1, score=0.9)
    page = open_page(alice, f"/functions/{finder.pk}")
    page.get_by_label("A picture of your own").set_input_files(IMAGES / "coffee.png")
    page.get_by_role("button", name="Try").click()
    expect(page.locator("#trial-state")).to_have_text("1 found at this confidence.")
    expect(page.locator("#trial-result .caption")).to_have_text("car 0.90")


@pytest.mark.usefixtures("transactional_db")
def test_function_is_tried_on_a_frame_of_a_task(
    open_page: Open, alice: User, finder: Function, task: models.Task, function: FunctionServer
) -> None:
    page = open_page(alice, f"/functions/{finder.pk}")
    page.get_by_label("Task", exact=True).fill(str(task.pk))
    page.get_by_label("Frame", exact=True).fill("3")
    page.get_by_role("button", name="Try").click()
    expect(page.locator("#trial-state")).to_have_text("1 found at this confidence.")
    assert function.seen == [3]


@pytest.fixture
def long_names(transactional_db: None, alice: User) -> list[str]:
    """Pages with long names."""
    name = "averylongnamewithoutaspace" * 5
    task = create_task(alice, name, [{"name": name[:60]}], [IMAGES / "coffee.png"])
    Function.objects.create(id=name[:100], name=name, problem=f"{name}: no label", state="ready")
    row = Request.objects.create(
        owner=alice,
        task_id=task.pk,
        function_id=name[:100],
        function_kind="detector",
        status=Status.FAILED,
        total=1,
        error_message=name,
    )
    Shard.objects.create(
        request=row, index=0, task_id=task.pk, frames=[[0, 0]], first_frame=0, last_frame=0
    )
    pages = ["/", "/functions", f"/functions/{name[:100]}", "/requests", f"/requests/{row.pk}"]
    return [*pages, f"/tasks/{task.pk}", f"/tasks/{task.pk}/frames/0", f"/start?task={task.pk}"]


def test_pages_with_long_names_fit_the_width_of_a_phone(
    open_page: Open, alice: User, long_names: list[str]
) -> None:
    page = open_page(alice, "/", viewport={"width": 390, "height": 844})
    wide = []
    for path in long_names:
        page.goto(path)
        width = page.locator("html").evaluate("element => element.scrollWidth")
        if width > 390:
            wide.append((path, width))
    assert wide == []


def test_preview_of_a_tracker_draws_the_next_frames_and_writes_nothing(
    open_page: Open, alice: User, task: models.Task, function: FunctionServer
) -> None:
    function.behave = behave
    store_function(
        function.url, "tracker", kind="tracker", labels=[], supported_shape_types="rectangle"
    )
    draw(task.pk, 0, 30)
    draw(task.pk, 2, 5)
    page = open_page(alice, f"/start?task={task.pk}&function=tracker")
    page.get_by_label("Start with the annotations of frame").fill("2")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#track-preview figcaption")).to_have_text(
        [f"Frame {frame}: 1 of 1 found" for frame in range(2, 8)]
    )
    expect(page.locator("#track-preview-state")).to_have_text("Frames 2 to 7. Nothing was written.")
    assert get_engine().annotations(task.pk).tracks == ()
