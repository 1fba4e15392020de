"""Export and import of annotations: COCO, CVAT for images, YOLO."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
import yaml
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import Image
from pycocotools.coco import COCO

from cvat_lambda.annotations import rle
from cvat_lambda.annotations.types import (
    AttributeValue,
    LabeledData,
    Shape,
    Tag,
    Track,
    TrackedShape,
)
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Change
from cvat_lambda.engine.standalone import models
from cvat_lambda.engine.standalone.exchange import results, work
from cvat_lambda.engine.standalone.tasks import create_task

LABELS: list[dict[str, Any]] = [
    {
        "name": "car",
        "attributes": [
            {"name": "wheels", "mutable": False, "input_type": "number", "values": ["0", "9", "1"]}
        ],
    },
    {
        "name": "person",
        "type": "skeleton",
        "sublabels": [{"name": "head", "type": "points"}, {"name": "foot", "type": "points"}],
    },
]
BITMAP = np.ones((5, 6), dtype=bool)
BITMAP[2, 2] = False


@pytest.fixture
def alice_client(transactional_db: None, alice: User) -> Iterator[Client]:
    client = Client()
    client.force_login(alice)
    yield client
    work.wait()


@pytest.fixture
def task(transactional_db: None, alice: User, tmp_path: Path) -> models.Task:
    """A task of two frames with one annotation of each kind."""
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path in paths:
        Image.new("RGB", (64, 48)).save(path)
    made = create_task(alice, "Street", LABELS, paths)
    annotate(made)
    return made


def annotate(task: models.Task) -> None:
    car, person = get_engine().task(task.pk).labels
    head, foot = person.sublabels
    shared: dict[str, Any] = {"frame": 0, "label_id": car.id or 0}
    elements = (
        Shape(type="points", frame=1, label_id=head.id or 0, points=(10, 5)),
        Shape(type="points", frame=1, label_id=foot.id or 0, points=(12, 30), occluded=True),
    )
    shapes = (
        Shape(type="rectangle", points=(4, 6, 24, 16), score=0.75, **shared),
        Shape(type="rectangle", points=(30, 10, 50, 20), rotation=90, **shared),
        Shape(type="polygon", points=(1, 1, 11, 1, 11, 9), **shared),
        Shape(type="mask", points=rle.encode(BITMAP, 20, 30), **shared),
        Shape(type="polyline", points=(0, 0, 5, 5), **shared),
        Shape(type="skeleton", frame=1, label_id=person.id or 0, elements=elements, score=0.5),
    )
    keys = (
        TrackedShape(type="rectangle", frame=0, points=(0, 0, 10, 10)),
        TrackedShape(type="rectangle", frame=1, points=(10, 0, 20, 10)),
    )
    data = LabeledData(
        shapes=shapes,
        tags=(Tag(frame=1, label_id=car.id or 0),),
        tracks=(Track(frame=0, label_id=car.id or 0, shapes=keys),),
    )
    engine = get_engine()
    with engine.atomic():
        engine.apply(Change(task_id=task.pk, frames=(0, 1), add=data))


def finished(client: Client, rq_id: str) -> dict[str, Any]:
    """Wait for a request of this process, and return it."""
    work.wait()
    found: dict[str, Any] = client.get(f"/api/requests/{rq_id.replace('&', '%26')}").json()
    return found


def exported(client: Client, path: str, form: str, *, images: bool = False) -> zipfile.ZipFile:
    """Export a task or a job, and return the archive."""
    query = f"format={form}&save_images={str(images).lower()}"
    answer = client.post(f"/api/{path}/dataset/export?{query}")
    assert answer.status_code == 202, answer.content
    request = finished(client, answer.json()["rq_id"])
    assert (request["status"], request["progress"]) == ("finished", 1.0), request
    file = client.get(request["result_url"])
    assert file.status_code == 200
    return zipfile.ZipFile(io.BytesIO(b"".join(file)))


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools
def test_coco_export_is_read_by_pycocotools(
    alice_client: Client, task: models.Task, tmp_path: Path
) -> None:
    archive = exported(alice_client, f"tasks/{task.pk}", "COCO 1.0", images=True)
    assert {"images/default/0.png", "images/default/1.png"} <= set(archive.namelist())
    path = tmp_path / "coco.json"
    path.write_bytes(archive.read("annotations/instances_default.json"))
    coco = COCO(str(path))
    found = coco.loadAnns(coco.getAnnIds())
    assert len(found) == 7  # the polyline and the tag are left out; the track is two boxes
    box, rotated, polygon, mask = found[:4]
    assert (box["bbox"], box["score"], box["segmentation"]) == ([4, 6, 20, 10], 0.75, [])
    assert rotated["bbox"] == pytest.approx([35, 5, 10, 20])
    assert polygon["area"] == pytest.approx(40)
    whole = coco.annToMask(mask)
    assert np.array_equal(whole[30:35, 20:26].astype(bool), BITMAP)
    assert (whole.sum(), mask["area"]) == (BITMAP.sum(), BITMAP.sum())
    (keypoints,) = [item for item in found if "keypoints" in item]
    assert keypoints["keypoints"] == [10, 5, 2, 12, 30, 1]
    assert [item["attributes"].get("track_id") is not None for item in found].count(True) == 2


def test_coco_import_restores_what_the_export_wrote(
    alice_client: Client, task: models.Task
) -> None:
    archive = exported(alice_client, f"tasks/{task.pk}", "COCO 1.0")
    document = archive.read("annotations/instances_default.json")
    before = {key(shape) for shape in get_engine().annotations(task.pk).shapes}
    models.LabeledShape.objects.all().delete()
    models.LabeledTrack.objects.all().delete()
    file = SimpleUploadedFile("coco.json", document)
    answer = alice_client.post(
        f"/api/tasks/{task.pk}/annotations?format=COCO 1.0", {"annotation_file": file}
    )
    request = finished(alice_client, answer.json()["rq_id"])
    assert (request["status"], request["message"]) == ("finished", "7 shapes were imported.")
    after = get_engine().annotations(task.pk).shapes
    assert {shape.source for shape in after} == {"file"}
    kept = {item for item in before if item[0] != "polyline"}
    assert kept <= {key(shape) for shape in after}


def key(shape: Shape) -> tuple[Any, ...]:
    """Return what a round trip keeps of a shape."""
    points = tuple(round(float(value), 3) for value in shape.points)
    elements = tuple((e.points, e.occluded, e.outside) for e in shape.elements)
    return (shape.type, shape.frame, points, round(shape.rotation), shape.score, elements)


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (b"no json", "cannot be read as JSON"),
        (b"[]", "is a JSON object"),
        (b"{}", "cannot be read: KeyError"),
        (
            b'{"images": [{"id": 1, "file_name": "other.png"}], "categories": [],'
            b' "annotations": []}',
            "the task has no frame 'other.png'",
        ),
        (
            b'{"images": [{"id": 1, "file_name": "0.png"}], "categories": [{"id": 1, "name":'
            b' "bus"}], "annotations": [{"image_id": 1, "category_id": 1}]}',
            "the task has no label 'bus'",
        ),
    ],
)
def test_import_of_an_unusable_file_says_why_and_changes_nothing(
    alice_client: Client, task: models.Task, document: bytes, sentence: str
) -> None:
    file = SimpleUploadedFile("coco.json", document)
    answer = alice_client.post(
        f"/api/tasks/{task.pk}/annotations?format=COCO 1.0", {"annotation_file": file}
    )
    request = finished(alice_client, answer.json()["rq_id"])
    assert request["status"] == "failed"
    assert sentence in request["message"]
    assert len(get_engine().annotations(task.pk).shapes) == 6


def test_cvat_export_has_every_annotation(alice_client: Client, task: models.Task) -> None:
    archive = exported(alice_client, f"tasks/{task.pk}", "CVAT for images 1.1")
    root = Xml.fromstring(archive.read("annotations.xml"))
    first, second = root.findall("image")
    assert [element.tag for element in first] == [
        *("box", "box", "polygon", "mask", "polyline", "box")
    ]
    assert first[0].attrib["xbr"] == "24.00"
    assert first[1].attrib["rotation"] == "90.00"
    mask = first[3].attrib
    assert (mask["left"], mask["top"], mask["width"], mask["height"]) == ("20", "30", "6", "5")
    runs = tuple(int(value) for value in mask["rle"].split(","))
    assert (*runs, 20, 30, 25, 34) == rle.encode(BITMAP, 20, 30)
    assert [element.tag for element in second] == ["skeleton", "box", "tag"]
    assert [point.attrib["points"] for point in second[0]] == ["10.00,5.00", "12.00,30.00"]


@pytest.fixture
def round_and_deep(task: models.Task) -> None:
    """An ellipse with a group and an attribute, and a cuboid, on the first frame of the task."""
    car, _ = get_engine().task(task.pk).labels
    (wheels,) = car.attributes
    shared: dict[str, Any] = {"frame": 0, "label_id": car.id or 0}
    shapes = (
        Shape(
            type="ellipse",
            points=(20, 24, 30, 19),  # the centre, the right and the top
            group=3,
            attributes=(AttributeValue(spec_id=wheels.id or 0, value="4"),),
            **shared,
        ),
        Shape(type="cuboid", points=tuple(float(number) for number in range(1, 17)), **shared),
    )
    engine = get_engine()
    with engine.atomic():
        engine.apply(Change(task_id=task.pk, frames=(0,), add=LabeledData(shapes=shapes)))


@pytest.mark.usefixtures("round_and_deep")
def test_cvat_export_has_ellipses_and_cuboids_with_groups_and_attributes(
    alice_client: Client, task: models.Task
) -> None:
    archive = exported(alice_client, f"tasks/{task.pk}", "CVAT for images 1.1")
    image = Xml.fromstring(archive.read("annotations.xml")).findall("image")[0]
    (ellipse,), (cuboid,) = image.findall("ellipse"), image.findall("cuboid")
    places = {name: float(ellipse.attrib[name]) for name in ("cx", "cy", "rx", "ry")}
    assert places == {"cx": 20, "cy": 24, "rx": 10, "ry": 5}
    assert ellipse.attrib["group_id"] == "3"
    assert [(each.attrib["name"], each.text) for each in ellipse] == [("wheels", "4")]
    assert [float(cuboid.attrib[name]) for name in ("xtl1", "ytl1")] == [1, 2]
    corners = [value for name, value in cuboid.attrib.items() if name[0] in "xy"]
    assert [float(value) for value in corners] == list(range(1, 17))
    assert "group_id" not in cuboid.attrib


@pytest.mark.usefixtures("round_and_deep")
def test_coco_export_has_the_outline_of_an_ellipse(alice_client: Client, task: models.Task) -> None:
    archive = exported(alice_client, f"tasks/{task.pk}", "COCO 1.0")
    found = json.loads(archive.read("annotations/instances_default.json"))["annotations"]
    (ellipse,) = [each for each in found if each["bbox"] == pytest.approx([10, 19, 20, 10])]
    assert ellipse["area"] == pytest.approx(np.pi * 10 * 5, rel=0.01)
    (outline,) = ellipse["segmentation"]
    assert len(outline) == 2 * 36


@pytest.mark.parametrize(
    ("form", "numbers", "left_out"),
    [
        ("Ultralytics YOLO Detection 1.0", [5, 5, 5, 5, 5], "2 annotations"),
        ("Ultralytics YOLO Segmentation 1.0", [9, 9, 7, 9, 9], "3 annotations"),
        ("Ultralytics YOLO Pose 1.0", [], "8 annotations"),
    ],
)
def test_yolo_export_has_a_line_for_each_object(
    alice_client: Client, task: models.Task, form: str, numbers: list[int], left_out: str
) -> None:
    archive = exported(alice_client, f"tasks/{task.pk}", form)
    lines = archive.read("labels/train/0.txt").decode().splitlines()
    assert [len(line.split()) for line in lines] == numbers
    assert all(0 <= float(value) <= 1 for line in lines for value in line.split()[1:])
    assert left_out in models.Exchange.objects.get().message
    described = yaml.safe_load(archive.read("data.yaml"))
    if form.startswith("Ultralytics YOLO Pose"):
        assert (described["kpt_shape"], described["names"]) == ([2, 3], {0: "person"})
        (pose,) = archive.read("labels/train/1.txt").decode().splitlines()
        assert [float(value) for value in pose.split()[5:]] == pytest.approx(
            [10 / 64, 5 / 48, 2, 12 / 64, 30 / 48, 1], abs=1e-5
        )
    else:
        assert described["names"] == {0: "car", 1: "person"}
        assert lines[0].startswith("0 ")
    assert archive.read("train.txt").decode().split() == [
        *("images/train/0.png", "images/train/1.png")
    ]


def test_export_of_a_job_has_its_frames_only(
    alice_client: Client, alice: User, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    made = create_task(alice, "Two jobs", LABELS, paths, segment_size=2)
    second = models.Job.objects.filter(segment__task=made).order_by("pk")[1]
    archive = exported(alice_client, f"jobs/{second.pk}", "COCO 1.0")
    document = json.loads(archive.read("annotations/instances_default.json"))
    assert [image["file_name"] for image in document["images"]] == ["2.png", "3.png"]


def test_import_into_a_job_replaces_the_annotations_of_its_frames_only(
    alice_client: Client, alice: User, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path in paths:
        Image.new("RGB", (64, 48)).save(path)
    made = create_task(alice, "Two jobs", LABELS, paths, segment_size=2)
    car = get_engine().task(made.pk).labels[0].id or 0
    boxes = tuple(
        Shape(type="rectangle", frame=frame, label_id=car, points=(1, 1, 9, 9)) for frame in (0, 2)
    )
    with get_engine().atomic():
        get_engine().apply(Change(task_id=made.pk, frames=(0, 2), add=LabeledData(shapes=boxes)))
    second = models.Job.objects.filter(segment__task=made).order_by("pk")[1]
    archive = exported(alice_client, f"jobs/{second.pk}", "COCO 1.0")
    document = json.loads(archive.read("annotations/instances_default.json"))
    document["annotations"][0]["bbox"] = [2, 3, 4, 5]
    url = f"/api/jobs/{second.pk}/annotations?format=COCO 1.0"
    file = SimpleUploadedFile("coco.json", json.dumps(document).encode())
    answer = alice_client.post(url, {"annotation_file": file})
    request = finished(alice_client, answer.json()["rq_id"])
    assert (request["status"], request["message"]) == ("finished", "1 shapes were imported.")
    found = get_engine().annotations(made.pk).shapes
    assert [(shape.frame, shape.points) for shape in found] == [
        (0, (1, 1, 9, 9)),
        (2, (2, 3, 6, 8)),
    ]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("import_mode=append", '"append" is not a valid choice.'),
        ("conv_mask_to_poly=true", "This server imports masks as masks."),
    ],
)
def test_option_of_an_import_that_the_server_lacks_is_refused(
    alice_client: Client, task: models.Task, option: str, sentence: str
) -> None:
    """An import that ignored ``append`` would delete annotations."""
    path = f"/api/tasks/{task.pk}/annotations?format=COCO 1.0&{option}"
    answer = alice_client.post(path, {"annotation_file": SimpleUploadedFile("a.json", b"{}")})
    assert answer.status_code == 400
    assert sentence in answer.json()[option.split("=")[0]]


def test_unknown_format_is_refused_with_the_known_ones(
    alice_client: Client, task: models.Task
) -> None:
    answer = alice_client.post(f"/api/tasks/{task.pk}/dataset/export?format=VOC")
    assert answer.status_code == 400
    assert "use COCO 1.0, CVAT for images 1.1" in answer.json()["message"]
    file = SimpleUploadedFile("a.xml", b"<annotations/>")
    answer = alice_client.post(
        f"/api/tasks/{task.pk}/annotations?format=CVAT 1.1", {"annotation_file": file}
    )
    assert answer.status_code == 400
    assert "use COCO 1.0" in answer.json()["message"]


def test_export_of_another_user_is_not_found(
    alice_client: Client, task: models.Task, charlie: User
) -> None:
    answer = alice_client.post(f"/api/tasks/{task.pk}/dataset/export?format=COCO 1.0")
    request = finished(alice_client, answer.json()["rq_id"])
    stranger = Client()
    stranger.force_login(charlie)
    assert stranger.get(request["result_url"]).status_code == 404
    encoded = answer.json()["rq_id"].replace("&", "%26")
    assert stranger.get(f"/api/requests/{encoded}").status_code == 404


def test_export_whose_file_was_deleted_is_not_found_and_says_what_to_do(
    alice_client: Client, task: models.Task
) -> None:
    answer = alice_client.post(f"/api/tasks/{task.pk}/dataset/export?format=COCO 1.0")
    request = finished(alice_client, answer.json()["rq_id"])
    results.remove(models.Exchange.objects.get())
    lost = alice_client.get(request["result_url"])
    assert (lost.status_code, lost.json()["detail"]) == (
        404,
        "The file was deleted. Export it again.",
    )


def test_export_with_a_key_that_is_none_is_not_found(
    alice_client: Client, task: models.Task
) -> None:
    answer = alice_client.post(f"/api/tasks/{task.pk}/dataset/export?format=COCO 1.0")
    url = finished(alice_client, answer.json()["rq_id"])["result_url"]
    key = models.Exchange.objects.get().pk.hex
    assert key in url
    unknown = alice_client.get(url.replace(key, "latest"))
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "The export was not found.")


def test_annotations_of_a_task_without_frames_are_neither_exported_nor_imported(
    alice_client: Client, alice: User
) -> None:
    task = create_task(alice, "empty", ["car"])
    exported = alice_client.post(f"/api/tasks/{task.pk}/dataset/export?format=COCO 1.0")
    assert (exported.status_code, exported.json()["code"]) == (409, "state_conflict")
    imported = alice_client.post(
        f"/api/tasks/{task.pk}/annotations?format=COCO 1.0",
        {"annotation_file": SimpleUploadedFile("coco.json", b"{}")},
    )
    assert imported.status_code == 409
    assert f"task #{task.pk} has no frames yet" in imported.json()["message"]
    assert not models.Exchange.objects.exists()


def test_archive_without_annotations_is_named_in_the_error(
    alice_client: Client, task: models.Task
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("labels.txt", "car")
    answer = alice_client.post(
        f"/api/tasks/{task.pk}/annotations?format=COCO 1.0",
        {"annotation_file": SimpleUploadedFile("coco.zip", buffer.getvalue())},
    )
    request = finished(alice_client, answer.json()["rq_id"])
    assert (request["status"], request["message"]) == (
        "failed",
        "archive 'coco.zip' has no JSON file",
    )


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("organizations", "organizations"),
        ("issues/1", "issues"),
        ("cloudstorages", "cloud storages"),
        ("webhooks", "webhooks"),
        ("quality/reports", "quality reports"),
        ("tasks/1/backup/export", "this action on tasks"),
    ],
)
def test_path_that_only_cvat_has_answers_404_with_a_sentence(
    client: Client, db: None, path: str, word: str
) -> None:
    answer = client.get(f"/api/{path}")
    assert answer.status_code == 404
    assert f"The standalone server does not have {word}" in answer.json()["detail"]
