"""Bodies of clients, read so that nothing in them can surprise what comes after.

REST framework's parser lets three things through that end as an internal error later: arrays
nested so deeply that a recursion gives up, halves of surrogate pairs, which no answer can repeat,
and numbers of thousands of digits that cannot be shown. And it takes a body without a length for
an empty one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final, NoReturn

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.request import Request

MAX_DEPTH: Final = 64  # of arrays and objects in each other; annotations have eight


class StrictJSONParser(JSONParser):
    """JSON as RFC 8259 has it, of a sane depth and of text that can be encoded.

    Raise ParseError or ValidationError: both are a 400.
    """

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        encoding = (parser_context or {}).get("encoding", settings.DEFAULT_CHARSET)
        _require_size((parser_context or {}).get("request"))
        try:
            text = stream.read().decode(encoding)
            value = json.loads(text, parse_constant=_refuse)
        except RecursionError as exc:
            raise _too_deep() from exc
        except (ValueError, LookupError) as exc:  # LookupError: a charset that is of no text
            raise ParseError(f"JSON parse error - {exc}") from exc
        # Most bodies cannot have either fault, and are not walked through.
        if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(value):
            raise _too_deep()
        if "\\u" in text or not text.isascii():
            _refuse_surrogates(value)
        return value


class OffsetStreamParser(BaseParser):
    """A part of a resumable upload (TUS 1.0.0). The view reads it from the stream."""

    media_type = "application/offset+octet-stream"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return stream


class LengthRequired(APIException):
    """A body came in chunks, and nobody has said how long it is."""

    status_code = 411
    default_detail = "The body must come with a Content-Length: none of it was read."
    default_code = "length_required"


def require_length(request: Request) -> None:
    """Raise LengthRequired on a body in chunks (``Transfer-Encoding: chunked``).

    REST framework reads as much of a body as ``Content-Length`` says: of this one nothing. Half of
    what it then did would be what nobody asked for, the other half would be refused for no reason.
    """
    if request.META.get("HTTP_TRANSFER_ENCODING") and not request.META.get("CONTENT_LENGTH"):
        raise LengthRequired


def _require_size(request: Request | None) -> None:
    """Raise RequestDataTooBig on a body over ``DATA_UPLOAD_MAX_MEMORY_SIZE``, before it is read."""
    maximum = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    length = "" if request is None else str(request.META.get("CONTENT_LENGTH") or "")
    if maximum is not None and length.isdecimal() and int(length) > maximum:
        raise RequestDataTooBig(f"a JSON body has at most {maximum} bytes")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _too_deep() -> ParseError:
    return ParseError(f"JSON parse error - nested more than {MAX_DEPTH} levels deep")


def _is_deeper(value: Any) -> bool:
    """Return whether arrays and objects are nested more than MAX_DEPTH levels deep."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child for item in level for child in children(item) if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def children(value: Any) -> Iterator[Any]:
    """Return the values directly inside a JSON value, and the keys of an object."""
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def walk(value: Any) -> Iterator[Any]:
    """Yield a JSON value and everything inside it at any depth, in no particular order."""
    left = [value]
    while left:
        item = left.pop()
        yield item
        left.extend(children(item))


def _refuse_surrogates(value: Any) -> None:
    for item in walk(value):
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError as exc:
                shown = item.encode("ascii", "backslashreplace").decode()[:60]
                raise ValidationError(
                    {"non_field_errors": [f"Lone surrogates are not allowed: {shown}"]}
                ) from exc
