"""The workbench in a real browser: upload, edit, click, track, keys."""

from __future__ import annotations

import base64
import io
import json
import queue
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from cvat_lambda.annotations.types import LabeledData, Shape, Track, TrackedShape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_task
from tests.conftest import IMAGES
from tests.integration.requests.conftest import make_images, store_function
from tests.integration.requests.function_server import FunctionServer

Open = Callable[..., Page]
PATIENCE_S = 180
LABELS = [{"name": "cup", "type": "any"}, {"name": "spoon", "type": "any"}]


@pytest.fixture
def task(transactional_db: None, alice: User) -> models.Task:
    """A task of two photographs. There is a box of a cup on the first one."""
    made = create_task(alice, "Table", LABELS, [IMAGES / "coffee.png", IMAGES / "chelsea.png"])
    engine = get_engine()
    cup = engine.task(made.pk).labels[0].id or 0
    box = Shape(type="rectangle", frame=0, label_id=cup, points=(100, 50, 300, 250), score=0.4)
    with engine.atomic():
        engine.apply(Change(task_id=made.pk, frames=(0,), add=LabeledData(shapes=(box,))))
    return made


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag the mouse between two points of the frame, given in its pixels."""
    one, two = _on_screen(page, start), _on_screen(page, end)
    page.mouse.move(*one)
    page.mouse.down()
    page.mouse.move((one[0] + two[0]) / 2, (one[1] + two[1]) / 2)
    page.mouse.move(*two)
    page.mouse.up()


def _on_screen(page: Page, point: tuple[float, float]) -> tuple[float, float]:
    picture = page.locator("#canvas svg > image")
    place = picture.bounding_box()
    assert place is not None
    width = float(picture.get_attribute("width") or 1)
    scale = place["width"] / width
    return place["x"] + point[0] * scale, place["y"] + point[1] * scale


def shapes(task: models.Task) -> list[Shape]:
    return list(get_engine().annotations(task.pk).shapes)


def rows(page: Page) -> Locator:
    return page.locator("#list .name")


def test_task_is_created_from_dropped_files_and_typed_labels(
    open_page: Open, alice: User, transactional_db: None
) -> None:
    page = open_page(alice, "/tasks/new")
    page.get_by_label("or choose files").set_input_files(
        [IMAGES / "coffee.png", IMAGES / "chelsea.png"]
    )
    expect(page.get_by_label("Name", exact=True)).to_have_value("coffee")
    page.get_by_label("Name", exact=True).fill("Table")
    page.get_by_label("Label name").fill("cup")
    page.get_by_label("Label type").select_option("mask")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Table task #")).to_be_visible()
    made = models.Task.objects.get()
    found = get_engine().task(made.pk)
    assert (found.size, [(label.name, label.type) for label in found.labels]) == (
        2,
        [("cup", "mask")],
    )


def test_upload_of_a_broken_file_shows_why_and_leaves_no_task(
    open_page: Open, alice: User, transactional_db: None, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    page = open_page(alice, "/tasks/new")
    page.get_by_label("or choose files").set_input_files(broken)
    page.get_by_label("Label name").fill("cup")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#problem")).to_contain_text("broken.jpg")
    expect(page.get_by_role("button", name="Create")).to_be_enabled()
    assert not models.Task.objects.exists()


def test_box_is_moved_relabelled_removed_and_restored_by_undo(
    open_page: Open, alice: User, task: models.Task
) -> None:
    page = open_page(alice, f"/tasks/{task.pk}/frames/0")
    expect(rows(page)).to_have_text(["cup 0.40"])
    drag(page, (200, 150), (230, 170))
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    (moved,) = shapes(task)
    assert moved.points == pytest.approx((130, 70, 330, 270), abs=2)
    page.keyboard.press("2")
    expect(rows(page)).to_have_text(["spoon 0.40"])
    page.keyboard.press("Delete")
    expect(rows(page)).to_have_count(0)
    for name in ("spoon 0.40", "cup 0.40"):
        page.keyboard.press("Control+z")
        expect(rows(page)).to_have_text([name])
    page.keyboard.press("Control+z")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    (restored,) = shapes(task)
    assert restored.points == pytest.approx((100, 50, 300, 250))


def test_filters_hide_annotations_by_score_and_label(
    open_page: Open, alice: User, task: models.Task
) -> None:
    page = open_page(alice, f"/tasks/{task.pk}/frames/0")
    page.get_by_label("Lowest score").fill("0.5")
    expect(page.locator("#canvas .shape")).to_have_count(0)
    page.get_by_label("Lowest score").fill("0.3")
    expect(page.locator("#canvas .shape")).to_have_count(1)


def test_workbench_is_used_with_the_keyboard_alone(
    open_page: Open, alice: User, task: models.Task
) -> None:
    page = open_page(alice, f"/tasks/{task.pk}/frames/0")
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(f"{page.url.rsplit('/', 1)[0]}/1")
    page.keyboard.press("ArrowLeft")
    name = rows(page).first
    name.focus()
    page.keyboard.press("Enter")
    expect(name).to_have_attribute("aria-pressed", "true")
    page.locator("#canvas").focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    (moved,) = shapes(task)
    assert moved.points == (101, 50, 301, 250)


def segment(payload: dict[str, Any]) -> Any:
    """Answer a square of 20 pixels around the first click, without the other clicks."""
    image = Image.open(io.BytesIO(base64.b64decode(payload["image"])))
    (x, y), *_ = payload["pos_points"]
    mask = [[0] * image.width for _ in range(image.height)]
    for row in mask[int(y) - 10 : int(y) + 10]:
        row[int(x) - 10 : int(x) + 10] = [1] * 20
    for _, top in payload["neg_points"]:
        for row in mask[int(top) :]:
            row[:] = [0] * image.width
    return {"mask": mask}


def test_clicks_make_a_mask_that_enter_keeps(
    open_page: Open, alice: User, task: models.Task, function: FunctionServer
) -> None:
    function.behave = segment
    store_function(function.url, "clicks", kind="interactor", labels=[], min_neg_points="0")
    page = open_page(alice, f"/tasks/{task.pk}/frames/1")
    page.keyboard.press("c")
    page.mouse.click(*_on_screen(page, (200, 100)))
    expect(page.locator("#state")).to_contain_text("Mask in")
    page.mouse.click(*_on_screen(page, (200, 105)), button="right")
    expect(page.locator("#canvas .negative")).to_have_count(1)
    expect(page.get_by_role("button", name="Keep")).to_be_enabled()
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_text(["cup"])
    (mask,) = [shape for shape in shapes(task) if shape.type == "mask"]
    assert mask.frame == 1
    left, top, right, bottom = mask.points[-4:]
    assert right - left + 1 == 20
    assert bottom - top + 1 == pytest.approx(15, abs=2)


def test_embedding_is_computed_before_the_first_click_on_each_frame(
    open_page: Open, alice: User, task: models.Task, function: FunctionServer, clean_redis: str
) -> None:
    """The first click took as long as the image encoder."""
    asked: queue.Queue[tuple[str, ...]] = queue.Queue()

    def encode_or_decode(payload: dict[str, Any]) -> Any:
        names = ("image", "embedding", "want", "pos_points")
        asked.put(tuple(name for name in names if payload.get(name)))
        if "embedding" in payload:
            return {"mask": [[1] * 20 for _ in range(20)], "bounds": [190, 90, 209, 109]}
        data = base64.b64encode(bytes(8)).decode()
        return {"embedding": {"data": data, "shape": [2], "dtype": "float32"}}

    function.behave = encode_or_decode
    store_function(function.url, "clicks", kind="interactor", labels=[], embedding="true")
    page = open_page(alice, f"/tasks/{task.pk}/frames/0")
    page.keyboard.press("c")
    for frame in (0, 1):
        expect(page.locator("#frame-number")).to_have_text(str(frame))
        assert asked.get(timeout=PATIENCE_S) == ("image", "want")
        page.mouse.click(*_on_screen(page, (200, 100)))
        expect(page.locator("#state")).to_contain_text("Mask in")
        assert asked.get(timeout=PATIENCE_S) == ("embedding", "pos_points")
        page.keyboard.press("ArrowRight")
    assert asked.empty()


@pytest.fixture
def follower(function: FunctionServer, transactional_db: None) -> None:
    """A tracker that moves its box by two pixels a frame, and loses it on frame 4."""

    def follow(payload: dict[str, Any]) -> Any:
        if not payload["states"]:
            return {"shapes": payload["shapes"], "states": [[0, *payload["shapes"][0]["points"]]]}
        frame, left, top, right, bottom = payload["states"][0]
        found = [left + 2, top, right + 2, bottom]
        shape = None if frame == 3 else {"type": "rectangle", "points": found}
        return {"shapes": [shape], "states": [None if shape is None else [frame + 1, *found]]}

    function.behave = follow
    store_function(
        function.url, "follower", kind="tracker", labels=[], supported_shape_types="rectangle"
    )


@pytest.mark.usefixtures("follower")
def test_drawn_box_is_followed_until_it_is_lost_and_kept_as_a_track(
    open_page: Open, alice: User, tmp_path: Path
) -> None:
    task = create_task(alice, "Street", LABELS, make_images(tmp_path / "images", 6))
    page = open_page(alice, f"/tasks/{task.pk}/frames/0")
    page.keyboard.press("t")
    drag(page, (10, 10), (30, 30))
    expect(page.locator("#state")).to_contain_text("The object was lost on frame 4")
    page.keyboard.press("Enter")
    expect(page.locator("#list small")).to_have_text(["rectangle, track, keyframe · semi-auto"])
    (track,) = get_engine().tracks(task.pk)
    assert [shape.frame for shape in track.shapes] == [0, 1, 2, 3, 4]
    assert [shape.outside for shape in track.shapes] == [False] * 4 + [True]
    first, last = track.shapes[0].points[0], track.shapes[3].points[0]
    assert last - first == pytest.approx(6, abs=0.01)


@pytest.fixture
def moving(transactional_db: None, alice: User, tmp_path: Path) -> models.Task:
    """A task of five frames with a track that has keyframes on frames 0, 2 and 4."""
    made = create_task(alice, "Moving", LABELS, make_images(tmp_path, 5))
    engine = get_engine()
    cup = engine.task(made.pk).labels[0].id or 0
    keyframes = tuple(
        TrackedShape(type="rectangle", frame=frame, points=(5 + frame, 5, 30 + frame, 30))
        for frame in (0, 2, 4)
    )
    track = Track(label_id=cup, frame=0, shapes=keyframes)
    with engine.atomic():
        engine.apply(Change(task_id=made.pk, frames=(0,), add=LabeledData(tracks=(track,))))
    return made


def test_track_is_played_to_the_last_frame_and_stays_selected(
    open_page: Open, alice: User, moving: models.Task
) -> None:
    page = open_page(alice, f"/tasks/{moving.pk}/frames/0")
    rows(page).click()
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#frame-number")).to_have_text("4")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    expect(rows(page)).to_have_attribute("aria-pressed", "true")


def test_keyframes_of_the_selected_track_are_marked_and_stepped_through(
    open_page: Open, alice: User, moving: models.Task
) -> None:
    page = open_page(alice, f"/tasks/{moving.pk}/frames/1")
    expect(page.locator("#list small")).not_to_contain_text("keyframe")
    rows(page).click()
    page.get_by_role("button", name="Keyframe ›").click()
    expect(page.locator("#frame-number")).to_have_text("2")
    expect(page.locator("#list small")).to_contain_text("track, keyframe")
    assert page.locator("#keyframes option").count() == 3
    page.get_by_role("button", name="‹ Keyframe").click()
    expect(page.locator("#frame-number")).to_have_text("0")


def test_task_is_renamed_and_deleted_on_its_page(
    open_page: Open, alice: User, task: models.Task
) -> None:
    page = open_page(alice, f"/tasks/{task.pk}")
    page.get_by_text("More").click()
    page.get_by_label("Name").fill("Breakfast")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="Breakfast")).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_text("More").click()
    page.get_by_role("button", name="Delete the task").click()
    expect(page.get_by_text("No tasks yet.")).to_be_visible()
    assert not models.Task.objects.exists()


def test_annotations_are_exported_and_imported_on_the_page_of_the_task(
    open_page: Open, alice: User, task: models.Task, tmp_path: Path
) -> None:
    page = open_page(alice, f"/tasks/{task.pk}")
    page.get_by_text("Export and import").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        document = json.loads(archive.read("annotations/instances_default.json"))
    assert [item["bbox"] for item in document["annotations"]] == [[100, 50, 200, 200]]
    document["annotations"][0]["bbox"] = [10, 20, 30, 40]
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(document))
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#import [name=file]").set_input_files(changed)
    with page.expect_navigation():
        page.get_by_role("button", name="Import").click()
    (shape,) = shapes(task)
    assert (shape.points, shape.source) == ((10, 20, 40, 60), "file")


def test_job_is_exported_on_the_page_of_its_task(
    open_page: Open, alice: User, tmp_path: Path
) -> None:
    made = create_task(
        alice, "Two jobs", LABELS, make_images(tmp_path / "images", 4), segment_size=2
    )
    job = models.Job.objects.filter(segment__task=made).order_by("pk")[1]
    page = open_page(alice, f"/tasks/{made.pk}")
    page.get_by_text("Export and import").click()
    export = page.locator("#export")
    export.get_by_label("What").select_option(f"job #{job.pk}: frames 2 to 3")
    with page.expect_download() as download:
        export.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename == f"job_{job.pk}_coco_1_0.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        document = json.loads(archive.read("annotations/instances_default.json"))
    assert [image["file_name"] for image in document["images"]] == ["00002.png", "00003.png"]


def test_two_people_edit_the_same_frame(
    open_page: Open, alice: User, bob: User, task: models.Task
) -> None:
    models.Job.objects.filter(segment__task=task).update(assignee=bob)
    one, two = (open_page(person, f"/tasks/{task.pk}/frames/0") for person in (alice, bob))
    for page, box in ((one, ((310, 260), (390, 360))), (two, ((20, 260), (90, 360)))):
        page.keyboard.press("b")
        drag(page, *box)
        expect(rows(page)).to_have_text(["cup 0.40", "cup"])
    assert len(shapes(task)) == 3
