"""The order and selection of frames, and their segments."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.engine.standalone.media.files import SourceFile
from cvat_lambda.engine.standalone.media.ingest import Selection, arrange, chosen, natural_key
from cvat_lambda.engine.standalone.reading import visible_frames
from cvat_lambda.engine.standalone.tasks import segment_ranges
from cvat_lambda.errors import InvalidRequest


@given(size=st.integers(1, 300), segment_size=st.integers(0, 60), overlap=st.integers(0, 59))
def test_segments_cover_every_frame_with_the_given_overlap(
    size: int, segment_size: int, overlap: int
) -> None:
    if segment_size and overlap >= segment_size:
        overlap = segment_size - 1
    ranges = segment_ranges(size, segment_size, overlap)
    covered = {frame for start, stop in ranges for frame in range(start, stop + 1)}
    assert covered == set(range(size))
    assert all(stop - start + 1 <= (segment_size or size) for start, stop in ranges)
    for (_, stop), (start, _) in itertools.pairwise(ranges):
        assert stop - start + 1 == overlap


def test_overlap_as_long_as_the_segment_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="less than segment_size"):
        segment_ranges(10, 3, 3)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), [0, 1, 2, 3, 4]),
        (Selection(start_frame=1, stop_frame=3), [1, 2, 3]),
        (Selection(stop_frame=99), [0, 1, 2, 3, 4]),  # a stop frame beyond the end is clipped
        (Selection(start_frame=1, step=2), [1, 3]),
        (Selection(start_frame=4, stop_frame=4, step=9), [4]),
    ],
)
def test_selection_returns_the_frames_of_range_and_step(
    selection: Selection, expected: list[int]
) -> None:
    assert list(chosen(5, selection)) == expected


@pytest.mark.parametrize("count", [0, 3])
def test_selection_of_nothing_is_refused(count: int) -> None:
    with pytest.raises(InvalidRequest, match="no frame is left"):
        chosen(count, Selection(start_frame=3))


def test_natural_order_compares_numbers_by_value() -> None:
    names = ["a10b2", "a9", "a10b10", "b", "A1", "10", "9"]
    assert sorted(names, key=natural_key) == ["9", "10", "A1", "a9", "a10b2", "a10b10", "b"]


@given(st.lists(st.text(min_size=1, max_size=6), unique=True))
def test_every_order_keeps_every_file(names: list[str]) -> None:
    files = [SourceFile(path=Path("x"), name=name) for name in names]
    assert [file.name for file in arrange(files, "predefined", 1)] == names
    assert [file.name for file in arrange(files, "lexicographical", 1)] == sorted(names)
    for method in ("natural", "random"):
        arranged = arrange(files, method, 1)
        assert sorted(file.name for file in arranged) == sorted(names)
        again = arrange(files[::-1], "random", 1)
        assert again == arrange(files, "random", 1)


@pytest.mark.parametrize(
    ("path", "frames"),
    [
        ([(2, False)], [2, 3, 4, 5]),  # until the last frame
        ([(1, False), (3, True)], [1, 2]),
        ([(0, False), (1, True), (4, False)], [0, 4, 5]),
        ([(3, True)], []),
        ([], []),
    ],
)
def test_visible_frames_of_a_track_end_at_an_outside_keyframe(
    path: list[tuple[int, bool]], frames: list[int]
) -> None:
    assert list(visible_frames(path, 6)) == frames
