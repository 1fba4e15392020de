"""The parameters that a call needs for each kind of function."""

from __future__ import annotations

import pytest

from cvat_lambda.errors import InvalidRequest
from cvat_lambda.functions.spec import FunctionSpec, Kind
from cvat_lambda.interactive.params import CallParams, require

SPEC = FunctionSpec(id="sam", kind=Kind.INTERACTOR, name="SAM")


def test_every_missing_parameter_is_listed_in_the_error() -> None:
    with pytest.raises(InvalidRequest) as caught:
        require(SPEC, CallParams(frame=0), "frame", "pos_points", "neg_points")
    assert caught.value.message == (
        "A call of interactor 'sam' needs 'frame', 'pos_points' and 'neg_points';"
        " 'pos_points' and 'neg_points' are missing."
    )


def test_zero_and_empty_values_do_not_count_as_missing() -> None:
    require(SPEC, CallParams(frame=0, pos_points=(), threshold=0.0), "frame", "pos_points")
