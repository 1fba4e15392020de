"""Linking of rectangles of consecutive frames to tracks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations.track_linking import (
    Linked,
    Linker,
    boxes_to_json,
    rectangles_by_frame,
)
from cvat_lambda.annotations.types import AttributeValue, Shape


def box(frame: int, x: float = 0.0, **fields: Any) -> Shape:
    return Shape(
        **{
            "type": "rectangle",
            "frame": frame,
            "label_id": 1,
            "points": (x, 0.0, x + 10.0, 20.0),
            "id": frame * 100 + int(x),
            **fields,
        }
    )


def link(*fed: tuple[list[Shape], list[int] | None], last_frame: int = 9, **options: Any) -> Linked:
    linker = Linker(last_frame=last_frame, **options)
    for shapes, matching in fed:
        linker.feed(shapes, matching)
    return linker.finish()


def test_a_chain_becomes_a_track_that_ends_outside_on_the_next_frame() -> None:
    chain = [box(2, 5, rotation=30.0), box(3, 6, occluded=True), box(4, 7)]
    linked = link(([chain[0]], None), ([chain[1]], [0]), ([chain[2]], [0]))
    (track,) = linked.tracks
    assert (track.frame, track.label_id, track.source) == (2, 1, "auto")
    assert [(key.frame, key.points[0], key.outside) for key in track.shapes] == [
        (2, 5, False),
        (3, 6, False),
        (4, 7, False),
        (5, 7, True),
    ]
    assert track.shapes[0].rotation == 30.0
    assert track.shapes[1].occluded
    assert linked.joined == tuple(chain)
    assert linked.unmatched == ()


def test_chain_before_deleted_frames_ends_outside_on_the_frame_after_them() -> None:
    """CVAT ignores the keyframes of deleted frames."""
    linked = link(([box(2)], None), ([box(3)], [0]), deleted_frames=[4, 5])
    assert [(key.frame, key.outside) for key in linked.tracks[0].shapes][-1] == (6, True)


def test_chain_to_the_last_frame_has_no_outside_keyframe() -> None:
    linked = link(([box(8)], None), ([box(9)], [0]))
    assert [key.frame for key in linked.tracks[0].shapes] == [8, 9]


def test_unmatched_rectangle_stays_a_shape() -> None:
    first, second = box(2), box(3)
    linked = link(([first], None), ([second], [-1]))
    assert linked == Linked(unmatched=(first, second))


def test_gap_ends_a_track_and_starts_another() -> None:
    frames = [box(frame) for frame in range(5)]
    linked = link(
        ([frames[0]], None),
        ([frames[1]], [0]),
        ([], None),
        ([frames[3]], None),
        ([frames[4]], [0]),
        last_frame=4,
    )
    assert [[key.frame for key in track.shapes] for track in linked.tracks] == [[0, 1, 2], [3, 4]]
    assert linked.tracks[0].shapes[-1].outside


def test_objects_that_cross_keep_their_tracks() -> None:
    linked = link(
        ([box(0, 10), box(0, 50)], None), ([box(1, 48), box(1, 12)], [1, 0]), last_frame=1
    )
    assert [[key.points[0] for key in track.shapes] for track in linked.tracks] == [
        [10, 12],
        [50, 48],
    ]


def test_rectangles_of_different_labels_are_never_joined() -> None:
    linked = link(([box(0)], None), ([box(1, label_id=2)], [0]))
    assert linked.tracks == ()
    assert len(linked.unmatched) == 2


def test_mutable_attributes_go_to_key_frames_and_others_to_the_track() -> None:
    values = (AttributeValue(spec_id=1, value="car"), AttributeValue(spec_id=2, value="fast"))
    linked = link(
        ([box(0, attributes=values)], None),
        ([box(1, attributes=values)], [0]),
        last_frame=1,
        mutable_attributes=[2],
    )
    (track,) = linked.tracks
    assert track.attributes == values[:1]
    assert [key.attributes for key in track.shapes] == [values[1:], values[1:]]


@pytest.mark.parametrize("matching", [[], [0, 0], [5, -1], [0, 1, -1]])
def test_matching_of_a_wrong_size_is_refused_and_changes_nothing(matching: list[int]) -> None:
    linker = Linker(last_frame=9)
    linker.feed([box(0), box(0, 50)])
    with pytest.raises(ValueError, match="matching"):
        linker.feed([box(1), box(1, 50)], matching)
    assert linker.current == (box(0), box(0, 50))
    assert len(linker.finish().unmatched) == 2


def test_only_visible_rectangles_of_the_frames_are_compared() -> None:
    shapes = [
        box(0),
        box(1),
        box(2),
        box(1, outside=True),
        Shape(type="polygon", frame=1, label_id=1, points=(0, 0, 5, 0, 5, 5)),
    ]
    assert rectangles_by_frame(shapes, [0, 1, 3]) == {0: (box(0),), 1: (box(1),), 3: ()}


def test_boxes_are_sent_to_the_function_as_complete_shapes() -> None:
    (sent,) = boxes_to_json([box(3, 5)])
    assert {key: sent[key] for key in ("type", "frame", "label_id", "points", "id")} == {
        "type": "rectangle",
        "frame": 3,
        "label_id": 1,
        "points": [5.0, 0.0, 15.0, 20.0],
        "id": 305,
    }


@given(st.data(), st.lists(st.integers(0, 4), min_size=1, max_size=8))
def test_every_rectangle_is_in_exactly_one_track_or_unmatched(
    data: st.DataObject, counts: list[int]
) -> None:
    linker = Linker(last_frame=len(counts) - 1)
    fed: list[Shape] = []
    before = 0
    for frame, count in enumerate(counts):
        shapes = [box(frame, x, label_id=data.draw(st.integers(1, 2))) for x in range(count)]
        options = [*range(count), *[-1] * before]
        matching = data.draw(st.permutations(options))[:before] if frame else None
        linker.feed(shapes, matching)
        fed += shapes
        before = count
    linked = linker.finish()
    assert sorted(shape.id or 0 for shape in linked.joined + linked.unmatched) == sorted(
        shape.id or 0 for shape in fed
    )
    visible = [key for track in linked.tracks for key in track.shapes if not key.outside]
    assert len(visible) == len(linked.joined)
    for track in linked.tracks:
        frames = [key.frame for key in track.shapes]
        assert frames == list(range(frames[0], frames[0] + len(frames)))
        assert len(frames) >= 2
        assert frames[-1] <= len(counts) - 1
