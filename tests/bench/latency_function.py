"""A function process of fixed latency that needs little processor time.

It follows Nuclio's rules: it has a number of workers, calls wait in a queue for a free one, and a
call that waits too long gets a 503. It returns rectangles that depend on the start of the body. A
binary body of several images takes the latency for each of them.

A worker takes the next waiting call at the planned end of its last one, also where this process
notices that end late. So its workers reach the ceiling of calls that its latency states, and what
a measurement loses is the client's.
The command

    python -m tests.bench.latency_function --latency-ms 50 --workers 2

prints its port on the first line, and serves until its standard input ends or it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import selectors
import sys
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

BUFFER_BYTES = 512 * 1024
SAMPLE_BYTES = 16 * 1024  # the part of a body that distinguishes images


@dataclass(slots=True)
class Invocation:
    """A call that waits for a worker, or that one runs."""

    duration_s: float
    answer: Callable[[], None]
    refuse: Callable[[], None]
    came_at: float  # time of the event loop
    timeout: asyncio.TimerHandle | None = None


class Workers:
    """A number of workers, and a queue of calls with a time limit."""

    def __init__(self, number: int, availability_timeout_s: float) -> None:
        self._free = number
        self._timeout_s = availability_timeout_s
        self._queue: deque[Invocation] = deque()
        self._loop = asyncio.get_running_loop()

    def add(
        self, duration_s: float, *, answer: Callable[[], None], refuse: Callable[[], None]
    ) -> None:
        """Run a call when a worker is free, then ``answer``. ``refuse`` it after the time limit."""
        invocation = Invocation(duration_s, answer, refuse, self._loop.time())
        if self._free:
            self._free -= 1
            self._start(invocation, invocation.came_at)
        else:
            invocation.timeout = self._loop.call_later(self._timeout_s, self._refuse, invocation)
            self._queue.append(invocation)

    def _start(self, invocation: Invocation, begun_at: float) -> None:
        ends_at = begun_at + invocation.duration_s
        self._loop.call_at(ends_at, self._end, invocation, ends_at)

    def _end(self, invocation: Invocation, ended_at: float) -> None:
        """Give the worker to the next call in the queue, and answer."""
        if self._queue:
            following = self._queue.popleft()
            assert following.timeout is not None
            following.timeout.cancel()
            self._start(following, max(ended_at, following.came_at))
        else:
            self._free += 1
        invocation.answer()

    def _refuse(self, invocation: Invocation) -> None:
        self._queue.remove(invocation)
        invocation.refuse()


class Call(asyncio.BufferedProtocol):
    """One kept connection with one request at a time."""

    def __init__(self, workers: Workers, latency_s: float) -> None:
        self._workers = workers
        self._latency_s = latency_s
        self._buffer = memoryview(bytearray(BUFFER_BYTES))  # reused, so that reads allocate nothing
        self._head = b""
        self._missing = -1  # bytes of the body; -1: the head is not complete
        self._sample = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next bytes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Read the head, then count the bytes of the body and keep only its start."""
        data = self._buffer[:nbytes]
        if self._missing < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._missing = _content_length(self._head[:end])
            data = memoryview(self._head)[end + 4 :]
            self._head = b""
        self._missing -= len(data)
        if len(self._sample) < SAMPLE_BYTES:
            self._sample += data[: SAMPLE_BYTES - len(self._sample)]
        if self._missing == 0:
            # The text of a binary body is at its start, so the sample holds all its references.
            images = self._sample.count(b'"$bytes"') if b'"images":[' in self._sample else 0
            crc, self._sample, self._missing = zlib.crc32(self._sample), b"", -1
            self._workers.add(
                self._latency_s * max(1, images),
                answer=lambda: self._send(200, answer_for(crc, images)),
                refuse=lambda: self._send(503, b""),
            )

    def _send(self, status: int, body: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(
                b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (status, len(body), body)
            )


def answer_for(crc: int, images: int) -> bytes:
    """Return three rectangles that depend on the body only, for each image of a batch."""
    items = []
    for number in range(3):
        left, top = (crc >> (8 * number)) % 40, (crc >> (4 * number)) % 30
        items.append(
            {
                "label": "car",
                "type": "rectangle",
                "points": [left, top, left + 20 + number, top + 15],
                "confidence": 0.5 + number / 10,
            }
        )
    answer = {"results": [items] * images} if images else items
    return json.dumps(answer, separators=(",", ":")).encode()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def serve(latency_s: float, workers: int, availability_timeout_s: float, port: int) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    shared = Workers(workers, availability_timeout_s)
    server = await loop.create_server(
        lambda: Call(shared, latency_s), "127.0.0.1", port, reuse_address=True
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: _until_end(ended))
    await ended.wait()
    server.close()


def _until_end(ended: asyncio.Event) -> None:
    if not sys.stdin.buffer.read(1):
        ended.set()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--availability-timeout-s", type=float, default=10.0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    # The default selector of asyncio rounds times up to milliseconds, which is much of a latency of
    # a few milliseconds.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(
        serve(
            options.latency_ms / 1000,
            options.workers,
            options.availability_timeout_s,
            options.port,
        )
    )


if __name__ == "__main__":
    main()
