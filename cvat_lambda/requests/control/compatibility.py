"""Which functions can run on a task, and the reason why others cannot."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from cvat_lambda.agents.access import offered
from cvat_lambda.annotations.mapping import build_mapping
from cvat_lambda.engine.port import Access, Task
from cvat_lambda.functions.models import CALLABLE
from cvat_lambda.functions.spec import FunctionSpec, Kind

MAX_CHOICES: Final = 200  # people find the others by a search


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A function, and the reason why it cannot run on the task now (empty: it can)."""

    spec: FunctionSpec
    reason: str


def choices_for(
    access: Access, task: Task, kinds: Collection[Kind], *, search: str = "", also: str = ""
) -> tuple[list[Choice], bool]:
    """Return up to `MAX_CHOICES` functions of these kinds, and whether there are more.

    Of those that are returned, the functions that can run on the task come first.
    ``search`` and ``also`` are those of `agents.access.offered`.
    """
    listed, more = offered(access, kinds, search=search, also=also, limit=MAX_CHOICES)
    found = [Choice(spec=spec, reason=_reason(spec, task)) for spec in listed]
    return sorted(found, key=lambda choice: choice.reason != ""), more


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
