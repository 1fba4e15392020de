"""Check the objects of a track request against the task and the function before it runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from cvat_lambda.agents.access import find_function
from cvat_lambda.annotations.errors import ShapeError
from cvat_lambda.annotations.shapes import check_points, fit
from cvat_lambda.annotations.types import Label
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, FrameFacts, Task
from cvat_lambda.errors import FrameOutOfScope, InvalidRequest
from cvat_lambda.functions import registry
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.requests.control.plan import Plan, PlannedShard
from cvat_lambda.requests.control.task_checks import check_mapping
from cvat_lambda.requests.run.track_objects import start_frame, start_objects
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.tracking import (
    Link,
    StartDetector,
    StartFilter,
    StartShape,
    Tracking,
)


def check_tracking(
    access: Access, spec: FunctionSpec, planned: Plan, tracking: Tracking
) -> Tracking:
    """Return the parameters with the labels' ids.

    Raise InvalidRequest, InvalidMapping, FrameOutOfScope, FunctionNotFound, FunctionSpecInvalid.
    """
    if tracking.detector is not None:
        _check_detector(access, spec, planned, tracking.detector)
        return tracking
    if isinstance(tracking.start, StartFilter):
        _check_start(spec, planned, tracking, tracking.start)
        return tracking
    if len(planned.tasks) > 1:
        raise InvalidRequest("shapes can be tracked in one task only: name a task or its jobs")
    task = planned.tasks[0]
    frames = {frame for shard in planned.shards for frame in _frames(task, shard)}
    facts = get_engine().frame_facts(task.id, {shape.frame for shape in tracking.shapes} & frames)
    return replace(
        tracking,
        shapes=tuple(
            _checked(index, shape, task=task, spec=spec, frames=frames, facts=facts)
            for index, shape in enumerate(tracking.shapes)
        ),
    )


def check_link(access: Access, link: Link) -> None:
    """Check that the function re-identifies. Raise as `check_tracking`."""
    spec = find_function(access, link.reid, ask=registry.Ask.IF_NOT_READY)
    if spec.kind is not Kind.REID:
        raise InvalidRequest(f"link.reid: function {spec.id!r} does not re-identify objects")


def _check_detector(
    access: Access, spec: FunctionSpec, planned: Plan, start: StartDetector
) -> None:
    """Refuse a detector without a label of the tasks, or without shapes that are tracked."""
    detector = find_function(access, start.detector, ask=registry.Ask.IF_NOT_READY)
    if detector.kind is not Kind.DETECTOR:
        raise InvalidRequest(f"start.detector: function {detector.id!r} is not a detector")
    check_mapping(detector, planned.tasks, start.mapping)
    types = {label.type for label in detector.labels}
    usable = {"any", *spec.supported_shape_types}
    if "rectangle" not in usable and not types & usable:
        raise InvalidRequest(
            f"start.detector: function {spec.id!r} tracks {' and '.join(sorted(usable - {'any'}))} "
            f"shapes, and function {detector.id!r} detects none of them"
        )


def _checked(
    index: int,
    shape: StartShape,
    *,
    task: Task,
    spec: FunctionSpec,
    frames: Collection[int],
    facts: dict[int, FrameFacts],
) -> StartShape:
    where = f"shapes[{index}]"
    if shape.frame not in frames:
        raise FrameOutOfScope(f"{where}: frame {shape.frame} is not in the scope of the request")
    if shape.type not in spec.supported_shape_types:
        raise InvalidRequest(
            f"{where}.type: function {spec.id!r} does not track {shape.type} shapes, only "
            f"{', '.join(spec.supported_shape_types)}"
        )
    label = _label(where, shape, task.labels)
    known = {attribute.id for attribute in label.attributes}
    for spec_id, _ in shape.attributes:
        if spec_id not in known:
            raise InvalidRequest(f"{where}: label {label.name!r} has no attribute {spec_id}")
    fact = facts.get(shape.frame)
    try:
        points = check_points(shape.type, shape.points)
    except ShapeError as exc:
        raise InvalidRequest(f"{where}.points: {exc.message}") from exc
    if fact is not None and fact.width is not None and fact.height is not None:
        inside, _ = fit(shape.type, points, 0.0, (fact.width, fact.height))
        if inside is None:
            raise InvalidRequest(
                f"{where}.points: the shape is outside the image of {fact.width} x {fact.height}"
            )
    assert label.id is not None  # labels of a task have ids
    return replace(shape, label_id=label.id, label=label.name)


def _label(where: str, shape: StartShape, labels: Sequence[Label]) -> Label:
    for label in labels:
        if shape.label_id == label.id or (shape.label_id is None and shape.label == label.name):
            if label.type not in ("any", shape.type):
                raise InvalidRequest(
                    f"{where}: label {label.name!r} is of type {label.type}, not {shape.type}"
                )
            return label
    named = shape.label if shape.label_id is None else f"id {shape.label_id}"
    raise InvalidRequest(f"{where}: the task has no label {named!r}")


def _check_start(spec: FunctionSpec, planned: Plan, tracking: Tracking, start: StartFilter) -> None:
    """Refuse a request whose start frames have nothing to track."""
    engine = get_engine()
    tasks = {task.id: task for task in planned.tasks}
    backward = tracking.direction == "backward"
    looked_at = []
    for shard in planned.shards:
        task = tasks[shard.task_id]
        frames = _frames(task, shard)
        frame = start_frame(start.frame, frames, backward=backward)
        if frame is None:
            continue
        looked_at.append(frame)
        if start_objects(
            engine,
            task,
            tracking,
            shape_types=spec.supported_shape_types,
            job_id=shard.job_id,
            frames=frames,
        ):
            return
    if not looked_at:
        raise FrameOutOfScope("the start frame is not in the scope of the request")
    types = " or ".join(spec.supported_shape_types)
    filtered = " that the filters of start select" if _has_filters(start) else ""
    raise InvalidRequest(
        f"there is nothing to track: frame {looked_at[0]} has no {types}{filtered}"
    )


def _has_filters(start: StartFilter) -> bool:
    return (start.label_ids, start.sources, start.ids) != (None, None, None)


def _frames(task: Task, shard: PlannedShard) -> list[int]:
    """Return the frames of a shard that are not deleted, ascending."""
    return [f for f in ranges.expand(shard.frames) if f not in task.deleted_frames]
