"""Notes about the items of answers, added up over the frames of a request."""

from __future__ import annotations

from cvat_lambda.annotations.notes import Note, merge_notes


def test_notes_of_several_frames_are_counted_by_kind_with_the_first_reason() -> None:
    frames = [
        (Note(kind="unknown_label", count=2, reason="item 0: cat"),),
        (
            Note(kind="cut_to_image", count=1, reason="item 3: cut"),
            Note(kind="unknown_label", count=1, reason="item 1: dog"),
        ),
    ]
    merged = merge_notes(note for notes in frames for note in notes)
    assert [note.to_json() for note in merged] == [
        {"kind": "unknown_label", "count": 3, "reason": "item 0: cat"},
        {"kind": "cut_to_image", "count": 1, "reason": "item 3: cut"},
    ]
    assert merged[0].sentence() == "item 0: cat (and 2 more of this kind)"
