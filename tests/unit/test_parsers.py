"""Bodies of clients: a wrong one is a sentence, whatever is in it."""

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
def test_a_body_is_what_was_sent(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


def test_a_number_beyond_all_floats_is_infinite() -> None:
    """It is JSON; the fields that numbers are for refuse it."""
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
def test_a_wrong_body_is_named(body: bytes, sentence: str) -> None:
    with pytest.raises(ParseError) as refused:
        parse(body)
    assert sentence in str(refused.value.detail)


@pytest.mark.parametrize("charset", ["hex", "rot13", "nonsense", "utf-16", "undefined"])
def test_a_charset_that_the_body_is_not_in_is_a_bad_request(charset: str) -> None:
    """``Content-Type: application/json; charset=hex``: Python knows codecs that are of no text."""
    with pytest.raises(ParseError, match="JSON parse error"):
        parse(b'{"a": 1}', charset)


def test_a_body_may_be_as_deep_as_the_limit() -> None:
    depth = MAX_DEPTH
    assert parse(b"[" * depth + b"]" * depth + b" ") != []
    assert parse(b"[" + b"[]," * 1000 + b"1]")[-1] == 1  # many, but side by side


@pytest.mark.parametrize(
    "body",
    [
        rb'"\ud800"',
        rb'{"a": ["\uDFFF"]}',
        rb'{"\ud800": 1}',
        b"[" * 60 + rb'"a\ud800"' + b"]" * 60,
    ],
)
def test_half_of_a_surrogate_pair_is_refused_wherever_it_is(body: bytes) -> None:
    with pytest.raises(ValidationError, match=r"Lone surrogates are not allowed: .*\\ud"):
        parse(body)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse(rb'"\ud83d\ude00"') == "\N{GRINNING FACE}"


@given(st.binary(max_size=40), st.sampled_from(["utf-8", "utf-16", "utf-7", "latin-1"]))
def test_any_body_is_parsed_to_what_can_be_encoded_or_refused(body: bytes, encoding: str) -> None:
    with suppress(APIException):
        for item in walk(parse(body, encoding)):
            if isinstance(item, str):
                item.encode()
