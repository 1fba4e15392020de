"""What the start form needs to know of a task and of the functions that can run on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cvat_lambda.annotations.label_guess import guess_labels
from cvat_lambda.annotations.labels import LABEL_TYPES, labels_v2
from cvat_lambda.annotations.mapping import are_compatible
from cvat_lambda.annotations.types import Label
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, Task
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.requests.control.compatibility import Choice, choices_for
from cvat_lambda.requests.store.models import Request
from cvat_lambda.web.overlay import color_of
from cvat_lambda.web.start_target import StartTarget

RUN_IN_BACKGROUND = (Kind.DETECTOR, Kind.REID, Kind.TRACKER)
NO_COMMON_LABEL = "no label in common"  # people may map labels of other names


def start_data(access: Access, target: StartTarget) -> dict[str, Any]:
    """Return the target, its labels, and the functions, as JSON for `start/form.js`."""
    task = target.task
    return {
        "task": {"id": task.id, "size": task.size},  # not its name: assignees of jobs get this
        "tasks": [each.id for each in target.tasks],
        "project": task.project_id,
        "jobs_only": target.jobs_only,
        "job": target.chosen_job_id,
        "jobs": [
            {"id": job.id, "type": job.type, "frames": [job.frames[0], job.frames[-1]]}
            for job in target.jobs
        ],
        "scopes": list(scopes_of(target)),
        "labels": labels_of(task),
        "functions": [
            _function(choice, task) for choice in choices_for(access, task, RUN_IN_BACKGROUND)
        ],
        "fits": _fits(),
    }


def scopes_of(target: StartTarget) -> Iterator[tuple[str, str]]:
    """Yield the choices of "Which frames", with their words."""
    if len(target.tasks) > 1:
        yield "tasks", f"all frames of these {len(target.tasks)} tasks"
        return
    if not target.jobs_only:
        yield "task", "the whole task"
    if target.jobs:
        yield "jobs", "some jobs"
    yield "frames", "some frames"
    if target.may_edit_project:
        yield "project", "all tasks of the project"


def labels_of(task: Task) -> list[dict[str, Any]]:
    """Return the task's labels as the API's ``labels_v2``, with ids and colours."""
    return [
        {**shown, "id": label.id, "color": color_of(label, place), "sublabels": _sublabels(label)}
        for place, (label, shown) in enumerate(
            zip(task.labels, labels_v2(task.labels), strict=True)
        )
    ]


def _sublabels(label: Label) -> list[dict[str, Any]]:
    shown = labels_v2(label.sublabels)
    return [{**one, "id": sub.id} for sub, one in zip(label.sublabels, shown, strict=True)]


def _function(choice: Choice, task: Task) -> dict[str, Any]:
    spec = choice.spec
    is_detector = spec.kind is Kind.DETECTOR
    return {
        "id": spec.id,
        "name": spec.name,
        "kind": spec.kind.value,
        "reason": "" if choice.reason == NO_COMMON_LABEL else choice.reason,
        "labels": labels_v2(spec.labels),
        "prompts": list(spec.prompts),
        "guess": guess_labels(spec.labels, task.labels) if is_detector else {},
        "saved": _earlier_mapping(spec, task) if is_detector else None,
    }


def _earlier_mapping(spec: FunctionSpec, task: Task) -> Mapping[str, Any] | None:
    """Return the mapping of the function's latest request in the task's project, or on the task."""
    task_ids = [task.id]
    if task.project_id is not None:
        task_ids = get_engine().project_task_ids(task.project_id)
    earlier = Request.objects.filter(
        function_id=spec.id, task_id__in=task_ids, params__has_key="mapping"
    )
    params = earlier.order_by("-created_at").values_list("params", flat=True).first()
    return None if params is None else params["mapping"]


def _fits() -> dict[str, list[str]]:
    """Return for each type of a function's label the types of labels that it may become."""
    labels = {name: Label(name=name, type=name) for name in sorted(LABEL_TYPES)}  # type: ignore[arg-type]
    return {
        one: [two for two in labels if are_compatible(labels[one], labels[two])] for one in labels
    }
