"""Count what a request would run and replace, without storing it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, Engine, Removal, Task
from cvat_lambda.requests.control.create import CheckedRequest, check_request
from cvat_lambda.requests.control.plan import PlannedShard
from cvat_lambda.requests.run.lease import Lease
from cvat_lambda.requests.run.provenance import (
    MADE,
    Made,
    made_by_earlier_requests,
    split_edited,
)
from cvat_lambda.requests.run.replace import SHAPES_AND_TAGS
from cvat_lambda.requests.run.replaced_tracks import count_replaced
from cvat_lambda.requests.run.shard_context import ShardRun, replaced_label_ids, skipped_frames
from cvat_lambda.requests.run.track_objects import Start, start_objects
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.models import Shard
from cvat_lambda.requests.store.tracking import Tracking


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a request would do."""

    tasks: int
    shards: int
    total: int  # frames in scope
    skipped: dict[str, int]  # frames that would not run, by reason
    replaced_shapes: int
    replaced_tags: int
    replaced_tracks: int  # if no frame fails
    tracked: int | None  # objects; None: a detector finds them

    def to_json(self) -> dict[str, Any]:
        """Return the counts as the API shows them."""
        return {"dry_run": True, **asdict(self)}


def preview_request(access: Access, **options: Any) -> Preview:
    """Count what a request with these options would do. Raise as `check_request`."""
    checked = check_request(access, **options)
    engine = get_engine()
    tasks = {task.id: task for task in checked.plan.tasks}
    skipped: Counter[str] = Counter()
    shapes = tags = 0
    runs: dict[tuple[int, int | None], _Layer] = {}
    for shard in checked.plan.shards:
        task = tasks[shard.task_id]
        frames, reasons = _frames_to_run(engine, task, shard, checked)
        skipped.update(reasons)
        removal = _removal(engine, task, shard, checked, frames)
        shapes += len(removal.shape_ids)
        tags += len(removal.tag_ids)
        key = (task.id, shard.job_id if shard.private_annotations else None)
        layer = runs.setdefault(key, _Layer(run=_run_of(engine, task, shard, checked), done={}))
        layer.done.setdefault(shard.job_id, set()).update(frames)
    with engine.atomic():
        tracks = sum(count_replaced(layer.run, layer.done) for layer in runs.values())
    tracked = _tracked(engine, tasks, checked)
    if tracked is not None:
        shapes += sum(not start.continues and start.shape.id is not None for start in tracked)
        tracks += sum(start.continues for start in tracked)
    return Preview(
        tasks=len(tasks),
        shards=len(checked.plan.shards),
        total=checked.plan.total,
        skipped=dict(skipped),
        replaced_shapes=shapes,
        replaced_tags=tags,
        replaced_tracks=tracks,
        tracked=None if tracked is None else len(tracked),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """Shards that write to the same annotations: of a task, or of a job with its own."""

    run: ShardRun  # of one of them
    done: dict[int | None, set[int]]  # frames that would run, by the job of their shard


def _run_of(engine: Engine, task: Task, shard: PlannedShard, checked: CheckedRequest) -> ShardRun:
    """Return a run that is never started."""
    return ShardRun(
        lease=Lease(shard_id=0, request_id=checked.request.pk, token=""),
        request=checked.request,
        shard=Shard(
            request_id=checked.request.pk,
            task_id=task.id,
            job_id=shard.job_id,
            private_annotations=shard.private_annotations,
        ),
        params=checked.params,
        spec=checked.spec,
        engine=engine,
        task=task,
        skips={},
        frames=(),
    )


def _tracked(engine: Engine, tasks: dict[int, Task], checked: CheckedRequest) -> list[Start] | None:
    """Return the objects that a tracker would start from; None if a detector finds them."""
    if checked.params.tracking is None:
        return []
    tracking = Tracking.from_json(checked.params.tracking)
    if tracking.detector is not None:
        return None
    return [
        start
        for shard in checked.plan.shards
        for start in start_objects(
            engine,
            tasks[shard.task_id],
            tracking,
            shape_types=checked.spec.supported_shape_types,
            job_id=shard.job_id,
            frames=[
                frame
                for frame in ranges.expand(shard.frames)
                if frame not in tasks[shard.task_id].deleted_frames
            ],
        )
    ]


def _frames_to_run(
    engine: Engine, task: Task, shard: PlannedShard, checked: CheckedRequest
) -> tuple[set[int], list[str]]:
    """Return the frames that would run, and a reason for each frame that would not."""
    frames = set(ranges.expand(shard.frames))
    annotated: frozenset[int] = frozenset()
    if checked.params.only_unannotated:
        annotated = frozenset(engine.annotated_frames(task.id, job_id=shard.job_id))
    reasons = skipped_frames(task, annotated=annotated)
    skipped = frames & reasons.keys()
    return frames - skipped, [reasons[frame] for frame in skipped]


def _removal(
    engine: Engine, task: Task, shard: PlannedShard, checked: CheckedRequest, frames: set[int]
) -> Removal:
    """Return the shapes and tags that would be replaced on these frames, if no frame fails."""
    policy = checked.params.replace
    if policy == "none" or not frames:
        return Removal()
    labels = replaced_label_ids(checked.spec, checked.params, task)
    stored = Shard(job_id=shard.job_id, private_annotations=shard.private_annotations)
    function_id = checked.spec.id if policy == "function" else None
    earlier = made_by_earlier_requests(task, stored, function_id)
    rows = earlier.filter(kind__in=SHAPES_AND_TAGS).values_list("frame", *MADE)
    made = [Made(*facts) for frame, *facts in rows.iterator() if frame in frames]
    with engine.atomic():
        unedited, edited = split_edited(engine, task.id, made)
    if policy == "function" and labels is None:
        return Removal(
            policy="ids",
            shape_ids=engine.existing_ids("shape", unedited.shape_ids),
            tag_ids=engine.existing_ids("tag", unedited.tag_ids),
        )
    data = engine.annotations(task.id, job_id=shard.job_id, frames=frames)
    shapes, tags = list(data.shapes), list(data.tags)
    if labels is not None:
        shapes = [item for item in shapes if item.label_id in labels]
        tags = [item for item in tags if item.label_id in labels]
    if policy == "function":
        made_shapes, made_tags = set(unedited.shape_ids), set(unedited.tag_ids)
        shapes = [item for item in shapes if item.id in made_shapes]
        tags = [item for item in tags if item.id in made_tags]
    if policy == "automatic":
        kept_shapes, kept_tags = set(edited.shape_ids), set(edited.tag_ids)
        shapes = [item for item in shapes if item.source == "auto" and item.id not in kept_shapes]
        tags = [item for item in tags if item.source == "auto" and item.id not in kept_tags]
    return Removal(
        policy="ids",
        shape_ids=[shape.id or 0 for shape in shapes],
        tag_ids=[tag.id or 0 for tag in tags],
    )
