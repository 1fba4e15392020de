"""Join rectangles of consecutive frames to tracks, by the matchings that a function answered.

A function compares the rectangles of two consecutive frames. For each rectangle of the first frame
it answers the index of the same object in the second one. ``Linker`` takes these matchings one
after the other. A chain of two or more rectangles becomes a track. A rectangle without a match
stays a shape.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cvat_lambda.annotations.serialize import shape_to_json
from cvat_lambda.annotations.types import Shape, Track, TrackedShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """The tracks, and the rectangles that are part of none."""

    tracks: tuple[Track, ...] = ()
    joined: tuple[Shape, ...] = ()  # the shapes that the tracks replace
    unmatched: tuple[Shape, ...] = ()  # the shapes that stay


def rectangles_by_frame(
    shapes: Iterable[Shape], frames: Sequence[int]
) -> dict[int, tuple[Shape, ...]]:
    """Return the visible rectangles of each of ``frames``."""
    by_frame: dict[int, list[Shape]] = {frame: [] for frame in frames}
    for shape in shapes:
        if shape.type == "rectangle" and not shape.outside and shape.frame in by_frame:
            by_frame[shape.frame].append(shape)
    return {frame: tuple(found) for frame, found in by_frame.items()}


def boxes_to_json(shapes: Iterable[Shape]) -> list[dict[str, Any]]:
    """Write rectangles as ``boxes0`` or ``boxes1`` of a call: whole shapes, as CVAT sends them."""
    return [shape_to_json(shape, with_score=False) for shape in shapes]


class Linker:
    """Joins rectangles to tracks, frame by frame in ascending order.

    ``last_frame`` is the last frame of the scope: a track that ends before it gets a key frame
    with ``outside`` right after its last rectangle, but not on one of ``deleted_frames``, whose key
    frames CVAT ignores. ``mutable_attributes`` are the spec ids of
    attributes that belong to a track's key frames; the others are taken from its first rectangle.
    """

    def __init__(
        self,
        *,
        last_frame: int,
        mutable_attributes: Collection[int] = (),
        deleted_frames: Collection[int] = (),
    ) -> None:
        self._last_frame = last_frame
        self._deleted = frozenset(deleted_frames)
        self._mutable = frozenset(mutable_attributes)
        self._paths: list[list[Shape]] = []  # all, in the order in which they began
        self._open: list[list[Shape]] = []  # the path of each rectangle of the frame fed last

    @property
    def current(self) -> tuple[Shape, ...]:
        """The rectangles of the frame fed last: ``boxes0`` of the next call."""
        return tuple(path[-1] for path in self._open)

    def feed(self, shapes: Sequence[Shape], matching: Sequence[int] | None = None) -> None:
        """Take the rectangles of the next frame.

        ``matching`` is the function's answer: for each rectangle of the frame before an index into
        ``shapes`` or -1; None when nothing was asked (one side empty, the first frame, a failed
        call). Rectangles of different labels are not joined, whatever the matching says. Raises
        ValueError for a matching that is not one of these frames.
        """
        indices = [-1] * len(self._open) if matching is None else list(matching)
        taken = [index for index in indices if index >= 0]
        if len(indices) != len(self._open) or len(set(taken)) != len(taken):
            raise ValueError("a matching has one index a rectangle, and none of them twice")
        if any(index >= len(shapes) for index in taken):
            raise ValueError(f"a matching with {len(shapes)} rectangles has only indices below it")
        continued: dict[int, list[Shape]] = {}
        for path, index in zip(self._open, indices, strict=True):
            if index >= 0 and path[-1].label_id == shapes[index].label_id:
                path.append(shapes[index])
                continued[index] = path
        begun = {i: [shape] for i, shape in enumerate(shapes) if i not in continued}
        self._paths += begun.values()
        self._open = [continued.get(i) or begun[i] for i in range(len(shapes))]

    def finish(self) -> Linked:
        """End all paths and return the result, in the order in which the paths began."""
        paths, self._paths, self._open = self._paths, [], []
        chains = [path for path in paths if len(path) > 1]
        return Linked(
            tracks=tuple(self._to_track(path) for path in chains),
            joined=tuple(shape for path in chains for shape in path),
            unmatched=tuple(path[0] for path in paths if len(path) == 1),
        )

    def _to_track(self, path: list[Shape]) -> Track:
        keys = [self._to_key(shape, shape.frame) for shape in path]
        following = range(path[-1].frame + 1, self._last_frame + 1)
        end = next((frame for frame in following if frame not in self._deleted), None)
        if end is not None:
            keys.append(self._to_key(path[-1], end, outside=True))
        first = path[0]
        return Track(
            frame=first.frame,
            label_id=first.label_id,
            shapes=tuple(keys),
            group=first.group,
            source="auto",
            attributes=tuple(a for a in first.attributes if a.spec_id not in self._mutable),
            score=min(shape.score for shape in path),
        )

    def _to_key(self, shape: Shape, frame: int, *, outside: bool = False) -> TrackedShape:
        return TrackedShape(
            type=shape.type,
            frame=frame,
            points=shape.points,
            rotation=shape.rotation,
            occluded=shape.occluded,
            outside=outside,
            z_order=shape.z_order,
            attributes=tuple(a for a in shape.attributes if a.spec_id in self._mutable),
        )
