from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvat_lambda.runtime.deploy.draining import drain_limit_s
from cvat_lambda.runtime.spec.function_file import parse_function


@pytest.mark.parametrize(
    ("spec", "limit_s"),
    [
        ({}, None),  # invocations have no time limit
        ({"eventTimeout": "5s"}, 60),  # at least one minute
        ({"eventTimeout": "2m"}, 145),  # 10 s wait for a worker, 120 s event timeout, margin
        (
            {
                "eventTimeout": "2m",
                "triggers": {
                    "http": {"kind": "http", "workerAvailabilityTimeoutMilliseconds": 60_000}
                },
            },
            195,
        ),
    ],
)
def test_drain_limit_is_not_shorter_than_a_call(
    spec: dict[str, Any], limit_s: float | None
) -> None:
    config = parse_function({"metadata": {"name": "one"}, "spec": spec}, Path("one"))
    assert drain_limit_s(config) == limit_s
