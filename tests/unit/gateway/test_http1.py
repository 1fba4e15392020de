"""Parsing of HTTP/1.1 answers, in pieces of any size, and writing of request heads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.gateway.http1 import (
    AnswerBroken,
    AnswerTooLarge,
    Message,
    read_message,
    request_head,
)


def cut(data: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """Return a receive function that yields pieces of these sizes, then the rest, then the end."""
    rest = memoryview(data)
    left = iter(sizes)

    def receive(most: int) -> bytes:
        nonlocal rest
        size = min(most, next(left, most))
        piece, rest = bytes(rest[:size]), rest[size:]
        return piece

    return receive


def read(data: bytes, sizes: list[int] | None = None, most: int = 1000) -> Message:
    return read_message(cut(data, sizes or []), most)


ANSWERS = [
    # with a length
    (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A:  b \r\n\r\n[1]", 200, b"[1]", True),
    # no reason, no body
    (b"HTTP/1.1 204\r\n\r\n", 204, b"", True),
    (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 503, b"", True),
    # in chunks, with an extension and a trailer
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2;a=b\r\n[1\r\n1\r\n]\r\n0\r\nX-B: c\r\n\r\n",
        200,
        b"[1]",
        True,
    ),
    # the announced length is too large
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        200,
        b"[]",
        True,
    ),
    # the connection ends
    (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\n[]", 200, b"[]", False),
    (b"HTTP/1.1 500 Oops\r\n\r\nto the end", 500, b"to the end", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n[]", 200, b"[]", False),
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n[]", 200, b"[]", True),
]


@pytest.mark.parametrize(("data", "status", "body", "keep"), ANSWERS)
@given(sizes=st.lists(st.integers(1, 9), max_size=200))
def test_answer_is_the_same_in_pieces_of_any_size(
    data: bytes, status: int, body: bytes, keep: bool, sizes: list[int]
) -> None:
    message = read(data, sizes)
    assert (message.status, message.body, message.keep) == (status, body, keep)


def test_header_names_are_lower_case_and_values_are_stripped() -> None:
    assert read(ANSWERS[0][0]).headers == {"content-length": "3", "x-a": "b"}


def test_connection_is_not_kept_after_bytes_beyond_the_answer() -> None:
    assert read(ANSWERS[0][0] + b"more").keep is False


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",  # another protocol, which sends no end of a head
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n[]\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[]\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
def test_bytes_that_are_not_http_raise_valueerror(data: bytes) -> None:
    with pytest.raises(ValueError):  # each kind of data has its own message
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,
    ],
)
def test_body_above_the_limit_raises_answertoolarge(data: bytes) -> None:
    with pytest.raises(AnswerTooLarge):
        read(data)


@pytest.mark.parametrize("length", range(len(ANSWERS[0][0])))
def test_answer_that_ends_early_raises_answerbroken(length: int) -> None:
    with pytest.raises(AnswerBroken) as caught:
        read(ANSWERS[0][0][:length])
    assert caught.value.begun is (length > 0)


@pytest.mark.parametrize(("before", "begun"), [(b"", False), (b"HTTP/1.1 2", True)])
def test_error_of_a_reset_connection_says_whether_the_answer_had_begun(
    before: bytes, begun: bool
) -> None:
    pieces = [before] if before else []

    def receive(most: int) -> bytes:
        if pieces:
            return pieces.pop()
        raise ConnectionResetError

    with pytest.raises(AnswerBroken) as caught:
        read_message(receive, 1000)
    assert caught.value.begun is begun


def test_request_head_has_the_headers_and_the_length_of_the_body() -> None:
    head = request_head("host:81", "/a?b=%20", {"Content-Type": "application/json"}, 7)
    assert head == (
        b"POST /a?b=%20 HTTP/1.1\r\nHost: host:81\r\n"
        b"Content-Type: application/json\r\nContent-Length: 7\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/a b", {}),
        ("/a\r\nX: y", {}),
        ("/", {"X": "y\r\nZ: smuggled"}),
        ("/", {"X: y\r\nZ": "smuggled"}),
    ],
)
def test_request_head_with_a_line_break_or_a_space_raises_valueerror(
    path: str, headers: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match=r"path must be percent-encoded|is malformed"):
        request_head("host", path, headers, 0)
