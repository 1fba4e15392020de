"""Kept HTTP connections for invocations: light, bounded in time, and possible to abandon.

Why not ``requests`` on this path: CPU of the client for a POST of 270 KB and a small answer on
loopback was 1.2 ms with a `requests.Session`, 0.54 ms with urllib3's pool and 0.29 ms with
`http.client` (Python 3.11); `wire` reads answers in place of the latter's parser of e-mail heads.
Neither of the first two lets another thread end one call in flight.

Proxies of the environment are never used and redirects are never followed: functions are
internal services, and a body may hold an image that must go nowhere else.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cvat_lambda.conf import settings
from cvat_lambda.gateway.cancel import CancelToken
from cvat_lambda.gateway.http1 import AnswerBroken, Message, read_message, request_head

MAX_ANSWER_BYTES: Final = 512 * 1024 * 1024
_IDLE_S: Final = 50.0  # a connection unused for longer is not used again


class TransportError(Exception):
    """No complete answer; ``str()`` is for the log, it may hold addresses."""


class ConnectFailed(TransportError):
    """No connection: refused, name unknown, no route, or no answer in the connect timeout."""


class ConnectionLost(TransportError):
    """The connection ended before the answer was complete; the function may have run."""

    def __init__(self, message: str, *, begun: bool = False) -> None:
        super().__init__(message)
        self.begun = begun  # part of an answer had come


class AnswerTimeout(TransportError):
    """The answer was not complete in time."""


class AnswerMalformed(TransportError):
    """What came back is not HTTP, or more than MAX_ANSWER_BYTES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to connect. ``ip`` is set where the name was resolved, and checked, before."""

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
    """A point of time that every read and write of a call is bounded by."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds left. Raise AnswerTimeout when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise AnswerTimeout("no complete answer in time")
        return left


class Connection:
    """One kept connection to a server, used by one thread at a time."""

    def __init__(self, server: Server, connect_timeout_s: float) -> None:
        self._sock = _connect(server, connect_timeout_s)
        self._netloc = server.netloc
        self._idle_since = time.monotonic()
        self.open = True  # until either side wants it closed

    def fresh(self) -> bool:
        """Whether an idle connection can be used: not old, and not closed by the other side."""
        if time.monotonic() - self._idle_since > _IDLE_S:
            return False
        try:
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            return not poll.poll(0)  # readable while idle: closed, or out of step
        except (OSError, ValueError):
            return False

    def post(self, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
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
            self.close()  # the other side has not read the whole body
        return Answer(status=message.status, headers=message.headers, body=message.body)

    def _send(self, head: bytes, body: bytes, deadline: Deadline) -> OSError | None:
        """Send the request; a refusal may come back while the body is still being written."""
        try:
            self._sock.settimeout(deadline.left_s())
            if isinstance(self._sock, ssl.SSLSocket):
                self._sock.sendall(head)
                sent = 0
            else:
                # Together: the function wakes up once, not for the head and again for the body.
                sent = self._sock.sendmsg((head, body)) - len(head)
                if sent < 0:
                    self._sock.sendall(head[sent:])
                    sent = 0
            if sent < len(body):
                self._sock.settimeout(deadline.left_s())  # bounds the whole of one sendall
                self._sock.sendall(memoryview(body)[sent:])
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
        """End the call in flight from another thread: its read returns at once."""
        try:
            # Not the method of SSLSocket: it is not made for two threads.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """Close; it is of no use any more."""
        self.open = False
        self._sock.close()


class ConnectionPool:
    """Kept connections by server, shared by all threads of the process.

    The newest idle connection is used first, so that the others can grow old and go.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[Server, list[Connection]] = {}

    def post(
        self,
        server: Server,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        cancel: CancelToken | None = None,
    ) -> Answer:
        """Send a request over a kept or a new connection.

        A kept connection that proves dead before any byte of an answer is replaced, once: servers
        close idle connections when they restart. Raises a TransportError or Cancelled.
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
        """Whether a connection can be made; it is kept for the call that follows."""
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
        body: bytes,
        headers: Mapping[str, str],
        deadline: Deadline,
        cancel: CancelToken,
    ) -> Answer:
        try:
            with cancel.interrupting(connection.interrupt):
                answer = connection.post(path, body, headers, deadline.left_s())
        except BaseException:
            connection.close()
            cancel.check()  # whatever the interrupted read raised, the reason is the handle
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
