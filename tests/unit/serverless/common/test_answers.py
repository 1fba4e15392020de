from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from common.answers import answer, rectangle, respond
from common.coco import COCO_80
from common.devices import threads
from common.errors import BadInput, StateUnknown, WeightsMissing
from common.state import pack_array, unpack_array
from common.weights import weights_file
from nuclio_sdk import Event, Response

CONTEXT = SimpleNamespace(Response=Response)


def test_answer_is_json_with_the_content_type_of_json() -> None:
    response = answer(CONTEXT, Event(body={"n": 1}), lambda body: [body["n"], "x"])
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert json.loads(response.body) == [1, "x"]


def test_bad_input_is_answered_with_400_and_a_message() -> None:
    def refuse(body: dict[str, Any]) -> object:
        raise BadInput("'image' is missing")

    response = answer(CONTEXT, Event(body={}), refuse)
    assert response.status_code == 400
    assert json.loads(response.body) == {"error": "'image' is missing"}


def test_unknown_states_are_answered_with_410_the_code_and_the_objects() -> None:
    def forget(body: dict[str, Any]) -> object:
        raise StateUnknown([0, 2])

    response = answer(CONTEXT, Event(body={}), forget)
    assert response.status_code == 410
    assert json.loads(response.body) == {
        "error": "the states of 2 objects are not in memory; send the shapes",
        "code": "state_unknown",
        "objects": [0, 2],
    }


def test_an_error_that_is_not_bad_input_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        answer(CONTEXT, Event(body={}), lambda body: 1 / 0)


def test_an_answer_with_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match="JSON"):
        respond(CONTEXT, {"confidence": float("nan")})


def test_a_rectangle_holds_plain_numbers() -> None:
    item = rectangle("cup", np.array([1, 2.345678, 3, 4], dtype=np.float32), np.float32(0.5))
    assert json.loads(json.dumps(item)) == {
        "label": "cup", "type": "rectangle", "points": [1.0, 2.35, 3.0, 4.0], "confidence": 0.5
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "int32"])
def test_a_packed_array_is_unpacked_unchanged(dtype: str) -> None:
    values = np.arange(24).reshape(2, 3, 4)
    packed = json.loads(json.dumps(pack_array(values, dtype)))
    back = unpack_array(packed, name="state")
    assert back.dtype == dtype
    assert (back == values).all()


GOOD = pack_array(np.zeros(3), "float32")


@pytest.mark.parametrize(
    "packed",
    [
        None,
        {},
        {**GOOD, "dtype": "object"},  # must never reach numpy
        {**GOOD, "shape": [4]},
        {**GOOD, "shape": [-3]},
        {**GOOD, "shape": [True]},
        {**GOOD, "shape": [3, *[1] * 64]},  # more sides than an array may have
        {**GOOD, "shape": [0, 10**30], "data": ""},
        {**GOOD, "data": "!!"},
        {**GOOD, "data": base64.b64encode(b"12345").decode()},
    ],
)
def test_a_damaged_array_is_bad_input(packed: object) -> None:
    with pytest.raises(BadInput, match="'state'"):
        unpack_array(packed, name="state")


def test_weights_are_found_in_the_folder_unless_a_variable_names_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVAT_LAMBDA_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"'net.xml' is not at .*MODEL_PATH"):
        weights_file("net.xml", env="MODEL_PATH")
    (tmp_path / "net.xml").touch()
    assert weights_file("net.xml", env="MODEL_PATH") == tmp_path / "net.xml"
    (tmp_path / "mine.xml").touch()
    monkeypatch.setenv("MODEL_PATH", str(tmp_path / "mine.xml"))
    assert weights_file("net.xml", env="MODEL_PATH") == tmp_path / "mine.xml"


def test_number_of_threads_is_two_without_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CVAT_LAMBDA_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads() == 3
    monkeypatch.setenv("CVAT_LAMBDA_THREADS", "5")
    assert threads() == 5


def test_list_of_coco_labels_has_80_names() -> None:
    assert len(set(COCO_80)) == 80
