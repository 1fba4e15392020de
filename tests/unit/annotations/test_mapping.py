"""The mapping of a function's labels to a task's labels, and invalid mappings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.annotations.errors import MappingError
from cvat_lambda.annotations.mapping import are_compatible, build_mapping
from cvat_lambda.annotations.types import Attribute, Label, LabelType


def numbered(names: str, first_id: int | None = None, **fields: Any) -> tuple[Label, ...]:
    return tuple(
        Label(name=name, type="points", id=None if first_id is None else first_id + i, **fields)
        for i, name in enumerate(names)
    )


FUNCTION = (
    Label(
        name="face",
        type="rectangle",
        attributes=(
            Attribute(name="age", input_type="number", values=("0", "150", "1")),
            Attribute(name="gender", input_type="select", values=("female", "male")),
        ),
    ),
    Label(name="car", type="mask"),
    Label(name="thing"),
    Label(name="body", type="skeleton", sublabels=numbered("123"), svg="<g/>"),
)
AGE = Attribute(name="age", input_type="number", values=("0", "99", "1"), id=101)
SEX = Attribute(name="sex", input_type="select", values=("female", "male"), id=102)
TASK = (
    Label(name="face", id=1, type="rectangle", attributes=(AGE, SEX)),
    Label(name="car", id=2, type="polygon"),
    Label(name="scene", id=3, type="tag"),
    Label(name="thing", id=4),
    Label(name="body", id=5, type="skeleton", sublabels=numbered("234", 50)),
    Label(name="line", id=6, type="polyline"),
)


@pytest.mark.parametrize("raw", [None, {}])
def test_default_mapping_maps_labels_of_equal_names_and_compatible_types(raw: object) -> None:
    mapping = build_mapping(raw, FUNCTION, TASK)
    assert {name: each.label_id for name, each in mapping.by_name.items()} == {
        "face": 1,
        "car": 2,  # a mask may become a polygon
        "thing": 4,
        "body": 5,
    }
    assert mapping.by_name["face"].attributes == {"age": AGE}
    sublabels = mapping.by_name["body"].sublabels
    assert {name: each.label_id for name, each in sublabels.items()} == {"2": 50, "3": 51}


def test_default_mapping_leaves_out_incompatible_types() -> None:
    task = (Label(name="face", id=1, type="mask"), Label(name="body", id=5, type="any"))
    assert build_mapping(None, FUNCTION, task).by_name == {}


def test_the_default_mapping_leaves_out_a_skeleton_without_a_common_point() -> None:
    task = (Label(name="body", id=5, type="skeleton", sublabels=numbered("789", 50)),)
    assert build_mapping(None, FUNCTION, task).by_name == {}


def test_explicit_mapping_maps_only_the_labels_that_it_names() -> None:
    raw = {
        "face": {"name": "face", "attributes": {"gender": "sex"}},
        "thing": {"name": "line"},
        "body": {"name": "body", "sublabels": {"1": {"name": "4"}}},
    }
    mapping = build_mapping(raw, FUNCTION, TASK)
    assert set(mapping.by_name) == {"face", "thing", "body"}
    assert mapping.by_name["face"].attributes == {"gender": SEX}
    assert mapping.by_name["thing"].label_id == 6
    assert mapping.by_name["body"].sublabels["1"].label_id == 52
    assert mapping.knows("car")
    assert not mapping.knows("cat")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ([], "the mapping must be an object of labels, not list"),
        ({"cat": {"name": "car"}}, "the function has no label 'cat'; it has 'face', 'car'"),
        ({"car": {"name": "cat"}}, "label 'car' is mapped to 'cat', which the task has not"),
        ({"car": "car"}, "label 'car' must be mapped to an object"),
        ({"car": {"name": 3}}, "label 'car' must be mapped to an object"),
        (
            {"face": {"name": "line"}},
            "is of type rectangle and cannot become 'line' of type polyline",
        ),
        ({"car": {"name": "scene"}}, "is of type mask and cannot become 'scene' of type tag"),
        ({"body": {"name": "thing"}}, "is of type skeleton and cannot become 'thing'"),
        ({"thing": {"name": "body"}}, "is of type any and cannot become 'body'"),
        (
            {"face": {"name": "face", "attributes": {"mood": "sex"}}},
            "label 'face' of the function has no attribute 'mood'",
        ),
        (
            {"face": {"name": "face", "attributes": {"age": "mood"}}},
            "attribute 'age' of label 'face' is mapped to 'mood', which the task's label 'face' "
            "has not; it has 'age', 'sex'",
        ),
        ({"face": {"name": "face", "attributes": []}}, "must be an object, not list"),
        ({"body": {"name": "body"}}, "label 'body' is a skeleton: its mapping needs \"sublabels\""),
        (
            {"body": {"name": "body", "sublabels": {"9": {"name": "2"}}}},
            "the function has no sublabel '9' of skeleton 'body'; it has '1', '2', '3'",
        ),
        (
            {"body": {"name": "body", "sublabels": {"1": {"name": "1"}}}},
            "sublabel '1' of skeleton 'body' is mapped to '1', which the task has not",
        ),
        (
            {"body": {"name": "body", "sublabels": {"1": {"name": "2"}, "2": {"name": "2"}}}},
            "sublabels '1' and '2' of skeleton 'body' are both mapped to '2'",
        ),
        (
            {"car": {"name": "car", "sublabels": {"1": {"name": "2"}}}},
            "label 'car' is not a skeleton and has no sublabels to map",
        ),
    ],
)
def test_invalid_mapping_raises_an_error_with_the_known_names(raw: object, sentence: str) -> None:
    with pytest.raises(MappingError) as error:
        build_mapping(raw, FUNCTION, TASK)
    assert sentence in error.value.message


def test_mapping_for_a_function_without_labels_names_the_missing_annotation() -> None:
    with pytest.raises(MappingError, match="announces no labels: write them in the annotation"):
        build_mapping({"car": {"name": "car"}}, (), TASK)


@pytest.mark.parametrize(
    ("ours", "theirs", "fits"),
    [
        ("rectangle", "rectangle", True),
        ("rectangle", "any", True),
        ("any", "tag", True),
        ("any", "any", True),
        ("mask", "polygon", True),
        ("polygon", "mask", True),
        ("skeleton", "skeleton", True),
        ("rectangle", "polygon", False),
        ("mask", "rectangle", False),
        ("skeleton", "any", False),
        ("any", "skeleton", False),
    ],
)
def test_are_compatible_compares_label_types(
    ours: LabelType, theirs: LabelType, fits: bool
) -> None:
    assert are_compatible(Label(name="a", type=ours), Label(name="b", type=theirs)) is fits


def test_mapped_task_label_without_an_id_raises_value_error() -> None:
    with pytest.raises(ValueError, match="have ids"):
        build_mapping(None, FUNCTION, (Label(name="face", type="rectangle"),))


NAMES = st.sampled_from(["face", "car", "thing", "body", "line", "scene", "1", "2", "cat"])
VALUES = st.none() | st.integers() | NAMES


@given(
    st.dictionaries(
        NAMES,
        VALUES
        | st.fixed_dictionaries(
            {"name": VALUES},
            optional={
                "attributes": VALUES
                | st.dictionaries(st.sampled_from(["age", "gender", "sex"]), VALUES),
                "sublabels": VALUES
                | st.dictionaries(NAMES, st.fixed_dictionaries({"name": VALUES})),
            },
        ),
    )
)
def test_any_mapping_is_checked_or_raises_a_mapping_error(raw: object) -> None:
    try:
        mapping = build_mapping(raw, FUNCTION, TASK)
    except MappingError:
        return
    if raw:
        assert isinstance(raw, dict)
        assert set(mapping.by_name) == set(raw)
    for each in mapping.by_name.values():
        assert are_compatible(each.function_label, each.task_label)
        assert each.task_label in TASK


def test_error_about_a_name_shows_the_first_known_names_and_the_number_of_the_others() -> None:
    labels = tuple(Label(name=f"label {number}", id=number) for number in range(30))
    with pytest.raises(MappingError, match=r"'label 0', .*, \d+ more"):
        build_mapping({"label 0": {"name": "car"}}, labels, labels)
