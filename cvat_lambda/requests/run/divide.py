"""Divide a running shard: its last frames, which are not read yet, become a shard of their own."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence

from django.db import transaction
from django.db.models import F, Max

from cvat_lambda.engine.port import Frame, UnreadableFrame
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.store import queue, ranges
from cvat_lambda.requests.store.database_clock import db_now_expression
from cvat_lambda.requests.store.database_retry import retry_on_database_error
from cvat_lambda.requests.store.models import Request, Shard, Status


class FrameCursor:
    """The frames that a run has yet to read. The reader takes the first one, helpers the last ones.

    No frame is both read and given away, because both happen under one lock.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers  # ascending
        self._next = 0  # index of the next frame that the reader takes
        self._end = len(numbers)  # index after the last frame that is not given away
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """The number of frames that the reader took."""
        return self._next

    @property
    def remaining(self) -> int:
        """The number of frames that are neither read nor given away."""
        return self._end - self._next

    def limit(
        self, frames: Iterator[Frame | UnreadableFrame]
    ) -> Generator[Frame | UnreadableFrame, None, None]:
        """Yield the frames of the reader, up to the first one that is given away."""
        for frame in frames:
            with self._lock:
                index = bisect_left(self._numbers, frame.number)
                if index >= self._end:
                    return
                self._next = index + 1
            yield frame

    def give(self, count: int, store: Callable[[Sequence[int]], None]) -> bool:
        """Give the last frames away: ``store`` receives their numbers.

        Return False, and give nothing, if fewer frames remain. If ``store`` raises, nothing is
        given away; the run must then end, because its frames are not known for certain.
        """
        with self._lock:
            if not 0 < count <= self.remaining:
                return False
            store(self._numbers[self._end - count : self._end])
            self._end -= count
            return True


def split_off(run: ShardRun, frames: Sequence[int]) -> int:
    """Move unread frames of a running shard to a new, queued shard. Return its id.

    Only the caller knows of the new shard. If nobody claims it, recovery sends it to the queue.
    Raise LeaseLost, Cancelled, EngineUnavailable.
    """
    job_id = ""
    found: list[int] = []

    def attempt() -> None:
        nonlocal job_id
        if job_id:  # the answer to the COMMIT of an earlier attempt may be lost
            found.extend(Shard.objects.filter(rq_job_id=job_id).values_list("pk", flat=True))
        if not found:
            job_id = queue.new_job_id(run.request.pk, "part")
            found.append(_split_off(run, frames, job_id))

    retry_on_database_error(attempt, wait=run.cancel.wait, request_id=run.request.pk)
    return found[0]


def _split_off(run: ShardRun, frames: Sequence[int], job_id: str) -> int:
    with transaction.atomic():
        run.lease.fence()
        shard = Shard.objects.get(pk=run.lease.shard_id)
        given = ranges.compress(frames)
        kept = ranges.subtract(ranges.normalize(shard.frames), given)
        # Another shard of the request may be divided at the same time.
        Request.objects.select_for_update().get(pk=shard.request_id)
        siblings = Shard.objects.filter(request_id=shard.request_id)
        new = Shard.objects.create(
            request_id=shard.request_id,
            index=siblings.aggregate(last=Max("index"))["last"] + 1,
            task_id=shard.task_id,
            job_id=shard.job_id,
            private_annotations=shard.private_annotations,
            frames=[list(pair) for pair in given],
            first_frame=given[0][0],
            last_frame=given[-1][1],
            total=len(frames),
            last_track_id=shard.last_track_id,
            status=Status.QUEUED,
            rq_job_id=job_id,
            enqueued_at=db_now_expression(),
        )
        Shard.objects.filter(pk=shard.pk).update(
            frames=[list(pair) for pair in kept],
            first_frame=kept[0][0],
            last_frame=kept[-1][1],
            total=F("total") - len(frames),
        )
    return int(new.pk)
