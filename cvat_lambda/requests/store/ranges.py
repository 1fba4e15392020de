"""Sets of frames as ascending inclusive ranges: ``[[first, last], ...]``, small as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

Ranges = tuple[tuple[int, int], ...]


def compress(frames: Iterable[int]) -> Ranges:
    """Return the ranges of frames in any order, repeated or not."""
    if isinstance(frames, range) and frames.step == 1:
        return ((frames[0], frames[-1]),) if frames else ()
    found: list[tuple[int, int]] = []
    for frame in sorted(frames):
        if found and frame <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(frame, found[-1][1]))
        else:
            found.append((frame, frame))
    return tuple(found)


def expand(ranges: Iterable[Sequence[int]]) -> Iterator[int]:
    """Yield each frame of the ranges, in their order."""
    for first, last in ranges:
        yield from range(first, last + 1)


def count(ranges: Iterable[Sequence[int]]) -> int:
    """Return the number of frames in the ranges."""
    return sum(last - first + 1 for first, last in ranges)


def normalize(ranges: Iterable[Sequence[int]]) -> Ranges:
    """Return ascending ranges that neither touch nor overlap."""
    found: list[tuple[int, int]] = []
    for first, last in sorted((int(item[0]), int(item[1])) for item in ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def intersect(one: Iterable[Sequence[int]], two: Iterable[Sequence[int]]) -> Ranges:
    """Return the frames that are in both of two normalized ranges."""
    left, right = list(one), list(two)
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        first, last = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if first <= last:
            found.append((first, last))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def subtract(one: Iterable[Sequence[int]], two: Iterable[Sequence[int]]) -> Ranges:
    """Return the frames of the first normalized ranges that are not in the second."""
    taken = list(two)
    found: list[tuple[int, int]] = []
    for first, last in one:
        start = first
        for low, high in taken:
            if high < start or low > last:
                continue
            if low > start:
                found.append((start, low - 1))
            start = high + 1
        if start <= last:
            found.append((start, last))
    return tuple(found)


def cut(ranges: Iterable[Sequence[int]], starts: Iterable[int]) -> list[Ranges]:
    """Cut normalized ranges before the given frames; leave empty parts out."""
    whole = tuple((first, last) for first, last in ranges)
    if not whole:
        return []
    bounds = sorted({whole[0][0], *starts, whole[-1][1] + 1})
    parts = (intersect(whole, ((start, end - 1),)) for start, end in pairwise(bounds))
    return [part for part in parts if part]


def split(ranges: Iterable[Sequence[int]], size: int) -> list[Ranges]:
    """Split into pieces of about ``size`` frames, as even as possible; size 0: one piece."""
    whole = normalize(ranges)
    total = count(whole)
    if size <= 0 or total <= size:
        return [whole] if whole else []
    number = -(-total // size)
    pieces: list[Ranges] = []
    rest = whole
    for index in range(number):
        wanted = (total * (index + 1)) // number - (total * index) // number
        piece, rest = _take(rest, wanted)
        pieces.append(piece)
    return pieces


def _take(ranges: Ranges, wanted: int) -> tuple[Ranges, Ranges]:
    taken: list[tuple[int, int]] = []
    for position, (first, last) in enumerate(ranges):
        here = last - first + 1
        if here > wanted:
            head = ((first, first + wanted - 1),) if wanted else ()
            return (*taken, *head), ((first + wanted, last), *ranges[position + 1 :])
        taken.append((first, last))
        wanted -= here
    return tuple(taken), ()
