"""Annotations that agents of native detectors answer, with ids of the task's labels."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_lambda.annotations.detections import Converted
from cvat_lambda.annotations.errors import AnswerError
from cvat_lambda.annotations.labeled_answer import convert_labeled
from cvat_lambda.annotations.mapping import build_mapping
from cvat_lambda.annotations.types import Attribute, AttributeValue, Label

COLOUR = Attribute(name="colour", input_type="select", values=("red", "blue"), id=11)
POINTS = (Label(name="nose", id=31, type="points"), Label(name="tail", id=32, type="points"))
LABELS = (
    Label(name="car", id=1, attributes=(COLOUR,)),
    Label(name="night", id=2, type="tag"),
    Label(name="dog", id=3, type="skeleton", sublabels=POINTS, svg="<g/>"),
    Label(name="road", id=4, type="mask"),
)
BOX = {"type": "rectangle", "frame": 7, "label_id": 1, "points": [1, 2, 30, 40]}


def convert(**annotations: list[Any]) -> Converted:
    return convert_labeled(
        {"annotations": annotations},
        mapping=build_mapping(None, LABELS, LABELS),
        frame=7,
        image_size=(100, 80),
    )


def test_attributes_of_a_shape_are_named_by_their_ids() -> None:
    (shape,) = convert(
        shapes=[{**BOX, "attributes": [{"spec_id": 11, "value": "blue"}]}]
    ).data.shapes
    assert (shape.label_id, shape.attributes) == (1, (AttributeValue(spec_id=11, value="blue"),))


def test_tag_of_an_image_is_converted() -> None:
    (tag,) = convert(tags=[{"frame": 7, "label_id": 2}]).data.tags
    assert (tag.frame, tag.label_id) == (7, 2)


def test_mask_is_given_as_run_lengths() -> None:
    shape = {"type": "mask", "frame": 7, "label_id": 4, "points": [1, 3, 5, 6, 6, 7]}
    (mask,) = convert(shapes=[shape]).data.shapes
    assert (mask.type, mask.points) == ("mask", (1, 3, 5, 6, 6, 7))


def test_elements_of_a_skeleton_are_named_by_the_ids_of_sublabels() -> None:
    element = {"type": "points", "frame": 7, "label_id": 32, "points": [5, 6]}
    dog = {"type": "skeleton", "frame": 7, "label_id": 3, "elements": [element]}
    (skeleton,) = convert(shapes=[dog]).data.shapes
    found = {each.label_id: (each.points, each.outside) for each in skeleton.elements}
    assert found[32] == ((5, 6), False)
    assert found[31][1] is True


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"frame": 8}, "8 is not the frame 7 of the request"),
        ({"label_id": 9}, "9 is not the id of a label that the request maps"),
        ({"label_id": True}, "True is not the id of a label"),
        ({"attributes": [{"spec_id": 12, "value": "x"}]}, "12 is not the id of an attribute"),
        ({"attributes": [{"spec_id": "colour", "value": "x"}]}, "expected an id, not text"),
        ({"attributes": ["blue"]}, "expected an object, not text"),
    ],
)
def test_annotation_that_does_not_fit_the_request_raises_an_error(
    change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(AnswerError, match=sentence):
        convert(shapes=[{**BOX, **change}])
