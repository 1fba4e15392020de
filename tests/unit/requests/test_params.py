"""Parameters of requests: what is refused before anything is stored."""

from __future__ import annotations

from typing import Any

import pytest

from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.requests.control.kind_checks import check_kind
from cvat_lambda.requests.store.params import Params
from cvat_lambda.requests.store.tracking import (
    MAX_OBJECTS,
    Link,
    StartDetector,
    StartFilter,
    StartShape,
    Tracking,
)

SHAPE = StartShape(frame=0, label_id=1, type="rectangle", points=(1.0, 2.0, 3.0, 4.0))
LATER = StartShape(frame=3, label_id=1, type="rectangle", points=(1.0, 2.0, 3.0, 4.0))


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"threshold": 1.5}, "threshold must be in \\[0, 1\\], not 1.5"),
        ({"replace": "some"}, "replace must be one of none, all, automatic, function, not 'some'"),
        ({"output": "masks"}, "output must be one of shapes, tracks, not 'masks'"),
        ({"on_redeploy": "wait"}, "on_redeploy must be one of continue, stop, not 'wait'"),
        ({"max_distance": -1.0}, "max_distance must be 0 or more, not -1"),
        ({"max_distance": float("inf")}, "max_distance must be 0 or more, not inf"),
    ],
)
def test_parameter_out_of_its_range_is_refused(members: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        Params(**members)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({}, "name what to track: either shapes, or start"),
        ({"shapes": (SHAPE,), "start": StartFilter()}, "either shapes, or start"),
        ({"shapes": (SHAPE,) * (MAX_OBJECTS + 1)}, "shapes has 201 objects"),
        ({"shapes": (SHAPE,), "direction": "up"}, "direction must be one of forward, backward"),
        ({"shapes": (SHAPE,), "mask_output": "x"}, "mask_output must be one of polygons, masks"),
        ({"shapes": (SHAPE,), "tolerance_px": 101.0}, "tolerance_px must be in"),
        ({"shapes": (SHAPE, LATER), "direction": "both"}, "all shapes on the same frame"),
        (
            {"start": StartDetector(detector="yolo"), "direction": "both"},
            "needs shapes or annotations of one frame",
        ),
    ],
)
def test_parameter_of_a_track_request_that_is_invalid_is_refused(
    members: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        Tracking(**members)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"every": 0}, "start.every must be at least 1, not 0"),
        ({"threshold": -0.5}, "start.threshold must be in"),
    ],
)
def test_parameter_of_a_start_detector_that_is_invalid_is_refused(
    members: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        StartDetector(detector="yolo", **members)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"max_gap": 0}, "link.max_gap must be at least 1, not 0"),
        ({"threshold": 2.0}, "link.threshold must be in"),
    ],
)
def test_parameter_of_a_link_that_is_invalid_is_refused(
    members: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        Link(reid="person", **members)


LINK = Link(reid="person").to_json()


@pytest.mark.parametrize(
    ("kind", "members", "sentence"),
    [
        (Kind.INTERACTOR, {}, "cannot run in the background"),
        (Kind.REID, {"output": "tracks"}, "is not a detector: remove output"),
        (Kind.REID, {"text": ("car",)}, "is not a detector: remove text, exemplars and labels"),
        (Kind.REID, {"roi": (0, 0, 9, 9)}, "is not a detector: remove roi"),
        (Kind.REID, {"replace": "all"}, "it cannot replace annotations"),
        (Kind.REID, {"only_unannotated": True}, "works on annotated frames"),
        (Kind.DETECTOR, {"replace_labels": ("car",)}, "replace_labels needs a replacement"),
        (Kind.DETECTOR, {"link": LINK}, "makes no tracks: remove link"),
        (Kind.TRACKER, {}, "is a tracker: name what to track"),
    ],
)
def test_option_that_functions_of_this_kind_do_not_have_is_refused(
    kind: Kind, members: dict[str, Any], sentence: str
) -> None:
    spec = FunctionSpec(id="fn", kind=kind, name="Function")
    with pytest.raises(InvalidRequest, match=sentence):
        check_kind(spec, Params(**members), None)


def test_options_of_other_kinds_are_refused_for_a_tracker_and_tracking_for_a_detector() -> None:
    tracking = Tracking(shapes=(SHAPE,))
    tracker = FunctionSpec(id="fn", kind=Kind.TRACKER, name="Function")
    with pytest.raises(InvalidRequest, match="is a tracker: remove threshold, conv_mask_to_poly"):
        check_kind(tracker, Params(threshold=0.5, conv_mask_to_poly=True), tracking)
    detector = FunctionSpec(id="fn", kind=Kind.DETECTOR, name="Function")
    with pytest.raises(InvalidRequest, match="is not a tracker: remove shapes and start"):
        check_kind(detector, Params(), tracking)
