"""Insert tags and shapes, many rows in a statement.

CVAT's own writer creates a model instance for each row. This module inserts the same rows with
`json_rows`. Tracks are left to CVAT's writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from cvat.apps.engine import models
from django.db.models import Model

from cvat_lambda.annotations.types import AttributeValue, Shape, Tag
from cvat_lambda.engine.cvat.compat import HAS_SCORE, HAS_TAG_SCORE
from cvat_lambda.json_rows import insert_rows, new_ids

Row = dict[str, Any]


def insert_tags(job_id: int, tags: Sequence[Tag]) -> list[int]:
    """Insert tags of a job. Return their ids in the same order."""
    ids = new_ids(models.LabeledImage, len(tags))
    rows = []
    for pk, tag in zip(ids, tags, strict=True):
        row = _annotation(pk, job_id, tag)
        if HAS_TAG_SCORE:
            row["score"] = tag.score
        rows.append(row)
    _insert(models.LabeledImage, rows)
    _insert_values(models.LabeledImageAttributeVal, "image_id", job_id, zip(ids, tags, strict=True))
    return ids


def insert_shapes(job_id: int, shapes: Sequence[Shape]) -> list[int]:
    """Insert shapes of a job and their elements. Return the ids of the shapes in the same order."""
    family = list(_family(shapes))
    ids = new_ids(models.LabeledShape, len(family))
    rows = []
    for pk, (shape, parent) in zip(ids, family, strict=True):
        row = _annotation(pk, job_id, shape)
        row["type"] = shape.type
        row["occluded"] = shape.occluded
        row["outside"] = shape.outside
        row["z_order"] = shape.z_order
        row["points"] = ",".join(map(str, shape.points))  # CVAT's format of a list of numbers
        row["rotation"] = shape.rotation
        row["parent_id"] = None if parent is None else ids[parent]
        if HAS_SCORE:
            row["score"] = shape.score
        rows.append(row)
    _insert(models.LabeledShape, rows)
    _insert_values(
        models.LabeledShapeAttributeVal,
        "shape_id",
        job_id,
        ((pk, shape) for pk, (shape, _) in zip(ids, family, strict=True)),
    )
    return [pk for pk, (_, parent) in zip(ids, family, strict=True) if parent is None]


def _family(shapes: Sequence[Shape]) -> Iterator[tuple[Shape, int | None]]:
    """Yield each shape and then its elements, with the index of the parent in this order."""
    place = 0
    for shape in shapes:
        yield shape, None
        yield from ((element, place) for element in shape.elements)
        place += 1 + len(shape.elements)


def _annotation(pk: int, job_id: int, item: Tag | Shape) -> Row:
    return {
        "id": pk,
        "job_id": job_id,
        "label_id": item.label_id,
        "frame": item.frame,
        "group": item.group,
        "source": item.source,
    }


def _insert_values(
    table: type[Model], owner: str, job_id: int, items: Iterable[tuple[int, Tag | Shape]]
) -> None:
    _insert(
        table,
        [
            {owner: pk, "job_id": job_id, "spec_id": value.spec_id, "value": value.value}
            for pk, item in items
            for value in _values(item)
        ],
    )


def _values(item: Tag | Shape) -> Sequence[AttributeValue]:
    return item.attributes


def _insert(table: type[Model], rows: Sequence[Row]) -> None:
    if rows and (others := column_defaults(table, tuple(rows[0]))):
        rows = [{**others, **row} for row in rows]
    insert_rows(table, rows)


@lru_cache(maxsize=16)
def column_defaults(table: type[Model], names: tuple[str, ...]) -> Row:
    """Return Django's default values of the columns that this module does not set."""
    return {
        field.attname: field.get_prep_value(field.get_default())
        for field in table._meta.concrete_fields
        if field.attname not in names and field.has_default()
    }
