"""What every item of a detector's answer has, however it ends: geometry, attributes, place.

Each reader takes the item's number, its fields and the shape type it says it is, and returns the
type that it becomes with its points (None: it is empty). ``prefix`` goes before the names of
fields in errors, for elements of a skeleton; ``size`` of the image bounds the box of a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from cvat_lambda.annotations import contours, rle
from cvat_lambda.annotations.attributes import check_value
from cvat_lambda.annotations.errors import AnswerError, ShapeError
from cvat_lambda.annotations.mapping import MappedLabel
from cvat_lambda.annotations.reading import (
    kind,
    read_list,
    read_name,
    read_object,
    read_points,
    show,
)
from cvat_lambda.annotations.shapes import Points, Size, fit, shift
from cvat_lambda.annotations.types import AttributeValue, ShapeType

MAX_NOTES: Final = 20


@dataclass(slots=True, kw_only=True)
class Notes:
    """Sentences about an answer, so many as a person will read."""

    _kept: list[str] = field(default_factory=list)
    _left_out: int = 0

    def add(self, index: int, text: str) -> None:
        """Note something about an item."""
        if len(self._kept) < MAX_NOTES:
            self._kept.append(f"item {index}: {text}")
        else:
            self._left_out += 1

    def result(self) -> tuple[str, ...]:
        """Return at most MAX_NOTES sentences and one that counts the others."""
        if not self._left_out:
            return tuple(self._kept)
        return (*self._kept, f"and {self._left_out} more notes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """The fields that every item has, read."""

    index: int
    raw: dict[str, Any]
    mapped: MappedLabel
    score: float  # in [0, 1]
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the results of one answer go."""

    frame: int
    size: Size | None  # width, height of the whole frame; None: nothing is clipped
    offset: tuple[int, int]  # of the image that the function saw, in the frame
    notes: Notes

    def fit(
        self,
        index: int,
        shape_type: ShapeType,
        points: Points | None,
        rotation: float,
        *,
        quiet: bool = False,
    ) -> Points | None:
        """Move points into the frame and cut them to it; None (with a note) if nothing is left."""
        if points is None:
            self.notes.add(index, f"the {shape_type} is empty")
            return None
        dx, dy = self.offset
        if dx or dy:
            points = shift(shape_type, points, dx, dy)
        if self.size is None:
            return points
        fitted, cut = fit(shape_type, points, rotation, self.size)
        if fitted is None and not quiet:
            self.notes.add(index, f"the {shape_type} is empty or lies outside the image")
        elif cut and not quiet:
            self.notes.add(index, f"the {shape_type} reaches beyond the image")
        return fitted

    def read_attributes(
        self, index: int, raw: dict[str, Any], mapped: MappedLabel, prefix: str = ""
    ) -> tuple[AttributeValue, ...]:
        """Read ``[{"name", "value"}]``: unmapped ones are left out, wrong values with a note."""
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
                text = f"{shown} is no value of the attribute '{attribute.name}' and was left out"
                self.notes.add(index, text)
                continue
            values[attribute.id] = value
        return tuple(AttributeValue(spec_id=key, value=value) for key, value in values.items())


def fill(index: int, polygon: Points) -> Points | None:
    """Turn a polygon into a mask, for a label that takes masks only."""
    try:
        return contours.mask_of(polygon)
    except ShapeError as exc:
        raise AnswerError(exc.message, item=index, field="points") from exc


Reader = Callable[[int, dict[str, Any], str, "Size | None"], tuple[ShapeType, "Points | None"]]


def _plain(shape_type: ShapeType) -> Reader:
    """Make the reader of a type whose points are coordinates."""

    def read(
        index: int, raw: dict[str, Any], prefix: str, size: Size | None
    ) -> tuple[ShapeType, Points | None]:
        field_name = f"{prefix}points"
        return shape_type, read_points(shape_type, raw.get("points"), item=index, field=field_name)

    return read


def _read_mask(
    index: int, raw: dict[str, Any], prefix: str, size: Size | None
) -> tuple[ShapeType, Points | None]:
    field_name, value = _mask_field(index, raw, prefix)
    try:
        if field_name == "rle":
            points = rle.check(value, max_pixels=rle.room(size))
        else:
            points = rle.from_raw(value)
    except ShapeError as exc:
        raise AnswerError(exc.message, item=index, field=f"{prefix}{field_name}") from exc
    return "mask", points if any(points[1:-4:2]) else None


def _read_mask_as_polygon(
    index: int, raw: dict[str, Any], prefix: str, size: Size | None
) -> tuple[ShapeType, Points | None]:
    """Take the polygon that the function sent, else outline the mask's largest part."""
    points = raw.get("points")
    if isinstance(points, list) and len(points) >= 6:
        return "polygon", read_points("polygon", points, item=index, field=f"{prefix}points")
    field_name, value = _mask_field(index, raw, prefix)
    try:
        if field_name == "rle":
            bitmap, left, top = rle.decode(value, max_pixels=rle.room(size))
        else:
            bitmap, left, top = rle.decode_raw(value)
    except ShapeError as exc:
        raise AnswerError(exc.message, item=index, field=f"{prefix}{field_name}") from exc
    return "polygon", contours.largest_polygon(bitmap, left, top)


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
    "rectangle": _plain("rectangle"),
    "ellipse": _plain("ellipse"),
    "polygon": _plain("polygon"),
    "polyline": _plain("polyline"),
    "points": _plain("points"),
    "cuboid": _plain("cuboid"),
    "mask": _read_mask,
    "mask as polygon": _read_mask_as_polygon,
}
