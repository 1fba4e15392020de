"""Serialization of annotations to the API's JSON, and parsing."""

from __future__ import annotations

import copy
import importlib
import json
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3 import HTTPResponse

from cvat_lambda.annotations.errors import DataError
from cvat_lambda.annotations.serialize import labeled_data_from_json, labeled_data_to_json
from cvat_lambda.annotations.types import (
    AttributeValue,
    LabeledData,
    Shape,
    Tag,
    Track,
    TrackedShape,
)

COUNTS = {"rectangle": 4, "ellipse": 4, "polygon": 6, "polyline": 4, "points": 2, "cuboid": 16}
WHOLE = st.integers(0, 1000)
NUMBER = st.floats(-1000, 1000)
VALUES = st.builds(
    AttributeValue,
    spec_id=WHOLE,
    value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5),
)
COMMON: dict[str, Any] = {
    "frame": WHOLE,
    "label_id": WHOLE,
    "group": WHOLE,
    "source": st.sampled_from(["auto", "semi-auto", "manual", "file", "consensus"]),
    "attributes": st.lists(VALUES, max_size=2).map(tuple),
    "id": st.none() | WHOLE,
}
LOOK: dict[str, Any] = {
    "occluded": st.booleans(),
    "outside": st.booleans(),
    "z_order": st.integers(-5, 5),
}
SCORE = st.floats(0, 1)


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    shape_type = draw(st.sampled_from([*COUNTS, "mask"]))
    if shape_type == "mask":
        width, ones = draw(st.integers(1, 9)), draw(st.integers(0, 9))
        points: tuple[float, ...] = (max(width - ones, 0), min(ones, width), 3, 4, 2 + width, 4)
    else:
        count = COUNTS[shape_type]
        points = tuple(draw(st.lists(NUMBER, min_size=count, max_size=count)))
    turns = shape_type in ("rectangle", "ellipse")
    rotation = draw(st.floats(0, 359)) if turns else 0.0
    return {"type": shape_type, "points": points, "rotation": rotation}


def shapes_like(**more: Any) -> st.SearchStrategy[Shape]:
    fields = st.fixed_dictionaries({**COMMON, **LOOK, "score": SCORE, **more})
    return st.builds(lambda a, b: Shape(**{**a, **b}), fields, geometries())


TRACKED = st.builds(
    lambda a, b: TrackedShape(**a, **b),
    st.fixed_dictionaries(
        {**LOOK, "frame": WHOLE, "attributes": COMMON["attributes"], "id": COMMON["id"]}
    ),
    geometries(),
)
KEYS = st.lists(TRACKED, max_size=3).map(lambda keys: tuple(sorted(keys, key=lambda k: k.frame)))
SKELETONS = st.builds(
    lambda shape, elements: replace(
        shape, type="skeleton", points=(), rotation=0.0, elements=tuple(elements)
    ),
    shapes_like(),
    st.lists(shapes_like(), min_size=1, max_size=3),
)
BARE_TRACKS = st.builds(Track, **COMMON, shapes=KEYS)
TRACKS = st.builds(
    Track, **COMMON, shapes=KEYS, elements=st.lists(BARE_TRACKS, max_size=2).map(tuple)
)
DATA = st.builds(
    LabeledData,
    tags=st.lists(st.builds(Tag, **COMMON, score=SCORE), max_size=2).map(tuple),
    shapes=st.lists(shapes_like() | SKELETONS, max_size=3).map(tuple),
    tracks=st.lists(TRACKS, max_size=2).map(tuple),
)


@given(DATA)
def test_serialized_annotations_are_read_back_equal(data: LabeledData) -> None:
    assert labeled_data_from_json(json.loads(json.dumps(labeled_data_to_json(data)))) == data


def test_a_shape_has_exactly_the_fields_of_the_api() -> None:
    shape = Shape(type="rectangle", frame=3, label_id=5, points=(1.0, 2.0, 3.0, 4.0), score=0.5)
    assert labeled_data_to_json(LabeledData(shapes=(shape,))) == {
        "version": 0,
        "tags": [],
        "shapes": [
            {
                "type": "rectangle",
                "occluded": False,
                "outside": False,
                "z_order": 0,
                "rotation": 0.0,
                "points": [1.0, 2.0, 3.0, 4.0],
                "id": None,
                "frame": 3,
                "label_id": 5,
                "group": 0,
                "source": "auto",
                "attributes": [],
                "score": 0.5,
                "elements": [],
            }
        ],
        "tracks": [],
    }


def test_score_is_left_out_for_a_server_without_scores() -> None:
    shape = Shape(type="rectangle", frame=3, label_id=5, points=(1.0, 2.0, 3.0, 4.0))
    skeleton = Shape(type="skeleton", frame=3, label_id=5, elements=(shape,))
    data = LabeledData(shapes=(skeleton,), tags=(Tag(frame=1, label_id=2),))
    assert "score" not in json.dumps(labeled_data_to_json(data, with_score=False))


@pytest.fixture(scope="module")
def sdk() -> ModuleType:
    """The SDK's client and models."""
    pytest.importorskip("cvat_sdk", reason="cvat-sdk 2.80 needs Python 3.11")
    return importlib.import_module("cvat_sdk.api_client")


@settings(max_examples=30)  # the SDK's models are slow
@given(data=DATA)
def test_cvat_sdk_parses_serialized_annotations(sdk: ModuleType, data: LabeledData) -> None:
    shown = labeled_data_to_json(
        replace(
            data,
            tags=tuple(replace(tag, id=1) for tag in data.tags),
            shapes=tuple(replace(shape, id=1) for shape in data.shapes),
            tracks=tuple(replace(track, id=1) for track in data.tracks),
        )
    )
    response = HTTPResponse(
        json.dumps(shown).encode(), headers={"Content-Type": "application/vnd.cvat+json"}
    )
    parsed = sdk.ApiClient().deserialize(response, (sdk.models.LabeledData,), _check_type=True)
    assert [shape.points for shape in parsed.shapes] == [s["points"] for s in shown["shapes"]]
    assert [shape.score for shape in parsed.shapes] == [s["score"] for s in shown["shapes"]]
    assert len(parsed.tags) == len(data.tags)
    assert len(parsed.tracks) == len(data.tracks)


def test_annotations_that_cvat_sdk_sends_are_parsed(sdk: ModuleType) -> None:
    models = sdk.models
    request = models.LabeledDataRequest(
        tags=[models.LabeledImageRequest(frame=0, label_id=1)],
        shapes=[
            models.LabeledShapeRequest(
                type=models.ShapeType("rectangle"), frame=1, label_id=2, points=[1, 2, 3, 4]
            ),
            models.LabeledShapeRequest(
                type=models.ShapeType("skeleton"),
                frame=1,
                label_id=3,
                elements=[
                    models.SubLabeledShapeRequest(
                        type=models.ShapeType("points"), frame=1, label_id=4, points=[5, 6]
                    )
                ],
            ),
        ],
        tracks=[
            models.LabeledTrackRequest(
                frame=0,
                label_id=2,
                shapes=[
                    models.TrackedShapeRequest(
                        type=models.ShapeType("rectangle"), frame=0, points=[1, 2, 3, 4]
                    )
                ],
            )
        ],
    )
    sent = sdk.ApiClient.sanitize_for_serialization(request)
    data = labeled_data_from_json(json.loads(json.dumps(sent)))
    assert data.tags == (Tag(frame=0, label_id=1, source="manual"),)
    assert data.shapes[0] == Shape(
        type="rectangle", frame=1, label_id=2, points=(1, 2, 3, 4), source="manual"
    )
    assert data.shapes[1].elements[0].points == (5, 6)
    assert data.tracks[0].shapes == (TrackedShape(type="rectangle", frame=0, points=(1, 2, 3, 4)),)


def box(**fields: Any) -> dict[str, Any]:
    return {"type": "rectangle", "frame": 0, "label_id": 1, "points": [1, 2, 3, 4], **fields}


def test_missing_lists_and_fields_have_their_defaults() -> None:
    assert labeled_data_from_json({}) == LabeledData()
    shape = labeled_data_from_json({"shapes": [box(group=None, unknown=[1], source=None)]}).shapes[
        0
    ]
    assert (shape.group, shape.source, shape.score, shape.id) == (0, "manual", 1.0, None)


def test_integral_floats_become_integers() -> None:
    assert labeled_data_from_json({"shapes": [box(frame=3.0)]}).shapes[0].frame == 3


@pytest.mark.parametrize(("value", "read"), [(True, "true"), (False, "false"), (1.5, "1.5")])
def test_value_of_an_attribute_that_is_a_boolean_or_a_number_becomes_text(
    value: object, read: str
) -> None:
    given = {"shapes": [box(attributes=[{"spec_id": 3, "value": value}])]}
    (shape,) = labeled_data_from_json(given).shapes
    assert shape.attributes == (AttributeValue(spec_id=3, value=read),)


def test_keyframes_are_sorted() -> None:
    keys = [{k: v for k, v in box(frame=f).items() if k != "label_id"} for f in (5, 1, 3)]
    track = {"frame": 1, "label_id": 1, "shapes": keys}
    data = labeled_data_from_json({"tracks": [track]})
    assert [key.frame for key in data.tracks[0].shapes] == [1, 3, 5]


def test_largest_group_that_the_database_takes_is_read() -> None:
    largest = 2**31 - 1
    (shape,) = labeled_data_from_json({"shapes": [box(id=largest, group=largest)]}).shapes
    assert (shape.id, shape.group) == (largest, largest)


@pytest.mark.parametrize(
    ("obj", "path", "sentence"),
    [
        ([], "", "expected an object, not an array"),
        ({"shapes": {}}, "shapes", "expected an array, not an object"),
        ({"shapes": [box(), 5]}, "shapes[1]", "expected an object, not a number"),
        ({"shapes": [box(), box(points=[1])]}, "shapes[1].points", "4 numbers, but 1 was given"),
        ({"shapes": [box(points=None)]}, "shapes[0].points", "4 numbers, but 0 were given"),
        ({"shapes": [box(points=[1, 2, 3, "4"])]}, "shapes[0].points", "finite numbers"),
        ({"shapes": [box(type="box")]}, "shapes[0].type", "'box' is not a shape type"),
        ({"shapes": [box(type=None)]}, "shapes[0].type", "null is not a shape type"),
        ({"shapes": [box(frame=-1)]}, "shapes[0].frame", "whole number from 0, not -1"),
        ({"shapes": [box(frame=None)]}, "shapes[0].frame", "not null"),
        ({"shapes": [box(frame=1.5)]}, "shapes[0].frame", "not 1.5"),
        ({"shapes": [box(label_id="1")]}, "shapes[0].label_id", "not '1'"),
        ({"shapes": [box(label_id=True)]}, "shapes[0].label_id", "not True"),
        ({"shapes": [box(label_id=2**31)]}, "shapes[0].label_id", "not 2147483648"),
        ({"shapes": [box(rotation=361)]}, "shapes[0].rotation", "degrees from 0 to 360"),
        ({"shapes": [box(group=-1)]}, "shapes[0].group", "not -1"),
        ({"shapes": [box(occluded="no")]}, "shapes[0].occluded", "true or false, not 'no'"),
        ({"shapes": [box(source="robot")]}, "shapes[0].source", "'robot' is not a source"),
        ({"shapes": [box(score=1.5)]}, "shapes[0].score", "from 0 to 1, not 1.5"),
        ({"shapes": [box(attributes=5)]}, "shapes[0].attributes", "expected an array"),
        ({"shapes": [box(attributes=0)]}, "shapes[0].attributes", "not a number"),
        ({"shapes": [box(attributes="")]}, "shapes[0].attributes", "not empty text"),
        (
            {"shapes": [box(attributes=[{"spec_id": 1, "value": None}])]},
            "shapes[0].attributes[0].value",
            "at most 4096 characters, not null",
        ),
        (
            {"shapes": [box(attributes=[{"value": "a"}])]},
            "shapes[0].attributes[0].spec_id",
            "not null",
        ),
        ({"shapes": [box(elements=[box()])]}, "shapes[0].elements", "a rectangle has no elements"),
        (
            {"shapes": [box(type="skeleton", points=[])]},
            "shapes[0].elements",
            "a skeleton needs elements",
        ),
        (
            {"shapes": [box(type="skeleton", points=[], elements=[box(points=[1])])]},
            "shapes[0].elements[0].points",
            "4 numbers",
        ),
        (
            {
                "shapes": [
                    box(type="skeleton", points=[], elements=[box(type="skeleton", points=[])])
                ]
            },
            "shapes[0].elements[0].type",
            "no skeletons in it",
        ),
        ({"shapes": [box(type="mask", points=[1, 0, 0, 1, 1])]}, "shapes[0].points", "add up to 1"),
        ({"tags": [{"frame": 0}]}, "tags[0].label_id", "not null"),
        (
            {"tracks": [{"frame": 0, "label_id": 1, "shapes": [box(), box(frame=None)]}]},
            "tracks[0].shapes[1].frame",
            "not null",
        ),
        (
            {"tracks": [{"frame": 0, "label_id": 1, "elements": [{"frame": 0}]}]},
            "tracks[0].elements[0].label_id",
            "not null",
        ),
    ],
)
def test_invalid_annotation_raises_an_error_with_its_path(
    obj: object, path: str, sentence: str
) -> None:
    with pytest.raises(DataError) as error:
        labeled_data_from_json(obj)
    assert error.value.path == path
    assert sentence in error.value.message


def test_ids_can_be_required_or_forbidden() -> None:
    with_id, without = {"shapes": [box(id=5)]}, {"shapes": [box()]}
    assert labeled_data_from_json(with_id, require_ids=True).shapes[0].id == 5
    assert labeled_data_from_json(without, forbid_ids=True).shapes[0].id is None
    with pytest.raises(DataError) as missing:
        labeled_data_from_json(without, require_ids=True)
    assert missing.value.path == "shapes[0].id"
    with pytest.raises(DataError) as given_id:
        labeled_data_from_json(with_id, forbid_ids=True)
    assert given_id.value.path == "shapes[0].id"


@given(DATA, st.data())
def test_any_damaged_annotation_is_read_or_refused_with_its_path(
    data: LabeledData, draw: st.DataObject
) -> None:
    shown = labeled_data_to_json(data)
    damaged = copy.deepcopy(shown)
    where = damaged
    for _ in range(4):
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        if not keys:
            break
        key = draw.draw(st.sampled_from(keys))
        if isinstance(where[key], (dict, list)) and where[key] and draw.draw(st.booleans()):
            where = where[key]
            continue
        where[key] = draw.draw(
            st.sampled_from([None, -1, 1.5, "x", True, [], {}, [5], 10**400, float("nan")])
        )
        break
    try:
        again = labeled_data_from_json(damaged)
    except DataError as error:
        assert error.path.split("[")[0].split(".")[0] in ("tags", "shapes", "tracks")  # noqa: PT017
    else:
        assert isinstance(again, LabeledData)
