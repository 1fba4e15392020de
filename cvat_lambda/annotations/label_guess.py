"""Guess which label of a task a function's label means, for people to correct."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from cvat_lambda.annotations.mapping import are_compatible
from cvat_lambda.annotations.types import Label

_SEPARATORS: Final = re.compile(r"[\W_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def guess_labels(function_labels: Sequence[Label], task_labels: Sequence[Label]) -> dict[str, str]:
    """Return names of the task's labels by names of the function's.

    Only labels of fitting types are paired. Equal names come first, then names that differ in case,
    separators or a plural ("Traffic-Lights", "traffic light"), then names of which one contains all
    words of the other ("person", "person standing").
    """
    guessed: dict[str, str] = {}
    for label in function_labels:
        fitting = [other for other in task_labels if are_compatible(label, other)]
        best = max(fitting, key=lambda other: _likeness(label.name, other.name), default=None)
        if best is not None and _likeness(label.name, best.name) > 0:
            guessed[label.name] = best.name
    return guessed


def _likeness(one: str, two: str) -> int:
    """Return 3 for equal names, 2 for equal words, 1 if one has all words of the other, else 0."""
    if one == two:
        return 3
    words, others = _words(one), _words(two)
    if words == others:
        return 2
    if set(words) <= set(others) or set(others) <= set(words):
        return 1
    return 0


def _words(name: str) -> list[str]:
    spaced = _SEPARATORS.sub(" ", _CAMEL.sub(" ", name)).lower().split()
    return [_singular(word) for word in spaced] or [name]


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word
