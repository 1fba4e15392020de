"""Conversions of labels between the API's JSON, frozen data and rows."""

from __future__ import annotations

import colorsys
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from django.db.models import Q, QuerySet

from cvat_lambda.annotations.attributes import number_limits
from cvat_lambda.annotations.text import is_storable
from cvat_lambda.annotations.types import Attribute, InputType, Label, LabelType
from cvat_lambda.engine.standalone import models
from cvat_lambda.errors import InvalidRequest

LabelSpec = Label | str | Mapping[str, Any]

_COLOR = re.compile(r"^#[0-9a-fA-F]{6}$")
_NAME_LENGTH = 64
MAX_PARTS = 500  # attributes of a label, sublabels of a skeleton
_MAX_VALUES_LENGTH = 65536


def to_label(spec: LabelSpec) -> Label:
    """Return a label from its name or JSON (``name, type, attributes, sublabels, svg, color``).

    Raise InvalidRequest, which names the label, if it is invalid.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    label = spec if isinstance(spec, Label) else _from_json(spec)
    _check(label)
    return label


def check_names(labels: Iterable[Label]) -> None:
    """Raise InvalidRequest if two labels have the same name."""
    seen: set[str] = set()
    for label in labels:
        if label.name in seen:
            raise InvalidRequest(f"label '{label.name}' occurs twice; names must be unique")
        seen.add(label.name)


def _text(raw: Mapping[str, Any], key: str, where: str, default: str = "") -> str:
    value = raw.get(key)
    if value is None:
        return default
    if not isinstance(value, str) or not is_storable(value):
        raise InvalidRequest(f"{where}: '{key}' must be text")
    return value


def _list(raw: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = raw.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"{where}: '{key}' must be a list")
    if key in ("attributes", "sublabels") and len(value) > MAX_PARTS:
        raise InvalidRequest(f"{where}: '{key}' may have {MAX_PARTS} items at most")
    return value


def _from_json(raw: Mapping[str, Any]) -> Label:
    if not isinstance(raw, Mapping):
        raise InvalidRequest("a label must be an object with a name")
    name = _text(raw, "name", "label").strip()
    where = f"label '{name}'"
    return Label(
        name=name,
        type=_text(raw, "type", where, "any") or "any",  # type: ignore[arg-type]
        color=_text(raw, "color", where),
        svg=_text(raw, "svg", where),
        attributes=tuple(
            attribute_from_json(item, where) for item in _list(raw, "attributes", where)
        ),
        sublabels=tuple(_from_json(item) for item in _list(raw, "sublabels", where)),
    )


def attribute_from_json(raw: Any, where: str) -> Attribute:
    """Return an attribute from the API's ``name, input_type, mutable, values, default_value``."""
    if not isinstance(raw, Mapping):
        raise InvalidRequest(f"{where}: an attribute must be an object with a name")
    name = _text(raw, "name", where).strip()
    where = f"{where}, attribute '{name}'"
    mutable = raw.get("mutable", False)
    if not isinstance(mutable, bool):
        raise InvalidRequest(f"{where}: 'mutable' must be true or false")
    values = _list(raw, "values", where)
    if not all(isinstance(value, str | int | float) for value in values):
        raise InvalidRequest(f"{where}: 'values' must be texts")
    return Attribute(
        name=name,
        input_type=_text(raw, "input_type", where),  # type: ignore[arg-type]
        mutable=mutable,
        values=tuple(str(value) for value in values),
        default=_text(raw, "default_value", where),
    )


def _check(label: Label, *, parent: Label | None = None) -> None:
    where = f"label '{label.name}'"
    if not label.name or len(label.name) > _NAME_LENGTH:
        raise InvalidRequest(f"{where}: a name has 1 to {_NAME_LENGTH} characters")
    if label.type not in get_args(LabelType):
        known = ", ".join(get_args(LabelType))
        raise InvalidRequest(f"{where}: type '{label.type}' is not one of {known}")
    if label.color and not _COLOR.match(label.color):
        raise InvalidRequest(f"{where}: color '{label.color}' must have the form #rrggbb")
    if parent is not None and (label.type == "skeleton" or label.sublabels):
        raise InvalidRequest(f"{where}: a sublabel of '{parent.name}' cannot be a skeleton")
    if label.type == "skeleton" and not label.sublabels:
        raise InvalidRequest(f"{where}: a skeleton needs sublabels")
    if label.type != "skeleton" and label.sublabels:
        raise InvalidRequest(f"{where}: only a skeleton has sublabels")
    check_names(label.sublabels)
    _check_attributes(label, where)
    for sublabel in label.sublabels:
        _check(sublabel, parent=label)


def _check_attributes(label: Label, where: str) -> None:
    seen: set[str] = set()
    for attribute in label.attributes:
        here = f"{where}, attribute '{attribute.name}'"
        if not attribute.name or len(attribute.name) > _NAME_LENGTH:
            raise InvalidRequest(f"{here}: a name has 1 to {_NAME_LENGTH} characters")
        if attribute.name in seen:
            raise InvalidRequest(f"{here}: occurs twice; names must be unique")
        seen.add(attribute.name)
        check_attribute(attribute, here)


def check_attribute(attribute: Attribute, where: str) -> None:
    """Raise InvalidRequest if type, values and default do not fit together."""
    if attribute.input_type not in get_args(InputType):
        known = ", ".join(get_args(InputType))
        raise InvalidRequest(f"{where}: input_type '{attribute.input_type}' is not one of {known}")
    if any("\n" in value or not is_storable(value) for value in attribute.values):
        raise InvalidRequest(
            f"{where}: a value cannot have a line break, a NUL or half of a surrogate pair"
        )
    if sum(map(len, attribute.values)) > _MAX_VALUES_LENGTH or len(attribute.default) > 4096:
        raise InvalidRequest(f"{where}: the values are too long")
    if attribute.input_type in ("select", "radio") and not attribute.values:
        raise InvalidRequest(f"{where}: a {attribute.input_type} needs values")
    if attribute.input_type == "number":
        _check_number(attribute, where)


def _check_number(attribute: Attribute, where: str) -> None:
    if number_limits(attribute) is None:  # no value would be valid
        raise InvalidRequest(
            f"{where}: a number needs the values min, max, step, with min <= max and step > 0"
        )


def color_of(name: str) -> str:
    """Return the default colour of a label, which depends on its name alone."""
    hue = hashlib.sha256(name.encode()).digest()[0] / 256
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, 0.9))
    return f"#{red:02x}{green:02x}{blue:02x}"


# Rows


def save_labels(
    labels: Sequence[Label],
    *,
    task: models.Task | None = None,
    project: models.Project | None = None,
) -> list[models.Label]:
    """Store labels of a task or a project, with their attributes and sublabels."""
    rows = models.Label.objects.bulk_create(
        [_row(label, task=task, project=project) for label in labels]
    )
    pairs = list(zip(labels, rows, strict=True))
    children = [(child, row) for label, row in pairs for child in label.sublabels]
    child_rows = models.Label.objects.bulk_create(
        [_row(child, task=task, project=project, parent=row) for child, row in children]
    )
    pairs += [(child, row) for (child, _), row in zip(children, child_rows, strict=True)]
    models.AttributeSpec.objects.bulk_create(
        [attribute_row(item, row) for label, row in pairs for item in label.attributes]
    )
    _link_drawings(rows, child_rows)
    return rows


def _row(
    label: Label,
    *,
    task: models.Task | None,
    project: models.Project | None,
    parent: models.Label | None = None,
) -> models.Label:
    return models.Label(
        task=task,
        project=project,
        parent=parent,
        name=label.name,
        type=label.type,
        color=label.color or color_of(label.name),
        svg=label.svg,
    )


def attribute_row(attribute: Attribute, label: models.Label) -> models.AttributeSpec:
    """Return an unsaved row of a label's attribute."""
    return models.AttributeSpec(
        label=label,
        name=attribute.name,
        input_type=attribute.input_type,
        mutable=attribute.mutable,
        default=attribute.default,
        values="\n".join(attribute.values),
    )


def _link_drawings(skeletons: Iterable[models.Label], children: Iterable[models.Label]) -> None:
    """Refer to sublabels by id in the SVG of a skeleton, as CVAT's clients expect."""
    by_parent: dict[int, list[models.Label]] = defaultdict(list)
    for child in children:
        if child.parent_id is not None:
            by_parent[child.parent_id].append(child)
    changed = []
    for skeleton in skeletons:
        svg = skeleton.svg
        for child in by_parent[skeleton.pk]:
            svg = svg.replace(f'data-label-name="{child.name}"', f'data-label-id="{child.pk}"')
        if svg != skeleton.svg:
            skeleton.svg = svg
            changed.append(skeleton)
    if changed:
        models.Label.objects.bulk_update(changed, ["svg"])


def labels_of(task_id: int, project_id: int | None) -> QuerySet[models.Label]:
    """Return the label rows of a task, or of its project, with sublabels."""
    if project_id is not None:
        return models.Label.objects.filter(project_id=project_id)
    return models.Label.objects.filter(task_id=task_id)


def labels_of_any(task_ids: Iterable[int], project_ids: Iterable[int]) -> QuerySet[models.Label]:
    """Return the label rows of several tasks and projects."""
    return models.Label.objects.filter(Q(task_id__in=task_ids) | Q(project_id__in=project_ids))


_LABEL_FACTS = ("pk", "parent_id", "name", "type", "color", "svg")
_ATTRIBUTE_FACTS = ("pk", "name", "input_type", "mutable", "default", "values")


def label_tree(task_id: int, project_id: int | None) -> tuple[Label, ...]:
    """Return a task's labels as data, in order, by one query."""
    return _grow(_facts(labels_of(task_id, project_id)))


def label_trees(
    task_ids: Iterable[int], project_ids: Iterable[int]
) -> dict[tuple[int | None, int | None], tuple[Label, ...]]:
    """Return labels by (task id, project id), of which one is None."""
    rows: dict[tuple[int | None, int | None], list[tuple[Any, ...]]] = defaultdict(list)
    for *facts, task_id, project_id in _facts(
        labels_of_any(task_ids, project_ids), "task_id", "project_id"
    ):
        rows[task_id, project_id].append(tuple(facts))
    return {owner: _grow(mine) for owner, mine in rows.items()}


def _facts(labels: QuerySet[models.Label], *more: str) -> Iterable[tuple[Any, ...]]:
    columns = (*_LABEL_FACTS, *(f"attributes__{name}" for name in _ATTRIBUTE_FACTS), *more)
    return labels.order_by("pk", "attributes__pk").values_list(*columns)


def _grow(rows: Iterable[tuple[Any, ...]]) -> tuple[Label, ...]:
    labels: dict[int, tuple[Any, ...]] = {}
    attributes: dict[int, list[Attribute]] = defaultdict(list)
    children: dict[int | None, list[int]] = defaultdict(list)
    for row in rows:
        (label_id, parent_id), facts = row[:2], row[2:]
        if label_id not in labels:
            labels[label_id] = facts[:4]
            children[parent_id].append(label_id)
        if (
            facts[4] is not None
        ):  # the outer join returns a label without attributes once, with nulls
            attributes[label_id].append(_attribute(*facts[4:]))

    def made(label_id: int) -> Label:
        name, kind, color, svg = labels[label_id]
        return Label(
            id=label_id,
            name=name,
            type=kind,
            color=color,
            svg=svg,
            attributes=tuple(attributes[label_id]),
            sublabels=tuple(made(child) for child in children[label_id]),
        )

    return tuple(made(label_id) for label_id in children[None])


def _attribute(
    attribute_id: int, name: str, kind: Any, mutable: bool, default: str, values: str
) -> Attribute:
    return Attribute(
        id=attribute_id,
        name=name,
        input_type=kind,
        mutable=mutable,
        default=default,
        values=tuple(values.split("\n")) if values else (),
    )
