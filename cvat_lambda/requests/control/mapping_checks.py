"""Check the label mapping of a detector against the labels of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cvat_lambda.annotations.prompts import Prompts
from cvat_lambda.engine.port import Task
from cvat_lambda.errors import InvalidMapping
from cvat_lambda.functions.prompts import map_labels
from cvat_lambda.functions.spec import FunctionSpec


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
