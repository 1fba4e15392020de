"""A detector's answer turned into annotations of a task, each item checked.

An item that breaks the contract raises AnswerError with its number and field. What is well formed
but of no use here (an unmapped label, a shape outside the image, a value that is none of its
attribute) is dropped, and noted where a person would want to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.interactor_answer import check_interactor_answer
from cvat_lambda.annotations.items import READERS, Item, Notes, Place, fill
from cvat_lambda.annotations.labels import LABEL_TYPES
from cvat_lambda.annotations.mapping import MappedLabel, Mapping
from cvat_lambda.annotations.reading import (
    read_count,
    read_flag,
    read_list,
    read_name,
    read_object,
    read_rotation,
    read_score,
    show,
)
from cvat_lambda.annotations.reid_answer import check_reid_answer
from cvat_lambda.annotations.skeletons import read_skeleton
from cvat_lambda.annotations.tracker_answer import check_tracker_answer
from cvat_lambda.annotations.types import LabeledData, Shape, Tag

__all__ = [
    "Converted",
    "check_interactor_answer",
    "check_reid_answer",
    "check_tracker_answer",
    "convert_detections",
]

ITEM_TYPES: Final = LABEL_TYPES - {"any"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a detector's answer came to."""

    data: LabeledData
    notes: tuple[str, ...] = ()  # sentences for people, bounded in number
    dropped: int = 0  # items that gave nothing: unmapped, below the threshold, outside the image


def convert_detections(
    answer: object,
    *,
    mapping: Mapping,
    frame: int,
    image_size: tuple[int, int] | None,
    conv_mask_to_poly: bool = False,
    threshold: float | None = None,
    offset: tuple[int, int] = (0, 0),
) -> Converted:
    """Convert a detector's answer to annotations of one frame.

    ``image_size`` is the (width, height) of the whole frame; without it nothing is clipped.
    ``offset`` is where the image that the function saw lies in the frame. Items that tell a
    confidence below ``threshold`` are dropped. Raises AnswerError, and nothing else, for an answer
    that breaks the contract.
    """
    items = read_list(answer)
    place = Place(frame=frame, size=image_size, offset=offset, notes=Notes())
    conversion = _Conversion(mapping, place, threshold, as_polygons=conv_mask_to_poly)
    for index, item in enumerate(items):
        conversion.add(index, item)
    return Converted(
        data=LabeledData(tags=tuple(conversion.tags), shapes=tuple(conversion.shapes)),
        notes=place.notes.result(),
        dropped=len(items) - len(conversion.tags) - len(conversion.shapes),
    )


class _Conversion:
    """Collects what the items of one answer become; an item becomes one thing or nothing."""

    def __init__(
        self, mapping: Mapping, place: Place, threshold: float | None, *, as_polygons: bool
    ) -> None:
        self.tags: list[Tag] = []
        self.shapes: list[Shape] = []
        self._mapping = mapping
        self._place = place
        self._threshold = threshold
        self._as_polygons = as_polygons

    def add(self, index: int, raw_item: object) -> None:
        raw = read_object(raw_item, item=index)
        name = read_name(raw.get("label"), item=index, field="label")
        item_type = raw.get("type")
        if not isinstance(item_type, str) or item_type not in ITEM_TYPES:
            known = ", ".join(sorted(ITEM_TYPES))
            text = f"{show(item_type)} is no type of a result; known are {known}"
            raise AnswerError(text, item=index, field="type")
        mapped = self._mapping.by_name.get(name)
        if mapped is None:
            if not self._mapping.knows(name):
                self._place.notes.add(index, f"the function does not announce a label {show(name)}")
            return
        item = self._read(index, raw, mapped)
        if self._threshold is not None and item.score < self._threshold:
            return
        task_type = mapped.task_label.type
        if item_type == "tag" and task_type in ("any", "tag"):
            self._add_tag(item)
        elif item_type == "skeleton" and task_type == "skeleton":
            self._add_skeleton(item)
        else:
            self._add_shape(item, item_type)

    def _read(self, index: int, raw: dict[str, Any], mapped: MappedLabel) -> Item:
        score, note = read_score(raw.get("confidence"), item=index, field="confidence")
        if note is not None:
            self._place.notes.add(index, note)
        group = read_count(raw.get("group_id"), item=index, field="group_id")
        return Item(index=index, raw=raw, mapped=mapped, score=score, group=group)

    def _add_tag(self, item: Item) -> None:
        self.tags.append(
            Tag(
                frame=self._place.frame,
                label_id=item.mapped.label_id,
                group=item.group,
                attributes=self._place.read_attributes(item.index, item.raw, item.mapped),
                score=item.score,
            )
        )

    def _add_skeleton(self, item: Item) -> None:
        shape = read_skeleton(item, self._place)
        if shape is not None:
            self.shapes.append(shape)

    def _add_shape(self, item: Item, item_type: str) -> None:
        index, raw, label = item.index, item.raw, item.mapped.task_label
        reader = READERS.get(self._reader_for(item_type, label.type))
        if reader is None:
            text = f"a {item_type} cannot be a '{label.name}', a label of type {label.type}"
            self._place.notes.add(index, text)
            return
        shape_type, points = reader(index, raw, "", self._place.size)
        rotation = read_rotation(shape_type, raw.get("rotation"), item=index, field="rotation")
        outside = read_flag(raw.get("outside"), item=index, field="outside")
        attributes = self._place.read_attributes(index, raw, item.mapped)
        fitted = self._place.fit(index, shape_type, points, rotation)
        becomes_mask = shape_type == "polygon" and label.type == "mask" and not self._as_polygons
        if fitted is not None and becomes_mask:
            shape_type, fitted = "mask", fill(index, fitted)
        if fitted is None:
            return
        self.shapes.append(
            Shape(
                type=shape_type,
                frame=self._place.frame,
                label_id=item.mapped.label_id,
                points=fitted,
                rotation=rotation,
                outside=outside,
                group=item.group,
                attributes=attributes,
                score=item.score,
            )
        )

    def _reader_for(self, item_type: str, task_type: str) -> str:
        """Name how an item is read: as its type, as the polygon of a mask, or not at all."""
        if item_type == "mask" and task_type in ("any", "mask", "polygon"):
            return "mask as polygon" if self._as_polygons or task_type == "polygon" else "mask"
        if task_type in ("any", item_type) or (item_type, task_type) == ("polygon", "mask"):
            return item_type
        return ""
