"""Exports of the standalone server, read by datumaro, with which CVAT itself reads these formats.

A CVAT server has datumaro. The writers need neither a database nor CVAT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from cvat_lambda.annotations import rle
from cvat_lambda.annotations.types import Label, Shape, Tag
from cvat_lambda.engine.standalone.exchange import coco, cvat_xml, yolo
from cvat_lambda.engine.standalone.exchange.dataset import Dataset, DatasetFrame

datumaro: Any = pytest.importorskip("datumaro.components.dataset", reason="needs datumaro")
environment: Any = pytest.importorskip("datumaro.components.environment")

SIZE: Final = (64, 48)
BITMAP: Final = np.ones((5, 6), dtype=bool)
BITMAP[2, 2] = False
LABELS: Final = (
    Label(name="car", type="any", id=1),
    Label(
        name="person",
        type="skeleton",
        id=2,
        svg='<line data-node-from="1" data-node-to="2"></line>',
        sublabels=(
            Label(name="head", type="points", id=3),
            Label(name="foot", type="points", id=4),
        ),
    ),
)
ELEMENTS: Final = (
    Shape(type="points", frame=0, label_id=3, points=(10, 5)),
    Shape(type="points", frame=0, label_id=4, points=(12, 30)),
)
SHAPES: Final = {
    "bbox": Shape(type="rectangle", frame=0, label_id=1, points=(4, 6, 24, 16)),
    "polygon": Shape(type="polygon", frame=0, label_id=1, points=(1, 1, 11, 1, 11, 9)),
    "polyline": Shape(type="polyline", frame=0, label_id=1, points=(0, 0, 5, 5)),
    "mask": Shape(type="mask", frame=0, label_id=1, points=rle.encode(BITMAP, 20, 30)),
    "skeleton": Shape(type="skeleton", frame=0, label_id=2, elements=ELEMENTS),
}


def read(folder: Path, write: Any, names: tuple[str, ...], kinds: tuple[str, ...]) -> list[Any]:
    """Write the shapes of some kinds with a writer, and return what datumaro reads."""
    frame = DatasetFrame(
        number=0,
        name="street.png",
        width=SIZE[0],
        height=SIZE[1],
        shapes=tuple(SHAPES[kind] for kind in kinds),
        track_ids=(None,) * len(kinds),
        tags=(Tag(frame=0, label_id=1),),
    )
    dataset = Dataset(task_id=1, name="Street", labels=LABELS, frames=(frame,))
    files, _ = write(dataset, lambda share: None)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for images in ("images", "images/default", "images/train"):
        (folder / images).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE).save(folder / images / "street.png")
    known = environment.Environment()
    (form,) = [name for name in names if name in known.importers]
    found = datumaro.Dataset.import_from(str(folder), form)
    (item,) = found
    return list(item.annotations)


def first_by_type(annotations: list[Any]) -> dict[str, Any]:
    """Return the first annotation of each type. COCO has a box for each skeleton as well."""
    return {annotation.type.name: annotation for annotation in reversed(annotations)}


def test_cvat_export_is_read_by_datumaro_with_all_shapes(tmp_path: Path) -> None:
    found = first_by_type(read(tmp_path, cvat_xml.write, ("cvat",), tuple(SHAPES)))
    assert set(found) >= {"bbox", "polygon", "polyline", "skeleton", "label"}
    assert found["bbox"].get_bbox() == pytest.approx((4, 6, 20, 10))
    assert found["polygon"].points == pytest.approx([1, 1, 11, 1, 11, 9])
    points = [element.points for element in found["skeleton"].elements]
    assert points == [pytest.approx([10, 5]), pytest.approx([12, 30])]


def test_coco_export_is_read_by_datumaro(tmp_path: Path) -> None:
    kinds = ("bbox", "polygon", "mask", "skeleton")
    found = first_by_type(read(tmp_path, coco.write, ("coco",), kinds))
    assert found["bbox"].get_bbox() == pytest.approx((4, 6, 20, 10))
    assert found["polygon"].points == pytest.approx([1, 1, 11, 1, 11, 9])
    assert np.array_equal(found["mask"].image[30:35, 20:26].astype(bool), BITMAP)


def test_yolo_detection_export_is_read_by_datumaro(tmp_path: Path) -> None:
    names = ("yolo_ultralytics_detection", "yolov8_detection")
    found = read(tmp_path, yolo.write_detection, names, ("bbox", "mask"))
    boxes = [annotation.get_bbox() for annotation in found]
    assert boxes == [
        pytest.approx((4, 6, 20, 10), abs=0.01),
        pytest.approx((20, 30, 6, 5), abs=0.01),
    ]


def test_yolo_segmentation_export_is_read_by_datumaro(tmp_path: Path) -> None:
    names = ("yolo_ultralytics_segmentation", "yolov8_segmentation")
    (polygon,) = read(tmp_path, yolo.write_segmentation, names, ("polygon",))
    assert polygon.points == pytest.approx([1, 1, 11, 1, 11, 9], abs=0.01)


def test_yolo_pose_export_is_read_by_datumaro(tmp_path: Path) -> None:
    names = ("yolo_ultralytics_pose", "yolov8_pose")
    (pose,) = read(tmp_path, yolo.write_pose, names, ("skeleton",))
    points = [element.points for element in pose.elements]
    assert points == [pytest.approx([10, 5], abs=0.01), pytest.approx([12, 30], abs=0.01)]
