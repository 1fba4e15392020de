"""A fingerprint of an annotation: it changes when a person changes anything that they can see.

It covers geometry, label, attributes, flags, group, source, and the members that this version does
not know, because a newer client may show them. It does not cover ids and score. Two annotations
that differ by a rounding error of a database have the same fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from cvat_lambda.annotations.types import AttributeValue, Shape, Tag, Track, TrackedShape

DECIMALS = 3  # of coordinates in pixels and of angles in degrees
MANY = 32  # coordinates; numpy rounds more of them faster


def fingerprint(item: Shape | Tag | Track) -> int:
    """Return a signed 64-bit hash of what a person can change of an annotation."""
    digest = hashlib.blake2b(repr(_facts(item)).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big", signed=True)


def _facts(item: Shape | Tag | Track) -> tuple[object, ...]:
    # Without unknown members the fingerprint is that of earlier versions.
    unknown = (item.extra,) if item.extra else ()
    common = (
        item.frame,
        item.label_id,
        item.group,
        item.source,
        _values(item.attributes),
        *unknown,
    )
    if isinstance(item, Tag):
        return ("tag", *common)
    elements = sorted(repr(_facts(element)) for element in item.elements)
    if isinstance(item, Shape):
        return ("shape", *common, _placed(item), elements)
    keyframes = sorted(repr((shape.frame, _placed(shape))) for shape in item.shapes)
    return ("track", *common, keyframes, elements)


def _placed(item: Shape | TrackedShape) -> tuple[object, ...]:
    rotation = round(item.rotation, DECIMALS) % 360
    flags = (item.type, item.occluded, item.outside, item.z_order)
    if not isinstance(item, TrackedShape):
        return (*flags, rotation, _points(item.points), ())
    unknown = (item.extra,) if item.extra else ()
    return (*flags, rotation, _points(item.points), _values(item.attributes), *unknown)


def _points(points: Sequence[float]) -> tuple[float, ...] | bytes:
    """Return the rounded coordinates, or a hash of them: a mask may have thousands."""
    if len(points) <= MANY:
        return tuple([round(value, DECIMALS) + 0.0 for value in points])
    rounded = np.rint(np.fromiter(points, float, len(points)) * 10**DECIMALS).astype("<i8")
    return hashlib.blake2b(rounded.tobytes(), digest_size=8).digest()


def _values(values: Iterable[AttributeValue]) -> tuple[tuple[int, str], ...]:
    return tuple(sorted((value.spec_id, value.value) for value in values))
