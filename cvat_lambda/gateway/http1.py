"""HTTP/1.1 on the wire: the head of a request as bytes, an answer out of bytes (RFC 9112).

Why not `http.client` on this path: it hands an answer's head to the parser of e-mail, which costs
more CPU than all the rest of an exchange, and an invocation's answer has few headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

MAX_HEAD_BYTES: Final = 64 * 1024
_CHUNK: Final = 64 * 1024
_BODILESS: Final = frozenset({204, 304})
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN: Final = re.compile(r"[\x00\r\n]")
_TARGET: Final = re.compile(r"[!-~]+")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_HEX: Final = re.compile(rb"[0-9a-fA-F]{1,15}")
_DIGITS: Final = re.compile(r"[0-9]{1,18}")


class AnswerBroken(Exception):
    """The connection ended before the answer was complete."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__("the connection ended within the answer" if begun else "no answer")
        self.begun = begun  # part of an answer had come


class AnswerTooLarge(ValueError):
    """The body is larger than the reader takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A complete answer. Header names are lower case; of a header given twice, the last."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    keep: bool  # whether the connection may be used again


def request_head(host: str, path: str, headers: Mapping[str, str], length: int) -> bytes:
    """The head of a POST with a body of ``length`` bytes.

    Raise ValueError where the path or a header could smuggle in something else.
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
    """Read one answer. ``receive(n)`` gives up to n bytes, none at the end of the connection.

    Raise AnswerBroken, AnswerTooLarge, and ValueError for what is not HTTP; and what ``receive``
    raises, except that a lost connection is an AnswerBroken.
    """
    return _Reader(receive, max_body_bytes).read()


class _Reader:
    """One answer on its way in."""

    def __init__(self, receive: Callable[[int], bytes], max_body_bytes: int) -> None:
        self._receive = receive
        self._most = max_body_bytes
        self._buffer = bytearray()
        self._begun = False

    def read(self) -> Message:
        minor, status, headers = self._head()
        while status < 200:  # "100 Continue" and the like announce the answer
            if status == 101:
                raise ValueError("the answer changes the protocol")
            minor, status, headers = self._head()
        connection = headers.get("connection", "").lower()
        keep = "close" not in connection if minor else "keep-alive" in connection
        length = _length(headers)
        if status in _BODILESS:
            body = b""
        elif "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked":
                raise ValueError("the answer's transfer encoding is unknown")
            body = self._chunks()
        elif length is None:
            body, keep = self._rest(), False
        else:
            body = self._exactly(length)
        # Bytes beyond the answer are nobody's: the connection is out of step.
        keep = keep and not self._buffer
        return Message(status=status, headers=headers, body=body, keep=keep)

    def _head(self) -> tuple[int, int, dict[str, str]]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._check_start()
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise ValueError("the head of the answer is too large")
            self._more()
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        first, *lines = head.split(b"\r\n")
        found = _STATUS_LINE.fullmatch(first)
        if found is None:
            raise ValueError("no status line")
        headers: dict[str, str] = {}
        for line in lines:
            raw_name, colon, value = line.decode("latin-1").partition(":")
            name = raw_name.lower()
            if not colon or not _NAME.fullmatch(name):
                raise ValueError("a header of the answer is malformed")
            value = value.strip(" \t")
            if name == "content-length" and headers.get(name, value) != value:
                raise ValueError("the answer tells two lengths")
            headers[name] = value
        return int(found[1]), int(found[2]), headers

    def _check_start(self) -> None:
        """What does not speak HTTP may never send the end of a head: do not wait for it."""
        start = bytes(self._buffer[:5])
        if not b"HTTP/".startswith(start):
            raise ValueError("no status line")

    def _more(self, wanted: int = _CHUNK) -> None:
        if not self._take(wanted):
            raise AnswerBroken(begun=self._begun)

    def _take(self, wanted: int) -> bool:
        try:
            data = self._receive(wanted)
        except ConnectionError as exc:
            raise AnswerBroken(begun=self._begun) from exc
        self._begun = self._begun or bool(data)
        self._buffer += data
        return bool(data)

    def _exactly(self, length: int) -> bytes:
        if length > self._most:
            raise AnswerTooLarge("the answer is too large")
        while len(self._buffer) < length:
            self._more(min(max(length - len(self._buffer), _CHUNK), 1 << 20))
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    def _rest(self) -> bytes:
        while len(self._buffer) <= self._most:
            if not self._take(_CHUNK):
                break
        else:
            raise AnswerTooLarge("the answer is too large")
        body, self._buffer = bytes(self._buffer), bytearray()
        return body

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise ValueError("a line of the answer is too long")
            self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            digits = self._line().partition(b";")[0].strip()  # extensions have no meaning here
            if not _HEX.fullmatch(digits):
                raise ValueError("a chunk of the answer has no size")
            length = int(digits, 16)
            if length == 0:
                break
            size += length
            if size > self._most:
                raise AnswerTooLarge("the answer is too large")
            parts.append(self._exactly(length))
            if self._line():
                raise ValueError("a chunk of the answer is longer than it says")
        while self._line():
            pass  # trailers
        return b"".join(parts)


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None
    if not _DIGITS.fullmatch(text):
        raise ValueError("the answer's length is no number")
    return int(text)
