"""Log lines as JSON objects."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from cvat_lambda.observability.context import request_context
from cvat_lambda.observability.json_logs import JsonFormatter


def line(message: str, *args: object, **extra: Any) -> dict[str, Any]:
    record = logging.getLogger("cvat_lambda.x").makeRecord(
        "cvat_lambda.x", logging.INFO, "x.py", 1, message, args, extra.pop("exc_info", None),
        extra=extra,
    )  # fmt: skip
    text = JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_line_has_the_message_the_extra_fields_and_the_request_id() -> None:
    with request_context("req-7"):
        found = line("frame %d failed", 3, action="frame_failed", code="function_failed")
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "INFO",
        "logger": "cvat_lambda.x",
        "message": "frame 3 failed",
        "action": "frame_failed",
        "code": "function_failed",
        "request_id": "req-7",
    }


def test_line_outside_of_a_request_has_no_request_id() -> None:
    assert "request_id" not in line("started")


def test_request_id_of_the_record_is_kept() -> None:
    with request_context("outer"):
        assert line("x", request_id="req-8")["request_id"] == "req-8"


def test_line_of_an_exception_holds_its_traceback_and_what_is_not_json_as_text() -> None:
    try:
        raise ValueError("broken\nline")
    except ValueError:
        found = line("failed", exc_info=sys.exc_info(), folder={1, 2}.__class__)
    assert found["exception"].endswith("ValueError: broken\nline")
    assert found["folder"] == "<class 'set'>"
