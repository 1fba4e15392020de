"""Convert what a handler returned to an answer frame, with nuclio-sdk's own conversion.

The rules are those of Nuclio 1.14. A list counts as a batch, of which a plain HTTP trigger answers
the first element. A generator, which Nuclio 1.15 streams, is refused. A status must be an integer,
a content type must be text. Header values that JSON does not encode as text are dropped. So are
invalid header names, and line breaks in values.
"""

from __future__ import annotations

import base64
import json
import re
import types
from typing import Any

from .frames import MAX_FRAME
from .untyped import sdk, sdk_json

MAX_BODY = MAX_FRAME - 2**20  # bytes; the rest of a frame is for the headers
_encode = sdk_json.Encoder().encode
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE_BREAK = re.compile(r"[\r\n\0]+")

Answer = tuple[dict[str, Any], bytes]


class UnusableAnswer(Exception):
    """The handler returned something that cannot be sent."""


def to_answer(output: Any, warn: Any) -> Answer:
    """Return the frame's map and body for a handler's output; raise UnusableAnswer.

    `warn` is called with one sentence if the answer works here but may fail on other platforms.
    """
    if isinstance(output, list):
        output = _first_of(output, warn)
    body = output.body if isinstance(output, sdk.Response) else output
    if isinstance(body, (types.GeneratorType, types.AsyncGeneratorType)):
        raise UnusableAnswer(
            "the handler returned a generator: answers are not streamed here, return the whole body"
        )
    response = sdk.Response.from_entrypoint_output(_encode, output)
    return _checked(response)


def failure(status: int, sentence: str) -> Answer:
    """Return an answer of plain text."""
    meta = {"kind": "answer", "status": status, "content_type": "text/plain", "headers": {}}
    return meta, _text(sentence).encode()


def _first_of(output: list[Any], warn: Any) -> Any:
    if not output:
        raise UnusableAnswer(
            "the handler returned an empty list, which Nuclio takes for an empty batch: "
            'return context.Response(body=json.dumps([]), content_type="application/json")'
        )
    warn(
        f"the handler returned a list of {len(output)}: Nuclio 1.14 takes it for a batch and "
        "answers with its first element alone, and so does this runtime; return "
        'context.Response(body=json.dumps(answer), content_type="application/json")'
    )
    return output[0]


def _checked(response: dict[str, Any]) -> Answer:
    status = response["status_code"]
    if status is None:
        status = 0  # Nuclio reads no status as 200
    if not isinstance(status, int) or isinstance(status, bool):
        raise UnusableAnswer(f"the handler's status code is {status!r}: it must be an integer")
    if status != 0 and not 200 <= status <= 999:
        # A status below 200 announces another answer, for which the caller would wait.
        raise UnusableAnswer(f"the handler's status code is {status}: it must be 200 to 999")
    content_type = response["content_type"]
    if isinstance(content_type, bytes):
        content_type = json.loads(_encode(content_type))  # the text is Python's repr of the value
    if not isinstance(content_type, str):
        raise UnusableAnswer(f"the handler's content type is {content_type!r}: it must be text")
    body, is_binary = response["body"], response["body_encoding"] == "base64"
    raw = base64.b64decode(body) if is_binary else _text(body).encode()
    if len(raw) > MAX_BODY:
        raise UnusableAnswer(f"the handler's answer has {len(raw)} bytes: {MAX_BODY} are the most")
    meta = {
        "kind": "answer",
        "status": status or 200,
        "content_type": _line(content_type),
        "headers": _headers(response["headers"] or {}),
    }
    return meta, raw


def _headers(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        raise UnusableAnswer(f"the handler's headers are {given!r}: they must be a dict")
    if not all(isinstance(text, str) for item in given.items() for text in item):
        given = json.loads(_encode(given))
    return {
        name: _line(value)
        for name, value in given.items()
        if isinstance(value, str) and _HEADER_NAME.fullmatch(name)
    }


def _line(text: str) -> str:
    return _LINE_BREAK.sub(" ", _text(text))


def _text(text: str) -> str:
    """Return a text as it arrives after JSON encoding: without lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
