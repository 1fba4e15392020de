"""The supervisor's side of one processor process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.processes.descendants import kill_marked
from cvat_lambda.runtime.processor.settings import ProcessorSettings

CLOSING_S: Final = 10.0  # how long a processor may take to close its connections and end

OnState = Callable[["ProcessorHandle", str, str], None]  # handle, state, message


class ProcessorHandle:
    """Starts a processor, follows its states, drains or kills it."""

    def __init__(self, on_state: OnState) -> None:
        self.first_state: asyncio.Future[tuple[str, str]] = (
            asyncio.get_running_loop().create_future()
        )
        self.gone = asyncio.Event()
        self.refusing = asyncio.Event()  # set when it accepts no new connections, or has ended
        self.workers: int | None = None  # how many run; None until they are ready
        self.notice = ""  # what its state ready adds
        self.error_is_transient = True  # whether another start may succeed after a failed one
        self._on_state = on_state
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._worker_pids: set[int] = set()
        self._requests: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count()
        self._follower: asyncio.Task[None] | None = None
        self._mark = ""  # of its workers
        self._exit_limit_s = CLOSING_S  # how long it may take to end when it is idle

    async def start(self, settings: ProcessorSettings, listener: socket.socket) -> None:
        """Start the process; `first_state` resolves to ready or error."""
        self._mark = settings.mark
        self._exit_limit_s = CLOSING_S + settings.termination_timeout_s
        ours, theirs = socket.socketpair()
        # The package may be in a checkout and not in site-packages.
        package_root = str(Path(__file__).resolve().parents[3])
        paths = [package_root, os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        # aiohttp reads all certificates when it is imported. A processor opens no TLS connection.
        environment["SSL_CERT_FILE"] = os.devnull
        environment.pop("CVAT_LAMBDA_RUNTIME_TOKEN", None)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "cvat_lambda.runtime.processor",
                    str(theirs.fileno()),
                    str(listener.fileno()),
                ],
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), listener.fileno()),
                start_new_session=True,  # the terminal's Ctrl-C is for the supervisor
            )
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=2**24)
        self._writer.write(json.dumps(settings.to_json()).encode() + b"\n")
        self._follower = asyncio.ensure_future(self._follow(reader))

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionResetError):
            while line := await reader.readline():
                self._act(json.loads(line))
        await self._ended()

    def _act(self, message: dict[str, Any]) -> None:
        if message["kind"] == "statistics":
            request = self._requests.pop(message["number"], None)
            if request is not None and not request.done():
                request.set_result(message["counters"])
            return
        if message["kind"] == "refusing":
            self.refusing.set()
            return
        # Only running processes: the pid of an ended process may be reused.
        self._worker_pids = {pid for pid in message["pids"] if pid > 1}
        state, text = message["state"], message["message"]
        if state == "ready":
            self.workers, self.notice = message["workers"], text
        if state in ("ready", "error") and not self.first_state.done():
            self.error_is_transient = message["transient"]
            self.first_state.set_result((state, text))
        self._on_state(self, state, text)

    async def _ended(self) -> None:
        status = await asyncio.to_thread(self._wait)
        # Its workers end with it (death signal); their descendants are in their process groups.
        for pid in self._worker_pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        await asyncio.to_thread(kill_marked, self._mark, by_prefix=True)
        self.gone.set()
        self.refusing.set()
        if not self.first_state.done():
            self.first_state.set_result(("error", f"its processor ended with status {status}"))
        for request in self._requests.values():
            request.cancel()
        if self._writer is not None:
            self._writer.close()

    def _wait(self) -> int:
        assert self._process is not None
        try:
            return self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    async def statistics(self) -> dict[str, Any] | None:
        """Return the processor's counters, None if it does not answer."""
        if self.gone.is_set() or self._writer is None:
            return None
        number = next(self._numbers)
        request: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._requests[number] = request
        self._send({"kind": "statistics", "number": number})
        try:
            return await asyncio.wait_for(request, 2.0)
        except (asyncio.TimeoutError, TimeoutError, asyncio.CancelledError):
            return None
        finally:
            self._requests.pop(number, None)

    def ask_scale(self, wish: str) -> None:
        """Tell the processor to scale to zero (``sleep``) or back (``wake``)."""
        self._send({"kind": wish})

    async def drain(self, timeout_s: float | None, *, grace_s: float = 0.0) -> None:
        """Let the processor finish its calls for up to `timeout_s` (None = no limit), then end it.

        For `grace_s` it still answers on open connections. The processor enforces these limits
        itself. If it fails to do so, it is killed.
        """
        self._send({"kind": "drain", "grace_s": grace_s, "timeout_s": timeout_s})
        limit_s = None if timeout_s is None else timeout_s + grace_s + self._exit_limit_s
        try:
            await asyncio.wait_for(self.gone.wait(), limit_s)
        except (asyncio.TimeoutError, TimeoutError):
            await self.kill()

    async def kill(self) -> None:
        """Kill the processor and its workers, and wait until they have ended."""
        self.kill_now()
        if self._follower is not None:
            await asyncio.wait([self._follower], timeout=10)

    def kill_now(self) -> None:
        """Kill the processor and its workers without waiting."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")
