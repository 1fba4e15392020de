"""Parsing of JSON bodies: any invalid body is refused with a message."""

from __future__ import annotations

import io
import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework.exceptions import APIException, ParseError, ValidationError

from cvat_lambda.rest.parsers import MAX_DEPTH, StrictJSONParser, walk


def parse(body: bytes, encoding: str = "utf-8") -> Any:
    return StrictJSONParser().parse(io.BytesIO(body), None, {"encoding": encoding})


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
@example(value={"Infinity": "NaN"})
def test_valid_body_is_parsed_to_the_sent_value(value: object) -> None:
    assert parse(json.dumps(value).encode()) == value


def test_number_beyond_the_range_of_floats_is_infinite() -> None:
    """Such a number is valid JSON. Fields of numbers refuse infinity."""
    assert parse(b"[1e999, -1e999]") == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "JSON parse error"),
        (b"{", "JSON parse error"),
        (b"\xff", "JSON parse error"),
        (b"NaN", "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b"[" * 100_000, "nested more than 64 levels deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested more than 64 levels deep"),
        (b"[" * 66 + b"]" * 66, "nested more than 64 levels deep"),
        (b"9" * 10_000, "JSON parse error"),
    ],
)
def test_invalid_body_is_refused_with_its_cause(body: bytes, sentence: str) -> None:
    with pytest.raises(ParseError) as refused:
        parse(body)
    assert sentence in str(refused.value.detail)


@pytest.mark.parametrize("charset", ["hex", "rot13", "nonsense", "utf-16", "undefined"])
def test_wrong_or_unknown_charset_is_refused(charset: str) -> None:
    """Python has codecs that do not decode text, such as ``charset=hex``."""
    with pytest.raises(ParseError, match="JSON parse error"):
        parse(b'{"a": 1}', charset)


def test_body_nested_as_deep_as_the_limit_is_parsed() -> None:
    depth = MAX_DEPTH
    assert parse(b"[" * depth + b"]" * depth + b" ") != []
    assert parse(b"[" + b"[]," * 1000 + b"1]")[-1] == 1  # many lists, but not nested


@pytest.mark.parametrize(
    "body",
    [
        rb'"\ud800"',
        rb'{"a": ["\uDFFF"]}',
        rb'{"\ud800": 1}',
        b"[" * 60 + rb'"a\ud800"' + b"]" * 60,
    ],
)
def test_lone_surrogate_is_refused_anywhere_in_the_body(body: bytes) -> None:
    with pytest.raises(ValidationError, match=r"Lone surrogates are not allowed: .*\\ud"):
        parse(body)


def test_surrogate_pair_is_parsed_to_a_character() -> None:
    assert parse(rb'"\ud83d\ude00"') == "\N{GRINNING FACE}"


@given(st.binary(max_size=40), st.sampled_from(["utf-8", "utf-16", "utf-7", "latin-1"]))
def test_any_body_is_refused_or_parsed_to_encodable_text(body: bytes, encoding: str) -> None:
    with suppress(APIException):
        for item in walk(parse(body, encoding)):
            if isinstance(item, str):
                item.encode()
