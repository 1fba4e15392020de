"""Event streams under ASGI and under other WSGI servers. `tests/e2e` has the standalone server."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application
from django.db import connections
from pytest_django import Settings

from cvat_lambda.agents import queue
from cvat_lambda.agents.models import Category
from cvat_lambda.agents.wakeups import CHANNEL, get_wakeups, publish_end
from cvat_lambda.redis_client import connect
from tests.waiting import wait_for

from .scripted import ScriptedAgent


def watch_path(native_pk: int) -> str:
    return f"/api/functions/queues/function:{native_pk}/watch"


def test_other_wsgi_server_answers_at_once_and_says_when_to_come_back(
    agent: ScriptedAgent, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_AGENT_POLL_S = 2.5
    response = agent.client.get(watch_path(agent.native_pk))
    assert response.headers["Content-Type"] == "text/event-stream"
    assert b"".join(response) == b"retry: 2500\n"


def test_stream_is_not_compressed_where_a_middleware_compresses_answers(
    agent: ScriptedAgent, settings: Settings
) -> None:
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    response = agent.client.get(
        watch_path(agent.native_pk), headers={"accept-encoding": "gzip, deflate"}
    )
    assert b"".join(response) == b"retry: 5000\n"


def test_asgi_stream_sends_events_and_ends_when_the_function_is_deleted(
    agent: ScriptedAgent,
) -> None:
    async def follow() -> list[bytes]:
        stream = await opened(agent)
        try:
            received = [await body(stream)]
            await in_thread(enqueue, agent.native_pk, Category.INTERACTIVE)
            received.append(await body(stream))
            await in_thread(agent.client.delete, f"/api/functions/{agent.native_pk}")
            while part := await body(stream):  # an event may come twice, when a stream is opened
                assert part == received[1]
        finally:
            await closed(stream)
        return received

    opening, event = asyncio.run(follow())
    assert opening == b"retry: 1000\n"
    assert event == b'event: newrequest\ndata: {"request_category": "interactive"}\n\n'


def test_entry_that_waits_already_is_told_when_a_stream_is_opened(agent: ScriptedAgent) -> None:
    enqueue(agent.native_pk, Category.BATCH)

    async def follow() -> list[bytes]:
        stream = await opened(agent)
        received = [await body(stream), await body(stream)]
        await in_thread(agent.client.delete, f"/api/functions/{agent.native_pk}")
        await closed(stream)
        return received

    assert b'"batch"' in asyncio.run(follow())[1]


@pytest.mark.parametrize("message", ["news:7", "work:x:batch", "deleted", "work:1", b"\xff"])
def test_message_of_another_version_of_the_app_does_not_end_the_wakeups(
    message: str | bytes,
) -> None:
    wakeups = get_wakeups()
    with wakeups.end_of(7) as ended:
        assert wakeups.wait_until_connected(180)
        connect().publish(CHANNEL, message)
        publish_end(7)
        assert ended.wait(180)


def test_idle_asgi_streams_keep_no_thread(agent: ScriptedAgent) -> None:
    """Django keeps the thread of an ASGI request until the end of its response."""

    async def follow() -> None:
        streams = [await opened(agent)]
        await body(streams[0])
        await_threads = functools.partial(
            wait_for, "the end of the threads of streams", threading.active_count
        )
        idle = threading.active_count()  # with the thread of the first stream, or without
        for _ in range(10):
            streams.append(await opened(agent))
            await body(streams[-1])
        try:
            await asyncio.to_thread(await_threads, lambda count: count <= idle + 1)  # its own
        finally:
            await in_thread(agent.client.delete, f"/api/functions/{agent.native_pk}")
            for stream in streams:
                await closed(stream)

    asyncio.run(follow())


def test_open_asgi_stream_counts_as_agent(agent: ScriptedAgent) -> None:
    rounds: list[set[int]] = []

    async def follow() -> None:
        stream = await opened(agent)
        await body(stream)
        get_wakeups().each_round(rounds.append)
        try:
            await asyncio.to_thread(wait_for, "two rounds", lambda: len(rounds), (2).__le__)
        finally:
            await in_thread(agent.client.delete, f"/api/functions/{agent.native_pk}")
            await closed(stream)

    asyncio.run(follow())
    assert agent.native_pk in rounds[1]


def test_asgi_stream_whose_agent_has_left_ends_and_counts_no_more(agent: ScriptedAgent) -> None:
    """Otherwise a function whose only agent was killed would stay ready."""
    rounds: list[set[int]] = []

    async def leave() -> None:
        stream = await opened(agent)
        await body(stream)
        await stream.send_input({"type": "http.disconnect"})
        await closed(stream)
        get_wakeups().each_round(rounds.append)
        await asyncio.to_thread(wait_for, "two rounds", lambda: len(rounds), (2).__le__)

    asyncio.run(leave())
    assert agent.native_pk not in rounds[1]


def enqueue(native_pk: int, category: Category) -> None:
    queue.enqueue(native_pk, category=category, params={"type": "x"}, wanted_s=60)


async def opened(agent: ScriptedAgent) -> Any:
    """Open a stream through Django's ASGI application; return it after its headers."""
    cookie = agent.client.cookies["sessionid"].value
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": watch_path(agent.native_pk),
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"cookie", f"sessionid={cookie}".encode())],
    }
    make: Any = ApplicationCommunicator
    stream = make(get_asgi_application(), scope)
    await stream.send_input({"type": "http.request", "body": b""})
    start = await stream.receive_output(180)
    assert start["status"] == 200
    return stream


async def closed(stream: Any) -> None:
    """Wait for the end of a stream, and close the connections of the thread that served it."""
    await stream.wait()
    await sync_to_async(connections.close_all)()


async def in_thread(work: Callable[..., object], *arguments: object) -> None:
    """Run a function in another thread, and close its connections to the database."""

    def run() -> None:
        try:
            work(*arguments)
        finally:
            connections.close_all()

    await asyncio.to_thread(run)


async def body(stream: Any) -> bytes:
    """Return the next part of the body."""
    message = await stream.receive_output(180)
    return bytes(message.get("body", b""))
