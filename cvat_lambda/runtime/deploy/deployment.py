"""Prepare, start, update, scale and remove one function on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

from cvat_lambda.runtime.cancellation import cancellable
from cvat_lambda.runtime.deploy.deploy_log import DeployLog
from cvat_lambda.runtime.deploy.draining import DrainingProcessors, drain_limit_s
from cvat_lambda.runtime.deploy.prepare import PreparedFunction, Preparer
from cvat_lambda.runtime.deploy.processor_handle import ProcessorHandle
from cvat_lambda.runtime.deploy.revision import with_revision
from cvat_lambda.runtime.deploy.settings import (
    RuntimeSettings,
    bind_listener,
    processor_settings,
    reachable,
)
from cvat_lambda.runtime.errors import NotStarted, PreconditionFailed, RuntimeFault
from cvat_lambda.runtime.processor.crash_loop import CrashLoopBackoff
from cvat_lambda.runtime.spec.fields import JsonObject
from cvat_lambda.runtime.spec.function_file import FunctionConfig
from cvat_lambda.runtime.threads import preparation_threads

PROVISIONED: Final = frozenset({"ready", "error", "unhealthy", "scaledToZero", "imported"})
STOP_TIMEOUT_S: Final = 60.0  # how long calls in flight may take when a function is removed
FIRST_RETRY_S: Final = 2.0  # pause after a failed deployment without a previous version
MAX_RETRY_S: Final = 120.0  # the pause doubles up to this value
UPDATE_GRACE_S: Final = 0.5  # time in which clients are told to close their connections
REFUSING_TIMEOUT_S: Final = 30.0  # how long a replaced version may take to close its socket
_LEVELS: Final = {"error": logging.ERROR, "unhealthy": logging.WARNING}
logger = logging.getLogger(__name__)


class Deployment:
    """A function: its function object, and the processor that serves it."""

    def __init__(
        self,
        name: str,
        document: JsonObject,
        settings: RuntimeSettings,
        preparer: Preparer,
        *,
        discard: Callable[[Path], None],
    ) -> None:
        self.name = name
        self.state = "building"
        self.message = ""
        self.config: FunctionConfig | None = None
        self.revision = ""  # of the version that serves
        self.changed = asyncio.Event()  # set when the state changes
        self._document = document
        self._settings = settings
        self._preparer = preparer
        self._discard = discard  # deletes the folder of a version that is not used any more
        self._cancelled = threading.Event()
        self._tried: Path | None = None  # the folder of a first version that is not ready
        self._failed_update = ""  # the reason why the newest version does not serve
        self._deploy_log = DeployLog(self.log_path)
        self._socket: socket.socket | None = None
        self._processor: ProcessorHandle | None = None
        self._starting: set[ProcessorHandle] = set()
        self._backoff = CrashLoopBackoff()  # of the processor
        self._draining = DrainingProcessors(lambda text: self._deploy_log.add("warn", text))
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Future[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.Future[Any] | None = None
        self._removed = False

    # --- state -------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The function's port, 0 if it has none."""
        return 0 if self._socket is None else int(self._socket.getsockname()[1])

    @property
    def address(self) -> str | None:
        """``host:port`` of the function, None if it cannot be called."""
        if self._socket is None or self._processor is None:
            return None
        return f"{reachable(self._settings.host)}:{self.port}"

    @property
    def published(self) -> str | None:
        """``host:port`` for clients. As in Nuclio, ``0.0.0.0`` means any of this machine's."""
        if self.address is None:
            return None
        host = self._settings.host or "0.0.0.0"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def log_path(self) -> Path:
        """The file of its log."""
        return self._settings.logs_folder / f"{self.name}.log"

    @property
    def project(self) -> str:
        """The project that it belongs to."""
        labels = self._document["metadata"].get("labels") or {}
        return str(labels.get("nuclio.io/project-name", "default"))

    @property
    def namespace(self) -> str:
        """The namespace that its file gives it."""
        return str(self._document["metadata"].get("namespace", ""))

    def to_object(self) -> JsonObject:
        """Return the function object: metadata, spec and status. Empty status keys are left out."""
        status: JsonObject = {"state": self.state}
        if self.message or self._draining.notice:
            status["message"] = self.message or self._draining.notice
        if self.config is not None:
            kind = "threads" if self.config.extras.threads else "processes"
            status["workers"] = {"count": self.config.trigger.workers, "kind": kind}
        if self._deploy_log.records:
            status["logs"] = list(self._deploy_log.records)
        if self.address is not None:
            status["httpPort"] = self.port
            status["internalInvocationUrls"] = [self.address]
            status["externalInvocationUrls"] = [self.published]
        document = copy.deepcopy(with_revision(self._document, self.revision))
        self._show_workers(document)
        return {**document, "status": status}

    def _show_workers(self, document: JsonObject) -> None:
        """Give clients the number of workers that run, if it is lower than the one asked for."""
        running = self._processor.workers if self._processor is not None else None
        if self.config is None or running is None or running >= self.config.trigger.workers:
            return
        trigger = document["spec"]["triggers"][self.config.trigger.name]
        trigger.update(numWorkers=running, maxWorkers=running)

    async def statistics(self) -> dict[str, Any] | None:
        """Return the counters of its processor, None if it has none."""
        return None if self._processor is None else await self._processor.statistics()

    @property
    def in_force(self) -> bool:
        """Whether a version serves. It keeps serving until another one can."""
        return self.config is not None

    # --- commands ------------------------------------------------------------

    def fail(self, message: str) -> None:
        """Set the state error with its reason."""
        self._deploy_log.add("error", message)
        self._set("error", message)

    def log(self, level: str, message: str) -> None:
        """Add a record to the log of its deployments."""
        self._deploy_log.add(level, message)

    async def deploy(self, config: FunctionConfig) -> bool:
        """Deploy this configuration; return whether it serves.

        Afterwards the state is ready or error. The previous version serves until the new one is
        ready, and then finishes its calls. If the new version fails, the previous one keeps
        serving, and the function object still shows it. If there is no previous version and the
        error may be temporary, the deployment is retried with backoff.
        """
        if self._retry is not None:
            self._retry.cancel()
        async with self._lock:
            if not self.in_force:
                self._document = config.document
                if self._tried is not None:
                    self._discard(self._tried)
                self._tried = config.folder
            self._failed_update = ""
            self._set("building", "")
            fault = await self._attempt(config)
            if fault is None:
                return True
            self._refuse(config, "; ".join([str(fault), *config.build.not_run]))
            if fault.transient and not self.in_force and not self._removed:
                self._retry = self._spawn(self._retry_until_ready(config, str(fault)))
            return False

    async def _attempt(self, config: FunctionConfig) -> RuntimeFault | None:
        """Prepare a version and start it; return why it failed, or None."""
        try:
            prepared = await preparation_threads.run(self._prepare, config)
            await self._replace(config, prepared)
        except RuntimeFault as exc:
            return exc
        except Exception as exc:
            # No fault of one function may affect the others.
            logger.exception("the deployment of %s failed", self.name)
            return RuntimeFault(f"deployment failed: {type(exc).__name__}: {exc}")
        return None

    async def _retry_until_ready(self, config: FunctionConfig, reason: str) -> None:
        """Retry a failed deployment with backoff. The state shows the attempts and their times."""
        attempt, delay_s = 1, FIRST_RETRY_S
        while True:
            next_at = datetime.now(timezone.utc) + timedelta(seconds=delay_s)
            self._set("error", f"{reason} (attempt {attempt}; next one at {next_at:%H:%M:%S} UTC)")
            await asyncio.sleep(delay_s)
            async with self._lock:
                fault = await self._attempt(config)
            if fault is None:
                return
            attempt, delay_s = attempt + 1, min(delay_s * 2, MAX_RETRY_S)
            if str(fault) != reason:
                self._deploy_log.add("error", str(fault))
            reason = str(fault)
            if not fault.transient:
                self._set("error", reason)
                return

    def _prepare(self, config: FunctionConfig) -> PreparedFunction:
        with cancellable(self._cancelled):
            return self._preparer.prepare(config, self._progress_from_thread)

    def _refuse(self, config: FunctionConfig, reason: str) -> None:
        if self.in_force:
            self._failed_update = f"{reason}; the version before it keeps serving"
            self._discard(config.folder)
        self.fail(self._failed_update or reason)

    async def _replace(self, config: FunctionConfig, prepared: PreparedFunction) -> None:
        if self._removed:
            raise RuntimeFault("it was removed while it was being prepared")
        if config.disabled:
            await self._drain_current()
            self._processor = None
            self._switch_to(config, prepared)
            self._set("ready", "disabled by spec.disable")
            return
        listener = self._listener_for(config)
        try:
            handle = await self._start_processor(config, prepared, listener)
        except BaseException:
            if listener is not self._socket:
                listener.close()
            raise
        await self._drain_current()
        if self._removed:
            await handle.kill()
            raise RuntimeFault("it was removed while it was being updated")
        old_socket = self._socket
        self._processor, self._socket = handle, listener
        self._backoff = CrashLoopBackoff()
        self._switch_to(config, prepared)
        self._set("ready", handle.notice)
        self._spawn(self._guard(handle, config, prepared))
        if old_socket is not None and old_socket is not listener:
            old_socket.close()

    def _switch_to(self, config: FunctionConfig, prepared: PreparedFunction) -> None:
        """Show this version in the function object, and record the change of the revision."""
        old, new = self.revision, prepared.revision
        text = f"revision {new}" + (f" replaces {old}" if old not in ("", new) else "")
        self._deploy_log.add("info", f"{text} (unchanged)" if old == new else text)
        self.config, self._document, self.revision = config, config.document, new

    async def _start_processor(
        self, config: FunctionConfig, prepared: PreparedFunction, listener: socket.socket
    ) -> ProcessorHandle:
        """Start a processor and return it when it is ready; raise NotStarted with the reason."""
        handle = ProcessorHandle(self._on_state)
        self._starting.add(handle)
        try:
            settings = processor_settings(config, prepared, self._settings, self.log_path)
            await handle.start(settings, listener)
            state, message = await handle.first_state
        except BaseException:
            handle.kill_now()
            raise
        finally:
            self._starting.discard(handle)
        if state == "error" or self._removed:
            await handle.kill()
            raise NotStarted(message, transient=handle.error_is_transient and not self._removed)
        return handle

    async def scale(self, wish: str) -> None:
        """Scale to zero (``scaledToZero``) or back (``ready``)."""
        if self._processor is None:
            raise PreconditionFailed(f"function {self.name!r} is not deployed: deploy it first")
        self._processor.ask_scale("sleep" if wish == "scaledToZero" else "wake")

    def cancel(self) -> None:
        """Stop preparing any version."""
        self._cancelled.set()

    async def stop(self) -> None:
        """End the function's processes. Calls in flight in the current version may finish."""
        self._removed = True
        self.cancel()
        processor, self._processor = self._processor, None
        await asyncio.gather(self._draining.kill(), *(item.kill() for item in self._starting))
        if processor is not None:
            await processor.drain(STOP_TIMEOUT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def wait_until_settled(self, timeout_s: float) -> None:
        """Wait until the state is final, for `timeout_s` at most."""
        deadline = time.monotonic() + timeout_s
        while self.state not in PROVISIONED:
            self.changed.clear()
            left = deadline - time.monotonic()
            try:
                await asyncio.wait_for(self.changed.wait(), max(left, 0))
            except (asyncio.TimeoutError, TimeoutError):
                return

    # --- internals ------------------------------------------------------------------------------

    def _listener_for(self, config: FunctionConfig) -> socket.socket:
        wanted = config.trigger.port
        if self._socket is not None and wanted in (0, self.port):
            return self._socket
        return bind_listener(self._settings.host, config.trigger)

    async def _guard(
        self, handle: ProcessorHandle, config: FunctionConfig, prepared: PreparedFunction
    ) -> None:
        """Restart the processor if it ends while it is the one that serves."""
        await handle.gone.wait()
        self._backoff.record_crash()
        reason = "its processor ended and is being restarted"
        while handle is self._processor and not self._removed:
            self._deploy_log.add("error", reason)
            self._show("unhealthy", reason)
            await asyncio.sleep(self._backoff.delay_s)
            if handle is not self._processor or self._removed or self._socket is None:
                return
            try:
                successor = await self._start_processor(config, prepared, self._socket)
            except RuntimeFault as exc:
                self._backoff.record_failed_start()
                reason = str(exc)
                continue
            if handle is not self._processor or self._removed:
                await successor.kill()
                return
            self._backoff.record_start()
            self._processor = successor
            self._show("ready", "")
            self._spawn(self._guard(successor, config, prepared))
            return

    async def _drain_current(self) -> None:
        """Let the current version finish its calls and end; return when it accepts no new ones.

        Both versions listen on the same socket. A client that sees the state ready must not be
        answered by the version before.
        """
        if self.config is None:
            return
        self._spawn(self._drain_and_discard(self._processor, self.config))
        if self._processor is not None:
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._processor.refusing.wait(), REFUSING_TIMEOUT_S)

    async def _drain_and_discard(
        self, processor: ProcessorHandle | None, config: FunctionConfig
    ) -> None:
        if processor is not None:
            limit_s = drain_limit_s(config)
            await self._draining.drain(processor, limit_s, grace_s=UPDATE_GRACE_S)
        self._discard(config.folder)

    def _on_state(self, handle: ProcessorHandle, state: str, message: str) -> None:
        if handle is self._processor and self.state in PROVISIONED | _SCALING:
            self._show(state, message)

    def _show(self, state: str, message: str) -> None:
        """Set the state of the version that serves. A failed update is shown until one succeeds."""
        if self._failed_update and state == "ready":
            state = "error"
        self._set(state, "; ".join(filter(None, (message, self._failed_update))))

    def _set(self, state: str, message: str) -> None:
        if (state, message) != (self.state, self.message):
            about = f": {message}" if message else ""
            logger.log(_LEVELS.get(state, logging.INFO), "%s is %s%s", self.name, state, about)
        self.state, self.message = state, message
        self.changed.set()

    def _progress_from_thread(self, message: str) -> None:
        self._loop.call_soon_threadsafe(self._report_progress, message)

    def _report_progress(self, message: str) -> None:
        logger.info("%s: %s", self.name, message)
        self._deploy_log.add("info", message)

    def _spawn(self, work: Any) -> asyncio.Future[Any]:
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


_SCALING: Final = frozenset({"waitingForScaleResourceToZero", "waitingForScaleResourceFromZero"})
