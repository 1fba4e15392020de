"""From what a handler returned to an answer frame, by nuclio-sdk's own conversion.

The rules are Nuclio 1.14's: a list counts as a batch, of which a plain HTTP trigger answers the
first element; a status must be an integer and a content type text; header values that are not
text are dropped.
"""

from __future__ import annotations

import base64
import types
from typing import Any

from .untyped import sdk, sdk_json

_encode = sdk_json.Encoder().encode

Answer = tuple[dict[str, Any], bytes]


class UnusableAnswer(Exception):
    """The handler returned something that cannot be sent."""


def to_answer(output: Any, warn: Any) -> Answer:
    """Return the frame's map and body for a handler's output; raises UnusableAnswer.

    `warn` is called with one sentence when the answer works here but is a trap elsewhere.
    """
    if isinstance(output, list):
        output = _first_of(output, warn)
    if isinstance(output, (types.GeneratorType, types.AsyncGeneratorType)):
        raise UnusableAnswer(
            "the handler returned a generator: answers are not streamed here, return the whole body"
        )
    response = sdk.Response.from_entrypoint_output(_encode, output)
    return _checked(response)


def failure(status: int, sentence: str) -> Answer:
    """Return an answer of plain text."""
    meta = {"kind": "answer", "status": status, "content_type": "text/plain", "headers": {}}
    return meta, sentence.encode("utf-8", "backslashreplace")


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
    if not isinstance(status, int) or isinstance(status, bool):
        raise UnusableAnswer(f"the handler's status code is {status!r}: it must be an integer")
    if status != 0 and not 100 <= status <= 999:
        raise UnusableAnswer(f"the handler's status code is {status}: it must be 100 to 999")
    content_type = response["content_type"]
    if not isinstance(content_type, str):
        raise UnusableAnswer(f"the handler's content type is {content_type!r}: it must be text")
    body = response["body"]
    if response["body_encoding"] == "base64":
        raw = base64.b64decode(body)
    else:
        raw = body.encode("utf-8", "backslashreplace")
    headers = response["headers"] or {}
    meta = {
        "kind": "answer",
        "status": status or 200,
        "content_type": content_type,
        "headers": {
            key: value
            for key, value in headers.items()
            if isinstance(key, str) and isinstance(value, str)
        },
    }
    return meta, raw
