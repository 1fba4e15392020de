"""The shards of a scope."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from cvat_lambda.engine.port import Engine, Job, Task
from cvat_lambda.errors import FrameOutOfScope, InvalidRequest, JobNotFound, TaskNotFound
from cvat_lambda.requests.control.plan import RequestScope, plan
from cvat_lambda.requests.run.shard_context import skipped_frames
from cvat_lambda.requests.store.ranges import Ranges

JOBS = (
    Job(id=10, task_id=1, frames=range(6)),
    Job(id=11, task_id=1, frames=range(4, 10)),
    Job(id=12, task_id=1, type="ground_truth", frames=(2, 5)),
    Job(id=13, task_id=1, type="consensus_replica", frames=range(6)),
)
TASK = Task(id=1, name="street", size=10, jobs=JOBS)
POOL = Task(
    id=2,
    name="with a pool of validation frames",
    size=8,
    validation_frames=frozenset({6, 7}),
    deleted_frames=frozenset({1, 3}),
    takes_tracks=False,
    jobs=(
        Job(id=20, task_id=2, frames=range(6)),
        Job(id=21, task_id=2, type="ground_truth", frames=(6, 7)),
    ),
)
EMPTY = Task(id=3, name="empty", size=0)
CLOUD = Task(id=4, name="points", size=4, dimension="3d")


@dataclass
class Facts:
    """The methods of an engine that planning calls."""

    known: Sequence[Task] = ()

    def tasks(self, task_ids: Collection[int]) -> dict[int, Task]:
        known = self.known or (TASK, POOL, EMPTY, CLOUD, SEGMENTS)
        return {task.id: task for task in known if task.id in task_ids}

    def jobs(self, job_ids: Collection[int]) -> dict[int, Job]:
        jobs = (*TASK.jobs, *POOL.jobs, *SEGMENTS.jobs)
        return {job.id: job for job in jobs if job.id in job_ids}

    def project_task_ids(self, project_id: int) -> list[int]:
        return [1, 2, 3, 4]


def shards(
    scope: RequestScope, *, known: Sequence[Task] = (), **options: Any
) -> list[tuple[int, int | None, bool, Ranges]]:
    """Return of each shard: task, job, whether it has private annotations, and frames."""
    found = plan(cast(Engine, Facts(known)), scope, **options).shards
    return [
        (shard.task_id, shard.job_id, shard.private_annotations, shard.frames) for shard in found
    ]


@pytest.mark.parametrize(
    ("scope", "wanted"),
    [
        (RequestScope(task_id=1), [(1, None, False, ((0, 9),))]),
        (RequestScope(job_id=10), [(1, 10, False, ((0, 5),))]),
        (RequestScope(task_id=1, job_id=10), [(1, 10, False, ((0, 5),))]),
        # frames that two named jobs share are written to both at once
        (
            RequestScope(job_ids=(10, 11)),
            [
                (1, 10, False, ((0, 3),)),
                (1, 11, False, ((6, 9),)),
                (1, None, False, ((4, 5),)),
            ],
        ),
        (RequestScope(job_ids=(10, 10)), [(1, 10, False, ((0, 5),))]),
        # ground-truth jobs and replicas have their own annotations, and run only if named
        (RequestScope(job_id=12), [(1, 12, True, ((2, 2), (5, 5)))]),
        (
            RequestScope(job_ids=(10, 13)),
            [(1, 10, False, ((0, 5),)), (1, 13, True, ((0, 5),))],
        ),
        # frames at the end that only ground-truth jobs have belong to these jobs
        (RequestScope(task_id=2), [(2, None, False, ((0, 5),))]),
        (RequestScope(job_id=21), [(2, 21, True, ((6, 7),))]),
        (RequestScope(task_id=1, frames=((2, 3), (8, 9))), [(1, None, False, ((2, 3), (8, 9)))]),
        (RequestScope(job_id=11, frames=((0, 4),)), [(1, 11, False, ((4, 4),))]),
        # empty tasks and point clouds of a project are skipped
        (
            RequestScope(project_id=5),
            [(1, None, False, ((0, 9),)), (2, None, False, ((0, 5),))],
        ),
    ],
)
def test_scope_is_planned_as_the_expected_shards(scope: RequestScope, wanted: list[Any]) -> None:
    assert shards(scope) == wanted


def test_long_job_is_split_into_equal_shards() -> None:
    assert [shard[3] for shard in shards(RequestScope(job_id=10), shard_frames=4)] == [
        ((0, 2),),
        ((3, 5),),
    ]


SEGMENTS = Task(
    id=5,
    name="of three jobs",
    size=20,
    jobs=(
        Job(id=50, task_id=5, frames=range(4)),
        Job(id=51, task_id=5, frames=range(4, 8)),
        Job(id=52, task_id=5, frames=range(8, 20)),
        Job(id=53, task_id=5, type="ground_truth", frames=(2, 5)),
        Job(id=54, task_id=5, type="consensus_replica", frames=range(1, 20)),
    ),
)


@pytest.mark.parametrize(
    ("scope", "size", "pieces"),
    [
        # two short jobs fit together, the long one is split evenly
        (RequestScope(task_id=5), 10, [((0, 7),), ((8, 13),), ((14, 19),)]),
        # a job that does not fit into the shard of its neighbour is not split
        (RequestScope(task_id=5), 6, [((0, 3),), ((4, 7),), ((8, 13),), ((14, 19),)]),
        (RequestScope(task_id=5), 12, [((0, 7),), ((8, 19),)]),
        (RequestScope(task_id=5), 3, [((0, 1),), ((2, 3),), ((4, 5),), ((6, 7),),
                               ((8, 10),), ((11, 13),), ((14, 16),), ((17, 19),)]),
        (RequestScope(task_id=5), 20, [((0, 19),)]),
        (RequestScope(task_id=5), 0, [((0, 19),)]),
        (
            RequestScope(task_id=5, frames=((2, 5), (7, 9))),
            4,
            [((2, 3),), ((4, 5), (7, 7)), ((8, 9),)],
        ),
        (RequestScope(job_id=52), 8, [((8, 13),), ((14, 19),)]),
        # shared frames of overlapping jobs go to the later job
        (RequestScope(task_id=1), 6, [((0, 3),), ((4, 9),)]),
    ],
)  # fmt: skip
def test_shards_are_split_at_the_first_frames_of_jobs(
    scope: RequestScope, size: int, pieces: list[Any]
) -> None:
    assert [shard[3] for shard in shards(scope, shard_frames=size)] == pieces


def test_overlapping_jobs_share_a_shard_if_shared_frames_are_stored_once() -> None:
    jobs = tuple(
        Job(id=number, task_id=70, frames=range(first, first + 4))
        for number, first in ((71, 0), (72, 2), (73, 6), (74, 10))
    )
    task = Task(id=70, name="", size=14, jobs=jobs, stores_shared_frames_once=True)
    scope = RequestScope(task_id=70)
    assert shards(scope, known=[task], by_job=True) == [
        (70, None, False, ((0, 5),)),
        (70, 73, False, ((6, 9),)),
        (70, 74, False, ((10, 13),)),
    ]
    apart = replace(task, stores_shared_frames_once=False)
    assert [shard[1] for shard in shards(scope, known=[apart], by_job=True)] == [71, 72, 73, 74]


def test_each_job_has_its_own_shard_with_by_job() -> None:
    assert shards(RequestScope(task_id=1), by_job=True) == [
        (1, 10, False, ((0, 5),)),
        (1, 11, False, ((4, 9),)),
    ]


@pytest.mark.parametrize(
    ("named", "error", "sentence"),
    [
        ({}, InvalidRequest, "name what to annotate"),
        ({"task_id": 1, "project_id": 1}, InvalidRequest, "only one of task, project"),
        ({"job_id": 10, "job_ids": (11,)}, InvalidRequest, "only one of job, jobs"),
        ({"project_id": 1, "frames": ((0, 1),)}, InvalidRequest, "not for several"),
        ({"task_id": 2, "job_id": 10}, InvalidRequest, "job 10 is not a job of task 2"),
        ({"task_id": 3}, InvalidRequest, "no frames yet"),
        ({"task_id": 4}, InvalidRequest, "3D"),
        ({"task_id": 1, "frames": ((0, 10),)}, FrameOutOfScope, "frames 0 to 9"),
        ({"task_id": 1, "frames": ((-1, 2),)}, FrameOutOfScope, "frames 0 to 9"),
        ({"job_id": 10, "frames": ((8, 9),)}, InvalidRequest, "no frames to annotate"),
        ({"task_ids": (1, 9)}, TaskNotFound, "task #9"),
        ({"job_ids": (10, 99)}, JobNotFound, "job #99"),
        ({"job_ids": (10, 20), "frames": ((0, 1),)}, InvalidRequest, "one task only"),
    ],
)
def test_invalid_scope_is_refused(
    named: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        plan(cast(Engine, Facts()), RequestScope(**named))


@pytest.mark.parametrize(
    "scope", [RequestScope(task_id=2), RequestScope(job_id=20), RequestScope(job_id=21)]
)
def test_task_without_tracks_is_refused_for_a_request_that_creates_tracks(
    scope: RequestScope,
) -> None:
    assert shards(scope) != []
    with pytest.raises(InvalidRequest, match="task 2 has honeypots and takes no tracks"):
        shards(scope, by_job=True)


def test_task_without_tracks_is_left_out_of_a_project() -> None:
    assert {task for task, *_ in shards(RequestScope(project_id=1), by_job=True)} == {1}


def test_skipped_frames_have_their_reasons() -> None:
    assert skipped_frames(POOL, annotated=frozenset({0, 3})) == {
        0: "annotated",
        1: "deleted",
        3: "deleted",
    }
    assert skipped_frames(TASK, annotated=frozenset()) == {}
