"""Untrusted metadata are parsed to a spec, or refused with a message."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.errors import FunctionSpecInvalid
from cvat_lambda.functions.metadata import parse_function, parse_state, revision_of
from cvat_lambda.functions.spec import Address, InteractorSpec, Kind


def function(**annotations: Any) -> dict[str, Any]:
    return {"metadata": {"name": "fn", "annotations": {"type": "detector", **annotations}}}


def with_trigger(**trigger: Any) -> dict[str, Any]:
    return {**function(), "spec": {"triggers": {"myHttpTrigger": {"kind": "http", **trigger}}}}


def test_function_with_name_and_type_only_gets_defaults() -> None:
    spec = parse_function(function())
    assert (spec.id, spec.name, spec.kind, spec.version) == ("fn", "fn", Kind.DETECTOR, 1)
    assert (spec.labels, spec.description, spec.state) == ((), "", "ready")
    assert (spec.workers, spec.max_body_bytes, spec.availability_timeout_s) == (1, 4_194_304, 10.0)
    assert spec.timeout_s is None
    assert spec.address == Address()


def test_every_declared_field_is_read() -> None:
    raw = {
        "metadata": {
            "name": "onnx-wongkinyiu-yolov7",
            "namespace": "cvat",
            "annotations": {
                "name": "YOLO v7",
                "type": "detector",
                "version": "3",
                "spec": json.dumps([{"id": 0, "name": "person", "type": "rectangle"}]),
                "max_batch": "8",
                "max_frames": "16",
                "accepts": "image/jpeg, image/png",
                "max_image_side": "1280",
            },
        },
        "spec": {
            "description": "finds 80 kinds of things",
            "eventTimeout": "1m30s",
            "replicas": 3,
            "triggers": {
                "cron": {"kind": "cron", "numWorkers": 9},
                "myHttpTrigger": {
                    "kind": "http",
                    "numWorkers": 2,
                    "workerAvailabilityTimeoutMilliseconds": 2500,
                    "attributes": {"maxRequestBodySize": 33554432},
                },
            },
        },
        "status": {
            "state": "scaledToZero",
            "httpPort": 32001,
            "internalInvocationUrls": ["172.18.0.5:8080"],
            "externalInvocationUrls": ["0.0.0.0:32001"],
        },
    }
    spec = parse_function(raw)
    assert (spec.name, spec.version, spec.description) == ("YOLO v7", 3, "finds 80 kinds of things")
    assert [(label.name, label.type) for label in spec.labels] == [("person", "rectangle")]
    assert (spec.workers, spec.timeout_s, spec.availability_timeout_s) == (6, 90.0, 2.5)
    assert (spec.max_body_bytes, spec.max_batch, spec.max_frames) == (33554432, 8, 16)
    assert (spec.accepts, spec.max_image_side) == (("image/jpeg", "image/png"), 1280)
    assert spec.state == "scaled_to_zero"
    assert spec.address == Address(
        namespace="cvat",
        http_port=32001,
        internal_urls=("172.18.0.5:8080",),
        external_urls=("0.0.0.0:32001",),
    )


def test_interactor_fields_are_read_and_the_word_false_is_false() -> None:
    spec = parse_function(
        function(
            type="interactor",
            min_pos_points="0",
            min_neg_points="0",
            startswith_box="false",  # CVAT 2.54 reads this as true
            startswith_box_optional="true",
            help_message="click",
            animated_gif="https://example.org/a.gif",
            embedding="true",
        )
    )
    assert spec.interactor == InteractorSpec(
        min_pos_points=0,
        min_neg_points=0,
        startswith_box=False,
        startswith_box_optional=True,
        help_message="click",
        animated_gif="https://example.org/a.gif",
    )
    assert spec.embedding is True


def test_interactor_without_fields_gets_the_defaults() -> None:
    spec = parse_function(function(type="interactor"))
    assert spec.interactor == InteractorSpec(min_pos_points=1, min_neg_points=-1)


@pytest.mark.parametrize(
    ("annotation", "shape_types", "legacy"),
    [
        ({}, ("rectangle",), True),  # answers with arrays of points
        ({"supported_shape_types": "rectangle,polygon"}, ("rectangle", "polygon"), False),
        ({"supported_shape_types": '["mask", "mask"]'}, ("mask",), False),
        ({"supported_shape_types": ""}, ("rectangle",), True),
    ],
)
def test_tracker_shape_types_are_read(
    annotation: dict[str, str], shape_types: tuple[str, ...], legacy: bool
) -> None:
    spec = parse_function(function(type="tracker", **annotation))
    assert (spec.supported_shape_types, spec.legacy_tracker) == (shape_types, legacy)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("true", True),
        ("TRUE", True),
        ("1", True),
        (True, True),
        (1, True),
        ("false", False),
        ("0", False),
        (False, False),
        (0, False),
        ("", False),
        (None, False),
    ],
)
def test_booleans_are_read_strictly(value: object, read: bool) -> None:
    assert parse_function(function(embedding=value)).embedding is read


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"metadata": {"name": "fn"}}, "the annotation 'type' is missing"),
        (function(type="segmenter"), "type 'segmenter' is not known"),
        (function(embedding="yes"), "embedding is 'yes'; it is one of true, false, 1, 0"),
        (function(version="1.2"), "version is '1.2'; it must be a whole number"),
        (function(version=True), "version is 'True'; it must be a whole number"),
        (function(version="-1"), "version is -1; it must be at least 0"),
        (function(version="99999999999"), "version is '99999999999'; it must be a whole number"),
        (function(version="9999999999"), "version is 9999999999"),
        (function(max_batch="0"), "max_batch is 0; it must be at least 1"),
        (function(type="tracker", max_frames="0"), "max_frames is 0; it must be at least 1"),
        (function(name=[3]), "the annotation 'name' must be text"),
        (function(spec="[{]"), "the spec is not valid JSON"),
        (function(type="tracker", supported_shape_types="blob"), "names 'blob'"),
        (function(accepts=[3]), "accepts must be words"),
        (with_trigger(numWorkers="many"), "numWorkers is 'many'"),
        (with_trigger(attributes=[]), "attributes must be an object"),
        (with_trigger(attributes={"maxRequestBodySize": 0}), "maxRequestBodySize is 0"),
        ({**function(), "spec": {"eventTimeout": "soon"}}, "eventTimeout 'soon'"),
        ({**function(), "spec": {"eventTimeout": "0s"}}, "must be longer than zero"),
        ({**function(), "spec": {"description": 1}}, "spec.description must be text"),
        ({"metadata": {"name": "fn", "annotations": "type=detector"}}, "annotations must be"),
    ],
)
def test_error_names_the_function_and_the_field(raw: object, sentence: str) -> None:
    with pytest.raises(FunctionSpecInvalid) as caught:
        parse_function(raw)
    assert caught.value.message.startswith("function 'fn': ")
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    ("value", "text"), [(2024, "2024"), (0, "0"), (1.5, "1.5"), (True, "true"), ("x", "x")]
)
def test_scalar_annotation_is_read_as_text(value: object, text: str) -> None:
    raw = function(type="interactor", name=value, help_message=value)
    spec = parse_function(raw)
    assert spec.name == text
    assert spec.interactor is not None
    assert spec.interactor.help_message == text


LONG = "a very long name of a class of ImageNet, which has more than 64 characters"


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ({"name": LONG}, "is longer than 64 characters; the label is left out"),
        ({"name": "car"}, "the spec has the label 'car' twice; names must be unique"),
        ({"name": "b", "type": "blob"}, "label 'b' has type 'blob'"),
        ({"name": "s", "type": "skeleton"}, "label 's' is a skeleton and needs sublabels"),
        ({"name": ""}, "label 1 has no name"),
        ("car", "label 1 must be an object"),
    ],
)
def test_invalid_label_is_left_out_and_named(label: object, sentence: str) -> None:
    labels = [{"name": "car"}, label, {"name": "bus"}]
    spec = parse_function(function(spec=json.dumps(labels)))
    assert [known.name for known in spec.labels] == ["car", "bus"]
    assert len(spec.left_out) == 1
    assert sentence in spec.left_out[0]


@pytest.mark.parametrize(
    ("attribute", "sentence"),
    [
        ({"name": "make", "input_type": "select", "values": []}, "needs values to choose from"),
        ({"name": "age", "input_type": "number", "values": ["0", "9"]}, "[min, max, step]"),
        ({"name": LONG, "input_type": "text"}, "is longer than 64 characters"),
        ({"name": "old", "input_type": "text"}, "has the attribute 'old' twice"),
        ({"name": "x", "input_type": "slider"}, "has input_type 'slider'"),
    ],
)
def test_invalid_attribute_is_left_out_and_named(attribute: dict[str, Any], sentence: str) -> None:
    known = {"name": "old", "input_type": "checkbox"}
    labels = [{"name": "car", "attributes": [known, attribute]}]
    spec = parse_function(function(spec=json.dumps(labels)))
    (label,) = spec.labels
    assert [kept.name for kept in label.attributes] == ["old"]
    assert len(spec.left_out) == 1
    assert spec.left_out[0].startswith("label 'car'")
    assert sentence in spec.left_out[0]
    assert spec.left_out[0].endswith("; the attribute is left out")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"metadata": []},
        {"metadata": {"name": 3}},
        {"metadata": {"name": "a b"}},
        {"metadata": {"name": "x" * 129}},
        {"metadata": {"name": "../etc"}},
    ],
)
def test_function_without_a_usable_name_is_refused(raw: object) -> None:
    with pytest.raises(FunctionSpecInvalid, match="no usable name"):
        parse_function(raw)


@pytest.mark.parametrize(
    ("trigger", "workers"),
    [
        ({"numWorkers": 4}, 4),
        ({"maxWorkers": 3}, 3),  # the name before Nuclio 1.13
        ({"numWorkers": 2, "maxWorkers": 3}, 2),
        ({"numWorkers": 0}, 1),
        ({"numWorkers": "2"}, 2),
        ({"numWorkers": 2.0}, 2),
    ],
)
def test_workers_are_those_of_the_http_trigger(trigger: dict[str, Any], workers: int) -> None:
    assert parse_function(with_trigger(**trigger)).workers == workers


@pytest.mark.parametrize(
    ("scale", "workers"),
    [
        ({"replicas": 2}, 4),
        ({"minReplicas": 3, "maxReplicas": 9}, 6),
        ({"replicas": 0}, 2),
        ({}, 2),
    ],
)
def test_replicas_multiply_the_workers(scale: dict[str, int], workers: int) -> None:
    raw = with_trigger(numWorkers=2)
    raw["spec"].update(scale)
    assert parse_function(raw).workers == workers


@pytest.mark.parametrize(("value", "seconds"), [(0, 0.0), (-1, 10.0), (None, 10.0), (1500, 1.5)])
def test_availability_timeout_may_be_zero(value: int | None, seconds: float) -> None:
    spec = parse_function(with_trigger(workerAvailabilityTimeoutMilliseconds=value))
    assert spec.availability_timeout_s == seconds


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"state": "ready"}, "ready"),
        ({"state": "building"}, "building"),
        ({"state": "waitingForResourceConfiguration"}, "building"),
        ({"state": "error"}, "error"),
        ({"state": "imported"}, "error"),
        ({"state": "unhealthy"}, "unhealthy"),
        ({"state": "waitingForScaleResourceFromZero"}, "scaled_to_zero"),
        ({"state": "somethingNew"}, "building"),
        ({"state": 7}, "ready"),
        ({}, "ready"),
        (None, "ready"),
    ],
)
def test_platform_state_is_translated(status: object, state: str) -> None:
    assert parse_state({"status": status})[0] == state


def test_disabled_function_is_not_ready() -> None:
    state, message = parse_state({"spec": {"disable": True}, "status": {"state": "ready"}})
    assert state == "error"
    assert "switched off" in message


def test_revision_is_that_of_the_platform() -> None:
    raw = function()
    raw["metadata"]["annotations"]["cvat-lambda/revision"] = "0123abcd"
    assert parse_function(raw).revision == "0123abcd"
    raw["status"] = {"containerImage": "fn:2"}
    assert revision_of(raw) == "0123abcd"


@pytest.mark.parametrize("stated", ["", "a b", "x" * 65, 7, None, "\0"])
def test_stated_revision_that_is_not_usable_is_ignored(stated: object) -> None:
    raw = function()
    expected = revision_of(raw)
    raw["metadata"]["annotations"]["cvat-lambda/revision"] = stated
    assert revision_of(raw) != stated
    assert len(revision_of(raw)) == len(expected) == 32


def test_revision_of_a_built_image_changes_with_source_code_and_build_time() -> None:
    raw = with_trigger(numWorkers=2)
    raw["spec"]["build"] = {"functionSourceCode": "cHJpbnQoMSk=", "timestamp": 1}
    edited, rebuilt = copy.deepcopy(raw), copy.deepcopy(raw)
    edited["spec"]["build"]["functionSourceCode"] = "cHJpbnQoMik="
    rebuilt["spec"]["build"]["timestamp"] = 2
    assert len({revision_of(raw), revision_of(edited), revision_of(rebuilt)}) == 3


def test_revision_changes_with_content_and_not_with_scale() -> None:
    raw = with_trigger(numWorkers=2)
    scaled, edited, rebuilt = (copy.deepcopy(raw) for _ in range(3))
    scaled["spec"]["replicas"] = 5
    scaled["status"] = {"state": "ready", "httpPort": 1}
    edited["metadata"]["annotations"]["version"] = "2"
    rebuilt["status"] = {"containerImage": "fn:2"}
    assert revision_of(raw) == revision_of(scaled)
    assert len({revision_of(raw), revision_of(edited), revision_of(rebuilt)}) == 3


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "type",
        "name",
        "version",
        "spec",
        "min_pos_points",
        "startswith_box",
        "max_batch",
        "max_frames",
        "supported_shape_types",
        "accepts",
        "embedding",
        "max_image_side",
    ]
)


@given(
    kind=st.sampled_from(list(Kind)),
    annotations=st.dictionaries(KEYS, json_values),
    spec=json_values,
    trigger=json_values,
    status=json_values,
)
def test_random_metadata_raise_only_the_typed_error(
    kind: Kind, annotations: dict[str, Any], spec: object, trigger: object, status: object
) -> None:
    raw = function(**{"type": kind.value, **annotations})
    raw["spec"] = {"triggers": {"http": trigger}, "x": spec} if trigger else spec
    raw["status"] = status
    with contextlib.suppress(FunctionSpecInvalid):
        assert parse_function(raw).workers >= 1
