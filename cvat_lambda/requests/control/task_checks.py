"""Check the options of a request against the labels and frames of its tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cvat_lambda.annotations.prompts import Exemplar, Prompts
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Task
from cvat_lambda.errors import InvalidMapping, InvalidRequest
from cvat_lambda.functions.prompts import map_labels
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.images.region import Region
from cvat_lambda.requests.control.plan import Plan
from cvat_lambda.requests.store import ranges
from cvat_lambda.requests.store.params import Params


def check_task(spec: FunctionSpec, task: Task, params: Params) -> None:
    """Check a detector's region, label mapping and replaced labels against a task.

    Raise InvalidMapping, InvalidRequest.
    """
    if spec.kind is not Kind.DETECTOR:
        return
    if params.roi is not None:
        _check_region(Region.parse(params.roi), task)
    check_mapping(spec, [task], params.mapping, params.prompts)
    known = {label.name for label in task.labels}
    for name in params.replace_labels or ():
        if name not in known:
            raise InvalidRequest(f"task {task.id} has no label {name!r}: correct replace_labels")


def check_mapping(
    spec: FunctionSpec,
    tasks: Iterable[Task],
    mapping: Mapping[str, Any] | None,
    prompts: Prompts | None = None,
) -> None:
    """Check that the function has a label for each task. Raise InvalidMapping, InvalidRequest."""
    for task in tasks:
        try:
            found = map_labels(spec, prompts or Prompts(), mapping, task.labels)
        except InvalidMapping as exc:
            raise InvalidMapping(f"task {task.id}: {exc.message}") from exc
        if not found.by_name:
            raise InvalidMapping(
                f"function {spec.id!r} and task {task.id} have no label in common: "
                "give a mapping of the function's labels to the task's"
            )


def frames_of_exemplars(
    exemplars: Sequence[Exemplar], frames: Iterable[Sequence[int]] | None
) -> list[tuple[int, int]]:
    """Return the frames of exemplars that lie in a request's frames. Raise InvalidRequest."""
    numbers = {each.frame for each in exemplars}
    if frames is not None:
        numbers &= set(ranges.expand(ranges.normalize(frames)))
    if not numbers:
        raise InvalidRequest("no exemplar is on a frame of the request")
    return [(number, number) for number in sorted(numbers)]


def check_exemplars(planned: Plan, exemplars: Sequence[Exemplar]) -> None:
    """Refuse exemplars whose frames are not in the request, or are of no certain task.

    Raise InvalidRequest.
    """
    if not exemplars:
        return
    if len(planned.tasks) > 1:
        raise InvalidRequest("exemplars are of one task: name one task, or its jobs")
    numbers = {frame for shard in planned.shards for frame in ranges.expand(shard.frames)}
    for each in exemplars:
        if each.frame not in numbers:
            raise InvalidRequest(f"frame {each.frame} of an exemplar is not in the request")


def _check_region(region: Region, task: Task) -> None:
    """Refuse a region that lies outside all frames of the task."""
    facts = get_engine().frame_facts(task.id, range(task.size)).values()
    sizes = {(found.width, found.height) for found in facts}
    if not sizes or any(
        width is None or height is None or (region.left < width and region.top < height)
        for width, height in sizes
    ):
        return
    width, height = max(sizes)
    raise InvalidRequest(
        f"roi {list(region.box)} lies outside the frames of task {task.id}, of {width} x {height}"
        " pixels"
    )
