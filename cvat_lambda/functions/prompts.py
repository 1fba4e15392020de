"""Which labels a detector finds for the prompts of a caller, and what they become in the task.

A function announces with the annotation ``prompts`` that it takes ``text`` or ``exemplar``. The
names of the texts and examples then take the place of its labels: a mapping maps them to the labels
of the task, and one that the mapping leaves out goes to the task's label of the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from cvat_lambda.annotations.errors import MappingError
from cvat_lambda.annotations.mapping import NO_LABELS, build_mapping
from cvat_lambda.annotations.mapping import Mapping as LabelMapping
from cvat_lambda.annotations.prompts import Prompts
from cvat_lambda.annotations.types import Label
from cvat_lambda.errors import InvalidMapping, InvalidRequest
from cvat_lambda.functions.spec import FunctionSpec

_MEMBERS: Final = {"text": "text", "exemplar": "exemplars"}  # of a call, by the function's word


def check_prompts(spec: FunctionSpec, prompts: Prompts) -> None:
    """Raise InvalidRequest if the function does not take these prompts, or needs some."""
    takes = {"text": prompts.text, "exemplar": prompts.exemplars}
    for kind, given in takes.items():
        if given and kind not in spec.prompts:
            raise InvalidRequest(
                f"function {spec.id!r} takes no {_MEMBERS[kind]}: remove {_MEMBERS[kind]}"
            )
    if spec.prompts and not spec.labels and not prompts.names:
        members = " or ".join(_MEMBERS[kind] for kind in spec.prompts)
        raise InvalidRequest(
            f"function {spec.id!r} has no labels of its own: describe what to find, in {members}"
        )
    if prompts.labels and prompts.names:
        raise InvalidRequest("text and exemplars name what is found: remove labels")
    own = {label.name for label in spec.labels}
    for name in prompts.labels:
        if name not in own:
            raise InvalidRequest(
                f"function {spec.id!r} has no label {name!r}: GET functions/{spec.id} lists them"
            )


def map_labels(
    spec: FunctionSpec,
    prompts: Prompts,
    mapping: Mapping[str, Any] | None,
    task_labels: Sequence[Label],
) -> LabelMapping:
    """Return which label of the task each label, text or example becomes.

    Raise InvalidMapping, InvalidRequest.
    """
    check_prompts(spec, prompts)
    given = dict(mapping or {})
    if prompts.names:
        labels: Sequence[Label] = _labels_of(spec, prompts.names)
        given = {**{name: {"name": name} for name in prompts.names}, **given}
    else:
        labels = spec.labels
    if prompts.labels:
        labels = [label for label in labels if label.name in prompts.labels]
    try:
        found = build_mapping(given, labels, task_labels)
    except MappingError as exc:
        raise InvalidMapping(exc.message) from exc
    if not labels:
        raise InvalidMapping(f"function {spec.id!r}: {NO_LABELS}")
    return found


def _labels_of(spec: FunctionSpec, names: Iterable[str]) -> list[Label]:
    """Return a label for each name. Its type is that of the function's labels, if they agree."""
    types = {label.type for label in spec.labels}
    kind = types.pop() if len(types) == 1 else "any"
    return [Label(name=name, type=kind) for name in names]
