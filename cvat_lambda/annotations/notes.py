"""Notes about the items of a function's answer: what was left out or changed, and why.

A note counts the items of one kind and keeps the reason of the first one. Notes of several frames
are added up with `merge_notes`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

NoteKind = Literal[
    "invalid_item",  # the item breaks the contract; it was left out
    "unknown_label",  # the function does not announce its label; it was left out
    "label_type",  # its type does not fit the label of the task; it was left out
    "outside_image",  # it is empty or lies outside the image; it was left out
    "cut_to_image",  # it reaches beyond the image; it was cut, or kept as a whole
    "invalid_attribute",  # the value of an attribute was left out
    "invalid_confidence",  # the confidence was replaced by one in [0, 1]
    "skeleton_point",  # a point of a skeleton was hidden
    "tracking_restarted",  # the function had forgotten its state; it began anew from its shape
]
# Notes that a function without a fault never causes, whatever the image.
BREACHES: Final[frozenset[NoteKind]] = frozenset({"invalid_item", "unknown_label"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """How many items have one kind of note, and the reason of the first one."""

    kind: NoteKind
    count: int
    reason: str  # one sentence for people about the first item

    def sentence(self) -> str:
        """Return the reason with the number of items that it stands for."""
        if self.count == 1:
            return self.reason
        return f"{self.reason} (and {self.count - 1} more of this kind)"

    def to_json(self) -> dict[str, Any]:
        """Return ``{"kind", "count", "reason"}``."""
        return {"kind": self.kind, "count": self.count, "reason": self.reason}


def merge_notes(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Return one note for each kind, in the order in which the kinds appear first."""
    merged: dict[NoteKind, Note] = {}
    for note in notes:
        known = merged.get(note.kind)
        merged[note.kind] = (
            note if known is None else replace(known, count=known.count + note.count)
        )
    return tuple(merged.values())


class NoteCollector:
    """Collects the notes about the items of one answer."""

    def __init__(self) -> None:
        self._notes: dict[NoteKind, Note] = {}

    def add(self, kind: NoteKind, reason: str, *, item: int | None = None) -> None:
        """Count a note about the item with this number."""
        known = self._notes.get(kind)
        if known is not None:
            self._notes[kind] = replace(known, count=known.count + 1)
            return
        text = reason if item is None else f"item {item}: {reason}"
        self._notes[kind] = Note(kind=kind, count=1, reason=text)

    def result(self) -> tuple[Note, ...]:
        """Return one note for each kind."""
        return tuple(self._notes.values())
