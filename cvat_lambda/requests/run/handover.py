"""Hand tracked objects on from one shard of a request to the next one, across the end of a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from cvat_lambda.annotations.association import best_pairs
from cvat_lambda.requests.run import checkpoint
from cvat_lambda.requests.run.track_objects import SeenShape, TrackedObject, box_of
from cvat_lambda.requests.store.models import FrameStatus, Outcome, Shard

SAME_OBJECT_IOU = 0.5  # an object of the next shard that overlaps so much is the one handed on


def handed_on(shard: Shard, frames: Sequence[int], *, backward: bool) -> list[TrackedObject]:
    """Return the objects that the shard before left at the border of this one.

    They go on with their states. If the shards have frames in common, they start anew from their
    shapes on the first common frame that the shard before wrote.
    """
    if shard.after is None or not frames:
        return []
    saved = checkpoint.load(shard.after)
    if saved is None:
        return []
    first = frames[-1] if backward else frames[0]
    objects = [TrackedObject.from_json(row) for row in saved["objects"]]
    shared = Outcome.objects.filter(shard=shard.after, frame=first, status=FrameStatus.DONE).first()
    here = {} if shared is None else (shared.result or {}).get("objects") or {}
    found = []
    for number, tracked in enumerate(objects):
        shape = here.get(str(number))
        if shared is not None and shape is not None:
            seen = SeenShape.from_json([first, *shape])
            found.append(_object(tracked, seen, state=None, handed_on=False))
        elif shared is None and tracked.state is not None:
            found.append(_object(tracked, tracked.seen, state=tracked.state, handed_on=True))
    return found


def _object(
    tracked: TrackedObject, seen: SeenShape, *, state: object, handed_on: bool
) -> TrackedObject:
    start = replace(tracked.start, id=None, frame=seen.frame, type=seen.type, points=seen.points)
    return TrackedObject(start=start, seen=seen, state=state, handed_on=handed_on)


def without_known(
    found: Iterable[TrackedObject], known: Sequence[TrackedObject]
) -> list[TrackedObject]:
    """Return the objects that are not among those handed on.

    An annotation that is one of them replaces it, so that the annotation becomes a track.
    """
    objects = list(found)
    if not objects or not known:
        return objects
    same = np.equal.outer(
        np.array([each.start.label_id for each in known]),
        np.array([each.start.label_id for each in objects]),
    )
    boxes = [np.array([box_of(each.seen) for each in group]) for group in (known, objects)]
    pairs = best_pairs(boxes[0], boxes[1], same, least_iou=SAME_OBJECT_IOU)
    for index, other, _ in pairs:
        known[index].start = objects[other].start
        known[index].continues = objects[other].continues
    taken = {other for _, other, _ in pairs}
    return [each for index, each in enumerate(objects) if index not in taken]
