"""Functions that announce ``binary`` get raw bytes instead of base64, and may answer them."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from cvat_lambda.engine.standalone.models import Task
from cvat_lambda.gateway.payload import BINARY_TYPE, encode_payload
from tests.http_server import Reply
from tests.integration.interactive.functions import Functions

from .conftest import Api

CAR = json.dumps([{"id": 0, "name": "car", "type": "mask"}])
RUNS = [1, 1, 1, 2, 1, 4, 2, 6, 3]
PIXELS = [0, 1, 0, 1, 1, 0, 4, 2, 6, 3]
ROWS = {"mask": [[0, 255, 0], [255, 255, 0]], "bounds": [4, 2, 6, 3], "points": []}
VALUES = bytes(range(24))
EMBEDDING = {"data": VALUES, "shape": [1, 2, 3], "dtype": "float32", "version": "1"}
_numbers = itertools.count()


def binary(answer: object, status: int = 200) -> Reply:
    """Return an answer as a binary body."""
    body = encode_payload({"": answer}, binary=True)
    size = int.from_bytes(body[:4], "big")
    text = body[4 : 4 + size].removeprefix(b'{"":').removesuffix(b"}")
    return Reply(
        status,
        len(text).to_bytes(4, "big") + text + body[4 + size :],
        {"Content-Type": BINARY_TYPE},
    )


@pytest.mark.parametrize("announced", [True, False])
def test_detector_gets_the_bytes_of_the_frame_only_if_it_announces_binary(
    api: Api, functions: Functions, task: Task, images: list[Path], announced: bool
) -> None:
    item = {"label": "car", "type": "mask", "confidence": 1.0}

    def behave(payload: dict[str, Any]) -> Any:
        return binary([{**item, "rle": RUNS}]) if announced else [{**item, "mask": PIXELS}]

    annotations = {"binary": "true"} if announced else {}
    functions.add("yolo", behave, type="detector", spec=CAR, **annotations)
    answer = api.call("yolo", task=task.pk, frame=1, threshold=0)
    (payload,) = functions.asked["yolo"]
    data = images[1].read_bytes()
    assert payload["image"] == (data if announced else base64.b64encode(data).decode())
    assert payload["threshold"] == 0
    assert [shape["points"] for shape in answer.json()["shapes"]] == [RUNS]


def test_run_lengths_of_an_interactor_reach_the_client_as_rows(
    api: Api, functions: Functions, task: Task
) -> None:
    answer = binary({"rle": RUNS, "points": []})
    functions.add("iog", lambda payload: answer, type="interactor", binary="true")
    found = api.call("iog", task=task.pk, frame=0, pos_points=[[3, 4]], neg_points=[])
    assert (found.status_code, found.json()) == (200, ROWS)


def test_embedding_of_a_binary_answer_is_sent_back_as_bytes_without_the_image(
    api: Api, functions: Functions, task: Task, clean_redis: str
) -> None:
    def behave(payload: dict[str, Any]) -> Any:
        wanted = payload.get("want") == "embedding"
        return binary({"rle": RUNS, "points": [], **({"embedding": EMBEDDING} if wanted else {})})

    name = f"sam-{next(_numbers)}"
    functions.add(name, behave, type="interactor", embedding="true", binary="true")
    for _ in range(2):
        found = api.call(name, task=task.pk, frame=0, pos_points=[[3, 4]], neg_points=[])
        assert (found.status_code, found.json()) == (200, ROWS)
    first, second = functions.asked[name]
    assert ("image" in first, "embedding" in first) == (True, False)
    assert ("image" in second, second["embedding"]) == (False, EMBEDDING)


def test_blob_of_a_binary_embedding_reaches_the_client_as_base64(
    api: Api, functions: Functions, task: Task, clean_redis: str
) -> None:
    functions.add(
        "sam",
        lambda payload: binary({"embedding": EMBEDDING}),
        type="interactor",
        embedding="true",
        binary="true",
    )
    for _ in range(2):  # the second one is answered from the store
        found = api.call("sam", task=task.pk, frame=0, pos_points=[], neg_points=[], want="blob")
        assert found.json() == {"blob": base64.b64encode(VALUES).decode()}
    assert len(functions.asked["sam"]) == 1


def test_damaged_binary_answer_is_an_invalid_answer(
    api: Api, functions: Functions, task: Task
) -> None:
    reply = Reply(200, b"\0\0\0\x09{}", {"Content-Type": BINARY_TYPE})
    functions.add("yolo", lambda payload: reply, type="detector", spec=CAR, binary="true")
    answer = api.call("yolo", task=task.pk, frame=0)
    assert (answer.status_code, answer.json()["code"]) == (502, "function_answer_invalid")


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("tracker", {"shapes": [None], "states": [VALUES]}),
        ("tracker", {"shapes": [None], "states": [{"template": VALUES}]}),
        ("detector", [{"label": "car", "type": "mask", "rle": RUNS, "attributes": VALUES}]),
    ],
)
def test_bytes_in_an_answer_are_invalid_except_of_an_interactor(
    api: Api, functions: Functions, task: Task, kind: str, answer: object
) -> None:
    functions.add("f", lambda payload: binary(answer), type=kind, spec=CAR, binary="true")
    shapes = [{"type": "rectangle", "points": [1, 1, 9, 9]}]
    more = {"shapes": shapes, "states": []} if kind == "tracker" else {}
    found = api.call("f", task=task.pk, frame=0, **more)
    assert (found.status_code, found.json()["code"]) == (502, "function_answer_invalid")
    assert "only an interactor may answer bytes" in found.json()["message"]


def test_refusal_of_a_function_with_binary_bodies_reaches_the_client(
    api: Api, functions: Functions, task: Task
) -> None:
    reply = Reply(400, json.dumps({"error": "the image is black"}))
    functions.add("yolo", lambda payload: reply, type="detector", spec=CAR, binary="true")
    answer = api.call("yolo", task=task.pk, frame=0)
    assert answer.status_code == 400
    assert "the image is black" in answer.json()["message"]
