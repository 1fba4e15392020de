from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cvat_lambda.runtime.errors import FunctionBroken
from cvat_lambda.runtime.spec.function_file import FunctionConfig, parse_function, read_document
from cvat_lambda.runtime.spec.weights import Checksum


def parse(spec: dict[str, Any] | None = None, **top: Any) -> FunctionConfig:
    document = {"metadata": {"name": "one"}, "spec": spec or {}, **top}
    return parse_function(document, Path("somewhere/one"))


def with_trigger(**trigger: Any) -> FunctionConfig:
    return parse({"triggers": {"http": {"kind": "http", **trigger}}})


def test_minimal_function_file_has_the_defaults_of_nuclio() -> None:
    config = parse()
    assert (config.handler, config.namespace, config.python) == ("one:handler", "nuclio", None)
    assert config.trigger.workers == 1
    assert config.trigger.availability_timeout_s == 10
    assert config.trigger.max_body == 4 * 2**20
    assert config.trigger.header_limit == 16384
    assert config.event_timeout_s is None
    assert config.readiness_timeout_s == 120
    assert config.extras.idle_timeout_s is None
    assert config.project == "default"


@pytest.mark.parametrize(
    ("trigger", "field", "value"),
    [
        ({"numWorkers": 3, "maxWorkers": 5}, "workers", 3),
        ({"maxWorkers": 5}, "workers", 5),
        ({"workerAvailabilityTimeoutMilliseconds": 0}, "availability_timeout_s", 0),  # do not wait
        ({"workerAvailabilityTimeoutMilliseconds": -1}, "availability_timeout_s", 10),
        ({"workerAvailabilityTimeoutMilliseconds": 250}, "availability_timeout_s", 0.25),
        ({"attributes": {"port": "8099"}}, "port", 8099),
        ({"attributes": {"maxRequestBodySize": 33554432}}, "max_body", 33554432),
        ({"workerTerminationTimeout": "3s"}, "termination_timeout_s", 3),
    ],
)
def test_field_of_the_trigger_is_read_as_in_nuclio(
    trigger: dict[str, Any], field: str, value: float
) -> None:
    assert getattr(with_trigger(**trigger).trigger, field) == value


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"handler": "main.handler"}, "must look like module:callable"),
        ({"runtime": "golang"}, "only python functions run here"),
        ({"eventTimeout": "soon"}, "'soon' is not a duration"),
        ({"eventTimeout": "0s"}, "must be longer than 0"),
        ({"env": {"A": "b"}}, "spec.env must be a list"),
        (
            {"triggers": {"a": {"kind": "http"}, "b": {"kind": "http"}}},
            "more than one http trigger",
        ),
        ({"env": [{"name": "A", "value": "\ud800"}]}, "'A' holds a value that is not text"),
        ({"env": [{"name": "A=B", "value": "c"}]}, "'A=B' cannot be an environment variable"),
        ({"triggers": {"a": {"kind": "http", "name": "b"}}}, "must be equal to its key"),
        ({"triggers": {"a": {"kind": "http", "numWorkers": -1}}}, "must be 1 to 1000"),
        ({"triggers": {"a": {"kind": "http", "attributes": {"port": 70000}}}}, "0 to 65535"),
    ],
)
def test_invalid_field_is_named_with_its_function(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(FunctionBroken, match="function 'one': ") as caught:
        parse(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "metadata.name is missing"),
        ({"name": "-x"}, "with a letter or digit at both ends"),
        ({"name": "a" * 64}, "at most 63"),
        ({"name": "a; rm -rf"}, "letters, digits"),
        ({"name": "dashboard"}, "reserved by Nuclio"),
    ],
)
def test_a_name_that_nuclio_refuses_is_refused(metadata: dict[str, str], message: str) -> None:
    with pytest.raises(FunctionBroken, match=message):
        parse_function({"metadata": metadata, "spec": {}}, Path("x"))


def test_variables_become_text_and_value_from_is_left_out() -> None:
    config = parse(
        {
            "env": [
                {"name": "A", "value": 1},
                {"name": "B", "value": True},
                {"name": "C", "valueFrom": {"secretKeyRef": {}}},
                {"name": "D", "value": None},
            ]
        }
    )
    assert config.env == (("A", "1"), ("B", "true"), ("D", ""))


def test_unknown_fields_are_kept() -> None:
    spec = {"build": {"directives": {"preCopy": []}}, "securityContext": {"runAsUser": 1}, "x": [1]}
    shown = parse(spec).document["spec"]
    assert {key: shown[key] for key in spec} == spec


def test_section_x_cvat_lambda_is_read() -> None:
    extras = {
        "weights": [
            {
                "file": "a/b.bin",
                "npm": {"package": "@x/y", "version": "1", "path": "package/b.bin"},
                "sha256": "A" * 64,
                "licence": "MIT",
                "size": 10,
                "env": "MODEL_PATH",
            }
        ],
        "convert": {"script": "convert.py", "version": 2},
        "idle_timeout": "15m",
        "worker_memory": "4Gi",
        "workers": "threads",
    }
    read = parse(**{"x-cvat-lambda": extras}).extras
    assert read.idle_timeout_s == 900
    assert read.worker_memory == 4 * 2**30
    assert read.conversion is not None
    assert read.conversion.version == "2"
    assert read.weights[0].checksum == Checksum(kind="sha256", digits="a" * 64)
    assert read.weights[0].package is not None
    assert read.weights[0].package.registry == "npm"


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ({"file": "../a", "env": "X"}, "must be a relative path"),
        ({"file": "/a", "env": "X"}, "must be a relative path"),
        ({"file": "a"}, "give a source"),
        ({"file": "a", "url": "https://x/a"}, "needs a checksum, one of sha256"),
        ({"file": "a", "url": "https://x/a", "checksum": "none"}, "checksum must be `recorded`"),
        (
            {"file": "a", "local": "a", "checksum": "recorded"},
            "`checksum: recorded` goes with a url",
        ),
        ({"file": "a", "local": "a", "when": "tiny"}, "when must be a mapping"),
        ({"file": "a", "url": "ftp://x/a", "sha256": "0" * 64}, "must start with https"),
        ({"file": "a", "url": "https://x/a", "sha256": "12"}, "64 hexadecimal digits"),
        ({"file": "a", "url": "https://x/a", "sha384": "0" * 64}, "96 hexadecimal digits"),
        ({"file": "a", "url": "https://x/a", "sha256_prefix": "1234567"}, "8 to 63 hexadecimal"),
        ({"file": "a", "url": "https://x/a", "sha256_prefix": 12345678}, "as text"),
        ({"file": "a", "url": "https://x/a", "sha256_prefix": "0" * 64}, "8 to 63 hexadecimal"),
        (
            {"file": "a", "url": "https://x/a", "sha256": "0" * 64, "sha384": "0" * 96},
            "give one of sha256 and sha384",
        ),
        (
            {
                "file": "a",
                "pypi": {"package": "p", "version": "1", "path": "a"},
                "member": "m",
                "sha256": "0" * 64,
            },
            "member goes with url",
        ),
        ({"file": "a", "pypi": {"package": "p"}, "sha256": "0" * 64}, "package, version and path"),
        (
            {
                "file": "a",
                "url": "https://x/a",
                "pypi": {"package": "p", "version": "1", "path": "a"},
                "sha256": "0" * 64,
            },
            "give one of url, pypi and npm",
        ),
    ],
)
def test_invalid_weights_are_refused(weight: dict[str, Any], message: str) -> None:
    with pytest.raises(FunctionBroken, match=message):
        parse(**{"x-cvat-lambda": {"weights": [weight]}})


@pytest.mark.parametrize("text", ["metadata: [", "- a\n- b\n", "", "\x00"])
def test_file_that_is_not_a_yaml_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "function.yaml"
    file.write_text(text)
    with pytest.raises(FunctionBroken, match=r"function\.yaml"):
        read_document(file)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"metadata": {"name": "one", "labels": "x"}}, "metadata.labels must be a mapping"),
        ({"spec": {"resources": {"limits": "4Gi"}}}, "spec.resources.limits must be a mapping"),
        ({"spec": {"build": "x"}}, "spec.build must be a mapping"),
        (
            {"spec": {"triggers": {"a": {"kind": "http", "attributes": "x"}}}},
            "spec.triggers.a.attributes must be a mapping",
        ),
        (
            {"spec": {"triggers": {"a": {"kind": "http", "numWorkers": True}}}},
            "numWorkers is True: it must be a whole number",
        ),
        ({"spec": {"disable": "off"}}, "spec.disable is 'off': it must be true or false"),
        ({"spec": {"readinessTimeoutSeconds": float("inf")}}, "is not a number that JSON can hold"),
        ({"spec": {"env": [{"name": "A=B", "value": ""}]}}, "cannot be an environment variable"),
        ({"metadata": {"name": "one\n"}}, "with a letter or digit at both ends"),
    ],
)
def test_value_of_the_wrong_type_is_named_with_its_field(
    document: dict[str, Any], message: str
) -> None:
    with pytest.raises(FunctionBroken) as caught:
        parse_function({"metadata": {"name": "one"}, "spec": {}, **document}, Path("one"))
    assert message in str(caught.value)


def test_date_in_the_file_becomes_text(tmp_path: Path) -> None:
    file = tmp_path / "function.yaml"
    file.write_text("metadata: {name: one, annotations: {made: 2024-05-06}}\nspec: {}\n")
    shown = parse_function(read_document(file), tmp_path).document
    assert shown["metadata"]["annotations"] == {"made": "2024-05-06"}


def test_file_with_a_tab_after_a_value_is_read(tmp_path: Path) -> None:
    file = tmp_path / "function.yaml"
    file.write_text("metadata:\n  name: tab\nspec:\n  handler: main:handler\t\n")
    assert parse_function(read_document(file), tmp_path).handler == "main:handler"


def test_scalars_as_annotations_and_labels_become_text(tmp_path: Path) -> None:
    file = tmp_path / "function.yaml"
    file.write_text(
        "metadata:\n"
        "  name: One.Two\n"
        "  annotations: {version: 2, min_pos_points: 1, animated: true, ratio: 0.5, name: a}\n"
        "  labels: {release: 3}\n"
        "spec: {handler: 'main:handler'}\n"
    )
    metadata = parse_function(read_document(file), tmp_path).document["metadata"]
    assert metadata["annotations"] == {
        "version": "2",
        "min_pos_points": "1",
        "animated": "true",
        "ratio": "0.5",
        "name": "a",
    }
    assert metadata["labels"]["release"] == "3"
