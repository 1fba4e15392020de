"""Insert tags and shapes, many rows in a statement.

CVAT's own writer creates a model instance for each row, which takes half of the time of a fast
request. This module inserts the same rows. Tracks are left to CVAT's writer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from cvat.apps.engine import models
from django.db import connection
from django.db.models import Model

from cvat_lambda.annotations.types import AttributeValue, Shape, Tag
from cvat_lambda.engine.cvat.compat import HAS_SCORE, HAS_TAG_SCORE

Row = dict[str, Any]

ROWS_PER_STATEMENT: Final = 1000


def insert_tags(job_id: int, tags: Sequence[Tag]) -> list[int]:
    """Insert tags of a job. Return their ids in the same order."""
    ids = _new_ids(models.LabeledImage, len(tags))
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
    ids = _new_ids(models.LabeledShape, len(family))
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


def _new_ids(table: type[Model], count: int) -> list[int]:
    """Take new ids from the sequence, ascending, so that elements can name their parents."""
    if not count:
        return []
    column = table._meta.pk
    assert column is not None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)",
            [connection.ops.quote_name(table._meta.db_table), column.column, count],
        )
        return sorted(pk for (pk,) in cursor.fetchall())


def _insert(table: type[Model], rows: Sequence[Row]) -> None:
    if rows and (others := column_defaults(table, tuple(rows[0]))):
        rows = [{**others, **row} for row in rows]
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        some = rows[start : start + ROWS_PER_STATEMENT]
        with connection.cursor() as cursor:
            text = json.dumps(some, allow_nan=False)
            cursor.execute(insert_statement(table, tuple(some[0])), [text])


@lru_cache(maxsize=16)
def column_defaults(table: type[Model], names: tuple[str, ...]) -> Row:
    """Return Django's default values of the columns that this module does not set."""
    return {
        field.attname: field.get_prep_value(field.get_default())
        for field in table._meta.concrete_fields
        if field.attname not in names and field.has_default()
    }


@lru_cache(maxsize=16)
def insert_statement(table: type[Model], names: tuple[str, ...]) -> str:
    """Return the ``INSERT`` from a JSON list. No part of the statement comes from a user."""
    fields: dict[str, Any] = {field.attname: field for field in table._meta.concrete_fields}
    quote = connection.ops.quote_name
    columns = ", ".join(quote(fields[name].column) for name in names)
    values = ", ".join(f"r.{quote(name)}" for name in names)
    types = ", ".join(f"{quote(name)} {_type(fields[name])}" for name in names)
    return (
        f"INSERT INTO {quote(table._meta.db_table)} ({columns}) "
        f"SELECT {values} FROM json_to_recordset(%s::json) AS r({types})"
    )


def _type(field: Any) -> str:
    """Return the SQL type of a column. A primary key has that of a foreign key, not ``serial``."""
    return str(field.rel_db_type(connection) if field.primary_key else field.db_type(connection))
