"""Guesses of which label of a task a function's label means."""

from __future__ import annotations

import pytest

from cvat_lambda.annotations.label_guess import guess_labels
from cvat_lambda.annotations.types import Label, LabelType


@pytest.mark.parametrize(
    ("function_label", "task_labels", "expected"),
    [
        ("car", ["cars", "car"], "car"),  # the equal name has precedence
        ("traffic light", ["Traffic-Lights"], "Traffic-Lights"),
        ("trafficLight", ["traffic_light"], "traffic_light"),
        ("berries", ["berry"], "berry"),
        ("boxes", ["box"], "box"),
        ("bus", ["buses", "glass"], None),  # "bus" has no plural among these that is recognized
        ("glass", ["glas"], None),
        ("person", ["person standing", "dog"], "person standing"),
        ("car", ["carpet"], None),  # words count, not letters
        ("日本", ["日本"], "日本"),
        ("--", ["__"], None),
    ],
)
def test_label_is_guessed_by_its_words(
    function_label: str, task_labels: list[str], expected: str | None
) -> None:
    found = guess_labels([Label(name=function_label)], [Label(name=name) for name in task_labels])
    assert found.get(function_label) == expected


@pytest.mark.parametrize(("task_type", "fits"), [("any", True), ("tag", False)])
def test_label_of_another_type_is_not_guessed(task_type: LabelType, fits: bool) -> None:
    found = guess_labels([Label(name="car", type="rectangle")], [Label(name="car", type=task_type)])
    assert bool(found) is fits
