"""The 133 key points of COCO-WholeBody: in which skeleton each is, and which mirror which.

Order as in the data set (Jin et al. 2020, arXiv:2007.11858): body 17, feet 6, face 68, hands 42.
"""

from __future__ import annotations

from collections.abc import Iterator

#: skeleton -> the numbers of its points; within a skeleton they are named "1", "2", ...
SKELETONS: dict[str, range] = {
    "body": range(17),
    "feet": range(17, 23),
    "face": range(23, 91),
    "hands": range(91, 133),
}

# Pairs of left and right, each list counted from the skeleton's first point.
_BODY = [(left, left + 1) for left in range(1, 17, 2)]
_FEET = [(0, 3), (1, 4), (2, 5)]
_FACE = [
    *((left, 16 - left) for left in range(8)),  # contour
    *((17 + i, 26 - i) for i in range(5)),  # eyebrows
    *((31 + i, 35 - i) for i in range(2)),  # nostrils
    *((36 + i, 45 - i) for i in range(4)),  # upper eyelids
    (40, 47),
    (41, 46),
    *((48 + i, 54 - i) for i in range(3)),  # outer lips, above and below
    (55, 59),
    (56, 58),
    *((60 + i, 64 - i) for i in range(2)),  # inner lips
    (65, 67),
]
_HANDS = [(i, 21 + i) for i in range(21)]


def _pairs() -> Iterator[tuple[int, int]]:
    for name, pairs in zip(SKELETONS, (_BODY, _FEET, _FACE, _HANDS), strict=True):
        first = SKELETONS[name].start
        for left, right in pairs:
            yield first + left, first + right


def _mirrored() -> tuple[int, ...]:
    order = list(range(SKELETONS["hands"].stop))
    for left, right in _pairs():
        order[left], order[right] = right, left
    return tuple(order)


#: the number of each point's mirror image; a point on the axis is its own
MIRRORED: tuple[int, ...] = _mirrored()
