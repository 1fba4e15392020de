"""What the start form needs to know of a task and of the functions that can run on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Q

from cvat_lambda.agents.access import offered
from cvat_lambda.annotations.label_guess import guess_labels
from cvat_lambda.annotations.labels import LABEL_TYPES, labels_v2
from cvat_lambda.annotations.mapping import are_compatible
from cvat_lambda.annotations.types import Label
from cvat_lambda.engine import get_engine
from cvat_lambda.engine.port import Access, Task
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.requests.control.compatibility import MAX_CHOICES, Choice, choices_for
from cvat_lambda.requests.store.models import Request
from cvat_lambda.web.overlay import color_of
from cvat_lambda.web.start_target import StartTarget

RUN_IN_BACKGROUND = (Kind.DETECTOR, Kind.REID, Kind.TRACKER)
NO_COMMON_LABEL = "no label in common"  # people may map labels of other names


def start_data(access: Access, target: StartTarget, wanted: str) -> dict[str, Any]:
    """Return the target, its labels, and functions to choose, as JSON for `start/form.js`.

    The form begins with the function ``wanted``, or with the first that can run.
    """
    task = target.task
    choices, more = choices_for(access, task, RUN_IN_BACKGROUND, also=wanted)
    chosen = next((one.spec for one in choices if _begins(one, wanted)), None)
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
        "functions": [_choice(choice) for choice in choices],
        "more": more,
        "chosen": None if chosen is None else function_data(chosen, task),
        "fits": _fits(),
    }


def function_choices(access: Access, target: StartTarget | None, search: str) -> dict[str, Any]:
    """Return functions that run on the target; without a target, functions that have labels."""
    if target is None:
        listed, more = offered(access, [Kind.DETECTOR], search=search, limit=MAX_CHOICES)
        found = [Choice(spec=spec, reason="") for spec in listed if spec.labels]
    else:
        found, more = choices_for(access, target.task, RUN_IN_BACKGROUND, search=search)
    return {"functions": [_choice(choice) for choice in found], "more": more}


def function_data(spec: FunctionSpec, task: Task | None) -> dict[str, Any]:
    """Return what a form needs of the chosen function: labels, prompts, and their mapping."""
    labels = zip(spec.labels, labels_v2(spec.labels), strict=True)
    mapped = task if spec.kind is Kind.DETECTOR else None
    return {
        "id": spec.id,
        "kind": spec.kind.value,
        "labels": [{**shown, "color": label.color} for label, shown in labels],
        "prompts": list(spec.prompts),
        "guess": {} if mapped is None else guess_labels(spec.labels, mapped.labels),
        "saved": None if mapped is None else _earlier_mapping(spec, mapped),
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


def _choice(choice: Choice) -> dict[str, Any]:
    spec = choice.spec
    return {"id": spec.id, "name": spec.name, "kind": spec.kind.value, "reason": _shown(choice)}


def _shown(choice: Choice) -> str:
    """Return the reason why people cannot choose a function."""
    return "" if choice.reason == NO_COMMON_LABEL else choice.reason


def _begins(choice: Choice, wanted: str) -> bool:
    return not _shown(choice) and wanted in ("", choice.spec.id)


def _earlier_mapping(spec: FunctionSpec, task: Task) -> Mapping[str, Any] | None:
    """Return the mapping of the function's latest request in the task's project, or on the task."""
    scope = Q(task_id=task.id)
    if task.project_id is not None:
        task_ids = get_engine().project_task_ids(task.project_id)
        scope = Q(task_id__in=task_ids) | Q(project_id=task.project_id)
    earlier = Request.objects.filter(scope, function_id=spec.id, params__has_key="mapping")
    params = earlier.order_by("-created_at").values_list("params", flat=True).first()
    return None if params is None else params["mapping"]


def _fits() -> dict[str, list[str]]:
    """Return for each type of a function's label the types of labels that it may become."""
    labels = {name: Label(name=name, type=name) for name in sorted(LABEL_TYPES)}  # type: ignore[arg-type]
    return {
        one: [two for two in labels if are_compatible(labels[one], labels[two])] for one in labels
    }
