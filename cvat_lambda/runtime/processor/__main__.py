"""``python -m cvat_lambda.runtime.processor CONTROL_FD LISTEN_FD``, as the supervisor starts it.

Control messages are JSON lines. The supervisor sends the settings first, then ``drain``,
``sleep``, ``wake`` and ``statistics``. The processor sends ``state``, ``statistics``, and
``refusing`` when it drains and has closed its listening socket. When the supervisor closes the
control socket, for whatever reason, the processor kills all its workers and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from cvat_lambda.runtime.logs import FunctionLog
from cvat_lambda.runtime.processor.errors import StartFailed
from cvat_lambda.runtime.processor.server import FunctionServer
from cvat_lambda.runtime.processor.settings import ProcessorSettings
from cvat_lambda.runtime.processor.worker_pool import WorkerPool
from cvat_lambda.runtime.worker.allocator import keep_freed_memory


class Processor:
    """Serves one function while its supervisor runs."""

    def __init__(
        self,
        settings: ProcessorSettings,
        listener: socket.socket,
        control: asyncio.StreamWriter,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._control = control
        self._log = FunctionLog(Path(settings.log_file))
        self.pool = WorkerPool(settings, self._log, self.report)
        self._server = FunctionServer(settings, self.pool)
        self._runner: web.ServerRunner | None = None
        self._site: web.SockSite | None = None
        self.drained = asyncio.Event()

    def report(self, state: str, message: str, *, transient: bool = False) -> None:
        """Send the supervisor the state and the pids of the workers.

        An error is `transient` if another start may succeed.
        """
        known = {"state": state, "message": message, "transient": transient}
        if state == "ready":
            known["message"] = "; ".join(filter(None, (message, self.pool.notice)))
        workers = self.pool.started_workers
        self._send({"kind": "state", **known, "pids": self.pool.pids, "workers": workers})

    async def start(self) -> None:
        """Load the function in every worker, then open the port."""
        try:
            await self.pool.start()
        except StartFailed as exc:
            self.report("error", str(exc), transient=exc.transient)
            return
        server = web.Server(
            self._server.handle,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=3600.0,
            max_line_size=2**20,
            max_field_size=2**20,
            read_bufsize=2**20,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=2.0)
        await self._runner.setup()
        self._site = web.SockSite(self._runner, self._listener, backlog=1024)
        try:
            await self._site.start()
        except OSError as exc:
            # Two sockets can be bound to one port, but only one of them can listen.
            port = self._listener.getsockname()[1]
            self.report(
                "error",
                f"port {port} is taken by another function: change "
                f"spec.triggers.{self._settings.trigger}.attributes.port ({exc.strerror})",
                transient=True,
            )
            return
        self.report("ready", "")

    async def drain(self, grace_s: float, timeout_s: float | None) -> None:
        """Refuse new connections, finish the calls in flight, end the workers, set `drained`.

        For `grace_s` clients may still use open connections. Calls that are in flight `timeout_s`
        later (None = no limit) are aborted.
        """
        try:
            self._server.draining = True
            if self._site is not None and self._site._server is not None:
                self._site._server.close()
            self._send({"kind": "refusing"})
            await asyncio.sleep(grace_s)
            try:
                await asyncio.wait_for(self._until_idle(), timeout_s)
            except (asyncio.TimeoutError, TimeoutError):
                self._log.write(
                    "warn", f"calls that did not end within {timeout_s:g} s are aborted"
                )
            if self._runner is not None:
                await self._runner.cleanup()
            await self.pool.stop()
            self._log.close()
        finally:
            self.drained.set()

    async def _until_idle(self) -> None:
        while self._server.busy:
            await asyncio.sleep(0.02)

    async def scale(self, wish: str) -> None:
        """Scale to zero (``sleep``) or back (``wake``). The state reports a failure."""
        if wish == "sleep":
            await self.pool.scale_down()
            return
        with contextlib.suppress(StartFailed):
            await self.pool.scale_up()

    def send_statistics(self, number: int) -> None:
        """Send the counters."""
        counters = self.pool.statistics.to_json()
        self._send({"kind": "statistics", "number": number, "counters": counters})

    def _send(self, message: dict[str, Any]) -> None:
        if not self._control.is_closing():
            self._control.write(json.dumps(message).encode() + b"\n")


async def serve(control_fd: int, listen_fd: int) -> None:
    """Read the settings, then handle messages until the supervisor sends ``drain`` or ends."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # the supervisor handles Ctrl-C
    reader, writer = await asyncio.open_connection(
        sock=socket.socket(fileno=control_fd), limit=2**24
    )
    line = await reader.readline()
    if not line:
        return
    settings = ProcessorSettings.from_json(json.loads(line))
    processor = Processor(settings, socket.socket(fileno=listen_fd), writer)
    starting = asyncio.ensure_future(processor.start())
    starting.add_done_callback(_end_on_fault)
    obeying = asyncio.ensure_future(_obey(reader, processor))
    drained = asyncio.ensure_future(processor.drained.wait())
    await asyncio.wait({obeying, drained}, return_when=asyncio.FIRST_COMPLETED)
    processor.pool.kill_now()


async def _obey(reader: asyncio.StreamReader, processor: Processor) -> None:
    """Handle control messages concurrently until the supervisor closes the socket."""
    background: set[asyncio.Future[None]] = set()
    with contextlib.suppress(ConnectionError):
        while line := await reader.readline():
            message = json.loads(line)
            if message["kind"] == "statistics":
                processor.send_statistics(message["number"])
                continue
            if message["kind"] == "drain":
                work = processor.drain(message["grace_s"], message["timeout_s"])
            else:
                work = processor.scale(message["kind"])
            task = asyncio.ensure_future(work)
            background.add(task)
            task.add_done_callback(background.discard)


def _end_on_fault(starting: asyncio.Future[None]) -> None:
    if not starting.cancelled() and starting.exception() is not None:
        # A defect of the processor: it ends, which the supervisor sees.
        raise SystemExit(70) from starting.exception()


def main() -> None:
    """Run one processor."""
    gc.freeze()  # or the interpreter would search the imported modules for garbage at its end
    keep_freed_memory()
    os.set_inheritable(int(sys.argv[1]), False)
    os.set_inheritable(int(sys.argv[2]), False)
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))


if __name__ == "__main__":
    main()
