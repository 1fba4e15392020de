"""The outcomes of a request as a file: CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse

from cvat_lambda.requests.store.models import Outcome, Request
from cvat_lambda.requests.store.queries import outcomes_of

COLUMNS: Final = (
    *("task", "frame", "status", "code", "message", "attempts", "duration_ms", "shapes"),
    *("version", "revision", "written_at"),
)
# A spreadsheet would run text that begins so as a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
ROWS_AT_ONCE: Final = 2000


def as_csv(request: Request, *, is_async: bool) -> StreamingHttpResponse:
    """Return all outcomes as CSV. They are read while the client reads the file."""
    return _download(request, "csv", "text/csv; charset=utf-8", _csv_lines(request), is_async)


def as_json(request: Request, *, is_async: bool) -> StreamingHttpResponse:
    """Return all outcomes as a JSON array. They are read while the client reads the file."""
    return _download(request, "json", "application/json", _json_lines(request), is_async)


def _download(
    request: Request, suffix: str, kind: str, lines: Iterator[str], is_async: bool
) -> StreamingHttpResponse:
    content = _in_parts(lines) if is_async else lines
    response = StreamingHttpResponse(content, content_type=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="{request.pk}.{suffix}"'
    return response


async def _in_parts(lines: Iterator[str]) -> AsyncIterator[str]:
    """Yield the lines under ASGI, where Django would read all lines of an iterator at once."""

    def read() -> str:
        return "".join(islice(lines, ROWS_AT_ONCE))

    while part := await sync_to_async(read)():
        yield part


def _rows(request: Request) -> Iterator[dict[str, Any]]:
    for outcome in outcomes_of(request).iterator(chunk_size=ROWS_AT_ONCE):
        yield _row(outcome)


def _row(outcome: Outcome) -> dict[str, Any]:
    version = outcome.version
    values = (
        outcome.task_id,
        outcome.frame,
        outcome.status,
        outcome.code,
        outcome.message,
        outcome.attempts,
        outcome.duration_ms,
        outcome.shapes,
        None if version is None else version.version,
        None if version is None else version.revision,
        outcome.written_at.isoformat(),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _csv_lines(request: Request) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS)
    writer.writeheader()
    for row in _rows(request):
        writer.writerow({name: _cell(value) for name, value in row.items()})
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _json_lines(request: Request) -> Iterator[str]:
    before = "[\n"
    for row in _rows(request):
        yield before + json.dumps(row)
        before = ",\n"
    yield "]\n" if before != "[\n" else "[]\n"
