"""The worker's end of the socket: blocking reads, or reads in a thread while tasks run."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from .frames import HEAD, Meta, pack, read_head

Event = tuple[bytes, bytes, int]  # packed map, body, slot


class Sender:
    """Sends frames; safe to use from any thread of the function."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def send(self, meta: Meta, body: bytes = b"", slot: int = 0) -> None:
        """Send one frame, whole."""
        head = pack(meta, len(body), slot)
        with self._lock:
            if len(body) < 65536:
                self._sock.sendall(head + body)
            else:
                self._sock.sendall(head)
                self._sock.sendall(body)


class BlockingReader:
    """Reads frames with blocking calls: the fastest way for a handler that is a plain function."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self) -> Event | None:
        """Return the next frame, or None when the processor has closed the socket."""
        head = self._exactly(HEAD.size)
        if head is None:
            return None
        meta_length, body_length, slot = read_head(head)
        meta = self._exactly(meta_length)
        body = self._exactly(body_length)
        return None if meta is None or body is None else (meta, body, slot)

    def _exactly(self, length: int) -> bytes | None:
        if length == 0:
            return b""
        # MSG_WAITALL: one allocation and no copy, even for an image.
        data = self._sock.recv(length, socket.MSG_WAITALL)
        while data and len(data) < length:  # a signal interrupted the call
            more = self._sock.recv(length - len(data), socket.MSG_WAITALL)
            if not more:
                return None
            data += more
        return data or None


class LoopReader:
    """Reads frames in a thread, so that a function's tasks run between events, as under Nuclio."""

    def __init__(self, reader: BlockingReader) -> None:
        self._reader = reader
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="events")

    async def read(self) -> Event | None:
        """Return the next frame, or None when the processor has closed the socket."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._reader.read)
