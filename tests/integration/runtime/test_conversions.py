"""What a caller gets for each thing that a handler may return: Nuclio 1.14 with nuclio-sdk."""

from __future__ import annotations

import json

import pytest

from tests.integration.runtime.conftest import Deploy, embedded_only
from tests.integration.runtime.harness import Runtime

CODE = """
import json
from nuclio_sdk import Response

class Odd:
    def __repr__(self):
        return "<odd>"

async def later():
    return {"awaited": True}

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
        ("response dict", 203, "application/json", {"a": 1}),  # a dict wins over the content type
        ("response list", 200, "text/plain", b"[1, 'a']"),  # Python's repr, no JSON
        ("response text", 418, "application/json", [1]),
        ("response bytes", 200, "image/png", b"\x89PNG"),
        ("status zero", 200, "text/plain", b"x"),
        ("list", 200, "application/json", {"a": 1}),  # a batch, of which the first is answered
    ],
)
def test_a_handlers_output_is_converted_as_nuclio_does(
    platform: Runtime, name: str, returned: str, status: int, content_type: str, body: object
) -> None:
    answer = platform.call(name, data=returned.encode())
    seen = answer.content if isinstance(body, bytes) else json.loads(answer.content)
    assert (answer.status_code, answer.headers["Content-Type"], seen) == (
        status,
        content_type,
        body,
    )


def test_headers_that_are_no_text_are_dropped(platform: Runtime, name: str) -> None:
    answer = platform.call(name, data=b"numeric header")
    assert ("X-Num" in answer.headers, answer.headers["X-Text"]) == (False, "1")


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ("raise", 'Exception caught in handler - "division by zero"'),
        ("exit", 'Exception caught in handler - "3"'),  # SystemExit ends the call, not the worker
        ("bad key", 'Exception caught in handler - "keys must be'),
    ],
)
def test_an_exception_is_500_with_its_message_and_the_worker_lives_on(
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
        ("generator", "the handler returned a generator"),
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
def test_a_list_is_warned_of_in_the_log(platform: Runtime, name: str) -> None:
    platform.call(name, data=b"list")
    assert "[warn] the handler returned a list of 2: Nuclio 1.14 takes it for a batch" in (
        platform.log(name)
    )
