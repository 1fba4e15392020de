"""Conversion of a detector's answer to annotations: every kind of result, and invalid answers."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cvat_lambda.annotations import contours, rle, shapes
from cvat_lambda.annotations.detections import Converted, convert_detections
from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.mapping import build_mapping
from cvat_lambda.annotations.notes import Note
from cvat_lambda.annotations.placement import WHOLE_FRAME, Placement
from cvat_lambda.annotations.types import Attribute, AttributeValue, Label, Shape, Tag

AGE = Attribute(name="age", input_type="number", values=("0", "150", "1"), id=101)
SEX = Attribute(name="sex", input_type="select", values=("female", "male"), id=102)
POINTS = ("left", "right", "nose")
FUNCTION = (
    Label(
        name="face",
        attributes=(
            Attribute(name="age", input_type="number", values=("0", "150", "1")),
            Attribute(name="sex", input_type="select", values=("female", "male")),
            Attribute(name="mood", input_type="text"),
        ),
    ),
    Label(name="box", type="rectangle"),
    Label(name="outline", type="mask"),
    Label(name="region", type="polygon"),
    Label(name="unwanted"),
    Label(
        name="head",
        type="skeleton",
        sublabels=tuple(Label(name=name, type="points") for name in (*POINTS, "ear")),
        svg="<g/>",
    ),
)
TASK = (
    Label(name="face", id=1, attributes=(AGE, SEX)),
    Label(name="box", id=2, type="rectangle"),
    Label(name="outline", id=3, type="polygon"),
    Label(name="region", id=4, type="mask"),
    Label(
        name="head",
        id=5,
        type="skeleton",
        sublabels=(
            Label(name="nose", id=53, type="points"),
            Label(name="left", id=51, type="points"),
            Label(name="right", id=52, type="points"),
            Label(name="chin", id=54, type="rectangle"),
        ),
    ),
)
MAPPING = build_mapping(None, FUNCTION, TASK)
SIZE = (100, 80)


def convert(*items: Any, **options: Any) -> Converted:
    given = {"mapping": MAPPING, "frame": 7, "image_size": SIZE, **options}
    return convert_detections(list(items), **given)


def only(converted: Converted) -> Shape:
    (shape,) = converted.data.shapes
    assert converted.dropped == 0
    return shape


def face(**fields: Any) -> dict[str, Any]:
    return {"label": "face", "type": "rectangle", "points": [10, 20, 30, 40], **fields}


def head(*elements: Any, **fields: Any) -> dict[str, Any]:
    return {"label": "head", "type": "skeleton", "elements": list(elements), **fields}


def point(label: str, x: float, y: float, **fields: Any) -> dict[str, Any]:
    return {"label": label, "type": "points", "points": [x, y], **fields}


def test_empty_answer_gives_an_empty_result() -> None:
    assert convert() == Converted(data=convert().data)
    assert not convert().data


def test_rectangle_keeps_all_its_fields() -> None:
    item = face(
        rotation=370,
        group_id=3.0,
        outside=1,
        confidence="0.75",
        attributes=[
            {"name": "age", "value": 25.0},
            {"name": "sex", "value": "male"},
            {
                "name": "mood",
                "value": "calm",
            },  # an attribute that the task does not have is left out without a note
        ],
    )
    converted = convert(item)
    assert only(converted) == Shape(
        type="rectangle",
        frame=7,
        label_id=1,
        points=(10.0, 20.0, 30.0, 40.0),
        rotation=10.0,
        outside=True,
        group=3,
        source="auto",
        attributes=(
            AttributeValue(spec_id=101, value="25"),
            AttributeValue(spec_id=102, value="male"),
        ),
        score=0.75,
    )
    assert converted.notes == ()


@pytest.mark.parametrize(
    ("shape_type", "points"),
    [
        ("rectangle", [1, 2, 3, 4]),
        ("ellipse", [50, 40, 60, 30]),
        ("polygon", [10, 10, 20, 10, 20, 20]),
        ("polyline", [10, 10, 20, 10]),
        ("points", [10, 10]),
        ("cuboid", [10, 10, 20, 10, 20, 20, 10, 20, 12, 12, 22, 12, 22, 22, 12, 22]),
    ],
)
def test_every_plain_type_keeps_its_points(shape_type: str, points: list[float]) -> None:
    shape = only(convert(face(type=shape_type, points=points)))
    assert shape.type == shape_type
    assert shape.points == tuple(points)


def test_tag_is_converted_without_points() -> None:
    item = {"label": "face", "type": "tag", "attributes": [{"name": "age", "value": 3}]}
    converted = convert({**item, "confidence": 0.5})
    value = AttributeValue(spec_id=101, value="3")
    assert converted.data.tags == (Tag(frame=7, label_id=1, attributes=(value,), score=0.5),)
    assert converted.data.shapes == ()


def test_raw_mask_is_converted_to_run_lengths() -> None:
    item = face(type="mask", mask=[0, 255, 255, 255, 0, 0, 10, 20, 12, 21])
    assert only(convert(item)).points == (1, 3, 2, 10, 20, 12, 21)


def test_run_lengths_are_kept_unchanged() -> None:
    item = face(type="mask", rle=[1.0, 3.0, 2.0, 10.0, 20.0, 12.0, 21.0], points=[1, 2])
    assert only(convert(item)).points == (1, 3, 2, 10, 20, 12, 21)


def test_requested_polygon_is_the_one_that_the_function_answered() -> None:
    item = face(type="mask", mask=[1] * 4 + [0, 0, 1, 1], points=[1, 1, 5, 1, 5, 5])
    shape = only(convert(item, conv_mask_to_poly=True))
    assert (shape.type, shape.points) == ("polygon", (1, 1, 5, 1, 5, 5))


@pytest.mark.parametrize("points", [None, [], [1, 1, 2, 2]])
def test_requested_polygon_is_computed_from_the_mask_if_none_was_answered(points: object) -> None:
    item = face(type="mask", mask=[1] * 6 + [10, 20, 12, 21], points=points)
    shape = only(convert(item, conv_mask_to_poly=True))
    assert (shape.type, shape.points) == ("polygon", (10, 20, 13, 20, 13, 22, 10, 22))


def test_the_computed_polygon_covers_the_mask() -> None:
    y, x = np.mgrid[:80, :100]
    disc = np.hypot(x - 50, y - 40) < 30
    raw = [*(disc.ravel() * 255).tolist(), 0, 0, 99, 79]
    shape = only(convert(face(type="mask", mask=raw), conv_mask_to_poly=True))
    filled = contours.fill(shape.points, 100, 80)
    assert (filled & disc).sum() / (filled | disc).sum() >= 0.95


def test_mask_for_a_label_of_polygons_becomes_a_polygon() -> None:
    item = {"label": "outline", "type": "mask", "rle": [0, 6, 10, 20, 12, 21]}
    assert only(convert(item)).points == (10, 20, 13, 20, 13, 22, 10, 22)


def test_polygon_for_a_label_of_masks_becomes_a_mask() -> None:
    item = {"label": "region", "type": "polygon", "points": [10, 20, 13, 20, 13, 22, 10, 22]}
    shape = only(convert(item))
    assert (shape.type, shape.points) == ("mask", (0, 6, 10, 20, 12, 21))


def test_skeleton_has_every_point_of_the_task_in_the_order_of_the_task() -> None:
    shape = only(
        convert(
            head(
                point("left", 10, 20, confidence=0.5),
                point("right", 30, 40, outside=0),
                point("nose", 99, 79, outside=1),
                group_id=4,
                confidence=0.9,
            )
        )
    )
    assert (shape.type, shape.points, shape.label_id, shape.group) == ("skeleton", (), 5, 4)
    found = [(e.label_id, e.type, e.points, e.outside, e.score) for e in shape.elements]
    assert found == [
        (53, "points", (99.0, 79.0), True, 0.9),
        (51, "points", (10.0, 20.0), False, 0.5),
        (52, "points", (30.0, 40.0), False, 0.9),
        (
            54,
            "rectangle",
            (20.0, 30.0, 20.0, 30.0),
            True,
            0.9,
        ),  # a missing point is hidden at the centre
    ]
    assert {element.frame for element in shape.elements} == {7}
    assert {element.group for element in shape.elements} == {4}


def test_a_point_outside_the_image_is_hidden() -> None:
    shape = only(convert(head(point("left", 10, 20), point("nose", 500, 20))))
    assert [(e.outside, e.points) for e in shape.elements[:2]] == [
        (True, (10.0, 20.0)),
        (False, (10.0, 20.0)),
    ]


@pytest.mark.parametrize(
    "elements", [[], [point("left", 10, 20, outside=True)], [point("ear", 10, 20)]]
)
def test_a_skeleton_without_a_visible_point_is_dropped(elements: list[Any]) -> None:
    converted = convert(head(*elements))
    assert not converted.data
    assert converted.dropped == 1
    assert "no point of the skeleton is visible" in converted.notes[-1].reason


def test_unmapped_labels_are_dropped_and_unknown_ones_noted() -> None:
    converted = convert(
        face(label="unwanted"), face(), face(label="dragon"), {"label": "unwanted", "type": "tag"}
    )
    assert len(converted.data.shapes) == 1
    assert converted.dropped == 3
    reason = "item 2: the function does not announce a label 'dragon'"
    assert converted.notes == (Note(kind="unknown_label", count=1, reason=reason),)


def test_threshold_drops_items_with_a_lower_confidence() -> None:
    items = [face(confidence=c) for c in (0.1, 0.5, "0.49", 0.9, None)]
    converted = convert(*items, threshold=0.5)
    assert [shape.score for shape in converted.data.shapes] == [0.5, 0.9, 1.0]
    assert converted.dropped == 2
    assert len(convert(*items, threshold=0.0).data.shapes) == 5


@pytest.mark.parametrize(
    ("confidence", "score", "is_noted"),
    [
        (0, 0.0, False),
        (1, 1.0, False),
        ("0.25", 0.25, False),
        (1.0000001, 1.0, False),
        (-0.0000001, 0.0, False),
        (87, 1.0, True),
        ("high", 1.0, True),
        ([0.5], 1.0, True),
        (True, 1.0, True),
    ],
)
def test_confidence_is_kept_as_a_score(confidence: object, score: float, is_noted: bool) -> None:
    converted = convert(face(confidence=confidence))
    assert only(converted).score == score
    assert bool(converted.notes) is is_noted


def test_invalid_attribute_value_is_left_out_with_a_note() -> None:
    attributes = [{"name": "age", "value": 151}, {"name": "sex", "value": "fem"}]
    converted = convert(face(attributes=attributes))
    assert only(converted).attributes == ()
    reason = "item 0: 151 is not a value of the attribute 'age' and was left out"
    assert converted.notes == (Note(kind="invalid_attribute", count=2, reason=reason),)
    assert converted.sentences() == [f"{reason} (and 1 more of this kind)"]


def test_shape_beyond_the_border_of_the_image_is_clipped_with_a_note() -> None:
    converted = convert(face(points=[-20, 10, 120, 200]))
    assert only(converted).points == (0, 10, 100, 80)
    assert converted.sentences() == ["item 0: the rectangle reaches beyond the image"]


def test_shape_outside_the_image_is_dropped_with_a_note() -> None:
    converted = convert(face(points=[200, 10, 220, 20]))
    assert (converted.data.shapes, converted.dropped) == ((), 1)
    assert converted.sentences() == ["item 0: the rectangle is empty or lies outside the image"]


@pytest.mark.parametrize("as_polygons", [False, True])
@pytest.mark.parametrize("placement", [WHOLE_FRAME, Placement(scale=(0.01, 0.01), size=(64, 48))])
def test_mask_with_a_huge_box_is_refused_before_memory_is_allocated(
    as_polygons: bool, placement: Placement
) -> None:
    """A mask of 60 bytes took 2.4 GB of memory."""
    item = {"label": "face", "type": "mask", "rle": [0, 268435456, 0, 0, 16383, 16383]}
    tracemalloc.start()
    try:
        converted = convert(item, conv_mask_to_poly=as_polygons, placement=placement)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    (note,) = converted.notes
    assert note.reason.startswith("item 0, field 'rle': the box")
    assert "too large" in note.reason


def test_shapes_are_not_clipped_without_an_image_size() -> None:
    shape = only(convert(face(points=[-20, 10, 1200, 200]), image_size=None))
    assert shape.points == (-20, 10, 1200, 200)


def test_an_empty_mask_is_dropped_with_a_note() -> None:
    for options in ({}, {"conv_mask_to_poly": True}, {"image_size": None}):
        converted = convert(face(type="mask", mask=[0, 0, 0, 0, 1, 1, 2, 2]), **options)
        assert (converted.data.shapes, converted.dropped) == ((), 1)
        assert "is empty" in converted.notes[0].reason


def test_detections_of_a_region_are_moved_to_the_whole_frame() -> None:
    converted = convert(
        face(),
        face(type="mask", rle=[0, 4, 0, 0, 1, 1]),
        head(point("nose", 1, 2)),
        face(type="ellipse", points=[10, 10, 15, 5]),
        placement=Placement(offset=(40, 30), size=(60, 50)),
    )
    rectangle, mask, skeleton, ellipse = converted.data.shapes
    assert rectangle.points == (50, 50, 70, 70)
    assert mask.points == (0, 4, 40, 30, 41, 31)
    assert skeleton.elements[0].points == (41, 32)
    assert ellipse.points == (50, 40, 55, 35)


@pytest.mark.parametrize(
    ("item", "note"),
    [
        (
            face(label="box", type="polygon", points=[1, 1, 9, 1, 9, 9]),
            "a polygon cannot be a 'box'",
        ),
        (face(label="box", type="tag"), "a tag cannot be a 'box', a label of type rectangle"),
        (face(type="skeleton", elements=[]), "a skeleton cannot be a 'face', a label of type any"),
        (face(label="head"), "a rectangle cannot be a 'head', a label of type skeleton"),
    ],
)
def test_item_that_does_not_fit_the_type_of_its_label_is_dropped(item: object, note: str) -> None:
    converted = convert(item)
    assert not converted.data
    assert converted.dropped == 1
    assert note in converted.notes[0].reason


def test_notes_of_one_kind_are_merged_with_their_number() -> None:
    converted = convert(*[face(label="dragon")] * 100)
    assert [(note.kind, note.count) for note in converted.notes] == [("unknown_label", 100)]


@pytest.mark.parametrize(
    ("item", "field", "sentence"),
    [
        ("face", "", "expected an object, not text"),
        (None, "", "expected an object, not null"),
        ({"type": "tag"}, "label", "expected a name, not null"),
        (face(label=3), "label", "expected a name, not a number"),
        (face(label=None), "label", "expected a name, not null"),
        (face(type="box"), "type", "'box' is not a type of an item"),
        (face(type="any"), "type", "'any' is not a type of an item"),
        (face(type=None), "type", "null is not a type of an item"),
        (face(points=None), "points", "must be an array of numbers"),
        (face(points=[1, 2, 3]), "points", "a rectangle has 4 numbers, but 3 were given"),
        (face(points=[1, 2, 3, math.nan]), "points", "finite numbers"),
        (face(points=[1, 2, 3, "4"]), "points", "finite numbers"),
        (face(points=[1, 2, 3, math.inf]), "points", "finite numbers"),
        (face(type="polygon", points=[1, 2, 3, 4]), "points", "6 numbers or more, but 4"),
        (face(type="polygon", points=[[5, 5], [50, 5], [50, 50]]), "points", "a flat array"),
        (face(points=[[5, 5], [50, 5]]), "points", "a flat array [x0, y0, x1, y1, ...]"),
        (face(rotation=math.nan), "rotation", "finite number of degrees"),
        (face(rotation="30"), "rotation", "finite number of degrees"),
        (face(group_id=-1), "group_id", "zero or more"),
        (face(group_id=1.5), "group_id", "expected a whole number"),
        (face(outside="no"), "outside", "expected true or false, not 'no'"),
        (face(outside=2), "outside", "expected true or false, not 2"),
        (face(confidence=math.nan), "confidence", "finite"),
        (face(confidence="inf"), "confidence", "finite"),
        (face(attributes={"age": 3}), "attributes", "expected an array, not an object"),
        (face(attributes=["age"]), "attributes[0]", "expected an object, not text"),
        (face(attributes=[{"value": 3}]), "attributes[0].name", "expected a name"),
        (face(type="mask"), "mask", "a mask needs its pixels in 'mask'"),
        (face(type="mask", mask="0110"), "mask", "expected an array of numbers, not text"),
        (face(type="mask", mask=[1, 0, 0, 1, 1]), "mask", "has 1 pixels, but its box"),
        (face(type="mask", rle=[1, 1, 0, 0, 1, 1]), "rle", "add up to 2"),
        (face(type="mask", rle=[1, math.nan, 0, 0, 1, 1]), "rle", "finite"),
        (head(elements=None), "elements", "expected an array, not null"),
    ],
)
def test_item_that_breaks_the_contract_is_left_out_with_a_note_and_its_neighbours_are_kept(
    item: object, field: str, sentence: str
) -> None:
    converted = convert(face(), item, face())
    assert len(converted.data.shapes) == 2
    assert converted.dropped == 1
    (note,) = [note for note in converted.notes if note.kind == "invalid_item"]
    assert note.count == 1
    assert note.reason.startswith(f"item 1, field '{field}': " if field else "item 1: ")
    assert sentence in note.reason
    assert note.reason.endswith("; the item was left out")


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (point("tail", 1, 2), "the skeleton does not announce a point 'tail'"),
        (point("left", 1, 2), "the point 'left' came twice; the first was kept"),
        (point("nose", 1, 2, type="rectangle"), "'nose' cannot be a rectangle"),
    ],
)
def test_element_that_is_unknown_repeated_or_of_another_type_is_left_out_with_a_note(
    element: dict[str, Any], reason: str
) -> None:
    converted = convert(head(point("left", 10, 20), element))
    assert [(e.outside, e.points) for e in only(converted).elements[:2]] == [
        (True, (10, 20)),  # the nose, where the box of the visible points is
        (False, (10, 20)),
    ]
    assert converted.notes == (Note(kind="skeleton_point", count=1, reason=f"item 0: {reason}"),)


def test_confidence_of_an_element_outside_of_0_to_1_is_replaced_with_a_note() -> None:
    converted = convert(head(point("left", 10, 20, confidence=1.5)))
    assert only(converted).elements[1].score == 1.0
    assert [note.kind for note in converted.notes] == ["invalid_confidence"]


@pytest.mark.parametrize(
    ("element", "field", "sentence"),
    [
        ("nose", "elements[0]", "expected an object, not text"),
        ({"type": "points"}, "elements[0].label", "expected a name"),
        (point("nose", 1, math.nan), "elements[0].points", "finite"),
        ({"label": "nose", "type": "points"}, "elements[0].points", "array"),
        (point("nose", 1, 2, type="dot"), "elements[0].type", "'dot' is not a type"),
        (point("nose", 1, 2, outside="x"), "elements[0].outside", "true or false"),
        (point("nose", 1, 2, attributes=5), "elements[0].attributes", "an array"),
    ],
)
def test_element_that_breaks_the_contract_is_hidden_with_a_note(
    element: object, field: str, sentence: str
) -> None:
    converted = convert(head(element, point("left", 10, 20)))
    assert [e.outside for e in only(converted).elements[:2]] == [True, False]
    (note,) = converted.notes
    assert (note.kind, note.count) == ("skeleton_point", 1)
    assert note.reason.startswith(f"item 0, field '{field}': ")
    assert sentence in note.reason


def test_one_invalid_item_of_fifty_one_is_left_out_alone() -> None:
    bad = {"label": "outline", "type": "polygon", "points": [5, 5, 9, 9]}
    converted = convert(*[face()] * 50, bad)
    assert (len(converted.data.shapes), converted.dropped) == (50, 1)
    assert [(note.kind, note.count) for note in converted.notes] == [("invalid_item", 1)]


def test_keypoint_at_minus_one_is_hidden_without_a_note() -> None:
    """Such a keypoint used to be clamped to (0, 0) and shown there."""
    item = head(point("left", 10, 20), point("right", -1, -1), point("nose", -1.0, -1.0))
    for placement in (WHOLE_FRAME, Placement(offset=(40, 30), size=(60, 50))):
        converted = convert(item, placement=placement)
        assert [e.outside for e in only(converted).elements[:3]] == [True, False, True]
        assert converted.notes == ()


def test_points_at_minus_one_are_outside_the_image() -> None:
    converted = convert(face(type="points", points=[-1, -1, 5, 5, -0.5, 3]))
    assert only(converted).points == (5, 5, 0, 3)


def test_mask_with_clipped_pixels_and_an_unclipped_box_is_kept() -> None:
    """A numpy slice ``mask[top : bottom + 1, left : right + 1]`` ends at the image's border."""
    item = face(type="mask", mask=[1] * 600 + [300, 210, 320, 240])
    converted = convert(item, image_size=(320, 240))
    assert only(converted).points == (0, 600, 300, 210, 319, 239)
    assert converted.notes == ()


def test_detections_on_a_downscaled_image_are_scaled_to_the_frame() -> None:
    converted = convert(
        face(points=[1, 2, 3, 4]),
        head(point("nose", 1, 2)),
        face(type="mask", mask=[1, 0, 0, 1, 1, 0, 2, 1]),
        face(type="mask", rle=[0, 1, 2, 1, 1, 0, 2, 1]),
        placement=Placement(scale=(0.5, 0.5), size=(50, 40)),
    )
    rectangle, skeleton, mask, run_lengths = converted.data.shapes
    assert rectangle.points == (2, 4, 6, 8)
    assert skeleton.elements[0].points == (2, 4)
    assert mask.points == run_lengths.points == (0, 2, 2, 2, 4, 2, 2, 2, 2, 0, 5, 3)
    bitmap, left, top = rle.decode(mask.points)
    assert (left, top) == (2, 0)
    assert bitmap.astype(int).tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
    ]


def test_mask_of_an_unevenly_downscaled_image_covers_the_same_part_of_the_frame() -> None:
    whole = np.zeros((90, 130), dtype=bool)
    whole[20:70, 30:100] = True
    small = np.asarray(Image.fromarray(whole).resize((47, 33)))
    placement = Placement(scale=(47 / 130, 33 / 90), size=(47, 33))
    item = face(type="mask", rle=list(rle.encode(small, 0, 0)))
    shape = only(convert(item, image_size=(130, 90), placement=placement))
    found, left, top = rle.decode(shape.points)
    assert (left, top, found.shape) == (0, 0, (90, 130))
    assert (found & whole).sum() / (found | whole).sum() > 0.93


def test_polygon_of_a_mask_of_a_downscaled_image_has_few_corners() -> None:
    """The polygon used to have a step at each pixel of the small image."""
    y, x = np.mgrid[:400, :600]
    disc = np.hypot(x - 300, y - 200) < 150
    item = face(type="mask", rle=list(rle.encode(disc, 0, 0)))
    placement = Placement(scale=(0.1, 0.1), size=(600, 400))
    options: Any = {"image_size": (6000, 4000), "placement": placement}
    shape = only(convert(item, conv_mask_to_poly=True, **options))
    assert len(shape.points) // 2 <= 48
    filled = contours.fill(shape.points, 6000, 4000)
    expected = np.repeat(np.repeat(disc, 10, axis=0), 10, axis=1)
    assert (filled & expected).sum() / (filled | expected).sum() >= 0.95


@pytest.mark.parametrize("box", [(-3, -2, 52, 42), (0, 0, 63, 63)])
def test_mask_beyond_the_border_of_a_downscaled_image_is_clipped_with_a_note(
    box: tuple[int, ...],
) -> None:
    left, top, right, bottom = box
    count = (right - left + 1) * (bottom - top + 1)
    item = face(type="mask", rle=[0, count, *box])
    converted = convert(item, placement=Placement(scale=(0.5, 0.5), size=(50, 40)))
    assert only(converted).points == (0, 8000, 0, 0, 99, 79)
    assert [note.kind for note in converted.notes] == ["cut_to_image"]


def test_coordinates_that_are_too_large_after_scaling_are_refused() -> None:
    placement = Placement(scale=(0.01, 0.01), size=(1, 1))
    converted = convert(face(points=[1, 2, 3, 9e8]), image_size=None, placement=placement)
    assert [note.kind for note in converted.notes] == ["invalid_item"]


@pytest.mark.parametrize(
    "answer", [face(), {"label": "face", "type": "tag"}, {"points": [1, 2, 3, 4]}]
)
def test_single_item_instead_of_an_array_is_refused_with_an_explanation(
    answer: object,
) -> None:
    with pytest.raises(AnswerError, match="Nuclio sends only the first item of a list"):
        convert_detections(answer, mapping=MAPPING, frame=0, image_size=SIZE)


@pytest.mark.parametrize("answer", [["face"], [None, 3], [[1, 2, 3, 4]]])
def test_array_without_any_object_is_refused_as_a_whole(answer: object) -> None:
    with pytest.raises(AnswerError, match="item 0: expected an object"):
        convert_detections(answer, mapping=MAPPING, frame=0, image_size=SIZE)


@pytest.mark.parametrize("answer", [None, {}, "[]", 3, {"shapes": []}])
def test_answer_that_is_not_an_array_is_refused(answer: object) -> None:
    with pytest.raises(AnswerError) as error:
        convert_detections(answer, mapping=MAPPING, frame=0, image_size=SIZE)
    assert error.value.item is None


NUMBERS = st.integers(-300, 300) | st.floats() | st.sampled_from(["1", None, True, 10**400])
ANYTHING = st.none() | st.booleans() | NUMBERS | st.text(max_size=4) | st.lists(NUMBERS, max_size=9)
HUGE = st.sampled_from([10**400, -(10**400), 1e308, 10**12])
POINT_LISTS = (
    ANYTHING
    | st.lists(st.integers(-50, 150), max_size=16)
    | st.lists(st.integers(-50, 150) | HUGE, min_size=4, max_size=6)
)
ELEMENTS = st.lists(
    ANYTHING
    | st.fixed_dictionaries(
        {"label": st.sampled_from([*POINTS, "ear", "tail", 3])},
        optional={
            "type": st.sampled_from(["points", "rectangle", "mask", "any"]) | ANYTHING,
            "points": st.lists(st.integers(-50, 150), min_size=2, max_size=2) | POINT_LISTS,
            "outside": ANYTHING,
            "attributes": ANYTHING,
            "confidence": ANYTHING,
        },
    ),
    max_size=5,
)
ITEMS = st.fixed_dictionaries(
    {
        "label": st.sampled_from([label.name for label in FUNCTION]) | ANYTHING,
        "type": st.sampled_from(
            ["tag", "skeleton", "mask", "rectangle", "ellipse", "polygon", "polyline", "points"]
        )
        | ANYTHING,
    },
    optional={
        "points": POINT_LISTS,
        "mask": POINT_LISTS | st.just([1, 0, 1, 1, 95, 75, 96, 76]),
        "rle": POINT_LISTS
        | st.just([1, 3, 99, 79, 100, 80])
        | st.just([0, 1 << 28, 0, 0, 16383, 16383]),
        "rotation": ANYTHING,
        "group_id": ANYTHING,
        "outside": st.booleans() | ANYTHING,
        "confidence": st.floats(0, 1) | ANYTHING,
        "attributes": ANYTHING
        | st.lists(st.fixed_dictionaries({"name": st.just("age"), "value": ANYTHING}), max_size=2),
        "elements": ELEMENTS,
    },
)


@given(
    st.lists(ITEMS | ANYTHING, max_size=4) | ANYTHING,
    st.booleans(),
    st.none() | st.floats(0, 1),
    st.sampled_from([None, SIZE]),
    st.sampled_from(
        [
            WHOLE_FRAME,
            Placement(offset=(20, 10), size=(50, 40)),
            Placement(scale=(0.5, 0.25), size=(50, 20)),
            Placement(scale=(0.5, 0.25), offset=(20, 10), size=(25, 10)),
        ]
    ),
)
def test_any_answer_is_converted_to_valid_shapes_or_refused(
    answer: object,
    as_polygons: bool,
    threshold: float | None,
    size: tuple[int, int] | None,
    placement: Placement,
) -> None:
    try:
        converted = convert_detections(
            answer,
            mapping=MAPPING,
            frame=7,
            image_size=size,
            conv_mask_to_poly=as_polygons,
            threshold=threshold,
            placement=placement,
        )
    except AnswerError:
        assert not isinstance(answer, list) or not any(isinstance(i, dict) for i in answer)
        return
    assert isinstance(answer, list)
    data = converted.data
    assert len(data.shapes) + len(data.tags) + converted.dropped == len(answer)
    assert len({note.kind for note in converted.notes}) == len(converted.notes)
    for shape in data.shapes:
        assert 0.0 <= shape.score <= 1.0
        assert 0.0 <= shape.rotation < 360.0
        assert shape.group >= 0
        assert bool(shape.elements) is (shape.type == "skeleton")
        for each in (shape, *shape.elements):
            assert shapes.check_points(each.type, list(each.points)) == each.points


@given(st.lists(st.lists(st.integers(-30, 130), min_size=4, max_size=4), max_size=8))
def test_converted_rectangles_of_any_corners_are_inside_the_image(boxes: list[list[int]]) -> None:
    converted = convert(*[face(points=box) for box in boxes])
    for shape in converted.data.shapes:
        x0, y0, x1, y1 = shape.points
        assert 0 <= x0 < x1 <= SIZE[0]
        assert 0 <= y0 < y1 <= SIZE[1]
