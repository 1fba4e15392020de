"""Detections are joined to the same tracks as by ByteTrack."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from cvat_lambda.annotations.association import AssociationParams, Associator, Detection

RECORDED = Path(__file__).resolve().parents[2] / "data" / "association" / "bytetrack.json"


def detection(index: int, x: float, *, score: float = 0.9, label_id: int = 1) -> Detection:
    return Detection(index=index, label_id=label_id, box=(x, 10, x + 40, 70), score=score)


def links(tracks: Mapping[tuple[int, int], int]) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the pairs of successive detections of the same track."""
    members = defaultdict(list)
    for place in sorted(tracks):
        members[tracks[place]].append(place)
    return {pair for places in members.values() for pair in pairwise(places)}


def test_recorded_scene_gets_the_links_of_the_reference_implementation() -> None:
    associator, ours, theirs = Associator(), {}, {}
    for frame, rows in enumerate(json.loads(RECORDED.read_text())["frames"]):
        detections = [
            Detection(index=index, label_id=1, box=tuple(row[:4]), score=row[4])
            for index, row in enumerate(rows)
        ]
        for index, number in associator.feed(frame, detections).items():
            ours[frame, index] = number
        theirs.update({(frame, i): row[5] for i, row in enumerate(rows) if row[5] is not None})
    # The reference reports a track from its second detection on, so it lacks the first link.
    starts = {min(place for place in ours if ours[place] == number) for number in ours.values()}
    assert links(theirs) <= links(ours)
    assert {first for first, _ in links(ours) - links(theirs)} <= starts


def test_crossing_objects_keep_their_tracks() -> None:
    associator = Associator()
    numbers = [
        associator.feed(frame, [detection(0, 8.0 * frame), detection(1, 400 - 8.0 * frame)])
        for frame in range(50)
    ]
    assert {found.get(0) for found in numbers} == {0}
    assert {found.get(1) for found in numbers} == {1}


def test_detection_of_low_confidence_continues_a_track_but_starts_none() -> None:
    associator = Associator()
    assert associator.feed(0, [detection(0, 0), detection(1, 300, score=0.3)]) == {0: 0}
    assert associator.feed(1, [detection(0, 1, score=0.2)]) == {0: 0}


@pytest.mark.parametrize(("gap", "number"), [(5, 0), (6, 1)])
def test_track_survives_a_gap_up_to_its_limit(gap: int, number: int) -> None:
    associator = Associator(AssociationParams(max_gap=5))
    for frame in range(3):
        associator.feed(frame, [detection(0, 0)])
    assert associator.feed(2 + gap, [detection(0, 0)]) == {0: number}


def test_objects_of_different_labels_are_never_joined() -> None:
    associator = Associator()
    associator.feed(0, [detection(0, 0, label_id=1)])
    assert associator.feed(1, [detection(0, 0, label_id=2)]) == {0: 1}


def test_frame_without_detections_has_no_links() -> None:
    associator = Associator()
    assert associator.feed(0, []) == {}
    assert associator.feed(1, [detection(0, 0)]) == {0: 0}
