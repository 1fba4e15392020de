"""The annotation `spec` of a function: strict parsing, and the format of the API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations.errors import SpecError
from cvat_lambda.annotations.labels import labels_v2, parse_function_labels
from cvat_lambda.annotations.types import Attribute, Label

SVG = '<circle r="1" cx="5" cy="5" data-type="element node" data-element-id="1" />'
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "a\x00"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("spec", [None, "", "  ", "[]", []])
def test_missing_spec_has_no_labels(spec: str | list[Any] | None) -> None:
    assert parse_function_labels(spec) == ()


def test_label_without_a_type_has_the_type_any() -> None:
    assert parse_function_labels('[{"id": 7, "name": "car"}]') == (Label(name="car"),)


def test_attributes_are_parsed_with_values_as_text() -> None:
    spec = [
        {
            "name": "face",
            "type": "rectangle",
            "attributes": [
                {"name": "age", "input_type": "number", "values": ["0", 150, 0.5]},
                {"name": "gender", "input_type": "select", "values": ["female", "male"]},
                {"name": "smiles", "input_type": "checkbox"},
                {"name": "note", "input_type": "text", "mutable": True, "default_value": "-"},
            ],
        }
    ]
    (label,) = parse_function_labels(json.dumps(spec))
    assert label.attributes == (
        Attribute(name="age", input_type="number", values=("0", "150", "0.5")),
        Attribute(name="gender", input_type="select", values=("female", "male")),
        Attribute(name="smiles", input_type="checkbox"),
        Attribute(name="note", input_type="text", mutable=True, default="-"),
    )


def test_labels_v2_shows_sublabels_and_svg_of_skeletons_only() -> None:
    spec = [
        {
            "name": "body",
            "type": "skeleton",
            "svg": SVG,
            "sublabels": [{"id": 0, "name": "1", "type": "points"}],
        },
        {"name": "car", "type": "rectangle", "svg": SVG},
    ]
    assert labels_v2(parse_function_labels(spec)) == [
        {
            "name": "body",
            "type": "skeleton",
            "attributes": [],
            "sublabels": [{"name": "1", "type": "points", "attributes": []}],
            "svg": SVG,
        },
        {"name": "car", "type": "rectangle", "attributes": []},
    ]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("{not json", "the spec is not valid JSON"),
        ('{"name": "car"}', "the spec must be a JSON array of labels"),
        ('["car"]', "label 0 must be an object with a name"),
        ('[{"type": "mask"}]', "label 0 has no name"),
        ('[{"name": " "}]', "label 0 has no name"),
        ([{"name": "x" * 65}], "longer than 64 characters"),
        ('[{"name": "car"}, {"name": "car"}]', "the spec has the label 'car' twice"),
        ('[{"name": "car", "type": "box"}]', "label 'car' has type 'box'; known types are any"),
        ('[{"name": "car", "type": null}]', "label 'car' has type none"),
        ('[{"name": "car", "attributes": {}}]', "label 'car': attributes must be an array"),
        (
            [{"name": "car", "attributes": [{"name": "a", "input_type": "list"}]}],
            "label 'car', attribute 0 'a' has input_type 'list'",
        ),
        (
            [{"name": "car", "attributes": [{"name": "a", "input_type": "select"}]}],
            "label 'car', attribute 0 'a' is a select and needs values to choose from",
        ),
        (
            [{"name": "c", "attributes": [{"name": "a", "input_type": "text"}] * 2}],
            "label 'c' has the attribute 'a' twice",
        ),
        (
            [
                {
                    "name": "c",
                    "attributes": [
                        {"name": "a", "input_type": "number", "values": ["9", "1", "1"]}
                    ],
                }
            ],
            "is a number and needs values [min, max, step]",
        ),
        ('[{"name": "c", "attributes": ["a"]}]', "attribute 0 must be an object with a name"),
        (
            '[{"name": "c", "attributes": [{"name": "a", "input_type": "text", "values": "x"}]}]',
            "attribute 0 'a': values must be an array",
        ),
        (
            '[{"name": "c", "attributes": [{"name": "a", "input_type": "radio", "values": [[]]}]}]',
            "is not a value; use text or a number",
        ),
        (
            '[{"name": "c", "attributes": [{"name": "a", "input_type": "checkbox",'
            ' "values": ["yes"]}]}]',
            "is a checkbox; its values can only be 'true' and 'false'",
        ),
        ('[{"name": "b", "type": "skeleton"}]', "label 'b' is a skeleton and needs sublabels"),
        (
            '[{"name": "b", "type": "skeleton", "sublabels": [{"name": "1"}]}]',
            "label 'b' is a skeleton and needs an svg",
        ),
        (
            [
                {
                    "name": "b",
                    "type": "skeleton",
                    "svg": SVG,
                    "sublabels": [{"name": "1"}, {"name": "1"}],
                }
            ],
            "label 'b' has the sublabel '1' twice",
        ),
        (
            [
                {
                    "name": "b",
                    "type": "skeleton",
                    "svg": SVG,
                    "sublabels": [{"name": "1", "type": "skeleton"}],
                }
            ],
            "sublabel '1' has type 'skeleton', which cannot be part of a skeleton",
        ),
        # Text that JSON can contain, but no database and no answer.
        (
            r'[{"name": "a\ud800"}]',
            "label 0: the name 'a\ufffd' holds a NUL or half of a surrogate",
        ),
        (
            r'[{"name": "a\u0000"}]',
            "label 0: the name 'a\ufffd' holds a NUL or half of a surrogate",
        ),
        (r'[{"name": "a", "type": "\ud800"}]', "label 'a' has type '\ufffd'"),
        (r'[{"name": "a", "color": "\ud800"}]', "label 'a': the color '\ufffd' holds a NUL"),
        (
            r'[{"name": "a", "attributes": [{"name": "\ud800", "input_type": "text"}]}]',
            "label 'a', attribute 0: the name '\ufffd' holds a NUL",
        ),
        (
            r'[{"name": "a", "attributes":'
            r' [{"name": "b", "input_type": "select", "values": ["\udfff"]}]}]',
            "label 'a', attribute 0 'b': the value '\ufffd' holds a NUL",
        ),
        (
            r'[{"name": "a", "attributes":'
            r' [{"name": "b", "input_type": "text", "default_value": "\u0000"}]}]',
            "label 'a', attribute 0 'b': the value '\ufffd' holds a NUL",
        ),
        (
            r'[{"name": "a", "type": "skeleton", "svg": "<svg>\ud800",'
            r' "sublabels": [{"name": "1"}]}]',
            "label 'a': the svg holds a NUL",
        ),
        (
            r'[{"name": "a", "type": "skeleton", "svg": "<svg>",'
            r' "sublabels": [{"name": "\ud800"}]}]',
            "label 'a': sublabel 0: the name '\ufffd' holds a NUL",
        ),
    ],
)
def test_invalid_spec_raises_an_error_with_label_and_attribute(
    spec: str | list[Any] | None, sentence: str
) -> None:
    with pytest.raises(SpecError) as error:
        parse_function_labels(spec)
    assert sentence in error.value.message
    error.value.message.encode()


TEXT = st.text(max_size=3) | st.sampled_from(["\ud800", "a\x00"])


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "name": TEXT | JSON,
                "type": st.sampled_from(["mask", "skeleton", "any"]) | JSON,
                "attributes": st.lists(
                    st.fixed_dictionaries(
                        {"name": TEXT, "input_type": st.sampled_from(["text", "select"])},
                        optional={"values": st.lists(TEXT, max_size=2), "default_value": TEXT},
                    ),
                    max_size=2,
                )
                | JSON,
                "sublabels": st.lists(st.fixed_dictionaries({"name": TEXT}), max_size=2) | JSON,
                "svg": TEXT | JSON,
                "color": TEXT,
            },
        )
    )
    | JSON
    | st.text()
)
def test_any_spec_is_parsed_or_raises_a_spec_error(spec: str | list[Any] | None) -> None:
    try:
        labels = parse_function_labels(spec)
    except SpecError as exc:
        exc.message.encode()
    else:
        shown = labels_v2(labels)
        assert "\\u0000" not in json.dumps(shown, ensure_ascii=False)
        json.dumps(shown, ensure_ascii=False).encode()
        assert parse_function_labels(shown) == tuple(
            Label(
                name=label.name,
                type=label.type,
                attributes=tuple(
                    Attribute(name=a.name, input_type=a.input_type, values=a.values)
                    for a in label.attributes
                ),
                sublabels=label.sublabels,
                svg=label.svg,
            )
            for label in labels
        )


def test_spec_with_too_many_labels_is_refused_before_they_are_parsed() -> None:
    with pytest.raises(SpecError, match="has 25001 labels; at most 25000 are allowed"):
        parse_function_labels([None] * 25_001)


def test_values_of_an_attribute_that_are_booleans_and_numbers_become_text() -> None:
    attributes = [
        {"name": "old", "input_type": "checkbox", "values": [True, False], "default_value": False},
        {"name": "age", "input_type": "number", "values": [0, 9.5, 0.5]},
    ]
    (label,) = parse_function_labels([{"name": "car", "attributes": attributes}])
    assert [(each.values, each.default) for each in label.attributes] == [
        (("true", "false"), "false"),
        (("0", "9.5", "0.5"), ""),
    ]
