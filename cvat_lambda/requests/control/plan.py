"""Plan the shards of a request from its scope: a task, jobs, tasks, a project, or some frames.

A shard is a set of frames of one task. Its results are written to the whole task or to one job.
A frame that is shared by two named jobs is run once and written to both, if no other job has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from cvat_lambda.engine.port import Engine, Job, Task
from cvat_lambda.errors import FrameOutOfScope, InvalidRequest, JobNotFound, TaskNotFound
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.ranges import Ranges
from cvat_lambda.requests.store.tracking import Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestScope:
    """What a request annotates. Exactly one of the first five fields is set; `frames` limits it."""

    task_id: int | None = None
    job_id: int | None = None
    job_ids: tuple[int, ...] = ()
    project_id: int | None = None
    task_ids: tuple[int, ...] = ()
    frames: Ranges | None = None  # relative to the task, inclusive

    def __post_init__(self) -> None:
        named = [
            word
            for word, value in (
                ("task", self.task_id if self.job_id is None and not self.job_ids else None),
                ("job", self.job_id),
                ("jobs", self.job_ids or None),
                ("project", self.project_id),
                ("tasks", self.task_ids or None),
            )
            if value is not None
        ]
        if not named:
            raise InvalidRequest("name what to annotate: a task, a job, jobs, tasks or a project")
        if len(named) > 1:
            raise InvalidRequest(f"name only one of {', '.join(named)}")
        if self.frames is not None and named[0] in ("project", "tasks"):
            raise InvalidRequest("frames can be given for one task or its jobs, not for several")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """Frames of one task for one worker."""

    task_id: int
    job_id: int | None
    private_annotations: bool  # of a ground-truth job or replica, not of the task
    frames: Ranges
    after: int | None = None  # index of the shard whose tracked objects this one goes on with


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The shards of a request, and their tasks."""

    tasks: tuple[Task, ...]
    shards: tuple[PlannedShard, ...]

    @property
    def total(self) -> int:
        """The number of frames of all shards."""
        return sum(ranges.count(shard.frames) for shard in self.shards)


def plan(
    engine: Engine,
    scope: RequestScope,
    *,
    shard_frames: int = 0,
    by_job: bool = False,
    adds_tracks: bool = False,
    direction: Direction | None = None,
) -> Plan:
    """Return the shards of a scope.

    ``shard_frames`` > 0 splits longer shards, preferably where a job begins. ``by_job`` makes one
    shard of each job, for functions that merge the objects of a job into tracks.
    ``adds_tracks`` and ``by_job`` refuse tasks that take no tracks. With a ``direction``, objects
    are tracked: each named job is a shard, which goes on with the objects of its neighbour. Raise
    NotFound, FrameOutOfScope, InvalidRequest.
    """
    jobs = _named_jobs(engine, scope)
    tasks = _tasks(engine, [job.task_id for job in jobs]) if jobs else _named_tasks(engine, scope)
    if by_job or adds_tracks:
        tasks = _with_tracks(tasks, scope)
    shards: list[PlannedShard] = []
    for task in tasks:
        mine = [job for job in jobs if job.task_id == task.id]
        if by_job and not mine:
            mine = [job for job in task.jobs if job.type == "annotation"]
        if by_job or (mine and direction is not None):
            found = _shards_by_job(task, mine)
        else:
            found = _job_shards(task, mine) if mine else _task_shard(task)
        for shard in _limited(task, found, scope.frames):
            shards += _pieces(task, shard, shard_frames)
    if direction is not None:
        shards = _chained(shards, direction)
    if not shards:
        raise InvalidRequest("the scope has no frames to annotate")
    return Plan(tasks=tuple(tasks), shards=tuple(shards))


def _named_jobs(engine: Engine, scope: RequestScope) -> list[Job]:
    ids = scope.job_ids if scope.job_id is None else (scope.job_id,)
    found = engine.jobs(ids)
    for job_id in ids:
        if job_id not in found:
            raise JobNotFound(f"job #{job_id} was not found")
    jobs = [found[job_id] for job_id in dict.fromkeys(ids)]
    for job in jobs:
        if scope.task_id is not None and job.task_id != scope.task_id:
            raise InvalidRequest(f"job {job.id} is not a job of task {scope.task_id}")
    if scope.frames is not None and len({job.task_id for job in jobs}) > 1:
        raise InvalidRequest("frames can be given for jobs of one task only")
    return jobs


def _named_tasks(engine: Engine, scope: RequestScope) -> list[Task]:
    if scope.project_id is not None:
        tasks = _tasks(engine, engine.project_task_ids(scope.project_id))
        # Leave out tasks without data and point clouds; run the other tasks of the project.
        return [task for task in tasks if task.size > 0 and task.dimension == "2d"]
    ids = scope.task_ids if scope.task_id is None else (scope.task_id,)
    return [_usable(task) for task in _tasks(engine, ids)]


def _tasks(engine: Engine, task_ids: Sequence[int]) -> list[Task]:
    found = engine.tasks(task_ids)
    for task_id in task_ids:
        if task_id not in found:
            raise TaskNotFound(f"task #{task_id} was not found")
    return [found[task_id] for task_id in dict.fromkeys(task_ids)]


def _usable(task: Task) -> Task:
    if task.dimension != "2d":
        raise InvalidRequest(f"task {task.id} is a 3D task: functions work on images and video")
    if task.size == 0:
        raise InvalidRequest(f"task {task.id} has no frames yet: upload its data first")
    return task


def _with_tracks(tasks: Sequence[Task], scope: RequestScope) -> list[Task]:
    """Return the tasks that take tracks. Raise InvalidRequest for others, except in a project."""
    for task in tasks:
        if not task.takes_tracks and scope.project_id is None:
            raise InvalidRequest(f"task {task.id} has honeypots and takes no tracks")
    return [task for task in tasks if task.takes_tracks]


def _task_shard(task: Task) -> list[PlannedShard]:
    # Frames of the validation pool are run only for a ground-truth job.
    whole = ranges.subtract(((0, task.size - 1),), ranges.compress(task.validation_frames))
    return [PlannedShard(task_id=task.id, job_id=None, private_annotations=False, frames=whole)]


def _shards_by_job(task: Task, jobs: Sequence[Job]) -> list[PlannedShard]:
    """Return a shard for each job, or for each group of jobs whose shared frames are stored once.

    If two shards merged the objects on a shared frame, the second one would not find them.
    """
    _usable(task)
    groups: list[list[Job]] = []
    end = -1  # the last frame of the group
    for job in sorted(jobs, key=lambda job: (job.type != "annotation", min(job.frames, default=0))):
        joins = task.stores_shared_frames_once and job.type == "annotation" and groups
        if joins and min(job.frames, default=0) <= end:
            groups[-1].append(job)
        else:
            groups.append([job])
            end = -1
        end = max(end, *job.frames)
    return [
        PlannedShard(
            task_id=task.id,
            job_id=group[0].id if len(group) == 1 else None,
            private_annotations=group[0].type != "annotation",
            frames=ranges.compress(frame for job in group for frame in job.frames),
        )
        for group in groups
    ]


def _chained(shards: Sequence[PlannedShard], direction: Direction) -> list[PlannedShard]:
    """Let each shard of a task go on with the objects of the shard that adjoins it."""
    chained = list(shards)
    for index, (shard, following) in enumerate(pairwise(shards)):
        if (
            shard.task_id != following.task_id
            or shard.private_annotations
            or following.private_annotations
        ):
            continue
        if direction == "both":
            raise InvalidRequest(
                "direction 'both' works on a task or on one job: name one of the jobs"
            )
        if following.frames[0][0] > shard.frames[-1][1] + 1:
            continue
        if direction == "forward":
            chained[index + 1] = replace(following, after=index)
        else:
            chained[index] = replace(chained[index], after=index + 1)
    return chained


def _job_shards(task: Task, named: Sequence[Job]) -> list[PlannedShard]:
    _usable(task)
    ordinary = [job for job in named if job.type == "annotation"]
    shared = _shared_frames(task, ordinary)
    shards = [
        PlannedShard(
            task_id=task.id,
            job_id=job.id,
            private_annotations=job.type != "annotation",
            frames=ranges.subtract(
                ranges.compress(job.frames), shared if job.type == "annotation" else ()
            ),
        )
        for job in named
    ]
    if shared:
        shards.append(
            PlannedShard(task_id=task.id, job_id=None, private_annotations=False, frames=shared)
        )
    return [shard for shard in shards if shard.frames]


def _shared_frames(task: Task, named: Sequence[Job]) -> Ranges:
    """Return frames that two or more of the named jobs have and no other job of the task has."""
    if len(named) < 2:
        return ()
    seen: Ranges = ()
    shared: Ranges = ()
    for job in named:
        frames = ranges.compress(job.frames)
        shared = ranges.normalize((*shared, *ranges.intersect(seen, frames)))
        seen = ranges.normalize((*seen, *frames))
    if not shared:
        return ()
    ids = {job.id for job in named}
    for job in task.jobs:
        if job.type == "annotation" and job.id not in ids:
            shared = ranges.subtract(shared, ranges.compress(job.frames))
    return shared


def _limited(
    task: Task, shards: Iterable[PlannedShard], wanted: Ranges | None
) -> list[PlannedShard]:
    if wanted is None:
        return list(shards)
    wanted = ranges.normalize(wanted)
    if not wanted or wanted[0][0] < 0 or wanted[-1][1] >= task.size:
        raise FrameOutOfScope(f"task {task.id} has frames 0 to {task.size - 1}")
    kept = [
        PlannedShard(
            task_id=shard.task_id,
            job_id=shard.job_id,
            private_annotations=shard.private_annotations,
            frames=ranges.intersect(shard.frames, wanted),
        )
        for shard in shards
    ]
    return [shard for shard in kept if shard.frames]


def _pieces(task: Task, shard: PlannedShard, size: int) -> list[PlannedShard]:
    """Split a shard where jobs begin, and inside a job only if the job is longer than ``size``."""
    if size <= 0 or ranges.count(shard.frames) <= size:
        return [shard]
    return [
        PlannedShard(
            task_id=shard.task_id,
            job_id=shard.job_id,
            private_annotations=shard.private_annotations,
            frames=frames,
        )
        for frames in _packed(_segments(task, shard), size)
    ]


def _segments(task: Task, shard: PlannedShard) -> list[Ranges]:
    # Frames of two overlapping jobs belong to the later one.
    jobs = task.jobs if shard.job_id is None else ()
    starts = [job.frames[0] for job in jobs if job.type == "annotation" and len(job.frames) > 0]
    return ranges.cut(shard.frames, starts)


def _packed(segments: Iterable[Ranges], size: int) -> list[Ranges]:
    """Join neighbouring segments up to ``size`` frames; split longer segments."""
    pieces: list[Ranges] = []
    room = 0
    for segment in segments:
        length = ranges.count(segment)
        if length <= room:
            pieces[-1] = ranges.normalize((*pieces[-1], *segment))
            room -= length
        else:
            pieces += ranges.split(segment, size)
            room = max(0, size - length)
    return pieces
