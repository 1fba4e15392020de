"""The conversion of a detector's answer to annotations of a task.

An answer other than an array of objects raises AnswerError. An unusable item is left out:
it breaks the contract, its label is unknown, or it lies outside the image. A note says why, and the
other items of the answer are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cvat_lambda.annotations.detection_items import READERS, AnswerContext, Item, fill
from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.labels import LABEL_TYPES
from cvat_lambda.annotations.mapping import MappedLabel, Mapping
from cvat_lambda.annotations.notes import Note, NoteCollector
from cvat_lambda.annotations.placement import WHOLE_FRAME, Placement
from cvat_lambda.annotations.reading import (
    kind,
    read_count,
    read_flag,
    read_name,
    read_object,
    read_rotation,
    read_score,
    show,
)
from cvat_lambda.annotations.skeletons import read_skeleton
from cvat_lambda.annotations.types import LabeledData, Shape, Tag

ITEM_TYPES: Final = LABEL_TYPES - {"any"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """The annotations that a detector's answer gave, and notes about its items."""

    data: LabeledData
    notes: tuple[Note, ...] = ()  # one for each kind
    dropped: int = 0  # items that gave no annotation, for any reason

    def sentences(self) -> list[str]:
        """Return the notes as sentences for people."""
        return [note.sentence() for note in self.notes]


def convert_detections(
    answer: object,
    *,
    mapping: Mapping,
    frame: int,
    image_size: tuple[int, int] | None,
    conv_mask_to_poly: bool = False,
    threshold: float | None = None,
    placement: Placement = WHOLE_FRAME,
    strict: bool = False,
) -> Converted:
    """Convert a detector's answer to annotations of one frame.

    ``image_size`` is the (width, height) of the whole frame; without it nothing is clipped.
    ``placement`` says which part of the frame the function saw, and at which resolution. Items with
    a confidence below ``threshold`` are left out without a note. Raise AnswerError if the answer
    is not an array of objects, and with ``strict`` also if an item breaks the contract.
    """
    items = _read_items(answer)
    context = AnswerContext(
        frame=frame, frame_size=image_size, placement=placement, notes=NoteCollector()
    )
    conversion = _Conversion(mapping, context, threshold, as_polygons=conv_mask_to_poly)
    for index, item in enumerate(items):
        conversion.add(index, item, strict=strict)
    return Converted(
        data=LabeledData(tags=tuple(conversion.tags), shapes=tuple(conversion.shapes)),
        notes=context.notes.result(),
        dropped=len(items) - len(conversion.tags) - len(conversion.shapes),
    )


def _read_items(answer: object) -> list[object]:
    """Return the items of an answer. Raise AnswerError if none of them is an object."""
    if isinstance(answer, dict) and ("label" in answer or "points" in answer):
        raise AnswerError(
            "expected an array of items, but a single item came. Nuclio sends only the first item "
            "of a list that a handler returns; the handler must return a Response whose body is "
            "the list as JSON"
        )
    if not isinstance(answer, list):
        raise AnswerError(f"expected an array, not {kind(answer)}")
    if answer and not any(isinstance(item, dict) for item in answer):
        read_object(answer[0], item=0)
    return answer


class _Conversion:
    """Collects what the items of one answer become: each gives one annotation or none."""

    def __init__(
        self,
        mapping: Mapping,
        context: AnswerContext,
        threshold: float | None,
        *,
        as_polygons: bool,
    ) -> None:
        self.tags: list[Tag] = []
        self.shapes: list[Shape] = []
        self._mapping = mapping
        self._context = context
        self._threshold = threshold
        self._as_polygons = as_polygons

    def add(self, index: int, raw_item: object, *, strict: bool) -> None:
        """Convert an item. Unless ``strict``, one that breaks the contract gets a note."""
        try:
            self._add(index, raw_item)
        except AnswerError as exc:
            if strict:
                raise
            self._context.notes.add("invalid_item", f"{exc.message}; the item was left out")

    def _add(self, index: int, raw_item: object) -> None:
        raw = read_object(raw_item, item=index)
        name = read_name(raw.get("label"), item=index, field="label")
        item_type = raw.get("type")
        if not isinstance(item_type, str) or item_type not in ITEM_TYPES:
            known = ", ".join(sorted(ITEM_TYPES))
            text = f"{show(item_type)} is not a type of an item; known are {known}"
            raise AnswerError(text, item=index, field="type")
        mapped = self._mapping.by_name.get(name)
        if mapped is None:
            if not self._mapping.knows(name):
                reason = f"the function does not announce a label {show(name)}"
                self._context.notes.add("unknown_label", reason, item=index)
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
            self._context.notes.add("invalid_confidence", note, item=index)
        group = read_count(raw.get("group_id"), item=index, field="group_id")
        return Item(index=index, raw=raw, mapped=mapped, score=score, group=group)

    def _add_tag(self, item: Item) -> None:
        self.tags.append(
            Tag(
                frame=self._context.frame,
                label_id=item.mapped.label_id,
                group=item.group,
                attributes=self._context.read_attributes(item.index, item.raw, item.mapped),
                score=item.score,
            )
        )

    def _add_skeleton(self, item: Item) -> None:
        shape = read_skeleton(item, self._context)
        if shape is not None:
            self.shapes.append(shape)

    def _add_shape(self, item: Item, item_type: str) -> None:
        index, raw, label = item.index, item.raw, item.mapped.task_label
        reader = READERS.get(self._reader_for(item_type, label.type))
        if reader is None:
            reason = f"a {item_type} cannot be a '{label.name}', a label of type {label.type}"
            self._context.notes.add("label_type", reason, item=index)
            return
        shape_type, points = reader(index, raw, "", self._context)
        rotation = read_rotation(shape_type, raw.get("rotation"), item=index, field="rotation")
        outside = read_flag(raw.get("outside"), item=index, field="outside")
        attributes = self._context.read_attributes(index, raw, item.mapped)
        fitted = self._context.fit(index, shape_type, points, rotation)
        becomes_mask = shape_type == "polygon" and label.type == "mask" and not self._as_polygons
        if fitted is not None and becomes_mask:
            shape_type, fitted = "mask", fill(index, fitted)
        if fitted is None:
            return
        self.shapes.append(
            Shape(
                type=shape_type,
                frame=self._context.frame,
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
