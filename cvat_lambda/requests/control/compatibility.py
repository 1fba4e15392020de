"""Which functions can run on a task, and the reason why others cannot."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cvat_lambda.agents.access import visible
from cvat_lambda.annotations.mapping import build_mapping
from cvat_lambda.engine.port import Access, Task
from cvat_lambda.errors import LambdaError
from cvat_lambda.functions import registry
from cvat_lambda.functions.models import CALLABLE
from cvat_lambda.functions.spec import FunctionSpec, Kind

WITHOUT_START = (Kind.DETECTOR, Kind.REID)  # requests that name no objects to follow


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A function, and the reason why it cannot run on the task now (empty: it can)."""

    spec: FunctionSpec
    reason: str


def choices_for(
    access: Access, task: Task, kinds: Collection[Kind] = WITHOUT_START
) -> list[Choice]:
    """Return the functions of these kinds that the user may see.

    Those that can run on the task come first.

    Return none if the platform has never been reached.
    """
    try:
        listed = visible(access, registry.listed())
    except LambdaError:
        return []
    found = [Choice(spec=spec, reason=_reason(spec, task)) for spec in listed if spec.kind in kinds]
    return sorted(found, key=lambda choice: choice.reason != "")


def _reason(spec: FunctionSpec, task: Task) -> str:
    if spec.state not in CALLABLE:
        return spec.state
    if spec.kind is Kind.TRACKER and not task.takes_tracks:
        return "the task takes no tracks"
    if spec.prompts:
        return ""  # texts can be mapped to any label
    if spec.kind is Kind.DETECTOR and not spec.labels:
        return "announces no labels"
    if spec.kind is Kind.DETECTOR and not build_mapping(None, spec.labels, task.labels).by_name:
        return "no label in common"
    return ""
