"""The main program of a worker: it loads the function and then answers events.

It answers them one after the other, or in several threads that share the loaded function.

Everything runs inside a running event loop, as in Nuclio: the function's module, its init_context
and its handler may start tasks, and may not run an event loop themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType
from typing import Any

from . import network, opt_nuclio
from .allocator import keep_freed_memory
from .answers import Answer, UnusableAnswer, failure, to_answer
from .channel import BlockingReader, Event, LoopReader, Sender
from .death_signal import end_with_parent
from .frames import Meta, is_terminate, unpack_meta
from .handlers import HandlerError, find_init_context, load_handler
from .logs import current_slot, make_logger
from .platform import make_platform
from .untyped import sdk, sdk_events


@dataclass(frozen=True)
class Function:
    """A function that is loaded and initialised."""

    handler: Any
    context: Any


def main(argv: list[str]) -> int:
    """Serve on a socket; the arguments are its file descriptor and the pid of the parent."""
    end_with_parent(int(argv[1]), signal.SIGKILL)
    gc.freeze()  # or the interpreter would search the imported modules for garbage at its end
    keep_freed_memory()
    sock = socket.socket(fileno=int(argv[0]))
    sock.setblocking(True)
    reader, sender = BlockingReader(sock), Sender(sock)
    first = reader.read()
    if first is None:
        return 0
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(_serve(unpack_meta(first[0]), sock, reader, sender))


async def _serve(start: Meta, sock: socket.socket, reader: BlockingReader, sender: Sender) -> int:
    logger = make_logger(sender)
    try:
        function = await _load(start, logger)
    except BaseException as exc:
        trace = traceback.format_exc()
        sender.send({"kind": "failed", "message": _sentence(exc), "traceback": trace})
        return 1
    stopper = _Stopper(function.context, sock)
    sender.send({"kind": "ready"})
    kind = _Worker if start["threads"] == 1 else _ThreadedWorker
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await kind(function, reader, sender, stopper, start["threads"]).run()
    await stopper.run_callbacks()
    return 0


async def _load(start: Meta, logger: Any) -> Function:
    folder = start["folder"]
    if not start["network"]:
        network.isolate()
    view = opt_nuclio.enter(folder, start["opt_nuclio"])
    logger.debug(f"/opt/nuclio is seen as the function's folder by: {view}")
    os.chdir(folder)
    sys.path.insert(0, folder)
    handler = load_handler(start["handler"])
    trigger = sdk_events.TriggerInfo("http", start["trigger"])
    platform = make_platform(start["namespace"], start["dashboard"], start["token"])
    context = sdk.Context(logger, platform, start["worker_id"], trigger)
    init_context = find_init_context(handler)
    if init_context is not None:
        result = init_context(context)
        if inspect.isawaitable(result):
            await result
    return Function(handler, context)


class _Stopper:
    """Ends the worker at SIGTERM: after the current event, or at once if it waits for one."""

    def __init__(self, context: Any, sock: socket.socket) -> None:
        self._context = context
        self._sock = sock
        self.busy = False
        self.asked = False
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor handles Ctrl-C

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if not self.busy:
            # The read ends in any thread as if the processor had closed the socket.
            # An exception would be lost if a task of an async handler runs at this moment.
            self._sock.shutdown(socket.SHUT_RD)

    async def run_callbacks(self) -> None:
        """Run the drain callback and the termination callback that the function registered."""
        for callback in ("drain", "termination"):
            try:
                result = self._context.platform._on_signal(callback_type=callback)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                print(f"the {callback} callback failed:\n{traceback.format_exc()}", flush=True)


class _Worker:
    """Reads events, runs the handler, sends the answers, one after the other."""

    def __init__(
        self,
        function: Function,
        reader: BlockingReader,
        sender: Sender,
        stopper: _Stopper,
        _threads: int,
    ) -> None:
        self._function = function
        self._sender = sender
        self._stopper = stopper
        self._is_async = inspect.iscoroutinefunction(function.handler)
        self._reader = reader
        self._loop_reader = LoopReader(reader)

    async def run(self) -> None:
        """Serve until the processor closes the socket or asks this worker to stop."""
        while not self._stopper.asked:
            event = await self._next()
            if event is None or is_terminate(event[0]):
                return
            self._stopper.busy = True
            await self._serve(event)
            self._stopper.busy = False

    async def _serve(self, event: Event) -> None:
        packed, body, slot = event
        current_slot.set(slot)
        started = time.perf_counter()
        meta, answer = await self._answer(packed, body)
        meta["duration"] = time.perf_counter() - started
        self._sender.send(meta, answer, slot)

    async def _next(self) -> Event | None:
        if self._is_async or len(asyncio.all_tasks()) > 1:
            return await self._loop_reader.read()
        return self._reader.read()  # faster than in a thread

    async def _answer(self, packed: bytes, body: bytes) -> Answer:
        try:
            event = _event(unpack_meta(packed), body)
        except Exception as exc:
            self._log_error("Exception caught while serving", exc)
            return failure(500, f"Exception caught while serving - {_quoted(exc)}")
        output = await self._run(event)
        if isinstance(output, tuple):
            return output
        try:
            return to_answer(await output, self._function.context.logger.warn)
        except BaseException as exc:
            return self._failure(exc)

    async def _run(self, event: Any) -> Answer | Coroutine[Any, Any, Any]:
        return self._call(event)

    def _call(self, event: Any) -> Answer | Coroutine[Any, Any, Any]:
        """Return the handler's answer, or the coroutine that the handler returned."""
        context = self._function.context
        try:
            output = self._function.handler(context, event)
            if inspect.iscoroutine(output):
                return output
            return to_answer(output, context.logger.warn)
        except BaseException as exc:
            return self._failure(exc)

    def _failure(self, exc: BaseException) -> Answer:
        if isinstance(exc, UnusableAnswer):
            self._function.context.logger.error(f"unusable answer: {exc}")
            return failure(500, f"Unusable answer - {_quoted(exc)}")
        # As in Nuclio, SystemExit and KeyboardInterrupt end the call, not the worker.
        self._log_error("Exception caught in handler", exc)
        meta, sentence = failure(500, f"Exception caught in handler - {_quoted(exc)}")
        meta["traceback"] = "".join(traceback.format_exception(exc))
        return meta, sentence

    def _log_error(self, what: str, exc: BaseException) -> None:
        trace = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
        self._function.context.logger.error_with(f"{what} - {_quoted(exc)}", traceback=trace)


class _ThreadedWorker(_Worker):
    """Answers several events at the same time with one loaded function.

    A handler that is a plain function runs in threads, without an event loop of its own. Coroutines
    run as tasks of the main thread's event loop.
    """

    def __init__(
        self,
        function: Function,
        reader: BlockingReader,
        sender: Sender,
        stopper: _Stopper,
        threads: int,
    ) -> None:
        super().__init__(function, reader, sender, stopper, threads)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="handler")

    async def run(self) -> None:
        """Serve until the processor closes the socket or asks this worker to stop."""
        serving: set[asyncio.Task[None]] = set()
        while (event := await self._loop_reader.read()) is not None and not is_terminate(event[0]):
            task = asyncio.ensure_future(self._serve(event))
            serving.add(task)
            task.add_done_callback(serving.discard)
        await asyncio.gather(*serving)

    async def _run(self, event: Any) -> Answer | Coroutine[Any, Any, Any]:
        if self._is_async:
            return self._call(event)
        here = contextvars.copy_context()  # the slot of the log records
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, here.run, self._call, event)


def _event(meta: Meta, body: bytes) -> Any:
    meta["body"] = body
    with warnings.catch_warnings():
        # nuclio-sdk makes the timestamp with utcfromtimestamp, deprecated since Python 3.12.
        warnings.simplefilter("ignore", DeprecationWarning)
        return sdk_events.Event.deserialize(meta, kind=sdk_events.EventDeserializerKinds.msgpack)


def _quoted(exc: BaseException) -> str:
    return f'"{_text_of(exc)}"'


def _sentence(exc: BaseException) -> str:
    text = _text_of(exc)
    if isinstance(exc, HandlerError):
        return text
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _text_of(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # the exception's __str__ raised one
        return type(exc).__name__
