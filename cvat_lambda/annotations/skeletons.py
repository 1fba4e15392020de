"""Skeletons: a function's named points become the elements of a task's skeleton.

Every sublabel of the task's skeleton gets its element, in its order: those that the function did
not give (or that cannot be placed) lie hidden at the centre of the visible ones.
"""

from __future__ import annotations

from typing import Any, cast

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.items import READERS, Item, Place
from cvat_lambda.annotations.mapping import MappedLabel
from cvat_lambda.annotations.reading import (
    read_flag,
    read_list,
    read_name,
    read_object,
    read_rotation,
    read_score,
    show,
)
from cvat_lambda.annotations.shapes import anchor, hidden_points
from cvat_lambda.annotations.types import Label, Shape, ShapeType


def read_skeleton(item: Item, place: Place) -> Shape | None:
    """Read a skeleton; None, with a note, when none of its points is visible."""
    found = _read_elements(item, place)
    anchors = [anchor(s.type, s.points) for s in found.values() if not s.outside]
    outside = read_flag(item.raw.get("outside"), item=item.index, field="outside")
    attributes = place.read_attributes(item.index, item.raw, item.mapped)
    if not anchors:
        place.notes.add(item.index, "no point of the skeleton is visible; it was dropped")
        return None
    x = sum(x for x, _ in anchors) / len(anchors)
    y = sum(y for _, y in anchors) / len(anchors)
    return Shape(
        type="skeleton",
        frame=place.frame,
        label_id=item.mapped.label_id,
        outside=outside,
        group=item.group,
        attributes=attributes,
        elements=tuple(
            found.get(sublabel.name) or _hidden(item, place, sublabel, x, y)
            for sublabel in item.mapped.task_label.sublabels
        ),
        score=item.score,
    )


def _hidden(item: Item, place: Place, sublabel: Label, x: float, y: float) -> Shape:
    assert sublabel.id is not None  # as every label of a MappedLabel
    plain = sublabel.type in READERS
    shape_type = cast(ShapeType, sublabel.type) if plain else "points"
    return Shape(
        type=shape_type,
        frame=place.frame,
        label_id=sublabel.id,
        points=hidden_points(shape_type, x, y),
        outside=True,
        group=item.group,
        score=item.score,
    )


def _read_elements(item: Item, place: Place) -> dict[str, Shape]:
    """Read the elements, by the name of the task's sublabel."""
    index = item.index
    announced = {sublabel.name for sublabel in item.mapped.function_label.sublabels}
    found: dict[str, Shape] = {}
    elements = read_list(item.raw.get("elements"), item=index, field="elements")
    for number, raw_element in enumerate(elements):
        prefix = f"elements[{number}]."
        raw = read_object(raw_element, item=index, field=prefix[:-1])
        name = read_name(raw.get("label"), item=index, field=f"{prefix}label")
        mapped = item.mapped.sublabels.get(name)
        if mapped is None:
            if name not in announced:
                place.notes.add(index, f"the skeleton does not announce a point {show(name)}")
        elif mapped.task_label.name in found:
            place.notes.add(index, f"the point {show(name)} came twice; the first was kept")
        else:
            shape = _read_element(item, place, raw, mapped, prefix)
            if shape is not None:
                found[mapped.task_label.name] = shape
    return found


def _read_element(
    item: Item, place: Place, raw: dict[str, Any], mapped: MappedLabel, prefix: str
) -> Shape | None:
    index = item.index
    element_type = raw.get("type", mapped.function_label.type)
    reader = READERS.get(element_type) if isinstance(element_type, str) else None
    if reader is None:
        text = f"{show(element_type)} is no type of an element"
        raise AnswerError(text, item=index, field=f"{prefix}type")
    if mapped.task_label.type not in ("any", element_type):
        place.notes.add(index, f"'{mapped.task_label.name}' cannot be a {element_type}")
        return None
    shape_type, points = reader(index, raw, prefix, place.size)
    rotation = read_rotation(shape_type, raw.get("rotation"), item=index, field=f"{prefix}rotation")
    outside = read_flag(raw.get("outside"), item=index, field=f"{prefix}outside")
    confidence = raw.get("confidence", item.score)
    score, note = read_score(confidence, item=index, field=f"{prefix}confidence")
    if note is not None:
        place.notes.add(index, note)
    attributes = place.read_attributes(index, raw, mapped, prefix)
    # A hidden element may lie anywhere: functions leave it where they guess it.
    fitted = place.fit(index, shape_type, points, rotation, quiet=outside)
    if fitted is None:
        return None
    return Shape(
        type=shape_type,
        frame=place.frame,
        label_id=mapped.label_id,
        points=fitted,
        rotation=rotation,
        outside=outside,
        group=item.group,
        attributes=attributes,
        score=score,
    )
