"""The fingerprint of an annotation changes with every edit, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cvat_lambda.annotations.fingerprint import fingerprint
from cvat_lambda.annotations.types import AttributeValue, Shape, Tag, Track, TrackedShape

BLUE = AttributeValue(spec_id=7, value="blue")
OLD = AttributeValue(spec_id=8, value="old")
BOX = Shape(
    type="rectangle", frame=3, label_id=1, points=(1.5, 2.25, 30.125, 40.0), attributes=(BLUE, OLD)
)
MANY = replace(BOX, type="polygon", points=tuple(float(n) for n in range(2000)))
HEAD = Shape(type="points", frame=3, label_id=11, points=(4.0, 5.0))
FOOT = Shape(type="points", frame=3, label_id=12, points=(4.0, 9.0), outside=True)
PERSON = Shape(type="skeleton", frame=3, label_id=10, elements=(HEAD, FOOT))
KEYS = (
    TrackedShape(type="rectangle", frame=0, points=(0, 0, 5, 5), attributes=(OLD,)),
    TrackedShape(type="rectangle", frame=4, points=(0, 0, 5, 5), outside=True),
)
TRACK = Track(frame=0, label_id=1, shapes=KEYS, attributes=(BLUE,))
TAG = Tag(frame=3, label_id=1, attributes=(BLUE,))


def moved(shape: Any) -> Any:
    return replace(shape, points=(shape.points[0] + 0.01, *shape.points[1:]))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BOX, moved(BOX)),
        (BOX, replace(BOX, label_id=2)),
        (BOX, replace(BOX, frame=4)),
        (BOX, replace(BOX, type="ellipse")),
        (BOX, replace(BOX, rotation=0.5)),
        (BOX, replace(BOX, occluded=True)),
        (BOX, replace(BOX, outside=True)),
        (BOX, replace(BOX, z_order=1)),
        (BOX, replace(BOX, group=1)),
        (BOX, replace(BOX, source="semi-auto")),
        (BOX, replace(BOX, attributes=(OLD,))),
        (BOX, replace(BOX, attributes=(replace(BLUE, value="red"), OLD))),
        (MANY, moved(MANY)),
        (MANY, replace(MANY, points=MANY.points[:-2])),
        (BOX, replace(BOX, extra='{"remark":"left"}')),
        (TAG, replace(TAG, extra='{"remark":"left"}')),
        (PERSON, replace(PERSON, elements=(replace(HEAD, extra='{"remark":"left"}'), FOOT))),
        (TRACK, replace(TRACK, shapes=(replace(KEYS[0], extra='{"remark":1}'), KEYS[1]))),
        (PERSON, replace(PERSON, elements=(moved(HEAD), FOOT))),
        (PERSON, replace(PERSON, elements=(HEAD, replace(FOOT, outside=False)))),
        (PERSON, replace(PERSON, elements=(HEAD,))),
        (TRACK, replace(TRACK, shapes=(moved(KEYS[0]), KEYS[1]))),
        (TRACK, replace(TRACK, shapes=(replace(KEYS[0], attributes=()), KEYS[1]))),
        (TRACK, replace(TRACK, shapes=KEYS[:1])),
        (TRACK, replace(TRACK, source="manual")),
        (TAG, replace(TAG, attributes=())),
        (TAG, replace(TAG, label_id=2)),
        (TAG, Shape(type="rectangle", frame=3, label_id=1, attributes=(BLUE,))),
    ],
)
def test_fingerprint_after_an_edit_differs(
    before: Shape | Tag | Track, after: Shape | Tag | Track
) -> None:
    assert fingerprint(before) != fingerprint(after)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (BOX, replace(BOX, id=5, score=0.25)),
        (BOX, replace(BOX, attributes=(OLD, BLUE))),
        (BOX, replace(BOX, rotation=360.0)),
        (BOX, replace(BOX, points=tuple(float(np.float32(value)) for value in BOX.points))),
        (BOX, replace(BOX, points=tuple(value + 1e-9 for value in BOX.points))),
        (moved(BOX), replace(moved(BOX), points=tuple(float(str(p)) for p in moved(BOX).points))),
        (PERSON, replace(PERSON, elements=(FOOT, HEAD))),
        (TRACK, replace(TRACK, id=1, shapes=(KEYS[1], replace(KEYS[0], id=2)))),
        (replace(BOX, points=(0.0, 0.0, 1.0, 1.0)), replace(BOX, points=(-0.0, 0, 1, 1))),
    ],
)
def test_fingerprint_without_an_edit_is_the_same(
    one: Shape | Tag | Track, two: Shape | Tag | Track
) -> None:
    assert fingerprint(one) == fingerprint(two)


def test_fingerprint_is_the_same_in_every_process_and_fits_a_bigint() -> None:
    """The fingerprint is stored. If its algorithm changes, all stored annotations look edited."""
    assert fingerprint(BOX) == -7795485881114660569
    assert -(2**63) <= fingerprint(BOX) < 2**63
