"""Writes results in batches, each in one transaction: shapes, outcomes, provenance, progress."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from django.db.models import F
from django.utils import timezone

from cvat_lambda import signals
from cvat_lambda.annotations.types import LabeledData
from cvat_lambda.conf import settings
from cvat_lambda.engine.port import Change, Written
from cvat_lambda.errors import EngineUnavailable, FunctionFailed, LambdaError, NotFound
from cvat_lambda.requests.run import checkpoint, replace
from cvat_lambda.requests.run.provenance import fingerprints_of_tracks, forget_removed, rows_of
from cvat_lambda.requests.run.results import FrameResult, Skips, Version, failed
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.store.bulk_rows import insert, strip_unstorable
from cvat_lambda.requests.store.database_retry import retry_on_database_error
from cvat_lambda.requests.store.models import (
    FrameStatus,
    FunctionVersion,
    Outcome,
    Provenance,
    Request,
)
from cvat_lambda.requests.store.notes import REDEPLOYED, StoredNotes, add_notes, stored_notes


class TooManyFailures(FunctionFailed):
    """More frames failed than the request allows."""

    code = "too_many_failures"


class Writer:
    """Writes a run's results. One thread uses it. ``wait(s)`` sleeps, and raises when aborted."""

    def __init__(self, run: ShardRun, wait: Callable[[float], None]) -> None:
        self._run = run
        self._wait = wait
        self._last_write = time.monotonic()
        self._rate = 0.0
        self._revisions: list[list[Any]] = []  # of the request, as last read

    def write(self, batch: Sequence[FrameResult]) -> None:
        """Write a batch; try again while the database does not answer.

        Raise LeaseLost, TooManyFailures, EngineUnavailable, TaskNotFound, JobNotFound.
        """
        batch = self._write_or_split(batch)
        for result in batch:
            if result.status == FrameStatus.FAILED:
                self._notify_failed(result)
        if any(result.status == FrameStatus.FAILED for result in batch):
            self._check_failure_rate()

    def _write_or_split(self, batch: Sequence[FrameResult]) -> list[FrameResult]:
        """Write a batch. Write the results one by one if the engine refuses the batch.

        A result that the engine refuses becomes a failed frame.
        """
        rest = list(batch)
        try:
            self._write_with_retries(rest)
            return list(batch)
        except (EngineUnavailable, NotFound):
            raise  # the whole task or job is deleted, or the engine is down
        except LambdaError as error:
            if len(batch) > 1:
                return [settled for result in batch for settled in self._write_or_split([result])]
            refused = failed(
                batch[0].frame,
                error,
                attempts=batch[0].attempts,
                duration_s=batch[0].duration_s or 0.0,
            )
            self._write_with_retries([refused])
            return [refused]

    def skip(self, skips: Skips) -> None:
        """Write the outcomes of frames that are not run. Raise as `write`."""
        rest = [
            FrameResult(frame=frame, status=FrameStatus.SKIPPED, code=reason)
            for frame, reason in skips.reasons.items()
        ]
        self._write_with_retries(rest)

    def _write_with_retries(self, rest: list[FrameResult]) -> None:
        """Write each result exactly once, even if the connection is lost during a commit."""
        again = False

        def attempt() -> None:
            nonlocal again
            if again:
                self._drop_written(rest)
            again = True
            self._write(rest)

        retry_on_database_error(attempt, wait=self._wait, request_id=self._run.request.id)

    def _drop_written(self, rest: list[FrameResult]) -> None:
        written = set(Outcome.objects.filter(shard=self._run.shard).values_list("frame", flat=True))
        rest[:] = [result for result in rest if result.frame not in written]

    def _write(self, batch: Sequence[FrameResult]) -> None:
        if not batch:
            return
        with self._run.engine.atomic():
            if self._run.params.only_unannotated:
                self._run.lease.fence()
                batch = self._without_annotated(batch)
            counts = Counter(result.status for result in batch)
            counted = {str(status): counts[status] for status in FrameStatus.values}
            self._run.lease.fence(**counted, rate=self._next_rate(len(batch) - counted["skipped"]))
            added = self._apply(batch)
            self._insert_outcomes(batch)
            if packs := [result.checkpoint for result in batch if result.checkpoint is not None]:
                checkpoint.save(self._run.shard, packs[-1]())
            dropped = sum(result.dropped for result in batch)
            changed = self._notes_and_revisions(batch)
            Request.objects.filter(pk=self._run.request.pk).update(
                shapes=F("shapes") + added,
                dropped=F("dropped") + dropped,
                **{name: F(name) + value for name, value in counted.items() if value},
                **changed,
            )
        self._revisions = changed.get("revisions", self._revisions)
        signals.frames_written.send_robust(
            sender=Writer,
            request_id=self._run.request.id,
            task_id=self._run.task.id,
            frames=tuple(result.frame for result in batch),
            counts=counted,
            shapes=added,
        )

    def _without_annotated(self, batch: Sequence[FrameResult]) -> list[FrameResult]:
        """Return the results, with frames that were annotated during the run as skipped."""
        run = self._run
        done = [result.frame for result in batch if result.status == FrameStatus.DONE]
        if not done:
            return list(batch)
        data = run.engine.annotations(run.task.id, job_id=run.shard.job_id, frames=done)
        annotated = {shape.frame for shape in data.shapes} | {tag.frame for tag in data.tags}
        for track in data.tracks:
            for part in (track, *track.elements):
                annotated.update(key.frame for key in part.shapes if not key.outside)
        return [
            FrameResult(
                frame=result.frame,
                status=FrameStatus.SKIPPED,
                code="annotated",
                attempts=result.attempts,
                duration_s=result.duration_s,
            )
            if result.status == FrameStatus.DONE and result.frame in annotated
            else result
            for result in batch
        ]

    def _apply(self, batch: Sequence[FrameResult]) -> int:
        run = self._run
        done = [result for result in batch if result.status == FrameStatus.DONE]
        frames = [result.frame for result in done]
        remove = replace.removal_on(run, frames)
        add = LabeledData(
            tags=tuple(chain.from_iterable(result.data.tags for result in done)),
            shapes=tuple(chain.from_iterable(result.data.shapes for result in done)),
            tracks=tuple(chain.from_iterable(result.data.tracks for result in done)),
        )
        replaces = run.params.replace != "none" and bool(done)
        if not add and not replaces:
            return 0
        written = run.engine.apply(
            Change(
                task_id=run.task.id,
                job_id=run.shard.job_id,
                frames=tuple(result.frame for result in done),
                remove=remove,
                add=add,
                user_id=run.request.owner_id,
            )
        )
        if replaces:
            forget_removed(written)
            replace.forget_merged_rectangles(run, frames)
        record_provenance(run, add, written, self._version_ids(done))
        return len(add.tags) + len(add.shapes) + len(add.tracks)

    def _version_ids(self, batch: Sequence[FrameResult]) -> dict[int, int]:
        """Return the row of the function's version for each frame."""
        used = {self._version_of(result) for result in batch}
        ids = {version: version_id(self._run.spec.id, version) for version in used}
        return {result.frame: ids[self._version_of(result)] for result in batch}

    def _insert_outcomes(self, batch: Sequence[FrameResult]) -> None:
        run = self._run
        now = timezone.now()
        version_ids = self._version_ids(batch)
        insert(
            Outcome,
            (
                {
                    "request_id": run.request.pk,
                    "shard_id": run.shard.pk,
                    "task_id": run.task.id,
                    "frame": result.frame,
                    "status": result.status,
                    "code": strip_unstorable(result.code)[:64],
                    "message": strip_unstorable(result.message),
                    "attempts": result.attempts,
                    "duration_ms": (
                        None if result.duration_s is None else round(result.duration_s * 1000)
                    ),
                    "version_id": version_ids[result.frame],
                    "notes": stored_notes(result.notes) or None,
                    "shapes": len(result.data.shapes) + len(result.data.tags),
                    "result": result.result,
                    "written_at": now,
                }
                for result in batch
            ),
        )

    def _notes_and_revisions(self, batch: Sequence[FrameResult]) -> dict[str, Any]:
        """Return the columns of the request that this batch's notes and versions change."""
        notes: StoredNotes = {}
        for result in batch:
            notes = add_notes(notes, stored_notes(result.notes))
        invoked = [result for result in batch if result.status != FrameStatus.SKIPPED]
        versions = [list(version) for version in dict.fromkeys(map(self._version_of, invoked))]
        if not notes and all(version in self._revisions for version in versions):
            return {}
        rows = Request.objects.select_for_update().filter(pk=self._run.request.pk)
        stored, revisions = rows.values_list("notes", "revisions").get()
        new = [version for version in versions if version not in revisions]
        if new and revisions:
            notes[REDEPLOYED] = {
                "count": len(new),
                "reason": "the function was deployed again while the request ran: the frames have "
                "results of several revisions",
            }
        found: dict[str, Any] = {
            "notes": add_notes(stored, notes),
            "revisions": [*revisions, *new],
        }
        if new and self._run.params.on_redeploy == "continue":
            found["function_version"], found["function_revision"] = new[-1]
        return found

    def _version_of(self, result: FrameResult) -> Version:
        spec = self._run.spec
        return result.version or Version(spec.version, spec.revision)

    def _next_rate(self, frames: int) -> float:
        """Return the rate in frames a second, smoothed over some batches."""
        now = time.monotonic()
        elapsed, self._last_write = now - self._last_write, now
        latest = frames / elapsed if elapsed > 0 else 0.0
        if frames:
            self._rate = latest if not self._rate else 0.6 * self._rate + 0.4 * latest
        return self._rate

    def _check_failure_rate(self) -> None:
        """Raise TooManyFailures if too many frames of the whole request failed."""
        counted = Request.objects.values("done", "failed").get(pk=self._run.request.pk)
        seen = counted["done"] + counted["failed"]
        limit = self._run.request.max_failure_rate
        limit = settings.MAX_FAILURE_RATE if limit is None else limit
        if seen < settings.MIN_FRAMES_FOR_FAILURE_RATE or counted["failed"] <= limit * seen:
            return
        raise TooManyFailures(
            f"{counted['failed']} of {seen} frames failed, more than the limit of {limit:.0%}: "
            f"stopped early. See the failed frames for the causes"
        )

    def _notify_failed(self, result: FrameResult) -> None:
        signals.frame_failed.send_robust(
            sender=Writer,
            request_id=self._run.request.id,
            task_id=self._run.task.id,
            frame=result.frame,
            code=result.code,
            message=result.message,
            attempts=result.attempts,
        )


def version_id(function_id: str, version: Version) -> int:
    """Return the id of the row of a function's version; insert a new version."""
    found, _ = FunctionVersion.objects.get_or_create(
        function_id=function_id, version=version.version, revision=version.revision
    )
    return int(found.pk)


def record_provenance(
    run: ShardRun,
    added: LabeledData,
    written: Written,
    version_ids: Mapping[int, int] | None = None,
) -> None:
    """Store which request made each annotation, in the transaction that made it.

    ``version_ids`` are the rows of the function's versions by frame; without them, all annotations
    are of the version that the run began with.
    """
    if version_ids is None:
        current = version_id(run.spec.id, Version(run.spec.version, run.spec.revision))
        version_ids = defaultdict(lambda: current)
    tracks = fingerprints_of_tracks(run.engine, run.task.id, written)
    insert(
        Provenance,
        (
            {
                "request_id": run.request.pk,
                "task_id": run.task.id,
                "job_id": run.shard.job_id,
                "frame": frame,
                "kind": made.kind,
                "object_id": made.object_id,
                "version_id": version_ids[frame],
                "score": score,
                "fingerprint": made.fingerprint,
            }
            for frame, score, made in rows_of(added, written, tracks)
        ),
    )
