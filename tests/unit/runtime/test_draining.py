from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvat_lambda.runtime.deploy.draining import drain_limit_s
from cvat_lambda.runtime.spec.function_file import parse_function


@pytest.mark.parametrize(
    ("spec", "limit_s"),
    [
        ({}, None),  # nothing limits a call, so nothing may cut it
        ({"eventTimeout": "5s"}, 60),  # never less than a minute
        ({"eventTimeout": "2m"}, 145),  # 10 s of waiting for a worker, 120 s of work, a margin
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
