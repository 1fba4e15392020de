"""HTTP/1.1 (RFC 9112): write the head of a request, parse an answer.

`httptools` (the parser of Node.js) parses answers. `http.client` would hand the head of an answer
to Python's e-mail parser, which takes more CPU time than the rest of an exchange.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import httptools

MAX_HEAD_BYTES: Final = 64 * 1024
_BLOCK: Final = 64 * 1024  # bytes of one read
_LARGE_BLOCK: Final = 1 << 20  # likewise, of a body that is known to be larger
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN: Final = re.compile(r"[\x00\r\n]")
_TARGET: Final = re.compile(r"[!-~]+")


class AnswerBroken(Exception):
    """The connection ended before the answer was complete."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__("the connection ended within the answer" if begun else "no answer")
        self.begun = begun  # part of an answer was received


class AnswerTooLarge(ValueError):
    """The body is larger than the reader takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A complete answer. Header names are lower case. The last of repeated headers is kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    keep: bool  # whether the connection may be used again


def request_head(host: str, path: str, headers: Mapping[str, str], length: int) -> bytes:
    """Return the head of a POST with a body of ``length`` bytes.

    Raise ValueError if the path or a header holds a character that would end it.
    """
    if not _TARGET.fullmatch(path):
        raise ValueError("the path must be percent-encoded")
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}"]
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or _FORBIDDEN.search(value):
            raise ValueError(f"the header {name!r} is malformed")
        lines.append(f"{name}: {value}")
    lines.append(f"Content-Length: {length}\r\n\r\n")
    return "\r\n".join(lines).encode("latin-1")


def read_message(receive: Callable[[int], bytes], max_body_bytes: int) -> Message:
    """Read one answer. ``receive(n)`` returns up to n bytes, and none after the connection's end.

    Raise AnswerBroken if the connection ends early, AnswerTooLarge, and ValueError for anything
    that is not HTTP. Errors of ``receive`` pass, except that a ConnectionError is an AnswerBroken.
    """
    return _Reader(receive, max_body_bytes).read()


class _Reader:
    """Reads one answer; the methods whose names begin with ``on_`` are called by the parser."""

    def __init__(self, receive: Callable[[int], bytes], max_body_bytes: int) -> None:
        self._receive = receive
        self._max_body_bytes = max_body_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._received = 0  # bytes
        self._length: int | None = None  # of the body, as announced
        self._too_large = False
        self._is_coded = False  # in a way that is not "chunked"
        self._has_head = False
        self._complete = False
        self._status = 0
        self._keep = False
        self._has_surplus = False  # bytes followed the answer

    def read(self) -> Message:
        while not self._complete:
            data = self._next()
            if not data:
                if not self._ends_with_the_connection():
                    raise AnswerBroken(begun=self._received > 0)
                return self._message(keep=False)
            self._feed(data)
            if self._length is not None and not self._complete:
                self._read_rest(self._length)
        return self._message(keep=self._keep and not self._has_surplus)

    def _read_rest(self, length: int) -> None:
        """Read the rest of a body of known length without the parser, which would copy it."""
        while len(self._body) < length:
            data = self._next()
            if not data:
                raise AnswerBroken(begun=True)
            self._body += data
        self._complete = True

    def on_message_begin(self) -> None:
        self._has_surplus = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip(" \t")

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # "100 Continue" announces the answer
            return
        self._has_head = True
        self._status = self._parser.get_status_code()
        self._keep = self._parser.should_keep_alive()
        length, coding = map(self._headers.get, ("content-length", "transfer-encoding"))
        self._is_coded = coding is not None and coding.lower() != "chunked"
        if length is not None and coding is None:
            self._length = int(length)
            self._too_large = self._length > self._max_body_bytes

    def on_body(self, data: bytes) -> None:
        self._body += data
        self._too_large = self._too_large or len(self._body) > self._max_body_bytes

    def on_message_complete(self) -> None:
        if self._has_head and not self._complete:
            self._complete = True
        else:
            self._headers.clear()  # those of "100 Continue"

    def _next(self) -> bytes:
        size = _BLOCK if self._length is None else min(self._length - len(self._body), _LARGE_BLOCK)
        try:
            data = self._receive(size)
        except ConnectionError as exc:
            raise AnswerBroken(begun=self._received > 0) from exc
        self._received += len(data)
        return data

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            raise ValueError("the answer changes the protocol") from exc
        except httptools.HttpParserError as exc:
            if not self._complete:
                raise ValueError(f"the answer is not HTTP: {exc}") from exc
            self._has_surplus = True
        if self._is_coded:
            raise ValueError("the transfer encoding of the answer is unknown")
        if self._too_large:
            raise AnswerTooLarge("the answer is too large")
        if not self._has_head and self._received > MAX_HEAD_BYTES:
            raise ValueError("the head of the answer is too large")

    def _ends_with_the_connection(self) -> bool:
        """Return whether the end of the connection is the end of the body."""
        return self._has_head and self._length is None and "transfer-encoding" not in self._headers

    def _message(self, *, keep: bool) -> Message:
        return Message(
            status=self._status,
            headers=self._headers,
            body=bytes(self._body),
            keep=keep,
        )
