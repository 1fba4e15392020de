"""A function's labels: its untrusted ``spec`` annotation parsed strictly, and shown in the API.

The format is the one of CVAT's ``function.yaml`` files: a JSON array of
``{"id", "name", "type", "attributes": [{"name", "input_type", "values"}]}``; a skeleton has
``sublabels`` and ``svg`` besides. The ids are the model's own and are not part of the API.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, cast, get_args

from cvat_lambda.annotations.attributes import number_limits
from cvat_lambda.annotations.errors import SpecError
from cvat_lambda.annotations.text import brief, is_storable
from cvat_lambda.annotations.types import Attribute, InputType, Label, LabelType

LABEL_TYPES: Final[frozenset[str]] = frozenset(get_args(LabelType))
INPUT_TYPES: Final[frozenset[str]] = frozenset(get_args(InputType))
MAX_LABELS: Final = 25_000  # of a function or a task; ImageNet-21k has 21,841
MAX_NAME_LENGTH: Final = 64  # of a label or attribute, as in CVAT's tables
MAX_SVG_LENGTH: Final = 1 << 20


def parse_function_labels(
    spec: str | list[Any] | None, left_out: list[str] | None = None
) -> tuple[Label, ...]:
    """Parse a function's ``spec`` annotation; no spec means no labels.

    Raise SpecError with a sentence that names the label and the attribute. If ``left_out`` is
    given, a label or an attribute that cannot be used is left out and its sentence is appended
    there; SpecError then means that the spec as a whole cannot be read.
    """
    if spec is None or (isinstance(spec, str) and not spec.strip()):
        return ()
    if isinstance(spec, str):
        try:
            spec = json.loads(spec)
        except (ValueError, RecursionError) as exc:
            raise SpecError(f"the spec is not valid JSON: {exc}") from exc
    if not isinstance(spec, list):
        raise SpecError("the spec must be a JSON array of labels")
    _check_count(spec, "the spec")
    if left_out is not None:
        return tuple(_usable_labels(spec, left_out))
    labels = tuple(_parse_label(item, f"label {i}") for i, item in enumerate(spec))
    _require_unique((label.name for label in labels), "label", "the spec")
    return labels


def _usable_labels(spec: list[Any], left_out: list[str]) -> Iterator[Label]:
    """Yield the labels that can be used, without the attributes that cannot."""
    names: set[str] = set()
    for index, raw in enumerate(spec):
        try:
            label = _parse_label(_without_bad_attributes(raw, left_out), f"label {index}")
            _require_new(label.name, names, "label", "the spec")
        except SpecError as exc:
            left_out.append(f"{exc}; the label is left out")
        else:
            yield label


def _without_bad_attributes(raw: Any, left_out: list[str]) -> Any:
    """Return a label of the spec without its attributes that cannot be used."""
    if not isinstance(raw, dict) or not isinstance(raw.get("attributes"), list):
        return raw
    where, names, kept = f"label {brief(raw.get('name'))}", set[str](), []
    for index, item in enumerate(raw["attributes"]):
        try:
            attribute = _parse_attribute(item, f"{where}, attribute {index}")
            _require_new(attribute.name, names, "attribute", where)
        except SpecError as exc:
            left_out.append(f"{exc}; the attribute is left out")
        else:
            kept.append(item)
    return {**raw, "attributes": kept}


def labels_v2(labels: Iterable[Label]) -> list[dict[str, Any]]:
    """Show labels as the API's ``labels_v2``: no ids; ``sublabels``, ``svg`` of skeletons only."""
    return [_label_json(label) for label in labels]


def _label_json(label: Label) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": label.name,
        "type": label.type,
        "attributes": [
            {"name": a.name, "input_type": a.input_type, "values": list(a.values)}
            for a in label.attributes
        ],
    }
    if label.type == "skeleton":
        shown["sublabels"] = labels_v2(label.sublabels)
        shown["svg"] = label.svg
    return shown


def _parse_label(raw: object, where: str, *, inside_skeleton: bool = False) -> Label:
    if not isinstance(raw, dict):
        raise SpecError(f"{where} must be an object with a name")
    name = _parse_name(raw.get("name"), where)
    where = f"sublabel '{name}'" if inside_skeleton else f"label '{name}'"
    label_type = raw.get("type", "any")
    if not isinstance(label_type, str) or label_type not in LABEL_TYPES:
        known = ", ".join(sorted(LABEL_TYPES))
        raise SpecError(f"{where} has type {brief(label_type)}; known types are {known}")
    if inside_skeleton and label_type in ("skeleton", "tag"):
        raise SpecError(f"{where} has type '{label_type}', which cannot be part of a skeleton")
    sublabels, svg = _parse_skeleton(raw, where) if label_type == "skeleton" else ((), "")
    return Label(
        name=name,
        type=cast(LabelType, label_type),
        attributes=_parse_attributes(raw.get("attributes"), where),
        sublabels=sublabels,
        svg=svg,
        color=_parse_color(raw.get("color"), where),
    )


def _parse_color(raw: object, where: str) -> str:
    if not isinstance(raw, str):
        return ""
    _require_storable(raw, f"{where}: the color {brief(raw)}")
    return raw


def _parse_skeleton(raw: dict[str, Any], where: str) -> tuple[tuple[Label, ...], str]:
    items, svg = raw.get("sublabels"), raw.get("svg")
    if not isinstance(items, list) or not items:
        raise SpecError(f"{where} is a skeleton and needs sublabels, one a point")
    _check_count(items, where)
    if not isinstance(svg, str) or not svg.strip() or len(svg) > MAX_SVG_LENGTH:
        raise SpecError(f"{where} is a skeleton and needs an svg, the drawing of its points")
    _require_storable(svg, f"{where}: the svg")
    sublabels = tuple(
        _parse_label(item, f"{where}: sublabel {i}", inside_skeleton=True)
        for i, item in enumerate(items)
    )
    _require_unique((sublabel.name for sublabel in sublabels), "sublabel", where)
    return sublabels, svg


def _parse_attributes(raw: object, where: str) -> tuple[Attribute, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise SpecError(f"{where}: attributes must be an array")
    attributes = tuple(
        _parse_attribute(item, f"{where}, attribute {i}") for i, item in enumerate(raw)
    )
    _require_unique((attribute.name for attribute in attributes), "attribute", where)
    return attributes


def _parse_attribute(raw: object, where: str) -> Attribute:
    if not isinstance(raw, dict):
        raise SpecError(f"{where} must be an object with a name and an input_type")
    name = _parse_name(raw.get("name"), where)
    where = f"{where} '{name}'"
    input_type = raw.get("input_type")
    if not isinstance(input_type, str) or input_type not in INPUT_TYPES:
        known = ", ".join(sorted(INPUT_TYPES))
        raise SpecError(f"{where} has input_type {brief(input_type)}; known ones are {known}")
    values = raw.get("values")
    if values is None:
        values = []
    if not isinstance(values, list):
        raise SpecError(f"{where}: values must be an array")
    attribute = Attribute(
        name=name,
        input_type=cast(InputType, input_type),
        values=tuple(_parse_value(value, where) for value in values),
        mutable=raw.get("mutable") is True,
        default=_parse_value(raw.get("default_value", ""), where),
    )
    _check_values(attribute, where)
    return attribute


def _check_values(attribute: Attribute, where: str) -> None:
    if attribute.input_type in ("select", "radio"):
        if not attribute.values:
            raise SpecError(f"{where} is a {attribute.input_type} and needs values to choose from")
        _require_unique(attribute.values, "value", where)
    elif attribute.input_type == "number" and number_limits(attribute) is None:
        raise SpecError(
            f"{where} is a number and needs values [min, max, step], min <= max, step > 0"
        )
    elif attribute.input_type == "checkbox" and set(attribute.values) - {"true", "false", ""}:
        raise SpecError(f"{where} is a checkbox; its values can only be 'true' and 'false'")


def _parse_value(raw: object, where: str) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str):
        _require_storable(raw, f"{where}: the value {brief(raw)}")
        return raw
    if isinstance(raw, int) and abs(raw) < 1 << 63:
        return str(raw)
    if isinstance(raw, float) and math.isfinite(raw):
        return str(raw)
    raise SpecError(f"{where}: {brief(raw)} is not a value; use text or a number")


def _parse_name(raw: object, where: str) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise SpecError(f"{where} has no name")
    if len(raw) > MAX_NAME_LENGTH:
        raise SpecError(
            f"{where}: the name {brief(raw)} is longer than {MAX_NAME_LENGTH} characters"
        )
    _require_storable(raw, f"{where}: the name {brief(raw)}")
    return raw


def _check_count(items: list[Any], where: str) -> None:
    """Refuse too many labels before they are read."""
    if len(items) > MAX_LABELS:
        raise SpecError(f"{where} has {len(items)} labels; at most {MAX_LABELS} are allowed")


def _require_storable(text: str, what: str) -> None:
    if not is_storable(text):
        raise SpecError(f"{what} holds a NUL or half of a surrogate pair")


def _require_unique(names: Iterable[str], what: str, where: str) -> None:
    seen: set[str] = set()
    for name in names:
        _require_new(name, seen, what, where)


def _require_new(name: str, seen: set[str], what: str, where: str) -> None:
    if name in seen:
        raise SpecError(f"{where} has the {what} {brief(name)} twice; names must be unique")
    seen.add(name)


def with_ids(labels: Iterable[Label], ids: Iterator[int]) -> tuple[Label, ...]:
    """Return a function's labels as those of a task that accepts all its results."""
    return tuple(
        replace(
            label,
            id=next(ids),
            attributes=tuple(replace(known, id=next(ids)) for known in label.attributes),
            sublabels=with_ids(label.sublabels, ids),
        )
        for label in labels
    )
