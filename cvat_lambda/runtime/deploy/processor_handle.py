"""A processor process as the supervisor sees it."""

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

CLOSING_S: Final = 10.0  # for a processor to close its connections and to end

OnState = Callable[["ProcessorHandle", str, str], None]  # handle, state, message


class ProcessorHandle:
    """Starts one processor, follows its states, drains or kills it."""

    def __init__(self, on_state: OnState) -> None:
        self.first_state: asyncio.Future[tuple[str, str]] = (
            asyncio.get_running_loop().create_future()
        )
        self.gone = asyncio.Event()
        self.error_is_transient = True  # whether a start that failed may succeed next time
        self._on_state = on_state
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._worker_pids: set[int] = set()
        self._questions: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count()
        self._follower: asyncio.Task[None] | None = None
        self._mark = ""  # of its workers
        self._ending_s = CLOSING_S  # how long it may take to end once it is idle

    async def start(self, settings: ProcessorSettings, listener: socket.socket) -> None:
        """Start the process; `first_state` resolves to ready or error."""
        self._mark = settings.mark
        self._ending_s = CLOSING_S + settings.termination_timeout_s
        ours, theirs = socket.socketpair()
        # The package may lie in a checkout that is nobody's site-packages.
        package_root = str(Path(__file__).resolve().parents[3])
        paths = [package_root, os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
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
            question = self._questions.pop(message["number"], None)
            if question is not None and not question.done():
                question.set_result(message["counters"])
            return
        # Only those that live now: the number of a dead one may be somebody else's by and by.
        self._worker_pids = {pid for pid in message["pids"] if pid > 1}
        state, text = message["state"], message["message"]
        if state in ("ready", "error") and not self.first_state.done():
            self.error_is_transient = message["transient"]
            self.first_state.set_result((state, text))
        self._on_state(self, state, text)

    async def _ended(self) -> None:
        status = await asyncio.to_thread(self._wait)
        # Its workers die with it (PR_SET_PDEATHSIG); what they had started is in their groups.
        for pid in self._worker_pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        await asyncio.to_thread(kill_marked, self._mark, by_prefix=True)
        self.gone.set()
        if not self.first_state.done():
            self.first_state.set_result(("error", f"its processor ended with status {status}"))
        for question in self._questions.values():
            question.cancel()
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
        """Return the processor's counters, or None when it does not answer."""
        if self.gone.is_set() or self._writer is None:
            return None
        number = next(self._numbers)
        question: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._questions[number] = question
        self._send({"kind": "statistics", "number": number})
        try:
            return await asyncio.wait_for(question, 2.0)
        except (asyncio.TimeoutError, TimeoutError, asyncio.CancelledError):
            return None
        finally:
            self._questions.pop(number, None)

    def ask_scale(self, wish: str) -> None:
        """Ask the processor to ``sleep`` or ``wake``."""
        self._send({"kind": wish})

    async def drain(self, timeout_s: float | None, *, grace_s: float = 0.0) -> None:
        """Let it finish what is in flight, at most for `timeout_s` (None = no limit), then end.

        For `grace_s` it still answers on connections that clients keep. It keeps the limit itself;
        one that does not is killed.
        """
        self._send({"kind": "drain", "grace_s": grace_s, "timeout_s": timeout_s})
        patience_s = None if timeout_s is None else timeout_s + grace_s + self._ending_s
        try:
            await asyncio.wait_for(self.gone.wait(), patience_s)
        except (asyncio.TimeoutError, TimeoutError):
            await self.kill()

    async def kill(self) -> None:
        """End it and its workers now; return when they have ended."""
        self.kill_now()
        if self._follower is not None:
            await asyncio.wait([self._follower], timeout=10)

    def kill_now(self) -> None:
        """End it and its workers, and wait for nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")
