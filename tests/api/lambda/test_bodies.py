"""The body of a call, parsed by a serializer that all threads share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rest_framework.exceptions import ValidationError

from cvat_lambda.api.functions import CALL_BODY
from cvat_lambda.api.requests import REQUEST_BODY
from cvat_lambda.api.serializers.body import BodySerializer


def body_of(number: int) -> dict[str, Any]:
    """Return a different valid body for each number. Every third body is invalid."""
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


def test_bodies_that_threads_parse_at_once_are_not_mixed_up() -> None:
    numbers = range(200)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(parsed, numbers))
    assert found == [expected(number) for number in numbers]


@pytest.mark.parametrize("body", [None, [], 5, "text"])
@pytest.mark.parametrize("parser", [CALL_BODY, REQUEST_BODY])
def test_body_that_is_not_an_object_is_a_non_field_error(
    parser: BodySerializer, body: object
) -> None:
    with pytest.raises(ValidationError) as refused:
        parser.parse(body)
    assert list(refused.value.detail) == ["non_field_errors"]
