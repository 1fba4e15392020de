"""The mapping of a function's labels to a task's labels, checked before anything runs.

The caller's form is ``{function's label: {"name": task's label, "attributes": {function's
attribute: task's attribute}, "sublabels": {...the same, of a skeleton...}}}``. Without one, labels
of equal name and fitting type are joined, and their attributes and sublabels likewise.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cvat_lambda.annotations.errors import MappingError
from cvat_lambda.annotations.types import Attribute, Label

_LIKE_EACH_OTHER: Final = frozenset({"mask", "polygon"})
_MAX_NAMES_SHOWN: Final = 12
NO_LABELS: Final = (
    "the function announces no labels: write them in the annotation 'spec' of its function.yaml"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedLabel:
    """A function's label and the task's label that it becomes."""

    function_label: Label
    task_label: Label
    # the function's attribute name -> the task's attribute
    attributes: dict[str, Attribute] = field(default_factory=dict)
    # of a skeleton: the function's sublabel name -> the same, one level down
    sublabels: dict[str, MappedLabel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        task = self.task_label
        without_id = [each.name for each in (task, *task.sublabels) if each.id is None]
        without_id += [each.name for each in self.attributes.values() if each.id is None]
        if without_id:
            raise ValueError(f"labels and attributes of a task have ids; missing for {without_id}")

    @property
    def label_id(self) -> int:
        """The id of the task's label."""
        assert self.task_label.id is not None
        return self.task_label.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A checked mapping; labels of the function that are not in ``by_name`` are dropped."""

    by_name: dict[str, MappedLabel]
    function_labels: tuple[Label, ...] = ()

    def knows(self, name: str) -> bool:
        """Tell whether the function announced a label of this name, mapped or not."""
        return any(label.name == name for label in self.function_labels)


def build_mapping(
    raw: object, function_labels: Sequence[Label], task_labels: Sequence[Label]
) -> Mapping:
    """Check the caller's mapping, or make the default one when it is None or empty.

    Raise MappingError that names the label or attribute which is wrong and what there is.
    """
    if raw is None or raw == {}:
        by_name = _default_labels(function_labels, task_labels)
    elif not function_labels:
        raise MappingError(NO_LABELS)
    else:
        by_name = _Checker(function_labels, task_labels, "").check(raw)
    return Mapping(by_name=by_name, function_labels=tuple(function_labels))


def are_compatible(function_label: Label, task_label: Label) -> bool:
    """Tell whether shapes of one label may become shapes of the other."""
    ours, theirs = function_label.type, task_label.type
    if ours == theirs:
        return True
    if "skeleton" in (ours, theirs):
        return False
    return "any" in (ours, theirs) or (ours in _LIKE_EACH_OTHER and theirs in _LIKE_EACH_OTHER)


def _default_labels(
    function_labels: Sequence[Label], task_labels: Sequence[Label]
) -> dict[str, MappedLabel]:
    by_name = {label.name: label for label in task_labels}
    mapped = {}
    for label in function_labels:
        task_label = by_name.get(label.name)
        if task_label is None or not are_compatible(label, task_label):
            continue
        sublabels = _default_labels(label.sublabels, task_label.sublabels)
        if label.type == "skeleton" and not sublabels:
            continue  # every result would be a skeleton of hidden points
        task_attributes = {attribute.name: attribute for attribute in task_label.attributes}
        mapped[label.name] = MappedLabel(
            function_label=label,
            task_label=task_label,
            attributes={
                attribute.name: task_attributes[attribute.name]
                for attribute in label.attributes
                if attribute.name in task_attributes
            },
            sublabels=sublabels,
        )
    return mapped


class _Checker:
    """Checks one level of a mapping: labels, or the sublabels of one skeleton."""

    def __init__(
        self, function_labels: Sequence[Label], task_labels: Sequence[Label], skeleton: str
    ) -> None:
        self._function_labels = {label.name: label for label in function_labels}
        self._task_labels = {label.name: label for label in task_labels}
        self._word = "sublabel" if skeleton else "label"
        self._of = f" of skeleton '{skeleton}'" if skeleton else ""

    def check(self, raw: object) -> dict[str, MappedLabel]:
        if not isinstance(raw, MappingABC):
            raise MappingError(
                f"the mapping{self._of} must be an object of {self._word}s, not {_kind(raw)}"
            )
        return {str(name): self._check_item(str(name), item) for name, item in raw.items()}

    def _check_item(self, name: str, item: object) -> MappedLabel:
        label = self._function_labels.get(name)
        if label is None:
            raise MappingError(
                f"the function has no {self._word} '{name}'{self._of}; "
                f"it has {_show(self._function_labels)}"
            )
        where = f"{self._word} '{name}'{self._of}"
        task_label = self._find_task_label(item, where)
        assert isinstance(item, MappingABC)
        if not are_compatible(label, task_label):
            raise MappingError(
                f"{where} is of type {label.type} and cannot become '{task_label.name}' of type "
                f"{task_label.type}; map it to a label of a fitting type or leave it out"
            )
        return MappedLabel(
            function_label=label,
            task_label=task_label,
            attributes=_check_attributes(item.get("attributes"), label, task_label, where),
            sublabels=_check_sublabels(item.get("sublabels"), label, task_label),
        )

    def _find_task_label(self, item: object, where: str) -> Label:
        name = item.get("name") if isinstance(item, MappingABC) else None
        if not isinstance(name, str):
            raise MappingError(f'{where} must be mapped to an object {{"name": the task\'s label}}')
        task_label = self._task_labels.get(name)
        if task_label is None:
            raise MappingError(
                f"{where} is mapped to '{name}', which the task has not; "
                f"it has {_show(self._task_labels)}"
            )
        return task_label


def _check_sublabels(raw: object, label: Label, task_label: Label) -> dict[str, MappedLabel]:
    if label.type != "skeleton":
        if raw:
            raise MappingError(
                f"label '{label.name}' is not a skeleton and has no sublabels to map"
            )
        return {}
    if not raw:
        raise MappingError(
            f"label '{label.name}' is a skeleton: its mapping needs \"sublabels\", "
            "the points that become the task's points"
        )
    mapped = _Checker(label.sublabels, task_label.sublabels, label.name).check(raw)
    taken: dict[str, str] = {}
    for name, sub in mapped.items():
        other = taken.setdefault(sub.task_label.name, name)
        if other != name:
            raise MappingError(
                f"sublabels '{other}' and '{name}' of skeleton '{label.name}' are both mapped to "
                f"'{sub.task_label.name}'; a skeleton has each point once"
            )
    return mapped


def _check_attributes(
    raw: object, label: Label, task_label: Label, where: str
) -> dict[str, Attribute]:
    if raw is None:
        return {}
    if not isinstance(raw, MappingABC):
        raise MappingError(f"the attributes of {where} must be an object, not {_kind(raw)}")
    ours = {attribute.name for attribute in label.attributes}
    theirs = {attribute.name: attribute for attribute in task_label.attributes}
    mapped = {}
    for name, task_name in raw.items():
        if name not in ours:
            raise MappingError(
                f"{where} of the function has no attribute '{name}'; it has {_show(ours)}"
            )
        if not isinstance(task_name, str) or task_name not in theirs:
            raise MappingError(
                f"attribute '{name}' of {where} is mapped to '{task_name}', which the task's label "
                f"'{task_label.name}' has not; it has {_show(theirs)}"
            )
        mapped[str(name)] = theirs[task_name]
    return mapped


def _show(names: MappingABC[str, Any] | set[str]) -> str:
    if not names:
        return "none"
    shown = [f"'{name}'" for name in list(names)[:_MAX_NAMES_SHOWN]]
    if len(names) > _MAX_NAMES_SHOWN:
        shown.append(f"{len(names) - _MAX_NAMES_SHOWN} more")
    return ", ".join(shown)


def _kind(value: object) -> str:
    return "none" if value is None else type(value).__name__
