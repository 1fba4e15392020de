"""Notes of a frame or a request as JSON: ``{kind: {"count": 3, "reason": "..."}}``.

A note counts what was left out or changed, by kind, and has the reason of the first one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cvat_lambda.annotations.notes import Note
from cvat_lambda.requests.store.bulk_rows import strip_unstorable

StoredNotes = dict[str, dict[str, Any]]
MAX_REASON = 500  # characters

REDEPLOYED = "redeployed"  # the function was deployed again while the request ran


def stored_notes(notes: Iterable[Note]) -> StoredNotes:
    """Return the notes of one frame as JSON."""
    return {
        note.kind: {"count": note.count, "reason": strip_unstorable(note.reason)[:MAX_REASON]}
        for note in notes
    }


def add_notes(one: Mapping[str, Any], two: Mapping[str, Any]) -> StoredNotes:
    """Add up the counts by kind; the reasons are those of the first notes."""
    found = {kind: dict(note) for kind, note in one.items()}
    for kind, note in two.items():
        if kind in found:
            found[kind]["count"] += note["count"]
        else:
            found[kind] = dict(note)
    return found


def notes_to_json(stored: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the notes as the API shows them: a list of ``kind``, ``count`` and ``reason``."""
    return [{"kind": kind, **note} for kind, note in (stored or {}).items()]
