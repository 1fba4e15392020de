"""The annotations that an agent of a native detector answers, with label ids of the task.

Agents answer annotations in the form of CVAT's REST API, which name labels and attributes by their
ids in the task. They are converted to the items that other detectors answer, named by the same ids
as text, so that one conversion checks and places both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from cvat_lambda.annotations.detections import Converted, convert_detections
from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.mapping import MappedLabel
from cvat_lambda.annotations.mapping import Mapping as LabelMapping
from cvat_lambda.annotations.placement import WHOLE_FRAME, Placement
from cvat_lambda.annotations.reading import kind, read_list, read_object, show

_COPIED: Final = ("type", "rotation", "outside", "points")


def by_label_id(mapping: LabelMapping) -> LabelMapping:
    """Return a mapping whose names are the ids of the task's labels, sublabels and attributes."""
    by_name = _by_id(mapping.by_name.values())
    labels = tuple(mapped.function_label for mapped in by_name.values())
    return LabelMapping(by_name=by_name, function_labels=labels)


def convert_labeled(
    answer: object,
    *,
    mapping: LabelMapping,
    frame: int,
    image_size: tuple[int, int] | None,
    conv_mask_to_poly: bool = False,
    threshold: float | None = None,
    placement: Placement = WHOLE_FRAME,
) -> Converted:
    """Convert an agent's answer as `convert_detections` converts that of other detectors.

    ``mapping`` is that of the request. An agent checks its annotations before it sends them, so
    that any wrong one raises AnswerError.
    """
    by_id = by_label_id(mapping)
    return convert_detections(
        items_of(answer, frame=frame, mapping=by_id),
        mapping=by_id,
        frame=frame,
        image_size=image_size,
        conv_mask_to_poly=conv_mask_to_poly,
        threshold=threshold,
        placement=placement,
        strict=True,
    )


def items_of(answer: object, *, frame: int, mapping: LabelMapping) -> list[dict[str, Any]]:
    """Return the annotations of a frame as items of a detector's answer.

    ``mapping`` is that of `by_label_id`. Raise AnswerError for an annotation of another frame or
    with a label that the request does not map.
    """
    given = read_object(read_object(answer).get("annotations"), field="annotations")
    items: list[dict[str, Any]] = []
    for name in ("shapes", "tags"):
        values = given.get(name)
        for raw in [] if values is None else read_list(values, field=name):
            index = len(items)
            item = read_object(raw, item=index, field=name)
            items.append(_item(item, index, frame, mapping.by_name, is_tag=name == "tags"))
    return items


def _by_id(labels: Iterable[MappedLabel]) -> dict[str, MappedLabel]:
    found: dict[str, MappedLabel] = {}
    for label in labels:
        key = str(label.label_id)
        known = found.get(key)
        found[key] = MappedLabel(
            # Names of labels that the agent may answer.
            function_label=label.task_label,
            task_label=label.task_label,
            attributes=(known.attributes if known is not None else {})
            | {str(attribute.id): attribute for attribute in label.attributes.values()},
            sublabels=(known.sublabels if known is not None else {})
            | _by_id(label.sublabels.values()),
        )
    return found


def _item(
    raw: dict[str, Any],
    index: int,
    frame: int,
    labels: Mapping[str, MappedLabel],
    *,
    is_tag: bool,
    prefix: str = "",
) -> dict[str, Any]:
    if raw.get("frame") != frame:
        raise AnswerError(
            f"{show(raw.get('frame'))} is not the frame {frame} of the request",
            item=index,
            field=f"{prefix}frame",
        )
    label_id = raw.get("label_id")
    label = None if isinstance(label_id, bool) else labels.get(str(label_id))
    if label is None or not isinstance(label_id, int):
        raise AnswerError(
            f"{show(label_id)} is not the id of a label that the request maps",
            item=index,
            field=f"{prefix}label_id",
        )
    item: dict[str, Any] = {
        "label": str(label_id),
        "attributes": _attributes(raw.get("attributes"), label, index, prefix),
        "confidence": raw.get("score", 1.0),
        "group_id": raw.get("group") or None,
        **{name: raw[name] for name in _COPIED if name in raw},
    }
    if is_tag:
        item["type"] = "tag"
    if item.get("type") == "mask":
        item["rle"] = item.pop("points", None)
    if item.get("type") == "skeleton":
        elements = read_list(raw.get("elements"), item=index, field=f"{prefix}elements")
        item["elements"] = [
            _item(
                read_object(element, item=index, field=f"elements[{number}]"),
                index,
                frame,
                label.sublabels,
                is_tag=False,
                prefix=f"elements[{number}].",
            )
            for number, element in enumerate(elements)
        ]
    return item


def _attributes(raw: object, label: MappedLabel, index: int, prefix: str) -> list[dict[str, Any]]:
    if raw is None:
        return []
    found = []
    for number, each in enumerate(read_list(raw, item=index, field=f"{prefix}attributes")):
        where = f"{prefix}attributes[{number}]"
        given = read_object(each, item=index, field=where)
        spec_id = given.get("spec_id")
        if isinstance(spec_id, bool) or str(spec_id) not in label.attributes:
            raise AnswerError(
                f"{show(spec_id)} is not the id of an attribute that the request maps"
                if isinstance(spec_id, int)
                else f"expected an id, not {kind(spec_id)}",
                item=index,
                field=f"{where}.spec_id",
            )
        found.append({"name": str(spec_id), "value": given.get("value")})
    return found
