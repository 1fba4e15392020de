"""The mapping of labels that agents of native detectors get with each frame."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_lambda.agents.params import annotate_frame
from cvat_lambda.annotations.mapping import build_mapping
from cvat_lambda.annotations.types import Attribute, InputType, Label


def mapping_of(function: Label, task: Label) -> Any:
    params = annotate_frame(
        7,
        3,
        mapping=build_mapping(None, (function,), (task,)),
        threshold=0.5,
        conv_mask_to_poly=False,
        roi=None,
    )
    assert (params["task"], params["frame"], "roi" in params) == (7, 3, False)
    return params["mapping"]


def test_points_of_a_skeleton_are_mapped_by_their_names() -> None:
    parts = (Label(name="nose", type="points"), Label(name="tail", type="points"))
    function = Label(name="dog", type="skeleton", sublabels=parts, svg="<g/>")
    numbered = tuple(
        Label(name=part.name, type=part.type, id=number) for number, part in enumerate(parts, 11)
    )
    task = Label(name="dog", type="skeleton", id=1, sublabels=numbered)
    assert mapping_of(function, task) == {
        "dog": {
            "name": "dog",
            "attributes": {},
            "sublabels": {
                "nose": {"name": "nose", "attributes": {}},
                "tail": {"name": "tail", "attributes": {}},
            },
        }
    }


@pytest.mark.parametrize(
    ("input_type", "ours", "theirs", "is_mapped"),
    [
        ("text", (), ("any",), True),
        ("checkbox", (), ("false",), True),
        ("number", ("0", "9", "1"), ("0", "9", "1"), True),
        ("number", ("0", "9", "1"), ("0", "8", "1"), False),
        ("select", ("red", "blue"), ("blue", "red"), True),  # in any order
        ("radio", ("red", "blue"), ("red", "green"), False),
    ],
)
def test_attribute_is_mapped_if_its_values_are_those_of_the_function(
    input_type: InputType, ours: tuple[str, ...], theirs: tuple[str, ...], is_mapped: bool
) -> None:
    """The agent would refuse the whole frame if the values of an attribute differed."""
    mine = Attribute(name="kind", input_type=input_type, values=ours)
    other = Attribute(name="kind", input_type=input_type, values=theirs, id=5)
    found = mapping_of(
        Label(name="car", attributes=(mine,)), Label(name="car", id=1, attributes=(other,))
    )
    assert found["car"]["attributes"] == ({"kind": "kind"} if is_mapped else {})
