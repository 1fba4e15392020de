"""Write annotations as JSON of CVAT's REST API, and read that JSON with every field checked.

The format is ``{"version", "tags", "shapes", "tracks"}`` of ``/api/tasks/ID/annotations`` as
CVAT 2.54 serves it and cvat-sdk 2.80 sends it; ``score`` is the newer field. Unknown members, and
``intervals`` of audio, are kept as they are: see `unknown_members.py`. The caller checks that
labels, attributes and frames exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, TypeGuard, TypeVar, cast, get_args, overload

from cvat_lambda.annotations.attributes import MAX_TEXT_LENGTH
from cvat_lambda.annotations.errors import DataError, ShapeError
from cvat_lambda.annotations.reading import kind, show
from cvat_lambda.annotations.shapes import ROTATABLE, check_points, check_rotation, is_number
from cvat_lambda.annotations.text import is_storable
from cvat_lambda.annotations.types import (
    AttributeValue,
    Interval,
    LabeledData,
    Shape,
    ShapeType,
    Source,
    Tag,
    Track,
    TrackedShape,
)
from cvat_lambda.annotations.unknown_members import unknown_members, with_members

SHAPE_TYPES: Final[frozenset[str]] = frozenset(get_args(ShapeType))
SOURCES: Final[frozenset[str]] = frozenset(get_args(Source))
MAX_INTEGER: Final = (1 << 31) - 1  # of a column in the database

# The members that are read. `elements` of an element and `score` of a track are none of theirs, but
# clients send both with the values that say nothing.
_INTERVAL: Final = frozenset({"id"})
_TAG: Final = frozenset({"id", "frame", "label_id", "group", "source", "attributes", "score"})
_GEOMETRY: Final = frozenset({"type", "points", "rotation", "occluded", "outside", "z_order"})
_SHAPE: Final = _TAG | _GEOMETRY | {"elements"}
_TRACK: Final = _TAG | {"elements", "shapes"}
_TRACKED: Final = _GEOMETRY | {"id", "frame", "attributes"}

_T = TypeVar("_T")


def labeled_data_to_json(data: LabeledData, *, with_score: bool = True) -> dict[str, Any]:
    """Write annotations as the API's JSON; ``with_score=False`` for a CVAT that knows no score."""
    shown: dict[str, Any] = {
        "version": 0,
        "tags": [tag_to_json(tag, with_score=with_score) for tag in data.tags],
        "shapes": [shape_to_json(shape, with_score=with_score) for shape in data.shapes],
        "tracks": [track_to_json(track) for track in data.tracks],
    }
    if data.intervals:  # versions before 2.63 do not know them
        shown["intervals"] = [
            with_members({"id": interval.id}, interval.extra) for interval in data.intervals
        ]
    return shown


def tag_to_json(tag: Tag, *, with_score: bool = True) -> dict[str, Any]:
    """Write a tag as the API's JSON."""
    shown: dict[str, Any] = {
        "id": tag.id,
        "frame": tag.frame,
        "label_id": tag.label_id,
        "group": tag.group,
        "source": tag.source,
        "attributes": _attributes_to_json(tag.attributes),
    }
    if with_score:
        shown["score"] = tag.score
    return with_members(shown, tag.extra)


def shape_to_json(
    shape: Shape, *, with_score: bool = True, is_element: bool = False
) -> dict[str, Any]:
    """Write a shape as the API's JSON; elements of a skeleton have no ``elements`` themselves."""
    shown: dict[str, Any] = {
        "type": shape.type,
        "occluded": shape.occluded,
        "outside": shape.outside,
        "z_order": shape.z_order,
        "rotation": shape.rotation,
        "points": list(shape.points),
        "id": shape.id,
        "frame": shape.frame,
        "label_id": shape.label_id,
        "group": shape.group,
        "source": shape.source,
        "attributes": _attributes_to_json(shape.attributes),
    }
    if with_score:
        shown["score"] = shape.score
    if not is_element:
        shown["elements"] = [
            shape_to_json(element, with_score=with_score, is_element=True)
            for element in shape.elements
        ]
    return with_members(shown, shape.extra)


def track_to_json(track: Track, *, is_element: bool = False) -> dict[str, Any]:
    """Write a track as the API's JSON, in which tracks have no score."""
    shown: dict[str, Any] = {
        "id": track.id,
        "frame": track.frame,
        "label_id": track.label_id,
        "group": track.group,
        "source": track.source,
        "shapes": [_tracked_to_json(shape) for shape in track.shapes],
        "attributes": _attributes_to_json(track.attributes),
    }
    if not is_element:
        shown["elements"] = [track_to_json(each, is_element=True) for each in track.elements]
    return with_members(shown, track.extra)


def _tracked_to_json(shape: TrackedShape) -> dict[str, Any]:
    shown = {
        "type": shape.type,
        "occluded": shape.occluded,
        "outside": shape.outside,
        "z_order": shape.z_order,
        "rotation": shape.rotation,
        "points": list(shape.points),
        "id": shape.id,
        "frame": shape.frame,
        "attributes": _attributes_to_json(shape.attributes),
    }
    return with_members(shown, shape.extra)


def labeled_data_from_json(
    obj: object, *, require_ids: bool = False, forbid_ids: bool = False
) -> LabeledData:
    """Read the API's JSON; missing lists are empty, missing fields have CVAT's defaults.

    ``require_ids`` is for updates, ``forbid_ids`` for creations; else ids are kept as they come.
    Raise DataError with the ``path`` of what is wrong, for example ``shapes[3].points``.
    """
    if not isinstance(obj, dict):
        raise DataError(f"expected an object, not {kind(obj)}", path="")
    reader = _Reader(require_ids=require_ids, forbid_ids=forbid_ids)
    return LabeledData(
        tags=_read_all(obj, "tags", "", reader.tag),
        shapes=_read_all(obj, "shapes", "", reader.shape),
        tracks=_read_all(obj, "tracks", "", reader.track),
        intervals=_read_all(obj, "intervals", "", reader.interval),
    )


class _Reader:
    """Reads tags, shapes and tracks, under one rule about ids."""

    def __init__(self, *, require_ids: bool, forbid_ids: bool) -> None:
        self._require_ids = require_ids
        self._forbid_ids = forbid_ids

    def tag(self, raw: dict[str, Any], path: str) -> Tag:
        return Tag(
            frame=_integer(raw, "frame", path),
            label_id=_integer(raw, "label_id", path),
            group=_integer(raw, "group", path, default=0),
            source=_source(raw, path),
            attributes=_attributes_from_json(raw, path),
            score=_score(raw, path),
            id=self._id(raw, path),
            extra=unknown_members(raw, _TAG, path),
        )

    def interval(self, raw: dict[str, Any], path: str) -> Interval:
        return Interval(extra=unknown_members(raw, _INTERVAL, path), id=self._id(raw, path))

    def shape(self, raw: dict[str, Any], path: str) -> Shape:
        shape = self._bare_shape(raw, path)
        elements = _read_all(raw, "elements", path, self._element)
        if shape.type == "skeleton" and not elements:
            raise DataError("a skeleton needs elements", path=_join(path, "elements"))
        if shape.type != "skeleton" and elements:
            raise DataError(f"a {shape.type} has no elements", path=_join(path, "elements"))
        return replace(shape, elements=elements) if elements else shape

    def track(self, raw: dict[str, Any], path: str) -> Track:
        return self._track(raw, path, _read_all(raw, "elements", path, self._track_element))

    def _element(self, raw: dict[str, Any], path: str) -> Shape:
        shape = self._bare_shape(raw, path)
        if shape.type == "skeleton":
            raise DataError("a skeleton has no skeletons in it", path=_join(path, "type"))
        return shape

    def _track_element(self, raw: dict[str, Any], path: str) -> Track:
        return self._track(raw, path, ())

    def _bare_shape(self, raw: dict[str, Any], path: str) -> Shape:
        shape_type, points, rotation = _geometry(raw, path)
        return Shape(
            type=shape_type,
            frame=_integer(raw, "frame", path),
            label_id=_integer(raw, "label_id", path),
            points=points,
            rotation=rotation,
            occluded=_flag(raw, "occluded", path),
            outside=_flag(raw, "outside", path),
            z_order=_integer(raw, "z_order", path, default=0, least=-MAX_INTEGER),
            group=_integer(raw, "group", path, default=0),
            source=_source(raw, path),
            attributes=_attributes_from_json(raw, path),
            score=_score(raw, path),
            id=self._id(raw, path),
            extra=unknown_members(raw, _SHAPE, path),
        )

    def _track(self, raw: dict[str, Any], path: str, elements: tuple[Track, ...]) -> Track:
        shapes = _read_all(raw, "shapes", path, self._tracked)
        return Track(
            frame=_integer(raw, "frame", path),
            label_id=_integer(raw, "label_id", path),
            shapes=tuple(sorted(shapes, key=lambda shape: shape.frame)),
            group=_integer(raw, "group", path, default=0),
            source=_source(raw, path),
            attributes=_attributes_from_json(raw, path),
            elements=elements,
            score=_score(raw, path),
            id=self._id(raw, path),
            extra=unknown_members(raw, _TRACK, path),
        )

    def _tracked(self, raw: dict[str, Any], path: str) -> TrackedShape:
        shape_type, points, rotation = _geometry(raw, path)
        return TrackedShape(
            type=shape_type,
            frame=_integer(raw, "frame", path),
            points=points,
            rotation=rotation,
            occluded=_flag(raw, "occluded", path),
            outside=_flag(raw, "outside", path),
            z_order=_integer(raw, "z_order", path, default=0, least=-MAX_INTEGER),
            attributes=_attributes_from_json(raw, path),
            id=_integer(raw, "id", path, default=None),
            extra=unknown_members(raw, _TRACKED, path),
        )

    def _id(self, raw: dict[str, Any], path: str) -> int | None:
        value = _integer(raw, "id", path, default=None)
        if value is None and self._require_ids:
            raise DataError("an annotation to update or delete needs an id", path=_join(path, "id"))
        if value is not None and self._forbid_ids:
            raise DataError("a new annotation must not have an id", path=_join(path, "id"))
        return value


def _geometry(raw: dict[str, Any], path: str) -> tuple[ShapeType, tuple[float, ...], float]:
    shape_type = raw.get("type")
    if not isinstance(shape_type, str) or shape_type not in SHAPE_TYPES:
        known = ", ".join(sorted(SHAPE_TYPES))
        text = f"{show(shape_type)} is not a shape type; known are {known}"
        raise DataError(text, path=_join(path, "type"))
    raw_points = raw.get("points")
    try:
        points = check_points(shape_type, [] if raw_points is None else raw_points)
    except ShapeError as exc:
        raise DataError(exc.message, path=_join(path, "points")) from exc
    rotation = raw.get("rotation")
    if rotation is not None and not (is_number(rotation) and 0 <= rotation <= 360):
        raise DataError("expected degrees from 0 to 360", path=_join(path, "rotation"))
    turned = check_rotation(shape_type, rotation) if shape_type in ROTATABLE else 0.0
    return cast(ShapeType, shape_type), points, turned


def _attributes_to_json(attributes: Iterable[AttributeValue]) -> list[dict[str, Any]]:
    return [{"spec_id": each.spec_id, "value": each.value} for each in attributes]


def _attributes_from_json(raw: dict[str, Any], path: str) -> tuple[AttributeValue, ...]:
    # Most shapes have none, and are many.
    return () if raw.get("attributes") == [] else _read_all(raw, "attributes", path, _attribute)


def _attribute(raw: dict[str, Any], path: str) -> AttributeValue:
    value = raw.get("value")
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif is_number(value):
        value = str(value)
    if not isinstance(value, str) or len(value) > MAX_TEXT_LENGTH or not is_storable(value):
        text = f"expected text of at most {MAX_TEXT_LENGTH} characters, not {show(value)}"
        raise DataError(text, path=_join(path, "value"))
    return AttributeValue(spec_id=_integer(raw, "spec_id", path), value=value)


def _read_all(
    raw: dict[str, Any], key: str, path: str, read: Callable[[dict[str, Any], str], _T]
) -> tuple[_T, ...]:
    """Read the objects of an array; none is an empty one."""
    values = raw.get(key)
    if values is None:
        return ()
    where = _join(path, key)
    if not isinstance(values, list):
        raise DataError(f"expected an array, not {kind(values)}", path=where)
    for index, value in enumerate(values):
        if not isinstance(value, dict):
            raise DataError(f"expected an object, not {kind(value)}", path=f"{where}[{index}]")
    return tuple(read(value, f"{where}[{index}]") for index, value in enumerate(values))


@overload
def _integer(raw: dict[str, Any], key: str, path: str, *, default: None) -> int | None: ...
@overload
def _integer(
    raw: dict[str, Any], key: str, path: str, *, default: int = ..., least: int = ...
) -> int: ...
def _integer(
    raw: dict[str, Any], key: str, path: str, *, default: int | None = -1, least: int = 0
) -> int | None:
    """Read a whole number (an integral float too); a default of -1 means that it must be there."""
    value = raw.get(key)
    if value is None and default != -1:
        return default
    if not _is_whole(value, least):
        text = f"expected a whole number from {least}, not {show(value)}"
        raise DataError(text, path=_join(path, key))
    return int(value)


def _is_whole(value: object, least: int) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return least <= value <= MAX_INTEGER and value == int(value)


def _flag(raw: dict[str, Any], key: str, path: str) -> bool:
    value = raw.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise DataError(f"expected true or false, not {show(value)}", path=_join(path, key))
    return value


def _score(raw: dict[str, Any], path: str) -> float:
    value = raw.get("score")
    if value is None:
        return 1.0
    if not is_number(value) or not 0 <= value <= 1:
        raise DataError(f"expected a number from 0 to 1, not {show(value)}", path=f"{path}.score")
    return float(value)


def _source(raw: dict[str, Any], path: str) -> Source:
    value = raw.get("source")
    if value is None:
        return "manual"
    if not isinstance(value, str) or value not in SOURCES:
        known = ", ".join(sorted(SOURCES))
        raise DataError(f"{show(value)} is not a source; known are {known}", path=f"{path}.source")
    return cast(Source, value)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
