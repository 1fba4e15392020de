"""Whole tracks that a replacement policy replaces: gone at the end, when all their frames are done.

A track cannot be replaced frame by frame, and one that reaches beyond the request stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from cvat_lambda.annotations.types import Track
from cvat_lambda.engine.port import Change, Removal
from cvat_lambda.requests.models import LIVE, FrameStatus, ObjectKind, Outcome, Request, Shard
from cvat_lambda.requests.replace import made_before
from cvat_lambda.requests.run import Run

FRAMES_A_READ = 256


def remove_replaced(run: Run) -> None:
    """Remove them, with the last shard of the task; inside the shard's last transaction.

    Raise LeaseLost.
    """
    policy = run.params.replace
    if policy == "none":
        return
    run.lease.fence()
    # Shards that end at the same moment take turns, so that exactly one is the last.
    Request.objects.select_for_update().get(pk=run.request.pk)
    siblings = Shard.objects.filter(
        request_id=run.request.pk, task_id=run.task.id, job_id=run.shard.job_id
    )
    if siblings.filter(status__in=LIVE).exclude(pk=run.shard.pk).exists():
        return
    done = set(
        Outcome.objects.filter(shard__in=siblings, status=FrameStatus.DONE).values_list(
            "frame", flat=True
        )
    )
    ids = _made_by_function(run) if policy == "function" else None
    found = [
        track.id
        for track in _tracks(run, sorted(done))
        if track.id is not None
        and (ids is None or track.id in ids)
        and (policy != "automatic" or track.source == "auto")
        and _span(run, track) <= done
    ]
    if found:
        run.engine.apply(
            Change(
                task_id=run.task.id,
                job_id=run.shard.job_id,
                remove=Removal(policy="ids", track_ids=found),
                user_id=run.request.owner_id,
            )
        )


def _made_by_function(run: Run) -> set[int]:
    rows = made_before(run.spec.id, task=run.task, shard=run.shard)
    return set(rows.filter(kind=ObjectKind.TRACK).values_list("object_id", flat=True))


def _tracks(run: Run, frames: list[int]) -> Iterator[Track]:
    """Each track with a key frame on any of the frames, once; little is read at a time."""
    seen: set[int | None] = set()
    for start in range(0, len(frames), FRAMES_A_READ):
        found = run.engine.tracks(
            run.task.id, job_id=run.shard.job_id, frames=frames[start : start + FRAMES_A_READ]
        )
        for track in found:
            if track.id not in seen:
                seen.add(track.id)
                yield track


def _span(run: Run, track: Track) -> set[int]:
    """Frames on which the track may be seen, less those that nobody annotates."""
    keys = [*track.shapes, *(key for element in track.elements for key in element.shapes)]
    if not keys:
        return set()
    first, last = min(key.frame for key in keys), max(key.frame for key in keys)
    if not any(key.outside for key in keys if key.frame == last):
        last = max(last, _last_visible(run, first))
    hidden = run.task.deleted_frames | run.task.placeholder_frames
    return {frame for frame in range(first, last + 1) if frame not in hidden}


def _last_visible(run: Run, first: int) -> int:
    """The last frame of the jobs that hold a track which begins there and does not end."""
    jobs = [
        job
        for job in run.task.jobs
        if (run.shard.job_id is None and job.type == "annotation") or job.id == run.shard.job_id
    ]
    return max((max(job.frames) for job in jobs if first in job.frames), default=first)
