"""The formats by the names that CVAT's clients use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cvat_lambda.annotations.types import LabeledData
from cvat_lambda.engine.standalone.exchange import coco, cvat_xml, yolo
from cvat_lambda.engine.standalone.exchange.coco import Progress
from cvat_lambda.engine.standalone.exchange.dataset import Dataset
from cvat_lambda.errors import InvalidRequest

Files = tuple[dict[str, bytes], int]  # contents by name; annotations that were left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format."""

    name: str
    write: Callable[[Dataset, Progress], Files]
    read: Callable[[object, Dataset], LabeledData] | None = None  # of a parsed JSON file
    images: str = "images"  # the folder of the images


FORMATS: Final[Mapping[str, Format]] = {
    form.name: form
    for form in (
        Format(name="COCO 1.0", write=coco.write, read=coco.read, images="images/default"),
        Format(name="CVAT for images 1.1", write=cvat_xml.write),
        Format(
            name="Ultralytics YOLO Detection 1.0", write=yolo.write_detection, images="images/train"
        ),
        Format(
            name="Ultralytics YOLO Segmentation 1.0",
            write=yolo.write_segmentation,
            images="images/train",
        ),
        Format(name="Ultralytics YOLO Pose 1.0", write=yolo.write_pose, images="images/train"),
    )
}


def format_for_export(name: str) -> Format:
    """Return a format. Raise InvalidRequest."""
    if name not in FORMATS:
        raise InvalidRequest(f"there is no format '{name[:60]}': use {', '.join(FORMATS)}")
    return FORMATS[name]


def format_for_import(name: str) -> Format:
    """Return a format that can be read. Raise InvalidRequest."""
    found = FORMATS.get(name)
    if found is None or found.read is None:
        readable = ", ".join(form.name for form in FORMATS.values() if form.read is not None)
        raise InvalidRequest(f"files of format '{name[:60]}' cannot be imported: use {readable}")
    return found
