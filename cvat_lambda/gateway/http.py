"""The connection pool for invocations. Every call has a deadline, and other threads can end it.

``requests`` and urllib3 do not serve this path: they take more CPU time (a POST of 270 KB with a
small answer on loopback, Python 3.11: 1.2 ms with `requests.Session`, 0.54 ms with urllib3's pool,
0.29 ms with `http.client`), and no other thread can end a call that is in flight.

The pool never uses proxies of the environment and never follows redirects: functions are internal
services, and a body may hold an image that must not be sent elsewhere.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from cvat_lambda.conf import settings
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.gateway.http1 import AnswerBroken, Message, read_message, request_head
from cvat_lambda.gateway.payload import Body, pieces_of

MAX_ANSWER_BYTES: Final = 512 * 1024 * 1024
_PIECES_AT_ONCE: Final = 256  # of a body; the kernel takes up to 1024
_IDLE_S: Final = 50.0  # a connection that was idle for longer is not used again


class TransportError(Exception):
    """There is no complete answer. ``str()`` is for the log: it may hold addresses."""


class ConnectFailed(TransportError):
    """No connection was made: refused, name unknown, no route, or the connect timeout passed."""


class ConnectionLost(TransportError):
    """The connection ended before the answer was complete; the function may have run."""

    def __init__(self, message: str, *, begun: bool = False) -> None:
        super().__init__(message)
        self.begun = begun  # part of an answer was received


class AnswerTimeout(TransportError):
    """The answer was not complete in time."""


class AnswerMalformed(TransportError):
    """The answer is not HTTP, or larger than MAX_ANSWER_BYTES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to connect. ``ip`` is set if the name has been resolved and checked."""

    scheme: Literal["http", "https"] = "http"
    host: str
    port: int
    ip: str = ""

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == standard else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete HTTP answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Deadline:
    """The time at which a call ends; it bounds every read and write."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left_s(self) -> float:
        """Return the seconds left. Raise AnswerTimeout if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise AnswerTimeout("no complete answer in time")
        return left


class Connection:
    """One connection to a server; one thread uses it at a time."""

    def __init__(self, server: Server, connect_timeout_s: float) -> None:
        self._sock = _connect(server, connect_timeout_s)
        self._netloc = server.netloc
        self._idle_since = time.monotonic()
        self.open = True  # until either side closes it

    def fresh(self) -> bool:
        """Return whether an idle connection is young enough and still open."""
        if time.monotonic() - self._idle_since > _IDLE_S:
            return False
        try:
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            return not poll.poll(0)  # readable while idle: closed, or unexpected bytes
        except (OSError, ValueError):
            return False

    def post(self, path: str, body: Body, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """Send one request and read its whole answer. Raise a TransportError."""
        deadline = Deadline(timeout_s)
        try:
            head = request_head(self._netloc, path, headers, len(body))
            broken = self._send(head, body, deadline)
            message = self._receive(deadline, broken)
        except TimeoutError as exc:
            raise AnswerTimeout("no complete answer in time") from exc
        except OSError as exc:
            raise ConnectionLost(f"lost: {exc!r}") from exc
        except ValueError as exc:
            raise AnswerMalformed(f"not an HTTP answer: {exc}") from exc
        finally:
            self._idle_since = time.monotonic()
        self.open = message.keep
        if broken is not None:
            self.close()  # the server has not read the whole body
        return Answer(status=message.status, headers=message.headers, body=message.body)

    def _send(self, head: bytes, body: Body, deadline: Deadline) -> OSError | None:
        """Send the request; return the error if the server closed while the body was being sent.

        The server may have answered before it had the whole body.
        """
        rest = deque(memoryview(piece) for piece in (head, *pieces_of(body)) if piece)
        try:
            while rest:
                self._sock.settimeout(deadline.left_s())
                if isinstance(self._sock, ssl.SSLSocket):
                    sent = self._sock.send(rest[0])
                else:
                    # Head and body in one segment: the server's thread wakes up once, not twice.
                    sent = self._sock.sendmsg(list(islice(rest, _PIECES_AT_ONCE)))
                while rest and sent >= len(rest[0]):
                    sent -= len(rest.popleft())
                if sent:
                    rest[0] = rest[0][sent:]
        except TimeoutError:
            raise
        except OSError as exc:
            return exc
        return None

    def _receive(self, deadline: Deadline, broken: OSError | None) -> Message:
        def receive(size: int) -> bytes:
            # Before each read: a server that trickles bytes cannot outlast the deadline.
            self._sock.settimeout(deadline.left_s())
            return self._sock.recv(size)

        try:
            return read_message(receive, MAX_ANSWER_BYTES)
        except AnswerBroken as exc:
            why = (
                f"lost while sending: {broken!r}"
                if broken is not None
                else f"lost: {exc}, {exc.__cause__!r}"
            )
            raise ConnectionLost(why, begun=exc.begun) from exc

    def interrupt(self) -> None:
        """End the call in flight from another thread; its read returns at once."""
        try:
            # The method of SSLSocket is not safe for a second thread.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """Close the connection."""
        self.open = False
        self._sock.close()


class ConnectionPool:
    """Idle connections by server, shared by all threads of the process.

    The newest idle connection is used first, so that the others reach their idle limit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Server, list[Connection]] = {}

    def post(
        self,
        server: Server,
        path: str,
        body: Body,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        cancel: CancelToken | None = None,
    ) -> Answer:
        """Send a request over an idle or a new connection.

        If an idle connection fails before the first byte of an answer, the request is sent once
        more over a new one: servers close idle connections when they restart. Raise a
        TransportError or Cancelled.
        """
        cancel = cancel or CancelToken()
        cancel.check()
        deadline = Deadline(timeout_s)
        connection = self._take(server)
        if connection is not None:
            try:
                return self._exchange(connection, server, path, body, headers, deadline, cancel)
            except ConnectionLost as exc:
                if exc.begun:
                    raise
        connection = Connection(server, min(settings.CONNECT_TIMEOUT_S, deadline.left_s()))
        return self._exchange(connection, server, path, body, headers, deadline, cancel)

    def probe(self, server: Server, timeout_s: float) -> bool:
        """Return whether a connection can be made; keep it for the next call."""
        connection = self._take(server)
        if connection is None:
            try:
                connection = Connection(server, timeout_s)
            except ConnectFailed:
                return False
        self._give(server, connection)
        return True

    def forget(self, server: Server) -> None:
        """Close the idle connections to a server."""
        with self._lock:
            idle = self._idle.pop(server, [])
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            servers = list(self._idle)
        for server in servers:
            self.forget(server)

    def _exchange(
        self,
        connection: Connection,
        server: Server,
        path: str,
        body: Body,
        headers: Mapping[str, str],
        deadline: Deadline,
        cancel: CancelToken,
    ) -> Answer:
        try:
            with cancel.interrupting(connection.interrupt):
                answer = connection.post(path, body, headers, deadline.left_s())
        except BaseException:
            connection.close()
            cancel.check()  # the interrupted read may have raised any error
            raise
        if cancel.cancelled:
            connection.close()
            cancel.check()
        self._give(server, connection)
        return answer

    def _take(self, server: Server) -> Connection | None:
        while True:
            with self._lock:
                idle = self._idle.get(server)
                if not idle:
                    return None
                connection = idle.pop()
            if connection.fresh():
                return connection
            connection.close()

    def _give(self, server: Server, connection: Connection) -> None:
        if connection.open:
            with self._lock:
                idle = self._idle.setdefault(server, [])
                if len(idle) < max(settings.MAX_IN_FLIGHT, 8):
                    idle.append(connection)
                    return
        connection.close()


def _connect(server: Server, timeout_s: float) -> socket.socket:
    try:
        sock = socket.create_connection((server.ip or server.host, server.port), timeout_s)
    except (OSError, UnicodeError) as exc:
        raise ConnectFailed(f"{server.host}:{server.port}: {exc!r}") from exc
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if server.scheme == "https":
            context = ssl.create_default_context()
            return context.wrap_socket(sock, server_hostname=server.host)
    except OSError as exc:
        sock.close()
        raise ConnectFailed(f"{server.host}:{server.port}: {exc!r}") from exc
    return sock
