"""Encoding of payloads with fields and images."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.gateway.payload import (
    BINARY_TYPE,
    content_type,
    decode_binary,
    encode_payload,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
images = st.binary(max_size=64) | st.lists(st.binary(max_size=16), max_size=3)


@given(
    fields=st.dictionaries(st.text(max_size=8), json_values, max_size=3),
    images=st.dictionaries(st.sampled_from(["image", "image0", 'a"b']), images, max_size=3),
)
def test_payload_is_json_of_fields_and_base64_images(
    fields: dict[str, Any], images: dict[str, Any]
) -> None:
    fields = {key: value for key, value in fields.items() if key not in images}
    text = {
        key: base64.b64encode(value).decode()
        if isinstance(value, bytes)
        else [base64.b64encode(item).decode() for item in value]
        for key, value in images.items()
    }
    assert json.loads(encode_payload(fields, images)) == {**fields, **text}


def test_payload_without_images_is_plain_json() -> None:
    assert encode_payload({"threshold": 0}) == b'{"threshold":0}'
    assert encode_payload({}) == b"{}"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        encode_payload({"threshold": value}, {"image": b"x"})


def test_key_of_a_field_and_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="'image' is given as a field and as an image"):
        encode_payload({"image": "x"}, {"image": b"x"})


@given(
    fields=st.dictionaries(st.text(max_size=8), json_values, max_size=3),
    images=st.dictionaries(st.sampled_from(["image", "image0", 'a"b']), images, max_size=3),
)
def test_binary_body_is_read_back_with_the_bytes_of_its_images(
    fields: dict[str, Any], images: dict[str, Any]
) -> None:
    fields = {key: value for key, value in fields.items() if key not in images}
    body = encode_payload(fields, images, binary=True)
    assert decode_binary(body) == {**fields, **images}
    assert content_type(body) == BINARY_TYPE


def test_binary_body_is_a_length_then_json_then_the_bytes() -> None:
    body = encode_payload({"threshold": 0}, {"images": [b"first", b"2nd"]}, binary=True)
    text = b'{"threshold":0,"images":[{"$bytes":[0,5]},{"$bytes":[5,3]}]}'
    assert body == len(text).to_bytes(4, "big") + text + b"first2nd"


def test_content_type_of_a_json_body_is_that_of_json() -> None:
    assert content_type(encode_payload({}, {"image": b"x"})) == "application/json"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0",  # shorter than the length
        b"\0\0\0\x09{}",  # the text is cut
        b"\0\0\0\x02[]"[:-1],
        b'\0\0\0\x10{"$bytes":[0,2]}x',  # beyond the end
        b'\0\0\0\x11{"$bytes":[-1,1]}x',  # before the begin
        b'\0\0\0\x12{"$bytes":[0.0,1]}x',
        b'\0\0\0\x0e{"$bytes":"0"}',
    ],
)
def test_damaged_binary_body_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"binary|bytes|Expecting"):
        decode_binary(body)


def test_nan_in_a_binary_body_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        encode_payload({"threshold": float("nan")}, binary=True)
