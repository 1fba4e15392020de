"""COCO: boxes, polygons, RLE masks and keypoints, with scores.

Format: https://cocodataset.org/#format-data. Masks are compressed RLE as pycocotools writes it.
Polylines, points, cuboids and tags have no counterpart; they are counted as left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from pycocotools import mask as coco_mask

from cvat_lambda.annotations import rle
from cvat_lambda.annotations.contours import coco_counts
from cvat_lambda.annotations.types import AttributeValue, Label, LabeledData, Shape
from cvat_lambda.engine.standalone.exchange.dataset import Dataset, DatasetFrame, safe_name
from cvat_lambda.engine.standalone.exchange.outlines import (
    area_of,
    bitmap_of,
    box_of,
    polygons_of,
)
from cvat_lambda.errors import InvalidRequest

FILE: Final = "annotations/instances_default.json"
WRITTEN: Final = ("rectangle", "ellipse", "polygon", "mask", "skeleton")
Progress = Callable[[float], None]


def write(dataset: Dataset, progress: Progress) -> tuple[dict[str, bytes], int]:
    """Return the files of the dataset, and how many annotations were left out."""
    labels = {label.id: label for label in dataset.labels}
    categories = {label.id: place for place, label in enumerate(dataset.labels, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    left_out = 0
    for place, frame in enumerate(dataset.frames, start=1):
        images.append(
            {
                "id": place,
                "file_name": safe_name(frame.name),
                "width": frame.width,
                "height": frame.height,
                "license": 0,
                "flickr_url": "",
                "coco_url": "",
                "date_captured": 0,
            }
        )
        left_out += len(frame.tags)
        for shape, track_id in zip(frame.shapes, frame.track_ids, strict=True):
            made = _annotation(shape, labels[shape.label_id], frame)
            if made is None:
                left_out += 1
                continue
            if track_id is not None:
                made["attributes"]["track_id"] = track_id
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": place,
                    "category_id": categories[shape.label_id],
                    **made,
                }
            )
        progress(place / max(1, dataset.size))
    document = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"description": dataset.name},
        "categories": [_category(label, categories[label.id]) for label in dataset.labels],
        "images": images,
        "annotations": annotations,
    }
    return {FILE: json.dumps(document).encode()}, left_out


def _category(label: Label, place: int) -> dict[str, Any]:
    made: dict[str, Any] = {"id": place, "name": label.name, "supercategory": ""}
    if label.type == "skeleton":
        made["keypoints"] = [sublabel.name for sublabel in label.sublabels]
        made["skeleton"] = []
    return made


def _annotation(shape: Shape, label: Label, frame: DatasetFrame) -> dict[str, Any] | None:
    box = box_of(shape, frame.width, frame.height) if shape.type in WRITTEN else None
    if box is None:
        return None
    left, top, right, bottom = box
    names = {attribute.id: attribute.name for attribute in label.attributes}
    made: dict[str, Any] = {
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "iscrowd": 0,
        "segmentation": [],
        "score": shape.score,
        "attributes": {
            "occluded": shape.occluded,
            **({"rotation": shape.rotation} if shape.rotation else {}),
            **{names.get(value.spec_id, "?"): value.value for value in shape.attributes},
        },
    }
    if shape.type == "mask":
        encoded = coco_mask.encode(np.asfortranarray(bitmap_of(shape, frame.width, frame.height)))
        made["segmentation"] = {**encoded, "counts": encoded["counts"].decode()}
        made["area"] = float(coco_mask.area(encoded))
        made["bbox"] = [float(value) for value in coco_mask.toBbox(encoded)]
    elif shape.type == "skeleton":
        made["keypoints"], made["num_keypoints"] = _keypoints(shape, label)
    elif shape.type != "rectangle" or shape.rotation:
        outlines = polygons_of(shape, frame.width, frame.height)
        made["segmentation"] = [list(polygon) for polygon in outlines]
        made["area"] = sum(area_of(polygon) for polygon in outlines)
    return made


def _keypoints(shape: Shape, label: Label) -> tuple[list[float], int]:
    """Return x, y and visibility of each point: 0 not there, 1 hidden, 2 visible."""
    elements = {element.label_id: element for element in shape.elements}
    found: list[float] = []
    for sublabel in label.sublabels:
        element = elements.get(sublabel.id or 0)
        if element is None or element.outside or not element.points:
            found += [0, 0, 0]
        else:
            found += [*element.points[:2], 1 if element.occluded else 2]
    return found, sum(1 for visibility in found[2::3] if visibility)


def read(document: object, dataset: Dataset) -> LabeledData:
    """Return the annotations of a COCO file for the frames of a task. Raise InvalidRequest.

    Images are found by their file name, categories by their name.
    """
    if not isinstance(document, dict):
        raise InvalidRequest("a COCO file is a JSON object")
    try:
        return _read(document, dataset)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as exc:
        raise InvalidRequest(f"the COCO file cannot be read: {type(exc).__name__} {exc}") from exc


def _read(document: dict[str, Any], dataset: Dataset) -> LabeledData:
    frames = {safe_name(frame.name): frame for frame in dataset.frames}
    frames |= {name.rpartition("/")[2]: frame for name, frame in frames.items()}
    images: dict[int, DatasetFrame] = {}
    for image in document["images"]:
        frame = frames.get(safe_name(image["file_name"])) or frames.get(
            safe_name(image["file_name"]).rpartition("/")[2]
        )
        if frame is None:
            raise InvalidRequest(f"the task has no frame '{image['file_name']}'")
        images[image["id"]] = frame
    by_name = {label.name: label for label in dataset.labels}
    labels: dict[int, Label] = {}
    for category in document["categories"]:
        if category["name"] in by_name:
            labels[category["id"]] = by_name[category["name"]]
    shapes: list[Shape] = []
    for item in document["annotations"]:
        label = labels.get(item["category_id"])
        if label is None:
            names = {category["id"]: category["name"] for category in document["categories"]}
            raise InvalidRequest(f"the task has no label '{names.get(item['category_id'], '?')}'")
        shapes += _shapes(item, images[item["image_id"]], label)
    return LabeledData(shapes=tuple(shapes))


def _shapes(item: Mapping[str, Any], frame: DatasetFrame, label: Label) -> list[Shape]:
    attributes = item.get("attributes") or {}
    shared: dict[str, Any] = {
        "frame": frame.number,
        "label_id": label.id or 0,
        "source": "file",
        "occluded": bool(attributes.get("occluded", False)),
        "score": min(1.0, max(0.0, float(item.get("score", 1.0)))),
        "attributes": tuple(
            AttributeValue(spec_id=known.id or 0, value=str(attributes[known.name]))
            for known in label.attributes
            if known.name in attributes
        ),
    }
    segmentation = item.get("segmentation") or []
    if label.type == "skeleton":
        return [_skeleton(item["keypoints"], label, shared)]
    if isinstance(segmentation, dict):
        mask = _mask(segmentation)
        return [] if mask is None else [Shape(type="mask", points=mask, **shared)]
    if segmentation and not attributes.get("rotation"):
        return [
            Shape(type="polygon", points=tuple(float(v) for v in polygon), **shared)
            for polygon in segmentation
        ]
    left, top, width, height = (float(value) for value in item["bbox"])
    if attributes.get("rotation") and segmentation:
        return [_rotated_box(segmentation[0], float(attributes["rotation"]), shared)]
    points = (left, top, left + width, top + height)
    return [Shape(type="rectangle", points=points, **shared)]


def _rotated_box(corners: list[float], rotation: float, shared: dict[str, Any]) -> Shape:
    """Return the rectangle whose rotated corners a polygon lists from the left top one on."""
    (x0, y0), (x1, y1), (x2, y2), _ = zip(corners[0::2], corners[1::2], strict=True)
    width, height = float(np.hypot(x1 - x0, y1 - y0)), float(np.hypot(x2 - x1, y2 - y1))
    cx, cy = (x0 + x2) / 2, (y0 + y2) / 2
    points = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    return Shape(type="rectangle", points=points, rotation=rotation % 360, **shared)


def _mask(segmentation: dict[str, Any]) -> tuple[int, ...] | None:
    height, width = (int(value) for value in segmentation["size"])
    counts = segmentation["counts"]
    runs = coco_counts(counts.encode()) if isinstance(counts, str) else np.array(counts, np.int64)
    if runs.min(initial=0) < 0 or runs.sum() != width * height:
        raise InvalidRequest("the runs of a mask do not fill its size")
    if width * height > rle.MAX_PIXELS:
        raise InvalidRequest(f"a mask of {width} x {height} pixels is too large")
    values = np.arange(len(runs)) % 2 == 1  # the first run is of zeros
    bitmap = np.repeat(values, runs).reshape(width, height).T  # COCO counts down the columns
    cut = rle.trim(bitmap, 0, 0)
    return None if cut is None else rle.encode(*cut)


def _skeleton(keypoints: list[float], label: Label, shared: dict[str, Any]) -> Shape:
    elements = []
    for place, sublabel in enumerate(label.sublabels):
        x, y, visibility = keypoints[3 * place : 3 * place + 3]
        elements.append(
            Shape(
                type="points",
                frame=shared["frame"],
                label_id=sublabel.id or 0,
                points=(float(x), float(y)),
                outside=visibility == 0,
                occluded=visibility == 1,
                source="file",
            )
        )
    return Shape(type="skeleton", elements=tuple(elements), **shared)
