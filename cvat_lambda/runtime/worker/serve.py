"""The main program of a worker: it loads the function and then answers events one at a time.

Everything runs inside a running event loop, as in Nuclio: the function's module, its init_context
and its handler may start tasks, and may not run an event loop themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from dataclasses import dataclass
from types import FrameType
from typing import Any

from . import network, opt_nuclio
from .allocator import keep_freed_memory
from .answers import Answer, UnusableAnswer, failure, to_answer
from .channel import BlockingReader, LoopReader, Sender
from .death_signal import end_with_parent
from .frames import Meta, is_terminate, unpack_meta
from .handlers import HandlerError, find_init_context, load_handler
from .logs import make_logger
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
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await _Worker(function, reader, sender, stopper).run()
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
            result = self._context.platform._on_signal(callback_type=callback)
            if inspect.isawaitable(result):
                await result


class _Worker:
    """Reads events, runs the handler, sends the answers."""

    def __init__(
        self,
        function: Function,
        reader: BlockingReader,
        sender: Sender,
        stopper: _Stopper,
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
            frame = await self._next()
            if frame is None or is_terminate(frame[0]):
                return
            self._stopper.busy = True
            started = time.perf_counter()
            meta, body = await self._answer(*frame)
            meta["duration"] = time.perf_counter() - started
            self._sender.send(meta, body)
            self._stopper.busy = False

    async def _next(self) -> tuple[bytes, bytes] | None:
        if self._is_async or len(asyncio.all_tasks()) > 1:
            return await self._loop_reader.read()
        return self._reader.read()  # faster than in a thread

    async def _answer(self, packed: bytes, body: bytes) -> Answer:
        try:
            event = _event(unpack_meta(packed), body)
        except Exception as exc:
            self._log_error("Exception caught while serving", exc)
            return failure(500, f"Exception caught while serving - {_quoted(exc)}")
        try:
            output = self._function.handler(self._function.context, event)
            if inspect.iscoroutine(output):
                output = await output
            return to_answer(output, self._function.context.logger.warn)
        except UnusableAnswer as exc:
            self._function.context.logger.error(f"unusable answer: {exc}")
            return failure(500, f"Unusable answer - {_quoted(exc)}")
        except BaseException as exc:
            # As in Nuclio, SystemExit and KeyboardInterrupt end the call, not the worker.
            self._log_error("Exception caught in handler", exc)
            meta, sentence = failure(500, f"Exception caught in handler - {_quoted(exc)}")
            meta["traceback"] = traceback.format_exc()
            return meta, sentence

    def _log_error(self, what: str, exc: BaseException) -> None:
        trace = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
        self._function.context.logger.error_with(f"{what} - {_quoted(exc)}", traceback=trace)


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
