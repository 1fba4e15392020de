"""The processor's side of one worker process: start it, send it events, stop or kill it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.processes.descendants import MARK, kill_marked
from cvat_lambda.runtime.processor.crash_loop import CrashLoopBackoff
from cvat_lambda.runtime.processor.errors import WorkerEnded
from cvat_lambda.runtime.processor.settings import ProcessorSettings
from cvat_lambda.runtime.worker.frames import (
    HEAD,
    NO_SLOT,
    TERMINATE,
    FrameError,
    Meta,
    pack,
    read_head,
    unpack_meta,
)

LAUNCHER: Final = Path(__file__).resolve().parent.parent / "worker" / "launch.py"
_SOCKET_BUFFER: Final = 4 * 2**20  # bytes; the kernel lowers it to its own limit

Answer = tuple[Meta, bytes]
OnLog = Callable[[Meta, int], None]  # the record, the slot that it belongs to


class WorkerProcess(asyncio.Protocol):
    """One worker process and the socket to it."""

    def __init__(self, worker_id: str, on_log: OnLog) -> None:
        self.worker_id = worker_id
        self.started: asyncio.Future[Meta] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self._ending = False  # it was asked to end or was killed
        self._on_log = on_log
        self._answers: dict[int, asyncio.Future[Answer]] = {}  # slot -> the answer it waits for
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.mark = ""  # environment variable of the process and all its descendants

    @property
    def pid(self) -> int:
        """The process id of the worker; 0 before it is started."""
        return 0 if self._process is None else self._process.pid

    @property
    def output(self) -> int:
        """The file descriptor on which the worker's stdout and stderr arrive."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    @property
    def usable(self) -> bool:
        """Whether the worker can take an event."""
        return not self._ending and not self.gone.is_set()

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended. A descendant may still hold its socket open."""
        return self._status() is not None

    def _status(self) -> int | None:
        """Return the exit status in subprocess's form, or None while the process runs.

        The process is not reaped before `close`, so its pid and process group are not reused.
        """
        if self._process is None:
            return None
        if self._process.returncode is None:
            try:
                told = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return self._process.poll()
            if told is None:
                return None
            return told.si_status if told.si_code == os.CLD_EXITED else -told.si_status
        return self._process.returncode

    async def start(self, settings: ProcessorSettings) -> None:
        """Start the process and send it what to load; `started` resolves when it has loaded."""
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self.mark = f"{settings.mark}.{secrets.token_hex(4)}"
        try:
            self._process = subprocess.Popen(
                [
                    settings.interpreter,
                    "-u",
                    str(LAUNCHER),
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**settings.environment, MARK: self.mark},
                cwd=settings.folder,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a process group that can be killed as a whole
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        os.set_blocking(self.output, False)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, sock=ours)
        self._send(
            {
                "kind": "start",
                "handler": settings.handler,
                "folder": settings.folder,
                "network": settings.network,
                "opt_nuclio": settings.opt_nuclio,
                "trigger": settings.trigger,
                "namespace": settings.namespace,
                "worker_id": self.worker_id,
                "dashboard": settings.dashboard,
                "token": settings.token,
                "threads": settings.workers if settings.threads else 1,
            }
        )

    def call(self, meta: Meta, body: bytes, slot: int) -> asyncio.Future[Answer]:
        """Send one event to a slot without an event, and return a future of its answer.

        The future raises WorkerEnded if the process ends first. This method raises it if nothing
        was sent.
        """
        if not self.usable:
            raise WorkerEnded(f"worker {self.worker_id} has ended")
        answer = self._answers[slot] = asyncio.get_running_loop().create_future()
        self._send(meta, body, slot)
        return answer

    def _send(self, meta: Meta, body: bytes = b"", slot: int = 0) -> None:
        assert self._transport is not None
        self._transport.write(pack(meta, len(body), slot))
        if body:
            self._transport.write(body)

    def stop(self) -> None:
        """Ask the worker to end after its current event. It gets no further event.

        The request is sent on the socket of the events, because a signal could overtake an event.
        """
        if self._ending:
            return
        self._ending = True
        if self.started.done() and not self.gone.is_set():
            self._send(TERMINATE)
        elif self._process is not None and not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()  # it is still loading

    def kill(self) -> None:
        """Kill the worker and all its descendants."""
        self._ending = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            kill_marked(self.mark)
        if self._transport is not None:
            self._transport.abort()

    async def exit_status(self, limit_s: float = 5.0) -> int | None:
        """Wait for the exit status in subprocess's form; return None after `limit_s`."""
        for _ in range(round(limit_s / 0.01)):
            status = self._status()
            if status is not None:
                return status
            await asyncio.sleep(0.01)
        return None

    def close(self) -> None:
        """Reap the ended process and close its pipe."""
        if self._process is not None:
            self._process.poll()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read bytes and handle each complete frame (asyncio calls this)."""
        self._buffer += data
        try:
            while (frame := self._take_frame()) is not None:
                self._dispatch(*frame)
        except (FrameError, ValueError, KeyError) as exc:
            # The function wrote to the socket itself: the frames cannot be read any more.
            self._on_log(
                {
                    "level": "error",
                    "message": f"the worker sent an invalid frame: {exc}",
                    "with": "",
                },
                NO_SLOT,
            )
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the futures that wait for the worker (asyncio calls this)."""
        self.gone.set()
        fault = WorkerEnded(f"worker {self.worker_id} ended")
        waiting: list[asyncio.Future[Any]] = [*self._answers.values(), self.started]
        for future in waiting:
            if not future.done():
                future.set_exception(fault)
        if self.started.done() and not self.started.cancelled():
            self.started.exception()  # mark it as retrieved, since no caller may be waiting for it

    def _take_frame(self) -> tuple[Meta, bytes, int] | None:
        if len(self._buffer) < HEAD.size:
            return None
        meta_length, body_length, slot = read_head(self._buffer[: HEAD.size])
        body_at = HEAD.size + meta_length
        end = body_at + body_length
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            meta = unpack_meta(view[HEAD.size : body_at])
            body = bytes(view[body_at:end])
        del self._buffer[:end]
        return meta, body, slot

    def _dispatch(self, meta: Meta, body: bytes, slot: int) -> None:
        kind: Any = meta["kind"]
        if kind == "log":
            self._on_log(meta, slot)
        elif kind in ("ready", "failed"):
            if not self.started.done():
                self.started.set_result(meta)
        elif kind == "answer" and slot in self._answers and not self._answers[slot].done():
            self._answers[slot].set_result((meta, body))


class Worker:
    """One position in the pool. It keeps its number when its process is replaced."""

    def __init__(self, number: int, slots: int) -> None:
        self.number = number
        self.slots = [Slot(self, number + index, index) for index in range(slots)]
        self.process: WorkerProcess | None = None
        self.end_reason = ""  # why the processor killed the process, if it did
        self.backoff = CrashLoopBackoff()

    def slot_of(self, index: int) -> Slot | None:
        """Return the slot that a log record belongs to, None if it belongs to no event."""
        if len(self.slots) == 1:
            return self.slots[0]
        return self.slots[index] if index < len(self.slots) else None


class Slot:
    """One of the events that a worker can handle at the same time.

    A worker process has one slot, or as many as it has threads.
    """

    def __init__(self, worker: Worker, number: int, index: int) -> None:
        self.worker = worker
        self.number = number  # among all slots of the pool
        self.index = index  # among those of the worker
        self.captured: list[Meta] | None = None  # log records of the current call
        self.request_id = ""
