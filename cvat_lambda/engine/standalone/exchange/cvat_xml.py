"""CVAT for images 1.1: one XML file with every kind of shape.

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

from __future__ import annotations

from typing import Any, Final
from xml.etree import ElementTree as Xml

from cvat_lambda.annotations.types import AttributeValue, Label, Shape
from cvat_lambda.engine.standalone.exchange.coco import Progress
from cvat_lambda.engine.standalone.exchange.dataset import Dataset, DatasetFrame

FILE: Final = "annotations.xml"
_TAGS: Final = {"rectangle": "box"}
_CUBOID: Final = ("tl1", "bl1", "tr1", "br1", "tl2", "bl2", "tr2", "br2")


def write(dataset: Dataset, progress: Progress) -> tuple[dict[str, bytes], int]:
    """Return the file; nothing is left out."""
    root = Xml.Element("annotations")
    Xml.SubElement(root, "version").text = "1.1"
    root.append(_meta(dataset))
    names = {label.id: label for top in dataset.labels for label in (top, *top.sublabels)}
    for place, frame in enumerate(dataset.frames, start=1):
        root.append(_image(frame, names))
        progress(place / max(1, dataset.size))
    Xml.indent(root)
    return {FILE: Xml.tostring(root, encoding="utf-8", xml_declaration=True)}, 0


def _meta(dataset: Dataset) -> Xml.Element:
    meta = Xml.Element("meta")
    task = Xml.SubElement(meta, "task")
    for name, value in (
        ("id", dataset.task_id),
        ("name", dataset.name),
        ("size", dataset.size),
        ("mode", "annotation"),
    ):
        Xml.SubElement(task, name).text = str(value)
    labels = Xml.SubElement(task, "labels")
    for label in dataset.labels:
        _label(labels, label, None)
        for sublabel in label.sublabels:
            _label(labels, sublabel, label.name)
    return meta


def _label(labels: Xml.Element, label: Label, parent: str | None) -> None:
    element = Xml.SubElement(labels, "label")
    Xml.SubElement(element, "name").text = label.name
    Xml.SubElement(element, "color").text = label.color
    Xml.SubElement(element, "type").text = label.type
    attributes = Xml.SubElement(element, "attributes")
    for attribute in label.attributes:
        one = Xml.SubElement(attributes, "attribute")
        Xml.SubElement(one, "name").text = attribute.name
        Xml.SubElement(one, "input_type").text = attribute.input_type
        Xml.SubElement(one, "values").text = "\n".join(attribute.values)
    if label.svg:
        Xml.SubElement(element, "svg").text = label.svg
    if parent is not None:
        Xml.SubElement(element, "parent").text = parent


def _image(frame: DatasetFrame, labels: dict[int | None, Label]) -> Xml.Element:
    image = Xml.Element(
        "image",
        id=str(frame.number),
        name=frame.name,
        width=str(frame.width),
        height=str(frame.height),
    )
    for shape in frame.shapes:
        image.append(_shape(shape, labels, is_element=False))
    for tag in frame.tags:
        label = labels[tag.label_id]
        element = Xml.SubElement(image, "tag", label=label.name, source=tag.source)
        _attributes(element, tag.attributes, label)
    return image


def _shape(shape: Shape, labels: dict[int | None, Label], *, is_element: bool) -> Xml.Element:
    label = labels[shape.label_id]
    values: dict[str, Any] = {
        "label": label.name,
        "source": shape.source,
        "occluded": int(shape.occluded),
    }
    if is_element:
        values["outside"] = int(shape.outside)
    values |= _geometry(shape)
    if not is_element:
        values["z_order"] = shape.z_order
    if shape.group:
        values["group_id"] = shape.group
    element = Xml.Element(
        _TAGS.get(shape.type, shape.type), {name: str(value) for name, value in values.items()}
    )
    for inner in shape.elements:
        element.append(_shape(inner, labels, is_element=True))
    _attributes(element, shape.attributes, label)
    return element


def _geometry(shape: Shape) -> dict[str, Any]:
    points = shape.points
    rotation = {"rotation": f"{shape.rotation:.2f}"} if shape.rotation else {}
    if shape.type == "rectangle":
        return {**_named(("xtl", "ytl", "xbr", "ybr"), points), **rotation}
    if shape.type == "ellipse":
        cx, cy, right, top = points
        values = (cx, cy, right - cx, cy - top)
        return {**_named(("cx", "cy", "rx", "ry"), values), **rotation}
    if shape.type == "mask":
        left, top, right, bottom = (int(value) for value in points[-4:])
        runs = ", ".join(str(int(value)) for value in points[:-4])
        size = {"left": left, "top": top, "width": right - left + 1, "height": bottom - top + 1}
        return {"rle": runs, **size}
    if shape.type == "cuboid":
        names = tuple(f"{axis}{corner}" for corner in _CUBOID for axis in "xy")
        return _named(names, points)
    if shape.type == "skeleton":
        return {}
    pairs = zip(points[0::2], points[1::2], strict=True)
    return {"points": ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs)}


def _named(names: tuple[str, ...], values: tuple[float, ...]) -> dict[str, str]:
    return {name: f"{value:.2f}" for name, value in zip(names, values, strict=True)}


def _attributes(element: Xml.Element, values: tuple[AttributeValue, ...], label: Label) -> None:
    names = {attribute.id: attribute.name for attribute in label.attributes}
    for value in values:
        if value.spec_id in names:
            Xml.SubElement(element, "attribute", name=names[value.spec_id]).text = value.value
