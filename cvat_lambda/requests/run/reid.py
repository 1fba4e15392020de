"""Run a ReID function: merge the rectangles of neighbouring frames into tracks.

The outcome of a frame stores which of its rectangles were recognised on the next frame, so that a
run can be resumed. When all frames have an outcome, the rectangles are merged as they are then. A
rectangle that somebody changed or deleted meanwhile is left alone, and its track ends before it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from django.db.models import F

from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.fingerprint import fingerprint
from cvat_lambda.annotations.reid_answer import check_reid_answer
from cvat_lambda.annotations.track_linking import Linked, Linker, boxes_to_json, rectangles_by_frame
from cvat_lambda.annotations.types import LabeledData, Shape
from cvat_lambda.engine.port import Change, Frame, Job, Removal, UnreadableFrame
from cvat_lambda.errors import FunctionAnswerInvalid
from cvat_lambda.gateway.payload import encode_payload
from cvat_lambda.images.resize import ResizedImage, resize
from cvat_lambda.requests.run import merged_rectangles
from cvat_lambda.requests.run.provenance import lock_unchanged
from cvat_lambda.requests.run.results import (
    EncodedUnit,
    FrameResult,
    ReaderItem,
    SingleInvocationWork,
    Unit,
    UnitAnswer,
    failed,
)
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.run.writer import record_provenance
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.models import FrameStatus, Outcome, Request

FRAMES_A_READ = 256


class ReidWork(SingleInvocationWork):
    """Sends one pair of neighbouring frames per invocation; the outcome is of the first frame."""

    def __init__(self, run: ShardRun) -> None:
        self._run = run
        self._hidden = run.task.deleted_frames
        self._all = self._shown(ranges.expand(run.shard.frames))
        self._open = frozenset(run.frames)
        self._boxes: dict[int, tuple[Shape, ...]] = {}
        self._prepared: Linked | None = None

    def _shown(self, frames: Iterable[int]) -> list[int]:
        return [frame for frame in frames if frame not in self._hidden]

    def numbers(self) -> Iterator[int]:
        """Return both frames of every pair without an outcome."""
        wanted = {frame for pair in pairwise(self._all) if pair[0] in self._open for frame in pair}
        return iter(sorted(wanted))

    def units(self, frames: Iterator[Frame | UnreadableFrame]) -> Generator[ReaderItem, None, None]:
        """Yield pairs with rectangles on both frames; the other frames need no invocation."""
        after = dict(pairwise(self._all))
        before: Frame | UnreadableFrame | None = None
        for number in self._all[-1:]:
            if number in self._open:
                yield _done(number)
        for frame in frames:
            if before is not None and after.get(before.number) == frame.number:
                yield from self._pair(before, frame)
            before = frame

    def _pair(
        self, first: Frame | UnreadableFrame, second: Frame | UnreadableFrame
    ) -> Iterator[ReaderItem]:
        if first.number not in self._open:
            return
        boxes0, boxes1 = self._rectangles(first.number), self._rectangles(second.number)
        if not boxes0 or not boxes1:
            yield _done(first.number)
            return
        for side in (first, second):
            if isinstance(side, UnreadableFrame):
                yield failed(first.number, side.error, attempts=0, duration_s=0.0)
                return
        if isinstance(first, Frame) and isinstance(second, Frame):
            yield Unit(frames=(first, second), numbers=(first.number,), context=(boxes0, boxes1))

    def _rectangles(self, frame: int) -> tuple[Shape, ...]:
        """Return the rectangles of a frame; they are read for `FRAMES_A_READ` frames at once."""
        if frame not in self._boxes:
            start = self._all.index(frame)
            chunk = self._all[start : start + FRAMES_A_READ]
            data = self._run.engine.annotations(
                self._run.task.id, job_id=self._run.shard.job_id, frames=chunk
            )
            self._boxes = rectangles_by_frame(data.shapes, chunk)
        return self._boxes[frame]

    def prepare(self, unit: Unit) -> EncodedUnit:
        """Send ``image0``, ``boxes0``, ``image1``, ``boxes1``, and the thresholds if given."""
        first, second = (resize(frame.data, self._run.spec) for frame in unit.frames)
        fields: dict[str, Any] = {
            "boxes0": _scaled(boxes_to_json(unit.context[0]), first),
            "boxes1": _scaled(boxes_to_json(unit.context[1]), second),
        }
        if self._run.params.threshold is not None:
            fields["threshold"] = self._run.params.threshold
        if self._run.params.max_distance is not None:
            fields["max_distance"] = self._run.params.max_distance * first.placement.scale[0]
        images = {"image0": first.data, "image1": second.data}
        body = encode_payload(fields, images, binary=self._run.spec.binary)
        return EncodedUnit(body=body, images=(first, second))

    def results(self, unit: Unit, sent: EncodedUnit, answered: UnitAnswer) -> list[FrameResult]:
        """Store the links from rectangles of the first frame to the second, with fingerprints."""
        boxes0, boxes1 = unit.context
        try:
            matching = check_reid_answer(answered.answer, len(boxes0), len(boxes1))
        except AnswerError as exc:
            raise FunctionAnswerInvalid(
                f"{self._run.function_name}, frame {unit.numbers[0]}: {exc.message}"
            ) from exc
        links = [
            [box.id, fingerprint(box), boxes1[index].id, fingerprint(boxes1[index])]
            for box, index in zip(boxes0, matching, strict=True)
            if index >= 0
        ]
        return [
            FrameResult(
                frame=unit.numbers[0],
                status=FrameStatus.DONE,
                attempts=answered.attempts,
                duration_s=answered.duration_s,
                result={"links": links},
            )
        ]

    def parts(self, unit: Unit) -> list[Unit]:
        """Return the pair: it cannot be split."""
        return [unit]

    def prepare_finish(self, check: Callable[[], None]) -> None:
        """Merge the rectangles as they are now; this may take seconds."""
        self._prepared = self._link(check)

    def finish(self) -> None:
        """Replace the rectangles by tracks, inside the shard's last transaction."""
        run = self._run
        run.lease.fence()
        # `prepare_finish` merged them outside the transaction. If somebody changed one of them
        # since, they are merged again, now under the lock.
        linked = self._link() if self._prepared is None else self._prepared
        while not lock_unchanged(run.engine, run.task.id, linked.joined):
            linked = self._link()
        if not linked.tracks:
            return
        added = LabeledData(tracks=linked.tracks)
        written = run.engine.apply(
            Change(
                task_id=run.task.id,
                job_id=run.shard.job_id,
                frames=tuple(sorted({shape.frame for shape in linked.joined})),
                remove=Removal(
                    policy="ids",
                    shape_ids=[shape.id for shape in linked.joined if shape.id is not None],
                ),
                add=added,
                user_id=run.request.owner_id,
            )
        )
        track_ids = (
            ids[0]  # a rectangle is one visible keyframe of its track
            for track, ids in zip(linked.tracks, written.track_ids, strict=True)
            for key in track.shapes
            if not key.outside
        )
        merged_rectangles.remember(run, zip(linked.joined, track_ids, strict=True))
        record_provenance(run, added, written)
        Request.objects.filter(pk=run.request.pk).update(shapes=F("shapes") + len(linked.tracks))

    def _last_frame(self) -> int:
        """Return the last frame of the job: a track without an end would be visible until there.

        A request for some frames of a job must end its tracks on the frame after them.
        """
        last = self._all[-1] if self._all else 0
        for job in self._run.task.jobs:
            if job.id == self._run.shard.job_id or self._is_in_group(job):
                last = max([last, *self._shown(job.frames)])
        return last

    def _is_in_group(self, job: Job) -> bool:
        """Return whether a job is one of several overlapping ones that the shard is for."""
        if self._run.shard.job_id is not None or job.type != "annotation":
            return False
        return not set(self._all).isdisjoint(job.frames)

    def _link(self, check: Callable[[], None] = lambda: None) -> Linked:
        """Merge the rectangles as they are now. ``check`` may raise to stop it."""
        run = self._run
        outcomes = Outcome.objects.filter(shard=run.shard, status=FrameStatus.DONE)
        links = {
            frame: result["links"]
            for frame, result in outcomes.values_list("frame", "result")
            if result and result.get("links")
        }
        linker = Linker(
            last_frame=self._last_frame(),
            mutable_attributes=self._run.mutable_attribute_ids,
            deleted_frames=self._run.task.deleted_frames,
        )
        previous: int | None = None
        for frame, shapes in self._now():
            check()
            matching = (
                None
                if previous is None
                else _matching(linker.current, shapes, links.get(previous, ()))
            )
            linker.feed(shapes, matching)
            previous = frame
        return linker.finish()

    def _now(self) -> Iterator[tuple[int, tuple[Shape, ...]]]:
        for start in range(0, len(self._all), FRAMES_A_READ):
            chunk = self._all[start : start + FRAMES_A_READ]
            data = self._run.engine.annotations(
                self._run.task.id, job_id=self._run.shard.job_id, frames=chunk
            )
            yield from rectangles_by_frame(data.shapes, chunk).items()


def _scaled(boxes: list[dict[str, Any]], image: ResizedImage) -> list[dict[str, Any]]:
    """Return the boxes in coordinates of the image that is sent."""
    if not image.placement.is_scaled:
        return boxes
    return [{**box, "points": image.placement.to_image(box["points"])} for box in boxes]


def _done(frame: int) -> FrameResult:
    return FrameResult(frame=frame, status=FrameStatus.DONE)


def _matching(
    before: Sequence[Shape], after: Sequence[Shape], links: Iterable[Sequence[Any]]
) -> list[int]:
    """Return the links as indices, for rectangles that are unchanged since the invocation."""
    place = {(shape.id, fingerprint(shape)): index for index, shape in enumerate(after)}
    known: dict[tuple[int | None, int], int] = {
        (id0, look0): place.get((id1, look1), -1) for id0, look0, id1, look1 in links
    }
    return [known.get((shape.id, fingerprint(shape)), -1) for shape in before]
