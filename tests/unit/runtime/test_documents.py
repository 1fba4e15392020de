"""Any content of a function.yaml is parsed, or refused with `FunctionBroken`."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cvat_lambda.runtime.errors import FunctionBroken
from cvat_lambda.runtime.spec.function_file import in_project, parse_function, read_document

WHOLE: dict[str, Any] = {
    "metadata": {
        "name": "one",
        "namespace": "cvat",
        "labels": {"nuclio.io/project-name": "cvat"},
        "annotations": {"type": "detector", "spec": "[]"},
    },
    "spec": {
        "description": "for tests",
        "handler": "main:handler",
        "runtime": "python:3.11",
        "eventTimeout": "30s",
        "readinessTimeoutSeconds": 120,
        "disable": False,
        "env": [{"name": "A", "value": 1}],
        "resources": {"limits": {"memory": "4Gi"}},
        "build": {"directives": {"preCopy": []}},
        "platform": {"attributes": {}},
        "securityContext": {"runAsUser": 1},
        "triggers": {
            "http": {
                "kind": "http",
                "numWorkers": 2,
                "workerAvailabilityTimeoutMilliseconds": 10000,
                "workerTerminationTimeout": "10s",
                "attributes": {"port": 0, "maxRequestBodySize": 33554432, "cors": {}},
                "batch": {"mode": "disable"},
            }
        },
    },
    "x-cvat-lambda": {
        "weights": [
            {
                "file": "a.bin",
                "url": "https://example.org/a.bin",
                "sha256": "0" * 64,
                "licence": "MIT",
                "size": 10,
                "optional": False,
            },
            {
                "file": "b.bin",
                "pypi": {"package": "p", "version": "1", "path": "b"},
                "sha256": "1" * 64,
            },
        ],
        "convert": {"script": "convert.py", "version": 1},
        "idle_timeout": "15m",
        "worker_memory": "1Gi",
    },
}


def paths(value: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of keys to each value inside another value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
    found = [at] if at else []
    for key, item in inside:
        deeper = isinstance(item, (dict, list))
        found += paths(item, (*at, key)) if deeper else [(*at, key)]
    return found


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=5)
    | st.dates()
    | st.datetimes()
    | st.sampled_from(
        ["", "4Gi", "30s", "-1s", "9" * 400 + "h", "9" * 400 + "Gi", "x\0y", "\ud800"]
    )
    | st.just(10**4000)
)
VALUES = st.recursive(
    SCALARS,
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.integers() | st.none(), inside, max_size=3)
    ),
    max_leaves=6,
)


def check(document: Any) -> None:
    """Parse a document as the runtime does. An accepted document must be valid JSON."""
    try:
        config = parse_function(in_project(document, "cvat"), Path("somewhere/one"))
    except FunctionBroken:
        return
    json.dumps(config.document, allow_nan=False)
    assert isinstance(config.project, str)
    assert math.isfinite(config.readiness_timeout_s)
    assert config.trigger.workers >= 1


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(where=st.sampled_from(paths(WHOLE)), value=VALUES)
@example(where=("spec", "resources", "limits"), value="4Gi")
@example(where=("spec", "triggers", "http", "attributes"), value="x")
@example(where=("metadata", "labels"), value="x")
@example(where=("spec", "build"), value="x")
@example(where=("spec", "readinessTimeoutSeconds"), value=math.nan)
@example(where=("spec", "triggers", "http", "numWorkers"), value=math.inf)
def test_any_value_in_any_field_is_read_or_refused_with_a_message(
    where: tuple[Any, ...], value: object
) -> None:
    document = copy.deepcopy(WHOLE)
    parent: Any = document
    for key in where[:-1]:
        parent = parent[key]
    parent[where[-1]] = value
    check(document)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(document=st.dictionaries(st.sampled_from(["metadata", "spec", "x-cvat-lambda"]), VALUES))
def test_any_document_is_read_or_refused_with_a_message(document: dict[str, Any]) -> None:
    check(document)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(text=st.text(alphabet="ab:-[]{}&*!|>'\"#%@, \n\t019.~<", max_size=60))
@example(text="a: &a [*a]")  # a list that contains itself
@example(text="a: 2024-13-45")  # an invalid date
@example(text="? [a]\n: b")
@example(text="a: !!python/object:os.system {}")
@example(text="[" * 3000)
def test_any_text_is_read_or_refused_with_a_message(tmp_path: Path, text: str) -> None:
    file = tmp_path / "function.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        document = read_document(file)
    except FunctionBroken:
        return
    json.dumps(document, allow_nan=False)


def test_document_with_exponential_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    with pytest.raises(FunctionBroken, match="too large"):
        parse_function(yaml.safe_load("\n".join(lines)), Path("one"))


def test_valid_document_is_read() -> None:
    assert parse_function(WHOLE, Path("one")).extras.worker_memory == 2**30
