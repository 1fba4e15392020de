"""The workbench in a real browser: upload, edit, click, track, keys."""

from __future__ import annotations

import base64
import io
import json
import queue
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from django.contrib.auth.models import User
from PIL import Image
from playwright.sync_api import Locator, Page, Response, expect

from cvat_lambda.annotations import rle
from cvat_lambda.annotations.types import LabeledData, Shape, Tag, Track, TrackedShape
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.tasks import create_task
from tests.conftest import IMAGES, ClientFor
from tests.integration.requests.conftest import make_images, store_function
from tests.integration.requests.function_server import Behaviour, FunctionServer

Open = Callable[..., Page]
OpenFrame = Callable[..., Page]
Serve = Callable[..., None]
Street = Callable[[int], models.Task]
PATIENCE_S = 180
LABELS = [{"name": "cup", "type": "any"}, {"name": "spoon", "type": "any"}]


@pytest.fixture
def task(transactional_db: None, alice: User) -> models.Task:
    """A task of two photographs. There is a box of a cup on the first one."""
    made = create_task(alice, "Table", LABELS, [IMAGES / "coffee.png", IMAGES / "chelsea.png"])
    cup = label_of(made, 0)
    add(
        made,
        Shape(type="rectangle", frame=0, label_id=cup, points=(100, 50, 300, 250), score=0.4),
    )
    return made


@pytest.fixture
def street(transactional_db: None, alice: User, tmp_path: Path) -> Street:
    """Return a function that makes a task of so many small frames."""

    def make(count: int) -> models.Task:
        return create_task(alice, "Street", LABELS, make_images(tmp_path / "images", count))

    return make


@pytest.fixture
def open_frame(open_page: Open, alice: User) -> OpenFrame:
    """Return a function that opens a frame of a task in the workbench, as alice."""

    def open_(task: models.Task, frame: int = 0, **options: Any) -> Page:
        return open_page(alice, f"/tasks/{task.pk}/frames/{frame}", **options)

    return open_


@pytest.fixture
def serve(function: FunctionServer, transactional_db: None) -> Serve:
    """Return a function that serves an interactor or a tracker, whose answers it gets."""

    def serve_(kind: str, behave: Behaviour, **annotations: str) -> None:
        function.behave = behave
        store_function(function.url, "served", kind=kind, labels=[], workers=2, **annotations)

    return serve_


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


def label_of(task: models.Task, place: int) -> int:
    """Return the id of a label of a task."""
    return get_engine().task(task.pk).labels[place].id or 0


def add(
    task: models.Task, *shapes: Shape, tags: tuple[Tag, ...] = (), tracks: tuple[Track, ...] = ()
) -> None:
    """Add annotations on frame 0."""
    data = LabeledData(shapes=shapes, tags=tags, tracks=tracks)
    with get_engine().atomic():
        get_engine().apply(Change(task_id=task.pk, frames=(0,), add=data))


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


def test_archive_that_is_dropped_becomes_a_task_with_the_labels_of_a_function(
    open_page: Open, alice: User, transactional_db: None, tmp_path: Path
) -> None:
    """Upload, then export as COCO: labels have their colour, attributes and skeleton points."""
    wheels = {"name": "wheels", "input_type": "number", "values": ["0", "9", "1"]}
    labels = [
        {"name": "car", "type": "rectangle", "color": "#112233", "attributes": [wheels]},
        {
            "name": "person",
            "type": "skeleton",
            "sublabels": [{"name": "head", "type": "points"}, {"name": "foot", "type": "points"}],
            "svg": '<line data-node-from="1" data-node-to="2"></line>',
        },
    ]
    store_function("http://127.0.0.1:9/", "finder", labels=labels)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in make_images(tmp_path / "images", 2):
            archive.write(path, path.name)
    page = open_page(alice, "/tasks/new")
    transfer = page.evaluate_handle(
        """(text) => {
            const data = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([data], "street.zip", { type: "application/zip" }));
            return transfer;
        }""",
        base64.b64encode(packed.getvalue()).decode(),
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    expect(page.locator("#chosen")).to_contain_text("1 file")
    page.get_by_label("Take the labels of a function").select_option("finder")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="street task #")).to_be_visible()
    made = get_engine().task(models.Task.objects.get().pk)
    car, person = made.labels
    assert (made.size, car.color, car.attributes[0].name) == (2, "#112233", "wheels")
    assert [sublabel.name for sublabel in person.sublabels] == ["head", "foot"]
    page.get_by_text("Export and import").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    with zipfile.ZipFile(download.value.path()) as exported:
        document = json.loads(exported.read("annotations/instances_default.json"))
    assert [category["name"] for category in document["categories"]] == ["car", "person"]


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
    open_frame: OpenFrame, task: models.Task
) -> None:
    page = open_frame(task)
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


def test_two_fingers_zoom_the_frame_and_draw_nothing(
    open_frame: OpenFrame, task: models.Task
) -> None:
    page = open_frame(task, has_touch=True)
    page.keyboard.press("b")
    places = {point: _on_screen(page, point) for point in ((200, 200), (300, 200), (100, 200))}
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *points: tuple[int, int]) -> None:
        at = [{"x": places[point][0], "y": places[point][1]} for point in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    fingers("touchStart", (200, 200))
    fingers("touchStart", (200, 200), (300, 200))
    fingers("touchMove", (100, 200), (300, 200))
    fingers("touchEnd")
    shown = (page.locator("#canvas svg").get_attribute("viewBox") or "").split()
    assert float(shown[2]) == pytest.approx(600 / 2, rel=0.05)
    expect(page.locator("#canvas .draft")).to_have_count(0)
    assert len(shapes(task)) == 1


def test_tap_takes_away_from_the_mask_if_this_is_chosen(
    open_frame: OpenFrame, task: models.Task, function: FunctionServer, serve: Serve
) -> None:
    serve("interactor", lambda payload: {"mask": [[1] * 9] * 9, "bounds": [10, 10, 18, 18]})
    page = open_frame(task, has_touch=True)
    page.keyboard.press("c")
    for count in (1, 2):
        page.touchscreen.tap(*_on_screen(page, (100 * count, 100)))
        expect(page.locator("#canvas circle")).to_have_count(count)
        expect(page.locator("#state")).to_contain_text("Mask in")
        page.get_by_label("Take away").check()
    expect(page.locator("#canvas circle.negative")).to_have_count(1)
    assert [len(sent["neg_points"]) for sent in function.payloads] == [0, 1]


def test_selected_annotation_is_legible_on_a_phone(
    open_frame: OpenFrame, task: models.Task
) -> None:
    """The list of labels took the whole row; the name had a letter a line."""
    page = open_frame(task, viewport={"width": 390, "height": 844})
    rows(page).click()
    expect(page.get_by_label("Label of the selection")).to_be_visible()
    name = rows(page).bounding_box()
    assert name is not None
    assert name["height"] < 60


def test_filters_hide_annotations_by_score_and_label(
    open_frame: OpenFrame, task: models.Task
) -> None:
    page = open_frame(task)
    page.get_by_label("Lowest score").fill("0.5")
    expect(page.locator("#canvas .shape")).to_have_count(0)
    page.get_by_label("Lowest score").fill("0.3")
    expect(page.locator("#canvas .shape")).to_have_count(1)


def test_workbench_is_used_with_the_keyboard_alone(
    open_frame: OpenFrame, task: models.Task
) -> None:
    page = open_frame(task)
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
    open_frame: OpenFrame, task: models.Task, serve: Serve
) -> None:
    serve("interactor", segment, min_neg_points="0")
    page = open_frame(task, 1)
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
    open_frame: OpenFrame, task: models.Task, serve: Serve, clean_redis: str
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

    serve("interactor", encode_or_decode, embedding="true")
    page = open_frame(task)
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
def follower(serve: Serve) -> None:
    """A tracker that moves its box by two pixels a frame, and loses it on frame 4."""

    def follow(payload: dict[str, Any]) -> Any:
        if not payload["states"]:
            return {"shapes": payload["shapes"], "states": [[0, *payload["shapes"][0]["points"]]]}
        frame, left, top, right, bottom = payload["states"][0]
        found = [left + 2, top, right + 2, bottom]
        shape = None if frame == 3 else {"type": "rectangle", "points": found}
        return {"shapes": [shape], "states": [None if shape is None else [frame + 1, *found]]}

    serve("tracker", follow, supported_shape_types="rectangle")


@pytest.mark.usefixtures("follower")
def test_drawn_box_is_followed_until_it_is_lost_and_kept_as_a_track(
    open_frame: OpenFrame, street: Street
) -> None:
    task = street(6)
    page = open_frame(task)
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


@pytest.mark.usefixtures("follower")
def test_discarded_track_shows_the_frame_again_on_which_it_began(
    open_frame: OpenFrame, street: Street
) -> None:
    task = street(6)
    page = open_frame(task)
    page.keyboard.press("t")
    drag(page, (10, 10), (30, 30))
    expect(page.locator("#state")).to_contain_text("The object was lost on frame 4")
    page.keyboard.press("Escape")
    expect(page.locator("#frame-number")).to_have_text("0")
    expect(page.locator("#canvas svg > image")).to_have_attribute("href", re.compile("number=0&"))
    assert get_engine().tracks(task.pk) == ()


@pytest.mark.usefixtures("follower")
def test_selected_shape_is_tracked_to_the_end_and_replaced_by_its_track(
    open_frame: OpenFrame, street: Street
) -> None:
    task = street(4)
    add(task, Shape(type="rectangle", frame=0, label_id=label_of(task, 1), points=(10, 10, 30, 30)))
    page = open_frame(task)
    rows(page).click()
    page.keyboard.press("t")
    page.get_by_label("Frames").fill("")
    page.get_by_role("button", name="Track the selection").click()
    expect(page.locator("#state")).to_contain_text("Tracked to frame 3")
    page.keyboard.press("Enter")
    expect(page.locator("#list small")).to_have_text(["rectangle, track, keyframe · semi-auto"])
    (track,) = get_engine().tracks(task.pk)
    assert track.label_id == label_of(task, 1)
    assert [shape.points[0] for shape in track.shapes] == pytest.approx([10, 12, 14, 16])
    assert shapes(task) == []


def test_selected_mask_is_tracked_and_kept_as_a_mask_on_each_frame(
    open_frame: OpenFrame, street: Street, function: FunctionServer, serve: Serve
) -> None:
    mask = rle.encode(np.ones((6, 8), dtype=bool), 10, 10)

    def follow(payload: dict[str, Any]) -> Any:
        shape = {"type": "mask", "points": list(mask)}
        return {"shapes": [shape], "states": [[1]]}

    serve("tracker", follow, supported_shape_types="mask,rectangle")
    task = street(3)
    add(task, Shape(type="mask", frame=0, label_id=label_of(task, 0), points=mask))
    page = open_frame(task)
    rows(page).click()
    page.keyboard.press("t")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_contain_text("Tracked to frame 2")
    assert function.payloads[0]["shapes"] == [{"type": "mask", "points": list(mask)}]
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_contain_text("Kept")
    found = shapes(task)
    assert [(shape.type, shape.frame) for shape in found] == [
        ("mask", 0),
        ("mask", 1),
        ("mask", 2),
    ]
    assert found[1].group == found[2].group != 0
    assert get_engine().tracks(task.pk) == ()


def test_every_type_of_shape_is_drawn_on_the_canvas(open_frame: OpenFrame, alice: User) -> None:
    """A rotated box, polygons, polylines, points, ellipses, masks, skeletons, cuboids, a tag."""
    edge = '<line data-type="edge" data-node-from="1" data-node-to="2"></line>'
    nodes = "".join(
        f'<circle data-type="element node" data-element-id="{n}" data-node-id="{n}" cx="1" cy="1"'
        f' data-label-name="{name}"></circle>'
        for n, name in ((1, "head"), (2, "foot"))
    )
    points = [{"name": name, "type": "points"} for name in ("head", "foot")]
    body = {"name": "person", "type": "skeleton", "sublabels": points, "svg": edge + nodes}
    made = create_task(alice, "Shapes", [{"name": "cup"}, body], [IMAGES / "coffee.png"])
    cup, person = get_engine().task(made.pk).labels
    elements = tuple(
        Shape(type="points", frame=0, label_id=label.id or 0, points=point)
        for label, point in zip(person.sublabels, ((300, 300), (320, 340)), strict=True)
    )
    add(
        made,
        *(
            Shape(type=kind, frame=0, label_id=cup.id or 0, points=numbers, rotation=turn)  # type: ignore[arg-type]
            for kind, numbers, turn in (
                ("rectangle", (10, 10, 60, 40), 30),
                ("polygon", (100, 10, 150, 10, 120, 60), 0),
                ("polyline", (200, 10, 250, 10, 220, 60), 0),
                ("points", (300, 10, 310, 30), 0),
                ("ellipse", (400, 50, 450, 30), 0),
                ("mask", rle.encode(np.ones((20, 20), dtype=bool), 10, 200), 0),
                ("cuboid", (100, 200, 100, 250, *(150, 200, 150, 250) * 3), 0),
            )
        ),
        Shape(type="skeleton", frame=0, label_id=person.id or 0, elements=elements),
        tags=(Tag(frame=0, label_id=cup.id or 0),),
    )
    page = open_frame(made)
    expect(rows(page)).to_have_count(9)
    drawn = {
        "polygon.line": 3,  # rectangle, polygon, ellipse
        "polyline.line": 1 + 12 + 1,  # polyline, cuboid, edge of the skeleton
        ".dot": 2 + 2,
        "image.mask": 1,
    }
    for selector, count in drawn.items():
        expect(page.locator(f"#canvas .shape {selector}")).to_have_count(count)
    turned = page.locator("#canvas .shape polygon.line").first.get_attribute("points") or ""
    assert turned.split()[0] != "10,10"
    box = page.locator("#canvas svg").get_attribute("viewBox")
    page.mouse.move(*_on_screen(page, (100, 100)))
    page.mouse.wheel(0, -200)
    expect(page.locator("#canvas svg")).not_to_have_attribute("viewBox", box or "")
    page.keyboard.press("0")
    expect(page.locator("#canvas svg")).to_have_attribute("viewBox", box or "")


def test_dragged_box_becomes_a_polygon(
    open_frame: OpenFrame, task: models.Task, function: FunctionServer, serve: Serve
) -> None:
    outline = [[120, 60], [280, 60], [280, 240]]

    def answer(payload: dict[str, Any]) -> Any:
        return {"mask": [[1] * 10] * 10, "bounds": [120, 60, 129, 69], "points": outline}

    serve("interactor", answer)
    page = open_frame(task, 1)
    page.keyboard.press("c")
    page.get_by_label("Keep as").select_option("polygon")
    drag(page, (110, 50), (290, 250))
    expect(page.locator("#state")).to_contain_text("Mask in")
    (corners,) = [payload["obj_bbox"] for payload in function.payloads]
    assert [value for corner in corners for value in corner] == pytest.approx(
        [110, 50, 290, 250], abs=2
    )
    page.get_by_role("button", name="Keep").click()
    expect(rows(page)).to_have_text(["cup"])
    (polygon,) = [shape for shape in shapes(task) if shape.frame == 1]
    assert (polygon.type, polygon.points) == ("polygon", (120, 60, 280, 60, 280, 240))


@pytest.fixture
def moving(street: Street) -> models.Task:
    """A task of five frames with a track that has keyframes on frames 0, 2 and 4."""
    made = street(5)
    keyframes = tuple(
        TrackedShape(type="rectangle", frame=frame, points=(5 + frame, 5, 30 + frame, 30))
        for frame in (0, 2, 4)
    )
    add(made, tracks=(Track(label_id=label_of(made, 0), frame=0, shapes=keyframes),))
    return made


def test_track_is_played_to_the_last_frame_and_stays_selected(
    open_frame: OpenFrame, moving: models.Task
) -> None:
    page = open_frame(moving)
    rows(page).click()
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#frame-number")).to_have_text("4")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    expect(rows(page)).to_have_attribute("aria-pressed", "true")


def test_moved_skeleton_of_a_track_is_moved_on_this_frame_and_back_by_undo(
    open_frame: OpenFrame, alice: User, tmp_path: Path
) -> None:
    head = {"name": "head", "type": "points"}
    body = {"name": "person", "type": "skeleton", "sublabels": [head]}
    made = create_task(alice, "Walk", [body], make_images(tmp_path / "images", 3))
    (person,) = get_engine().task(made.pk).labels
    point = TrackedShape(type="points", frame=0, points=(20, 20))
    element = Track(label_id=person.sublabels[0].id or 0, frame=0, shapes=(point,))
    whole = TrackedShape(type="skeleton", frame=0, points=())
    track = Track(label_id=person.id or 0, frame=0, shapes=(whole,), elements=(element,))
    add(made, tracks=(track,))

    def keyframes() -> list[tuple[int, tuple[float, ...]]]:
        (found,) = get_engine().tracks(made.pk)
        return [(shape.frame, shape.points) for shape in found.elements[0].shapes]

    page = open_frame(made, 1)
    rows(page).click()
    with page.expect_response(is_change) as moved:
        page.keyboard.press("Shift+ArrowRight")
    moved.value.finished()
    assert keyframes() == [(0, (20, 20)), (1, (21, 20))]
    with page.expect_response(is_change) as undone:
        page.keyboard.press("Control+z")
    undone.value.finished()
    assert keyframes() == [(0, (20, 20))]


def is_change(response: Response) -> bool:
    """Return whether this is the answer to a change of an annotation."""
    return "/annotations?action=update" in response.url


def test_mask_that_is_not_kept_is_discarded_when_frames_are_played(
    open_frame: OpenFrame, task: models.Task, serve: Serve
) -> None:
    serve("interactor", lambda payload: {"mask": [[1] * 9] * 9, "bounds": [10, 10, 18, 18]})
    page = open_frame(task)
    page.keyboard.press("c")
    page.mouse.click(*_on_screen(page, (15, 15)))
    expect(page.locator("#keep")).to_be_enabled()
    page.keyboard.press("p")
    expect(page.locator("#frame-number")).to_have_text("1")
    expect(page.locator("#keep")).to_be_disabled()


def test_keyframes_of_the_selected_track_are_marked_and_stepped_through(
    open_frame: OpenFrame, moving: models.Task
) -> None:
    page = open_frame(moving, 1)
    expect(page.locator("#list small")).not_to_contain_text("keyframe")
    rows(page).click()
    page.get_by_role("button", name="Keyframe ›").click()
    expect(page.locator("#frame-number")).to_have_text("2")
    expect(page.locator("#list small")).to_contain_text("track, keyframe")
    assert page.locator("#keyframes option").count() == 3
    page.get_by_role("button", name="‹ Keyframe").click()
    expect(page.locator("#frame-number")).to_have_text("0")


@pytest.fixture
def long_task(transactional_db: None, alice: User) -> models.Task:
    """A task of 10,000 frames, all of which are the same photograph."""
    made = create_task(alice, "Long", LABELS, [IMAGES / "coffee.png"])
    size = 10_000
    first = models.Image.objects.get(data__task=made)
    values = {
        field.attname: getattr(first, field.attname)
        for field in models.Image._meta.concrete_fields
        if field.name not in ("id", "number")
    }
    rows = [models.Image(**values, number=number) for number in range(1, size)]
    models.Image.objects.bulk_create(rows, batch_size=500)
    models.Data.objects.filter(task=made).update(size=size, stop_frame=size - 1)
    models.Segment.objects.filter(task=made).update(stop_frame=size - 1)
    return made


def test_slider_of_10000_frames_loads_one_small_image_at_a_time(
    open_frame: OpenFrame, long_task: models.Task
) -> None:
    page = open_frame(long_task)
    expect(page.locator("#frame-number")).to_have_text("0")
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    sizes: list[tuple[int, int]] = []

    def note(response: Response) -> None:
        asked.append(urlsplit(response.url).path)
        if "/thumbnails/" in response.url:
            sizes.append(Image.open(io.BytesIO(response.body())).size)

    page.on("response", note)
    # The slider passes 500 frames at once: faster than any image could be loaded.
    with page.expect_response("**/thumbnails/*/9980"):
        page.evaluate(
            """() => {
                const slider = document.getElementById("slider");
                for (let frame = 0; frame < 10000; frame += 20) {
                    slider.value = frame;
                    slider.dispatchEvent(new Event("input"));
                }
            }"""
        )
    expect(page.locator("#canvas svg > image")).to_have_attribute("href", re.compile("/9980$"))
    thumbnails = f"/thumbnails/{long_task.pk}"
    assert asked == [f"{thumbnails}/0", f"{thumbnails}/9980"]
    assert max(max(size) for size in sizes) <= 256
    page.evaluate("document.getElementById('slider').dispatchEvent(new Event('change'))")
    expect(page.locator("#frame-number")).to_have_text("9980")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#frame-number")).to_have_text("9981")
    page.get_by_label("Frame", exact=True).last.fill("42")
    page.get_by_label("Frame", exact=True).last.press("Enter")
    expect(page.locator("#frame-number")).to_have_text("42")
    page.wait_for_load_state("networkidle")
    assert len(asked) <= 10  # and one request for the data and the image of each opened frame


def test_page_of_a_frame_of_10000_is_as_small_as_that_of_a_short_task(
    client_for: ClientFor, alice: User, task: models.Task, long_task: models.Task
) -> None:
    client = client_for(alice)
    short, long = (
        len(client.get(f"/tasks/{made.pk}/frames/1").content) for made in (task, long_task)
    )
    assert abs(long - short) < 1000


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
