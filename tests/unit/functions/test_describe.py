"""The function object of the API, field by field."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from cvat_lambda.annotations.types import Attribute, Label
from cvat_lambda.functions.describe import describe
from cvat_lambda.functions.spec import FunctionSpec, InteractorSpec, Kind, State


def test_detector_has_the_common_fields_only() -> None:
    attribute = Attribute(name="age", input_type="number", values=("0", "150", "1"))
    spec = FunctionSpec(
        id="fn",
        kind=Kind.DETECTOR,
        name="Faces",
        description="finds faces",
        version=2,
        labels=(Label(name="face", type="rectangle", attributes=(attribute,)),),
        state="scaled_to_zero",
    )
    assert describe(spec) == {
        "id": "fn",
        "kind": "detector",
        "name": "Faces",
        "description": "finds faces",
        "version": 2,
        "state": "scaled_to_zero",
        "deprecated_state": "asleep",
        "labels_v2": [
            {
                "name": "face",
                "type": "rectangle",
                "attributes": [
                    {"name": "age", "input_type": "number", "values": ["0", "150", "1"]}
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("state", "since", "shown"),
    [
        ("ready", None, "finds faces"),
        ("scaled_to_zero", None, "finds faces"),  # an invocation starts it
        ("building", None, "finds faces"),
        ("error", None, "(error) finds faces"),
        ("missing", None, "(missing) finds faces"),
        (
            "missing",
            datetime(2026, 5, 4, 13, 2, 9, tzinfo=timezone.utc),
            "(missing since 2026-05-04 13:02 UTC) finds faces",
        ),
    ],
)
def test_description_of_an_unusable_function_begins_with_its_state(
    state: State, since: datetime | None, shown: str
) -> None:
    spec = FunctionSpec(
        id="fn",
        kind=Kind.DETECTOR,
        name="F",
        description="finds faces",
        state=state,
        missing_since=since,
    )
    assert describe(spec)["description"] == shown


def test_interactor_has_the_fields_for_the_canvas() -> None:
    interactor = InteractorSpec(
        min_pos_points=0, min_neg_points=0, startswith_box_optional=True, help_message="click"
    )
    shown = describe(
        FunctionSpec(id="sam", kind=Kind.INTERACTOR, name="SAM", interactor=interactor)
    )
    assert {key: shown[key] for key in shown if key not in ("id", "kind", "name")} == {
        "description": "",
        "version": 1,
        "state": "ready",
        "labels_v2": [],
        "min_pos_points": 0,
        "min_neg_points": 0,
        "startswith_box": False,
        "startswith_box_optional": True,
        "help_message": "click",
        "animated_gif": "",
    }


def test_tracker_has_its_shape_types() -> None:
    spec = FunctionSpec(id="t", kind=Kind.TRACKER, name="T", supported_shape_types=("rectangle",))
    assert describe(spec)["supported_shape_types"] == ["rectangle"]


def test_reid_function_has_no_extra_fields() -> None:
    shown = describe(FunctionSpec(id="r", kind=Kind.REID, name="R"))
    assert set(shown) == {"id", "kind", "labels_v2", "description", "name", "version", "state"}
