"""The shapes of tracks on a frame, which are interpolated between key frames."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from cvat_lambda.annotations.types import Shape, Track, TrackedShape

_LINEAR = ("rectangle", "ellipse", "cuboid")


def is_linear(key: TrackedShape) -> bool:
    """Return whether a shape moves linearly to the next key frame, in CVAT, too.

    CVAT moves a single point, but not several points. Other shapes stay until the next key frame.
    """
    return key.type in _LINEAR or (key.type == "points" and len(key.points) == 2)


def shapes_on_frame(frame: int, tracks: Iterable[Track]) -> tuple[Shape, ...]:
    """Return the visible shapes of the tracks on a frame, with the ids of their tracks."""
    found = (_seen(track, frame) for track in tracks)
    return tuple(shape for shape in found if shape is not None)


def _seen(track: Track, frame: int) -> Shape | None:
    """Return the shape of a track, or None before its first key frame and while it is outside."""
    after = bisect_right([key.frame for key in track.shapes], frame)
    if after == 0 or track.shapes[after - 1].outside:
        return None
    key = track.shapes[after - 1]
    following = track.shapes[after] if after < len(track.shapes) else None
    points, rotation = key.points, key.rotation
    if following is not None and _moves(key, following):
        share = (frame - key.frame) / (following.frame - key.frame)
        points = tuple(
            one + (two - one) * share for one, two in zip(key.points, following.points, strict=True)
        )
        turn = (following.rotation - key.rotation + 180) % 360 - 180  # the shorter way round
        rotation = (key.rotation + turn * share) % 360
    return Shape(
        id=track.id,
        type=key.type,
        frame=frame,
        label_id=track.label_id,
        points=points,
        rotation=rotation,
        occluded=key.occluded,
        z_order=key.z_order,
        group=track.group,
        source=track.source,
        attributes=(*track.attributes, *key.attributes),
        elements=shapes_on_frame(frame, track.elements),
        score=track.score,
    )


def _moves(key: TrackedShape, following: TrackedShape) -> bool:
    return (
        is_linear(key)
        and not following.outside
        and following.type == key.type
        and len(following.points) == len(key.points)
    )
