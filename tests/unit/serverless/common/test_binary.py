"""Binary bodies: functions and gateway read what the other one writes."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from common import binary
from common.answers import answer
from common.errors import BadInput
from common.image_embedding import ImageEmbedding
from common.images import decode_image, encode_png
from common.masks import interactor_answer, mask_item
from nuclio_sdk import Event, Response

from cvat_lambda.gateway.payload import BINARY_TYPE, decode_binary, encode_payload

CONTEXT = SimpleNamespace(Response=Response)
PICTURE = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
PNG = base64.b64decode(encode_png(PICTURE))


def call(run: Any, body: bytes) -> Any:
    """Answer a binary body. Return the decoded answer."""
    response = answer(CONTEXT, Event(body=body, content_type=BINARY_TYPE), run)
    assert (response.status_code, response.content_type) == (200, BINARY_TYPE)
    return decode_binary(response.body)


def test_content_types_of_functions_and_gateway_are_equal() -> None:
    assert binary.CONTENT_TYPE == BINARY_TYPE


def test_function_reads_the_images_of_a_binary_body() -> None:
    def run(body: dict[str, Any]) -> object:
        images = [decode_image(each) for each in [body["image"], *body["images"]]]
        return [bool((image == PICTURE).all()) for image in images] + [body["threshold"]]

    body = encode_payload({"threshold": 0.5}, {"image": PNG, "images": [PNG, PNG]}, binary=True)
    assert call(run, body) == [True, True, True, 0.5]


def test_bytes_of_an_answer_reach_the_gateway_unchanged() -> None:
    body = encode_payload({}, binary=True)
    assert call(lambda _: {"a": b"first", "b": [b"", b"2nd"]}, body) == {
        "a": b"first",
        "b": [b"", b"2nd"],
    }


def test_caller_of_a_json_body_gets_json_with_pixels() -> None:
    mask = np.eye(3, dtype=bool)
    body = json.dumps({"n": 1}).encode()
    response = answer(CONTEXT, Event(body=body), lambda _: [mask_item("cup", mask, 1.0)])
    assert response.content_type == "application/json"
    (item,) = json.loads(response.body)
    assert item["mask"] == [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 2, 2]


def test_caller_of_a_binary_body_gets_run_lengths() -> None:
    mask = np.eye(3, dtype=bool)
    body = encode_payload({}, binary=True)
    (item,) = call(lambda _: [mask_item("cup", mask, 1.0, at=(10, 20))], body)
    assert (item["rle"], "mask" in item) == ([0, 1, 3, 1, 3, 1, 10, 20, 12, 22], False)
    clicked = call(lambda _: interactor_answer(mask, at=(10, 20)), body)
    assert sorted(clicked) == ["points", "rle"]
    assert clicked["rle"] == item["rle"]


def test_embedding_in_a_binary_body_is_sent_and_read_back_as_bytes() -> None:
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    embedding = ImageEmbedding(values, (48, 64))
    sent = call(lambda _: embedding.to_json(version="v"), encode_payload({}, binary=True))
    assert sent["data"] == values.tobytes()

    def read(body: dict[str, Any]) -> object:
        found = ImageEmbedding.from_json(body["embedding"], version="v", shape=(1, 2, 3))
        return [bool((found.values == values).all()), list(found.image_size)]

    assert call(read, encode_payload({"embedding": sent}, binary=True)) == [True, [48, 64]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0",
        b"\0\0\0\x09{}",
        b"\0\0\0\x02[]",
        b'\0\0\0\x10{"$bytes":[0,2]}x',
        b'\0\0\0\x11{"$bytes":[-1,1]}x',
        b'\0\0\0\x0e{"$bytes":"0"}',
        b'\0\0\0\x13{"$bytes":[true,0]}x',
    ],
)
def test_damaged_binary_body_is_answered_with_400(body: bytes) -> None:
    event = Event(body=body, content_type=BINARY_TYPE)
    response = answer(CONTEXT, event, lambda _: pytest.fail("the handler ran"))
    assert response.status_code == 400
    assert "error" in json.loads(response.body)


def test_call_after_a_binary_one_does_not_accept_binary_answers() -> None:
    call(lambda _: None, encode_payload({}, binary=True))
    assert not binary.is_accepted()


def test_value_that_is_neither_json_nor_bytes_cannot_be_answered() -> None:
    with pytest.raises(TypeError, match="ndarray"):
        binary.encode([PICTURE])


def test_truncated_image_in_a_binary_body_is_bad_input() -> None:
    with pytest.raises(BadInput, match="'image' cannot be decoded"):
        decode_image(memoryview(PNG[:40]))
