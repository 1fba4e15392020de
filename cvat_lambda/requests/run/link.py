"""Join tracks over gaps by ReID: where one ends and another of its label begins later.

For each pair of frames where tracks end and begin, the function compares the last rectangles of the
tracks that ended with the first ones of the tracks that begin. The shortest gaps come first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.reid_answer import check_reid_answer
from cvat_lambda.annotations.serialize import shape_to_json
from cvat_lambda.annotations.types import Shape, Track, TrackedShape
from cvat_lambda.errors import FunctionAnswerInvalid, InvalidRequest
from cvat_lambda.functions import registry
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.gateway.invoke_with_retries import invoke_with_retries
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.gateway.retry import background_policy
from cvat_lambda.images.resize import resize
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.run.track_objects import SeenShape, box_of
from cvat_lambda.requests.run.track_step import read_frame
from cvat_lambda.requests.store.tracking import Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Tracks of one object, joined."""

    indices: tuple[int, ...]  # of the given tracks, in the order of time
    track: Track


def link_tracks(
    run: ShardRun,
    tracks: Sequence[Track],
    *,
    check: Callable[[], None],
) -> list[Chain]:
    """Return the tracks, joined where ReID says that they are one object.

    ``check`` raises if the run must stop. Raise LambdaError.
    """
    assert run.params.link is not None
    link = Link(**run.params.link)
    spec = registry.get(link.reid)
    if spec.kind is not Kind.REID:
        raise InvalidRequest(f"function {link.reid!r} does not re-identify any more")
    following: dict[int, int] = {}  # track that ended: track that continues it
    for ended, begun in _gaps(tracks, link.max_gap):
        check()
        open_ended = [index for index in ended if index not in following]
        open_begun = [index for index in begun if index not in following.values()]
        if open_ended and open_begun:
            following |= _compare(run, spec, link, tracks, open_ended, open_begun)
    firsts = [index for index in range(len(tracks)) if index not in following.values()]
    return [_chain(tracks, index, following) for index in firsts]


def last_seen(track: Track) -> TrackedShape:
    """Return the last keyframe on which the track is visible."""
    return [key for key in track.shapes if not key.outside][-1]


def _gaps(tracks: Sequence[Track], max_gap: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the indices of tracks that end on one frame and begin on another, short gaps first."""
    ends: dict[int, list[int]] = defaultdict(list)
    begins: dict[int, list[int]] = defaultdict(list)
    for index, track in enumerate(tracks):
        if track.shapes[-1].outside:
            ends[last_seen(track).frame].append(index)
        begins[track.frame].append(index)
    pairs = [(end, begin) for end in ends for begin in begins if 0 < begin - end <= max_gap]
    for end, begin in sorted(pairs, key=lambda pair: (pair[1] - pair[0], pair)):
        yield ends[end], begins[begin]


def _compare(
    run: ShardRun,
    spec: FunctionSpec,
    link: Link,
    tracks: Sequence[Track],
    ended: Sequence[int],
    begun: Sequence[int],
) -> dict[int, int]:
    """Ask the function which of the tracks that begin continue which of those that ended."""
    before = [last_seen(tracks[index]) for index in ended]
    after = [tracks[index].shapes[0] for index in begun]
    images = {
        f"image{side}": resize(read_frame(run, keys[0].frame).data, spec, keep_size=True).data
        for side, keys in enumerate((before, after))
    }
    fields: dict[str, Any] = {
        "boxes0": [_box(tracks[i], key) for i, key in zip(ended, before, strict=True)],
        "boxes1": [_box(tracks[i], key) for i, key in zip(begun, after, strict=True)],
        # An object may have moved anywhere meanwhile.
        "max_distance": 1_000_000,
    }
    if link.threshold is not None:
        fields["threshold"] = link.threshold
    called = invoke_with_retries(
        spec,
        encode_payload(fields, images, binary=spec.binary),
        request_id=run.request.id,
        retries=background_policy().start(),
        interactive=False,
        cancel=run.cancel,
    )
    try:
        matching = check_reid_answer(called.answer, len(before), len(after))
    except AnswerError as exc:
        raise FunctionAnswerInvalid(
            f"function {spec.id!r}, frames {before[0].frame} and {after[0].frame}: {exc.message}"
        ) from exc
    return {
        ended[row]: begun[column]
        for row, column in enumerate(matching)
        if column >= 0 and tracks[ended[row]].label_id == tracks[begun[column]].label_id
    }


def _box(track: Track, key: TrackedShape) -> dict[str, Any]:
    box = box_of(SeenShape(frame=key.frame, type=key.type, points=key.points))
    shape = Shape(type="rectangle", frame=key.frame, label_id=track.label_id, points=box)
    return shape_to_json(shape, with_score=False)


def _chain(tracks: Sequence[Track], first: int, following: dict[int, int]) -> Chain:
    indices = [first]
    while indices[-1] in following:
        indices.append(following[indices[-1]])
    keys = [
        key
        for index, later in zip(indices, (*indices[1:], None), strict=True)
        for key in tracks[index].shapes
        if later is None or key.frame < tracks[later].frame
    ]
    return Chain(
        indices=tuple(indices),
        track=replace(
            tracks[first],
            shapes=tuple(keys),
            score=min(tracks[index].score for index in indices),
        ),
    )
