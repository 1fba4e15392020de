"""The connection pool: reuse, the retry on a new connection, time limits, cancelling."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvat_lambda.gateway.cancel import Cancelled, CancelToken
from cvat_lambda.gateway.http import (
    Answer,
    AnswerMalformed,
    AnswerTimeout,
    ConnectFailed,
    ConnectionLost,
    ConnectionPool,
    Server,
)
from cvat_lambda.gateway.payload import Body, Pieces
from tests.http_server import (
    HttpServer,
    Reply,
    chunks,
    cut_after,
    hangs,
    http_server,
    json_reply,
    resets,
    speaks_nonsense,
    trickles,
)
from tests.ports import closed_port

from .fake_nuclio import FakeNuclio


@pytest.fixture
def connections() -> Iterator[ConnectionPool]:
    made = ConnectionPool()
    yield made
    made.close()


def post(
    connections: ConnectionPool,
    nuclio: FakeNuclio,
    body: Body = b"{}",
    *,
    timeout_s: float = 20,
    cancel: CancelToken | None = None,
) -> Answer:
    return connections.post(
        Server(host="127.0.0.1", port=nuclio.port),
        "/",
        body,
        {"Content-Type": "application/json"},
        timeout_s=timeout_s,
        cancel=cancel,
    )


def test_connection_is_reused_by_the_next_call(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    for _ in range(3):
        answer = post(connections, nuclio)
    assert (answer.status, answer.body) == (200, b"[]")
    assert answer.headers["content-type"] == "application/json"
    assert len({seen.client_port for seen in nuclio.seen}) == 1


def test_body_arrives_unchanged(nuclio: FakeNuclio, connections: ConnectionPool) -> None:
    body = bytes(range(256)) * 4000
    post(connections, nuclio, body)
    assert nuclio.seen[0].body == body


@pytest.mark.parametrize(
    "sizes", [(1, 0, 3), (5, 8 << 20, 1), (0, 300_000, 9 << 20, 2), (3,) * 3000]
)
def test_pieces_of_a_body_arrive_joined(
    nuclio: FakeNuclio, connections: ConnectionPool, sizes: tuple[int, ...]
) -> None:
    pieces = [bytes([number % 256]) * size for number, size in enumerate(sizes, 1)]
    body = Pieces(*pieces[:-1], memoryview(pieces[-1]))
    assert len(body) == sum(sizes)
    post(connections, nuclio, body)
    assert nuclio.seen[0].body == b"".join(pieces)


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    """A server with TLS, whose certificate clients trust."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    certificate = tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", str(certificate)]
    command += ["-keyout", str(tmp_path / "key.pem")]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    with http_server(lambda request: json_reply([])) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server


def test_pieces_of_a_body_arrive_joined_over_tls(
    tls_server: HttpServer, connections: ConnectionPool
) -> None:
    pieces: list[bytes | memoryview] = [b"begin", b"", bytes(range(256)) * 9000, memoryview(b"end")]
    server = Server(scheme="https", host="localhost", port=tls_server.port)
    for _ in range(2):
        answer = connections.post(server, "/", Pieces(*pieces), {}, timeout_s=20)
        assert (answer.status, answer.body) == (200, b"[]")
    assert [request.body for request in tls_server.requests] == [b"".join(pieces)] * 2
    assert len({request.client_port for request in tls_server.requests}) == 1


def test_reset_of_an_idle_connection_is_retried_on_a_new_one(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    post(connections, nuclio)
    nuclio.script = [resets, Reply(200, b"[1]")]
    assert post(connections, nuclio).body == b"[1]"
    assert len(nuclio.seen) == 3


def test_reset_of_a_new_connection_raises_at_once(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    nuclio.script = [resets]
    with pytest.raises(ConnectionLost):
        post(connections, nuclio)
    assert len(nuclio.seen) == 1


def test_idle_connection_that_the_server_closed_is_not_used(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    nuclio.script = [Reply(200, b"[]", headers={"Connection": "close"})]
    post(connections, nuclio)
    post(connections, nuclio)
    assert len({seen.client_port for seen in nuclio.seen}) == 2


def test_incomplete_answer_raises_and_is_not_retried(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    post(connections, nuclio)
    nuclio.script = [cut_after(5, bytes(100))]
    with pytest.raises(ConnectionLost) as caught:
        post(connections, nuclio)
    assert caught.value.begun
    assert len(nuclio.seen) == 2


def test_chunked_answer_is_joined(nuclio: FakeNuclio, connections: ConnectionPool) -> None:
    nuclio.script = [chunks]
    assert post(connections, nuclio).body == b'[{"label": "car"}]'
    assert post(connections, nuclio).body == b"[]"
    assert len({seen.client_port for seen in nuclio.seen}) == 1


def test_function_that_sends_nothing_times_out(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    nuclio.script = [hangs]
    with pytest.raises(AnswerTimeout):
        post(connections, nuclio, timeout_s=0.2)


def test_function_that_sends_single_bytes_slowly_times_out(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    nuclio.script = [trickles]
    with pytest.raises(AnswerTimeout):
        post(connections, nuclio, timeout_s=0.3)


def test_answer_that_is_not_http_raises_answermalformed(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    nuclio.script = [speaks_nonsense]
    with pytest.raises(AnswerMalformed):
        post(connections, nuclio)


def test_closed_port_raises_connectfailed(connections: ConnectionPool) -> None:
    server = Server(host="127.0.0.1", port=closed_port())
    with pytest.raises(ConnectFailed):
        connections.post(server, "/", b"", {}, timeout_s=5)
    assert connections.probe(server, 1) is False


def test_answer_before_the_end_of_the_request_body_is_read(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1000)
                sock.sendall(
                    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 26\r\nConnection: close\r\n\r\n"
                    b"Error when parsing request"
                )
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 20):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        server = Server(host="127.0.0.1", port=listener.getsockname()[1])
        answer = connections.post(server, "/", b"x" * 8_000_000, {}, timeout_s=20)
        connections.close()
        thread.join()
    assert (answer.status, answer.body) == (400, b"Error when parsing request")


def test_call_in_flight_is_cancelled_from_another_thread(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    cancel = CancelToken()
    nuclio.script = [hangs]

    def abandon() -> None:
        nuclio.arrived.wait(180)
        cancel.cancel()

    thread = threading.Thread(target=abandon)
    thread.start()
    with pytest.raises(Cancelled):  # before the function has answered, and before the timeout
        post(connections, nuclio, timeout_s=20, cancel=cancel)
    thread.join()
    assert post(connections, nuclio).body == b"[]"  # the pool still works


def test_nothing_is_sent_with_a_cancelled_token(
    nuclio: FakeNuclio, connections: ConnectionPool
) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        post(connections, nuclio, cancel=cancel)
    assert nuclio.seen == []


def test_pool_is_shared_by_many_threads(nuclio: FakeNuclio, connections: ConnectionPool) -> None:
    bodies: list[bytes] = []

    def work(number: int) -> None:
        for step in range(10):
            nuclio_body = f"{number}-{step}".encode()
            assert post(connections, nuclio, nuclio_body).status == 200
            bodies.append(nuclio_body)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen.body for seen in nuclio.seen) == sorted(bodies)
    assert len({seen.client_port for seen in nuclio.seen}) <= 8
