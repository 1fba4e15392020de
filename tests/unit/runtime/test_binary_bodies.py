"""Binary bodies of the runtime's commands: those that the app sends and reads."""

from __future__ import annotations

import base64

import pytest

from cvat_lambda.gateway import payload as gateway
from cvat_lambda.runtime.binary_bodies import BINARY_TYPE, announces_binary, decode, encode


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_content_type_is_that_of_the_gateway() -> None:
    assert BINARY_TYPE == gateway.BINARY_TYPE


def test_images_and_the_data_of_an_embedding_are_sent_as_bytes() -> None:
    embedding = {"data": text(b"numbers"), "shape": [7], "dtype": "uint8"}
    images = {"image": text(b"one"), "image0": text(b""), "images": [text(b"two"), text(b"three")]}
    body = encode({**images, "threshold": 0.5, "states": ["AAAA"], "embedding": embedding})
    assert gateway.decode_binary(body) == {
        "image": b"one",
        "image0": b"",
        "images": [b"two", b"three"],
        "threshold": 0.5,
        "states": ["AAAA"],
        "embedding": {**embedding, "data": b"numbers"},
    }


@pytest.mark.parametrize("value", ["no base64!", None, 3, {"a": 1}])
def test_image_that_is_no_base64_is_sent_as_it_is(value: object) -> None:
    body = encode({"image": value, "embedding": {"data": value}})
    assert gateway.decode_binary(body) == {"image": value, "embedding": {"data": value}}


def test_bytes_of_an_answer_are_read_as_base64() -> None:
    body = gateway.encode_payload({"blob": b"blob", "rle": [1]}, binary=True)
    assert decode(body) == {"blob": text(b"blob"), "rle": [1]}
    with pytest.raises(ValueError, match="only an interactor may answer bytes"):
        decode(body, allow_bytes=False)


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0\x09{}", b'\0\0\0\x10{"$bytes":[0,2]}x', b'\0\0\0\x0e{"$bytes":"0"}']
)
def test_damaged_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"binary body|not \[offset, size\]"):
        decode(body)


@pytest.mark.parametrize(
    ("value", "announced"),
    [("true", True), (" True", True), ("1", True), (True, True), ("false", False), ("", False)],
)
def test_annotation_of_binary_bodies_is_read_as_the_app_reads_it(
    value: object, announced: bool
) -> None:
    assert announces_binary({"binary": value}) == announced
    assert not announces_binary({})
