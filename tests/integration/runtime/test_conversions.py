"""The answer for each kind of value that a handler returns, as in Nuclio 1.14 with nuclio-sdk."""

from __future__ import annotations

import json

import pytest

from tests.integration.runtime.conftest import Deploy, embedded_only
from tests.integration.runtime.harness import Runtime

CODE = """
import asyncio
import json
from nuclio_sdk import Response

class Odd:
    def __repr__(self):
        return "<odd>"

async def later():
    return {"awaited": True}

class NoText(Exception):
    def __str__(self):
        raise ValueError

def fail_without_text(context):
    raise NoText

def begin_a_task(context):
    context.user_data.task = asyncio.get_running_loop().create_task(later())
    return "begun"

ANSWERS = {
    "text": lambda c: "héllo",
    "bytes": lambda c: b"\\x00\\xff",
    "dict": lambda c: {"a": 1},
    "nan": lambda c: {"a": float("nan"), "b": float("inf")},
    "odd": lambda c: {"a": Odd(), "b": b"x"},
    "status text": lambda c: (201, "made"),
    "status dict": lambda c: (202, {"a": 1}),
    "triple": lambda c: (1, 2, 3),
    "none": lambda c: None,
    "int": lambda c: 7,
    "coroutine": lambda c: later(),
    "response dict": lambda c: c.Response(body={"a": 1}, status_code=203, content_type="text/x"),
    "response list": lambda c: c.Response(body=[1, "a"]),
    "response text": lambda c: c.Response(
        body=json.dumps([1]), content_type="application/json", headers={"X-A": "b"}, status_code=418
    ),
    "response bytes": lambda c: c.Response(body=b"\\x89PNG", content_type="image/png"),
    "numeric header": lambda c: c.Response(body="x", headers={"X-Num": 1, "X-Text": "1"}),
    "status zero": lambda c: c.Response(body="x", status_code=0),
    "list": lambda c: [{"a": 1}, {"a": 2}],
    "empty list": lambda c: [],
    "text status": lambda c: c.Response(body="x", status_code="200"),
    "generator": lambda c: (item for item in "ab"),
    "response generator": lambda c: c.Response(body=(item for item in "ab")),
    "status none": lambda c: c.Response(body="x", status_code=None),
    "half a character": lambda c: "a\\ud800b",
    "two halves": lambda c: "\\ud83d\\ude00",
    "task": begin_a_task,
    "own loop": lambda c: asyncio.run(later()),
    "another content type": lambda c: c.Response(
        body="x", headers={"content-type": "a/b", "server": "own"}, content_type="c/d"
    ),
    "odd headers": lambda c: c.Response(
        body="x", headers={1: "a", "X-Bytes": b"b", "X-Half": "\\ud800", "X-Lines": "a\\r\\nX-B: c"}
    ),
    "impossible headers": lambda c: c.Response(body="x", headers={"a b": "1", "": "2", "c:d": "3"}),
    "content type of two lines": lambda c: c.Response(body="x", content_type="a/b\\r\\nX-B: c"),
    "announcement": lambda c: c.Response(body="x", status_code=100),
    "no text": fail_without_text,
    "raise": lambda c: 1 / 0,
    "exit": lambda c: exit(3),
    "bad key": lambda c: {(1, 2): 3},
}

def handler(context, event):
    return ANSWERS[event.body.decode()](context)
"""


@pytest.fixture(scope="module")
def name(deploy: Deploy) -> str:
    return deploy(CODE)


@pytest.mark.parametrize(
    ("returned", "status", "content_type", "body"),
    [
        ("text", 200, "text/plain", "héllo".encode()),
        ("bytes", 200, "text/plain", b"\x00\xff"),
        ("dict", 200, "application/json", {"a": 1}),
        ("nan", 200, "application/json", {"a": "NaN", "b": "Infinity"}),
        ("odd", 200, "application/json", {"a": "<odd>", "b": "b'x'"}),
        ("status text", 201, "text/plain", b"made"),
        ("status dict", 202, "application/json", {"a": 1}),
        ("triple", 200, "text/plain", b"(1, 2, 3)"),
        ("none", 200, "text/plain", b"None"),
        ("int", 200, "text/plain", b"7"),
        ("coroutine", 200, "application/json", {"awaited": True}),
        (
            "response dict",
            203,
            "application/json",
            {"a": 1},
        ),  # a dict is sent as JSON whatever the content type
        ("response list", 200, "text/plain", b"[1, 'a']"),  # Python's repr, not JSON
        ("response text", 418, "application/json", [1]),
        ("response bytes", 200, "image/png", b"\x89PNG"),
        ("status zero", 200, "text/plain", b"x"),
        ("status none", 200, "text/plain", b"x"),
        ("half a character", 200, "text/plain", "a\ufffdb".encode()),
        ("two halves", 200, "text/plain", "\U0001f600".encode()),
        ("another content type", 200, "c/d", b"x"),
        ("task", 200, "text/plain", b"begun"),
        (
            "list",
            200,
            "application/json",
            {"a": 1},
        ),  # Nuclio takes a list for a batch and answers its first item
    ],
)
def test_output_of_a_handler_is_converted_as_in_nuclio(
    platform: Runtime, name: str, returned: str, status: int, content_type: str, body: object
) -> None:
    answer = platform.call(name, data=returned.encode())
    seen = answer.content if isinstance(body, bytes) else json.loads(answer.content)
    assert (answer.status_code, answer.headers["Content-Type"], seen) == (
        status,
        content_type,
        body,
    )


def test_headers_that_are_not_text_are_dropped(platform: Runtime, name: str) -> None:
    answer = platform.call(name, data=b"numeric header")
    assert ("X-Num" in answer.headers, answer.headers["X-Text"]) == (False, "1")


def test_headers_are_converted_as_json(platform: Runtime, name: str) -> None:
    headers = platform.call(name, data=b"odd headers").headers
    shown = {key: headers[key].encode("latin-1").decode() for key in ("1", "X-Bytes", "X-Half")}
    assert shown == {"1": "a", "X-Bytes": "b'b'", "X-Half": "\ufffd"}
    assert headers["X-Lines"].split() == ["a", "X-B:", "c"]
    assert "X-B" not in headers


def test_header_of_the_function_replaces_that_of_the_runtime(platform: Runtime, name: str) -> None:
    answer = platform.call(name, data=b"another content type")
    assert answer.raw.headers.getlist("Content-Type") == ["c/d"]
    assert answer.raw.headers.getlist("Server") == ["own"]


@embedded_only
@pytest.mark.parametrize("returned", ["impossible headers", "content type of two lines"])
def test_header_that_would_break_the_answer_is_not_sent(
    platform: Runtime, name: str, returned: str
) -> None:
    answer = platform.call(name, data=returned.encode(), timeout=10)
    assert (answer.status_code, answer.text) == (200, "x")
    assert {"a b", "", "c:d", "X-B"}.isdisjoint(answer.headers)


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (
            "own loop",
            'Exception caught in handler - "asyncio.run() cannot be called from a running',
        ),
        ("raise", 'Exception caught in handler - "division by zero"'),
        ("exit", 'Exception caught in handler - "3"'),  # SystemExit ends the call, not the worker
        ("bad key", 'Exception caught in handler - "keys must be'),
    ],
)
def test_exception_is_500_with_its_message_and_keeps_the_worker(
    platform: Runtime, name: str, returned: str, sentence: str
) -> None:
    answer = platform.call(name, data=returned.encode())
    assert answer.status_code == 500
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.text.startswith(sentence)
    assert platform.call(name, data=b"int").text == "7"


@embedded_only
@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ("empty list", "the handler returned an empty list"),
        ("text status", "the handler's status code is '200'"),
        ("announcement", "the handler's status code is 100"),
        ("no text", 'Exception caught in handler - "NoText"'),
        ("generator", "the handler returned a generator"),
        ("response generator", "the handler returned a generator"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_500_with_the_reason(
    platform: Runtime, name: str, returned: str, sentence: str
) -> None:
    answer = platform.call(name, data=returned.encode())
    assert answer.status_code == 500
    assert sentence in answer.text
    assert platform.call(name, data=b"int").text == "7"


@embedded_only
def test_the_traceback_is_in_the_log_and_not_in_the_answer(platform: Runtime, name: str) -> None:
    answer = platform.call(name, data=b"raise")
    assert "Traceback" not in answer.text
    log = platform.log(name)
    assert "Traceback" in log
    assert "ZeroDivisionError: division by zero" in log


@embedded_only
def test_list_as_answer_writes_a_warning_to_the_log(platform: Runtime, name: str) -> None:
    platform.call(name, data=b"list")
    assert "[warn] the handler returned a list of 2: Nuclio 1.14 takes it for a batch" in (
        platform.log(name)
    )
