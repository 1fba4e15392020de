"""Run a detector whose detections become tracks (``output: tracks`` of a request).

The shapes of each frame are written at once, as for every detector, so that a run can be resumed
and a cancelled one keeps its shapes. The end of the shard associates them over the frames and
replaces those that belong to a track.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from django.db.models import F

from cvat_lambda.annotations.association import AssociationParams, Associator, Detection
from cvat_lambda.annotations.fingerprint import fingerprint
from cvat_lambda.annotations.shapes import extent
from cvat_lambda.annotations.types import LabeledData, Shape, Track
from cvat_lambda.engine.port import Change, Removal
from cvat_lambda.requests.run.detect import DetectWork
from cvat_lambda.requests.run.link import link_tracks
from cvat_lambda.requests.run.provenance import forget_removed, lock_unchanged
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.run.track_objects import build_track, keyframe_of
from cvat_lambda.requests.run.writer import record_provenance
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.models import ObjectKind, Provenance, Request
from cvat_lambda.requests.store.tracking import DEFAULT_TOLERANCE_PX

ASSOCIATED = ("rectangle", "polygon")  # types that CVAT keeps as tracks and that have a box
FRAMES_A_READ = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Associated:
    """Tracks, and the shapes that they replace."""

    tracks: tuple[Track, ...]
    shapes: tuple[Shape, ...]


class DetectTracksWork(DetectWork):
    """Detects frame by frame, then associates the detections."""

    divisible = False  # the objects of one shard become tracks

    def __init__(self, run: ShardRun) -> None:
        super().__init__(run)
        hidden = run.task.deleted_frames
        self._frames = [f for f in ranges.expand(run.shard.frames) if f not in hidden]
        self._associated: _Associated | None = None

    def prepare_finish(self, check: Callable[[], None]) -> None:
        """Associate the shapes as they are now; this may take seconds."""
        self._associated = self._associate(check)

    def finish(self) -> None:
        """Replace the associated shapes by their tracks, inside the shard's last transaction."""
        super().finish()
        run = self._run
        run.lease.fence()
        # If somebody changed a shape since `prepare_finish`, all are associated again, locked.
        found = self._associate(lambda: None) if self._associated is None else self._associated
        while not lock_unchanged(run.engine, run.task.id, found.shapes):
            found = self._associate(lambda: None)
        if not found.tracks:
            return
        added = LabeledData(tracks=found.tracks)
        written = run.engine.apply(
            Change(
                task_id=run.task.id,
                job_id=run.shard.job_id,
                frames=tuple(sorted({shape.frame for shape in found.shapes})),
                remove=Removal(policy="ids", shape_ids=_ids(found.shapes)),
                add=added,
                user_id=run.request.owner_id,
            )
        )
        forget_removed(written)
        record_provenance(run, added, written)
        difference = len(found.tracks) - len(found.shapes)
        Request.objects.filter(pk=run.request.pk).update(shapes=F("shapes") + difference)

    def _associate(self, check: Callable[[], None]) -> _Associated:
        associator = Associator(AssociationParams(low_score=0.0))
        members: dict[int, list[Shape]] = defaultdict(list)
        for frame, shapes in self._detected():
            check()
            detections = [
                Detection(
                    index=index,
                    label_id=shape.label_id,
                    box=extent(shape.points),
                    score=score,
                )
                for index, (shape, score) in enumerate(shapes)
            ]
            for index, number in associator.feed(frame, detections).items():
                members[number].append(shapes[index][0])
        chains = [chain for chain in members.values() if len(chain) > 1]
        tracks = [self._to_track(chain) for chain in chains]
        if self._run.params.link is not None and len(tracks) > 1:
            tracks = [chain.track for chain in link_tracks(self._run, tracks, check=check)]
        return _Associated(
            tracks=tuple(tracks),
            shapes=tuple(shape for chain in chains for shape in chain),
        )

    def _detected(self) -> Iterator[tuple[int, list[tuple[Shape, float]]]]:
        """Yield the shapes of this request with their scores, frame by frame.

        Shapes that a person edited since are left out.
        """
        run = self._run
        rows = Provenance.objects.filter(
            request=run.request,
            task_id=run.task.id,
            job_id=run.shard.job_id,
            kind=ObjectKind.SHAPE,
        ).values_list("object_id", "score", "fingerprint")
        made = {object_id: (score, stored) for object_id, score, stored in rows}
        for start in range(0, len(self._frames), FRAMES_A_READ):
            block = self._frames[start : start + FRAMES_A_READ]
            by_frame: dict[int, list[tuple[Shape, float]]] = {frame: [] for frame in block}
            data = run.engine.annotations(run.task.id, job_id=run.shard.job_id, frames=block)
            for shape in data.shapes:
                score, written = made.get(shape.id or 0, (0.0, None))
                if (
                    written == fingerprint(shape)
                    and shape.type in ASSOCIATED
                    and shape.frame in by_frame
                ):
                    by_frame[shape.frame].append((shape, score))
            yield from by_frame.items()

    def _to_track(self, chain: Sequence[Shape]) -> Track:
        mutable = self._run.mutable_attribute_ids
        return build_track(
            chain[0],
            {
                shape.frame: keyframe_of(
                    shape, frame=shape.frame, type=shape.type, points=shape.points, mutable=mutable
                )
                for shape in chain
            },
            frames=self._frames,
            end=self._run.frame_after(chain[-1].frame),
            mutable=mutable,
            tolerance_px=DEFAULT_TOLERANCE_PX,
        )


def _ids(shapes: Sequence[Shape]) -> list[int]:
    return [shape.id for shape in shapes if shape.id is not None]
