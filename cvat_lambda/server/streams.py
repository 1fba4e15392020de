"""Event streams of the standalone server: an open connection of waitress, and no thread.

A view that opens a stream answers its beginning. The connection then stays open: the thread of the
wake-ups appends events to its output, and waitress' loop sends them.
"""

from __future__ import annotations

from typing import Any

from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.task import WSGITask

from cvat_lambda.agents import streams
from cvat_lambda.agents.wakeups import get_wakeups
from cvat_lambda.api.event_streams import STREAMS


class Opened:
    """Set by the view: the native function whose queue the response streams."""

    native_pk: int | None = None


class ChannelStream:
    """An open connection that gets events, in chunks of HTTP."""

    def __init__(self, native_pk: int, channel: StreamingChannel) -> None:
        self.native_pk = native_pk
        self._channel = channel
        self._timer = streams.Timer()

    def notify(self, category: str) -> None:
        """Send an event."""
        self._write(streams.event(category))

    def tick(self, now: float) -> bool:
        """Send a keep-alive line if it is due; return False if the connection is closed."""
        if self._timer.is_over(now):
            self.close()
            return False
        if self._timer.is_due(now):
            self._write(streams.KEEP_ALIVE)
        return bool(self._channel.connected)

    def close(self) -> None:
        """End the stream and the connection."""
        self._write(b"")  # an empty chunk ends the body
        self._channel.close_when_flushed = True
        self._channel.server.pull_trigger()

    def _write(self, data: bytes) -> None:
        self._timer.sent()
        try:
            self._channel.write_soon(b"%X\r\n%s\r\n" % (len(data), data))
        except ClientDisconnected:
            return  # `tick` reports it
        self._channel.server.pull_trigger()


class StreamTask(WSGITask):
    """Serves one HTTP request, and leaves the connection of an event stream open."""

    channel: StreamingChannel

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment, in which a view can open a stream."""
        environ: dict[str, Any] = super().get_environment()
        self._opened = environ[STREAMS] = Opened()
        return environ

    def finish(self) -> None:
        """End the response, unless the view opened a stream."""
        native_pk = self._opened.native_pk
        if native_pk is None or not self.chunked_response:
            super().finish()
            return
        self.close_on_finish = False
        self.channel.is_streaming = True
        stream = ChannelStream(native_pk, self.channel)
        get_wakeups().add(stream)
        for category in streams.missed(native_pk):
            stream.notify(category)


class StreamingChannel(HTTPChannel):
    """A connection. One that streams events reads no further requests."""

    task_class = StreamTask
    is_streaming = False

    def _flush_some(self, do_close: bool = True) -> bool:
        """Send from the loop under the lock, because events come from another thread."""
        with self.outbuf_lock:
            return bool(super()._flush_some(do_close=do_close))  # type: ignore[misc]  # not in the stubs

    def received(self, data: bytes) -> bool:
        """Ignore what a client sends while it gets events."""
        return False if self.is_streaming else bool(super().received(data))
