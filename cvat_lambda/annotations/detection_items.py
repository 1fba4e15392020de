"""The items of a detector's answer: their geometry in the frame, and their attributes.

A reader (`READERS`) takes the number and the fields of an item. It returns the type of the shape
and its points in the frame, or None instead of points if the shape is empty. ``prefix`` precedes
the names of fields in errors about the elements of a skeleton.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cvat_lambda.annotations import contours, rle
from cvat_lambda.annotations.attributes import check_value
from cvat_lambda.annotations.errors import AnswerError, ShapeError
from cvat_lambda.annotations.mapping import MappedLabel
from cvat_lambda.annotations.notes import NoteCollector
from cvat_lambda.annotations.placement import Placement
from cvat_lambda.annotations.reading import (
    kind,
    read_list,
    read_name,
    read_object,
    read_points,
    show,
)
from cvat_lambda.annotations.shapes import Points, Size, fit
from cvat_lambda.annotations.types import AttributeValue, ShapeType


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """The fields that every item has, read."""

    index: int
    raw: dict[str, Any]
    mapped: MappedLabel
    score: float  # in [0, 1]
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerContext:
    """The frame that an answer is about, and the notes about the answer's items."""

    frame: int
    frame_size: Size | None  # width, height in pixels; None: nothing is clipped
    placement: Placement  # of the image that the function saw
    notes: NoteCollector

    def fit(
        self,
        index: int,
        shape_type: ShapeType,
        points: Points | None,
        rotation: float,
        *,
        quiet: bool = False,
    ) -> Points | None:
        """Cut points to the frame. Return None, with a note unless quiet, if nothing is left."""
        if points is None:
            self.notes.add("outside_image", f"the {shape_type} is empty", item=index)
            return None
        if self.frame_size is None:
            return points
        fitted, cut = fit(shape_type, points, rotation, self.frame_size)
        if fitted is None and not quiet:
            reason = f"the {shape_type} is empty or lies outside the image"
            self.notes.add("outside_image", reason, item=index)
        elif cut and not quiet:
            reason = f"the {shape_type} reaches beyond the image"
            self.notes.add("cut_to_image", reason, item=index)
        return fitted

    def read_attributes(
        self, index: int, raw: dict[str, Any], mapped: MappedLabel, prefix: str = ""
    ) -> tuple[AttributeValue, ...]:
        """Read ``[{"name", "value"}]``. Wrong values are left out with a note."""
        raw_attributes = raw.get("attributes")
        if raw_attributes is None:
            return ()
        name_of = f"{prefix}attributes"
        values: dict[int, str] = {}
        for number, each in enumerate(read_list(raw_attributes, item=index, field=name_of)):
            where = f"{name_of}[{number}]"
            given = read_object(each, item=index, field=where)
            name = read_name(given.get("name"), item=index, field=f"{where}.name")
            attribute = mapped.attributes.get(name)
            if attribute is None or attribute.id is None:
                continue
            value = check_value(attribute, given.get("value"))
            if value is None:
                shown = show(given.get("value"))
                reason = (
                    f"{shown} is not a value of the attribute '{attribute.name}' and was left out"
                )
                self.notes.add("invalid_attribute", reason, item=index)
                continue
            values[attribute.id] = value
        return tuple(AttributeValue(spec_id=key, value=value) for key, value in values.items())


def fill(index: int, polygon: Points) -> Points | None:
    """Turn a polygon into a mask, for a label that takes masks only."""
    try:
        return contours.mask_of(polygon)
    except ShapeError as exc:
        raise AnswerError(exc.message, item=index, field="points") from exc


Reader = Callable[[int, dict[str, Any], str, AnswerContext], "tuple[ShapeType, Points | None]"]


def _coordinates(shape_type: ShapeType) -> Reader:
    """Make the reader of a type whose points are coordinates."""

    def read(
        index: int, raw: dict[str, Any], prefix: str, context: AnswerContext
    ) -> tuple[ShapeType, Points | None]:
        return shape_type, _read_coordinates(shape_type, index, raw, prefix, context)

    return read


def _read_coordinates(
    shape_type: ShapeType, index: int, raw: dict[str, Any], prefix: str, context: AnswerContext
) -> Points:
    field = f"{prefix}points"
    points = read_points(shape_type, raw.get("points"), item=index, field=field)
    placed = context.placement.to_frame(points)
    if context.placement.is_scaled:  # a large number may have become too large
        placed = read_points(shape_type, placed, item=index, field=field)
    return placed


def _read_mask(
    index: int, raw: dict[str, Any], prefix: str, context: AnswerContext
) -> tuple[ShapeType, Points | None]:
    field, value = _mask_field(index, raw, prefix)
    placement = context.placement
    image_size = placement.image_size(context.frame_size)
    try:
        if placement.is_scaled:
            bitmap = _DECODERS[field](value, image_size=image_size)
            points = rle.encode(*placement.bitmap_to_frame(*bitmap))
        else:
            read = rle.check if field == "rle" else rle.from_raw
            points = rle.shift(read(value, image_size=image_size), *placement.offset)
    except ShapeError as exc:
        raise AnswerError(exc.message, item=index, field=f"{prefix}{field}") from exc
    return "mask", points if any(points[1:-4:2]) else None


def _read_mask_as_polygon(
    index: int, raw: dict[str, Any], prefix: str, context: AnswerContext
) -> tuple[ShapeType, Points | None]:
    """Read the polygon that the function sent, else outline the mask's largest part."""
    points = raw.get("points")
    if isinstance(points, list) and len(points) >= 6:
        return "polygon", _read_coordinates("polygon", index, raw, prefix, context)
    field, value = _mask_field(index, raw, prefix)
    placement = context.placement
    try:
        bitmap = _DECODERS[field](value, image_size=placement.image_size(context.frame_size))
    except ShapeError as exc:
        raise AnswerError(exc.message, item=index, field=f"{prefix}{field}") from exc
    polygon = contours.largest_polygon(*bitmap)
    return "polygon", None if polygon is None else placement.to_frame(polygon)


_DECODERS: Final = {"rle": rle.decode, "mask": rle.decode_raw}


def _mask_field(index: int, raw: dict[str, Any], prefix: str) -> tuple[str, list[Any]]:
    for name in ("mask", "rle"):
        value = raw.get(name)
        if value is None:
            continue
        if not isinstance(value, list):
            raise AnswerError(
                f"expected an array of numbers, not {kind(value)}",
                item=index,
                field=f"{prefix}{name}",
            )
        return name, value
    raise AnswerError(
        "a mask needs its pixels in 'mask' or its run lengths in 'rle'",
        item=index,
        field=f"{prefix}mask",
    )


READERS: Final[dict[str, Reader]] = {
    "rectangle": _coordinates("rectangle"),
    "ellipse": _coordinates("ellipse"),
    "polygon": _coordinates("polygon"),
    "polyline": _coordinates("polyline"),
    "points": _coordinates("points"),
    "cuboid": _coordinates("cuboid"),
    "mask": _read_mask,
    "mask as polygon": _read_mask_as_polygon,
}
