"""Bodies of calls, parsed by one serializer for all threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rest_framework.exceptions import ValidationError

from cvat_lambda.api.functions import CALL_BODY
from cvat_lambda.api.requests import REQUEST_BODY


def body_of(number: int) -> dict[str, Any]:
    """Each its own; every third lacks what it needs."""
    name = "name" if number % 3 else "wrong"
    return {
        "task": number + 1,
        "frame": number,
        "mapping": {f"label {number}": {name: f"of {number}"}},
        "shapes": [{"type": "points", "points": [number, number]}, None],
    }


def parsed(number: int) -> Any:
    try:
        params = CALL_BODY.params(body_of(number))
    except ValidationError as exc:
        return exc.detail
    assert params.shapes is not None
    first, second = params.shapes
    assert first is not None
    assert second is None
    return params.task_id, params.frame, params.mapping, first.points


def expected(number: int) -> Any:
    label = f"label {number}"
    if number % 3 == 0:
        return {"mapping": {label: {"name": ["This field is required."]}}}
    mapping = {label: {"name": f"of {number}"}}
    return number + 1, number, mapping, (float(number), float(number))


def test_bodies_that_are_parsed_at_once_do_not_mix() -> None:
    numbers = range(200)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(parsed, numbers))
    assert found == [expected(number) for number in numbers]


@pytest.mark.parametrize("body", [None, [], 5, "text"])
@pytest.mark.parametrize("parser", [CALL_BODY, REQUEST_BODY])
def test_what_is_no_object_is_an_error_of_no_field(parser: Any, body: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        parser.parse(body)
    assert list(refused.value.detail) == ["non_field_errors"]
