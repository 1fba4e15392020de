"""Skeletons: the named points of a function become the elements of a task's skeleton.

The shape has one element for each sublabel of the task's skeleton, in the same order. Elements that
the function did not answer, that cannot be used or that lie outside the image are hidden at the
centre of the visible ones.
"""

from __future__ import annotations

from typing import Any, Final, cast

from cvat_lambda.annotations.detection_items import READERS, AnswerContext, Item
from cvat_lambda.annotations.errors import AnswerError
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

NOT_FOUND: Final = [-1, -1]  # what many models answer for a keypoint that they did not find


def read_skeleton(item: Item, context: AnswerContext) -> Shape | None:
    """Read a skeleton. Return None, with a note, if none of its points is visible."""
    found = _read_elements(item, context)
    anchors = [anchor(s.type, s.points) for s in found.values() if not s.outside]
    outside = read_flag(item.raw.get("outside"), item=item.index, field="outside")
    attributes = context.read_attributes(item.index, item.raw, item.mapped)
    if not anchors:
        reason = "no point of the skeleton is visible; it was left out"
        context.notes.add("outside_image", reason, item=item.index)
        return None
    x = sum(x for x, _ in anchors) / len(anchors)
    y = sum(y for _, y in anchors) / len(anchors)
    return Shape(
        type="skeleton",
        frame=context.frame,
        label_id=item.mapped.label_id,
        outside=outside,
        group=item.group,
        attributes=attributes,
        elements=tuple(
            found.get(sublabel.name) or _hidden(item, context, sublabel, x, y)
            for sublabel in item.mapped.task_label.sublabels
        ),
        score=item.score,
    )


def _hidden(item: Item, context: AnswerContext, sublabel: Label, x: float, y: float) -> Shape:
    assert sublabel.id is not None  # as every label of a MappedLabel
    plain = sublabel.type in READERS
    shape_type = cast(ShapeType, sublabel.type) if plain else "points"
    return Shape(
        type=shape_type,
        frame=context.frame,
        label_id=sublabel.id,
        points=hidden_points(shape_type, x, y),
        outside=True,
        group=item.group,
        score=item.score,
    )


def _read_elements(item: Item, context: AnswerContext) -> dict[str, Shape]:
    """Read the elements, by the name of the task's sublabel."""
    found: dict[str, Shape] = {}
    elements = read_list(item.raw.get("elements"), item=item.index, field="elements")
    for number, raw in enumerate(elements):
        try:
            _add_element(item, context, raw, f"elements[{number}].", found)
        except AnswerError as exc:
            context.notes.add("skeleton_point", f"{exc.message}; the point was hidden")
    return found


def _add_element(
    item: Item, context: AnswerContext, raw_element: object, prefix: str, found: dict[str, Shape]
) -> None:
    """Read an element into ``found``, unless it is unmapped, given twice or of another type."""
    index = item.index
    raw = read_object(raw_element, item=index, field=prefix[:-1])
    name = read_name(raw.get("label"), item=index, field=f"{prefix}label")
    mapped = item.mapped.sublabels.get(name)
    if mapped is None:
        if all(sublabel.name != name for sublabel in item.mapped.function_label.sublabels):
            reason = f"the skeleton does not announce a point {show(name)}"
            context.notes.add("skeleton_point", reason, item=index)
    elif mapped.task_label.name in found:
        reason = f"the point {show(name)} came twice; the first was kept"
        context.notes.add("skeleton_point", reason, item=index)
    else:
        shape = _read_element(item, context, raw, mapped, prefix)
        if shape is not None:
            found[mapped.task_label.name] = shape


def _read_element(
    item: Item, context: AnswerContext, raw: dict[str, Any], mapped: MappedLabel, prefix: str
) -> Shape | None:
    index = item.index
    element_type = raw.get("type", mapped.function_label.type)
    reader = READERS.get(element_type) if isinstance(element_type, str) else None
    if reader is None:
        text = f"{show(element_type)} is not a type of an element"
        raise AnswerError(text, item=index, field=f"{prefix}type")
    if mapped.task_label.type not in ("any", element_type):
        reason = f"'{mapped.task_label.name}' cannot be a {element_type}"
        context.notes.add("skeleton_point", reason, item=index)
        return None
    if element_type == "points" and raw.get("points") == NOT_FOUND:
        return None
    shape_type, points = reader(index, raw, prefix, context)
    rotation = read_rotation(shape_type, raw.get("rotation"), item=index, field=f"{prefix}rotation")
    outside = read_flag(raw.get("outside"), item=index, field=f"{prefix}outside")
    confidence = raw.get("confidence", item.score)
    score, note = read_score(confidence, item=index, field=f"{prefix}confidence")
    if note is not None:
        context.notes.add("invalid_confidence", note, item=index)
    attributes = context.read_attributes(index, raw, mapped, prefix)
    # A hidden element may lie anywhere: functions answer the place where they guess it.
    fitted = context.fit(index, shape_type, points, rotation, quiet=outside)
    if fitted is None:
        return None
    return Shape(
        type=shape_type,
        frame=context.frame,
        label_id=mapped.label_id,
        points=fitted,
        rotation=rotation,
        outside=outside,
        group=item.group,
        attributes=attributes,
        score=score,
    )
