"""Parsing of labels from JSON, and messages for invalid labels."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.engine.standalone.labels import check_names, color_of, to_label
from cvat_lambda.errors import InvalidRequest


def test_name_alone_is_parsed_as_a_label() -> None:
    label = to_label("car")
    assert (label.name, label.type, label.attributes) == ("car", "any", ())


def test_attributes_and_sublabels_are_read() -> None:
    label = to_label(
        {
            "name": " person ",
            "type": "skeleton",
            "color": "#00ff7f",
            "sublabels": [{"name": "head", "type": "points"}],
            "attributes": [
                {"name": "age", "input_type": "number", "values": ["0", "100", "0.5"]},
                {
                    "name": "pose",
                    "input_type": "select",
                    "mutable": True,
                    "default_value": "up",
                    "values": ["up", "down"],
                },
            ],
        }
    )
    assert (label.name, label.color) == ("person", "#00ff7f")
    assert [sublabel.name for sublabel in label.sublabels] == ["head"]
    assert [(item.name, item.values, item.mutable) for item in label.attributes] == [
        ("age", ("0", "100", "0.5"), False),
        ("pose", ("up", "down"), True),
    ]


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({}, "1 to 64 characters"),
        ({"name": "x" * 65}, "1 to 64 characters"),
        ({"name": 3}, "'name' must be text"),
        ({"name": "a\x00"}, "'name' must be text"),
        ({"name": "\ud800"}, "'name' must be text"),
        ({"name": "a", "svg": "\udfff"}, "'svg' must be text"),
        ({"name": "a", "color": "\ud800"}, "'color' must be text"),
        ({"name": "a", "attributes": [{"name": "\ud800"}]}, "'name' must be text"),
        (
            {
                "name": "a",
                "attributes": [{"name": "b", "input_type": "text", "values": ["\ud800"]}],
            },
            "half of a surrogate pair",
        ),
        (
            {
                "name": "a",
                "attributes": [{"name": "b", "input_type": "text", "default_value": "\ud800"}],
            },
            "'default_value' must be text",
        ),
        ({"name": "a", "type": "skeleton", "sublabels": ["b"]}, "must be an object with a name"),
        ({"name": "a", "attributes": ["b"]}, "an attribute must be an object with a name"),
        (
            {"name": "a", "attributes": [{"name": "b", "input_type": "text", "mutable": 1}]},
            "'mutable' must be true or false",
        ),
        (
            {"name": "a", "attributes": [{"name": "b", "input_type": "text", "values": [None]}]},
            "'values' must be texts",
        ),
        (
            {
                "name": "a",
                "attributes": [{"name": "b", "input_type": "select", "values": ["x" * 70_000]}],
            },
            "the values are too long",
        ),
        ({"name": "a", "attributes": [{"name": "", "input_type": "text"}]}, "a name has 1 to"),
        ({"name": "a", "type": "blob"}, "type 'blob' is not one of"),
        ({"name": "a", "color": "red"}, "color 'red'"),
        ({"name": "a", "type": "skeleton"}, "needs sublabels"),
        ({"name": "a", "sublabels": [{"name": "b"}]}, "only a skeleton"),
        (
            {"name": "a", "type": "skeleton", "sublabels": [{"name": "b"}, {"name": "b"}]},
            "'b' occurs twice",
        ),
        (
            {"name": "a", "type": "skeleton", "sublabels": [{"name": "b", "type": "skeleton"}]},
            "cannot be a skeleton",
        ),
        ({"name": "a", "attributes": "many"}, "'attributes' must be a list"),
        (
            {"name": "a", "attributes": [{"name": "b", "input_type": "dial"}]},
            "'dial' is not one of",
        ),
        ({"name": "a", "attributes": [{"name": "b", "input_type": "select"}]}, "needs values"),
        (
            {"name": "a", "attributes": [{"name": "b", "input_type": "number", "values": ["1"]}]},
            "min, max, step",
        ),
        (
            {
                "name": "a",
                "attributes": [{"name": "b", "input_type": "number", "values": ["9", "1", "1"]}],
            },
            "min <= max",
        ),
        (
            {
                "name": "a",
                "attributes": [
                    {"name": "b", "input_type": "text"},
                    {"name": "b", "input_type": "text"},
                ],
            },
            "attribute 'b': occurs twice",
        ),
    ],
)
def test_invalid_label_is_named_in_the_error(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        to_label(raw)


def test_labels_with_one_name_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="'car' occurs twice"):
        check_names([to_label("car"), to_label("bus"), to_label("car")])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "type", "attributes", "sublabels", "values", "input_type"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["name", "type", "attributes", "sublabels"]), JSON))
def test_any_json_becomes_a_label_or_raises_invalid_request(raw: dict[str, Any]) -> None:
    try:
        label = to_label(raw)
    except InvalidRequest:
        return
    assert label.name


@given(st.text())
def test_default_color_of_any_label_name_is_valid(name: str) -> None:
    assert to_label({"name": "x", "color": color_of(name)}).color == color_of(name)
