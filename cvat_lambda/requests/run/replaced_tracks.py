"""Remove the tracks that a request replaces, when all frames of the task are done.

A track is replaced as a whole. A track that has frames outside the request is kept. So is a track
that was drawn after the request first ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db.models import Min, QuerySet

from cvat_lambda.annotations.types import Track
from cvat_lambda.engine.port import Change, Job, Removal
from cvat_lambda.requests.run.provenance import (
    MADE,
    Made,
    forget_removed,
    made_by_earlier_requests,
    split_edited,
)
from cvat_lambda.requests.run.shard_context import ShardRun
from cvat_lambda.requests.store.locks import lock_shards
from cvat_lambda.requests.store.models import LIVE, FrameStatus, ObjectKind, Outcome, Shard
from cvat_lambda.requests.store.params import Replace

FRAMES_A_READ = 256


def remove_replaced(run: ShardRun) -> None:
    """Remove the replaced tracks, if this is the last shard of the task to end.

    Call it first in the shard's last transaction. Raise LeaseLost.
    """
    policy = run.params.replace
    if policy == "none":
        return
    # The locks ensure that exactly one of the shards that end at once is the last.
    siblings = Shard.objects.filter(pk__in=lock_shards(**_layer(run)))
    run.lease.fence()
    if siblings.filter(status__in=LIVE).exclude(pk=run.shard.pk).exists():
        return
    newest = siblings.aggregate(first_look=Min("last_track_id"))["first_look"] or 0
    for job_id, found in _selected(run, _done_frames(siblings), newest=newest):
        written = run.engine.apply(
            Change(
                task_id=run.task.id,
                job_id=job_id,
                remove=Removal(policy="ids", track_ids=found),
                user_id=run.request.owner_id,
            )
        )
        forget_removed(written)


def count_replaced(run: ShardRun, done: Mapping[int | None, set[int]]) -> int:
    """Return how many tracks would be replaced if these frames were done, by job of their shard.

    Call it inside a transaction.
    """
    if run.params.replace == "none":
        return 0
    newest = run.engine.last_track_id(run.task.id)
    return sum(len(found) for _, found in _selected(run, done, newest=newest))


def _selected(
    run: ShardRun, done: Mapping[int | None, set[int]], *, newest: int
) -> Iterator[tuple[int | None, list[int]]]:
    """Yield the ids of the tracks that the policy replaces, by job; lock them."""
    policy = run.params.replace
    made = _made_earlier(run, policy)
    if policy == "function" and not made:
        return  # the usual case: no track has to be read
    labels = run.replaced_label_ids
    everywhere = set[int]().union(*done.values())
    for job_id, alone in done.items():
        # Frames that named jobs share are run by a shard of the whole task. They count for each of
        # these jobs. The other frames of the task belong to jobs that are not in the request.
        here = alone if job_id is None else everywhere
        found = [
            track.id
            for track in _tracks(run, job_id, here)
            if track.id is not None
            and track.id <= newest  # it was there when the request first ran
            and (labels is None or track.label_id in labels)
            and (policy != "function" or track.id in made)
            and (policy != "automatic" or track.source == "auto")
            and _span(run, job_id, track) <= here
        ]
        if policy != "all":
            found = _unedited(run, found, made)
        if found:
            yield job_id, found


def _layer(run: ShardRun) -> dict[str, Any]:
    """Return the filter for the shards that write to the same annotations as this one."""
    same = {
        "request_id": run.request.pk,
        "task_id": run.task.id,
        "private_annotations": run.shard.private_annotations,
    }
    return {**same, "job_id": run.shard.job_id} if run.shard.private_annotations else same


def _done_frames(shards: QuerySet[Shard]) -> dict[int | None, set[int]]:
    """Return the frames that are done, by the job of their shard (None: the whole task)."""
    jobs: dict[int, int | None] = dict(shards.order_by().values_list("pk", "job_id"))
    found: dict[int | None, set[int]] = {job_id: set() for job_id in jobs.values()}
    done = Outcome.objects.filter(shard__in=shards, status=FrameStatus.DONE)
    for shard_id, frame in done.values_list("shard_id", "frame"):
        found[jobs[shard_id]].add(frame)
    return found


def _made_earlier(run: ShardRun, policy: Replace) -> dict[int, Made]:
    """Return the tracks that earlier requests made, or for "function" those of the function."""
    function_id = run.spec.id if policy == "function" else None
    rows = made_by_earlier_requests(run.task, run.shard, function_id, run.params.roi)
    made = rows.filter(kind=ObjectKind.TRACK).values_list(*MADE)
    return {row[1]: Made(*row) for row in made}


def _unedited(run: ShardRun, track_ids: Sequence[int], made: Mapping[int, Made]) -> list[int]:
    """Lock tracks; return those that no person has edited since a request made them."""
    _, edited = split_edited(run.engine, run.task.id, [made[pk] for pk in track_ids if pk in made])
    kept = set(edited.track_ids)
    return [pk for pk in track_ids if pk not in kept]


def _tracks(run: ShardRun, job_id: int | None, done: set[int]) -> Iterator[Track]:
    """Yield each track with a keyframe on any of the frames, once.

    Tracks are read job by job: of two equal tracks in overlapping jobs, a task shows only one.
    """
    seen: set[int | None] = set()
    for job in _jobs(run, job_id):
        frames = sorted(done.intersection(job.frames))
        for start in range(0, len(frames), FRAMES_A_READ):
            some = frames[start : start + FRAMES_A_READ]
            for track in run.engine.tracks(run.task.id, job_id=job.id, frames=some):
                if track.id not in seen:
                    seen.add(track.id)
                    yield track


def _jobs(run: ShardRun, job_id: int | None) -> list[Job]:
    """Return the job, or for None the annotation jobs of the task."""
    return [
        job
        for job in run.task.jobs
        if (job_id is None and job.type == "annotation") or job.id == job_id
    ]


def _span(run: ShardRun, job_id: int | None, track: Track) -> set[int]:
    """Return the frames on which the track may be visible, without deleted ones."""
    keys = [*track.shapes, *(key for element in track.elements for key in element.shapes)]
    if not keys:
        return set()
    first, last = min(key.frame for key in keys), max(key.frame for key in keys)
    if not any(key.outside for key in keys if key.frame == last):
        last = max(last, _last_visible(run, job_id, first))
    hidden = run.task.deleted_frames
    return {frame for frame in range(first, last + 1) if frame not in hidden}


def _last_visible(run: ShardRun, job_id: int | None, first: int) -> int:
    """Return the last frame of the jobs that have the first frame of a track without an end."""
    jobs = _jobs(run, job_id)
    return max((max(job.frames) for job in jobs if first in job.frames), default=first)
