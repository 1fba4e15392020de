"""A real browser (Chromium, driven by Playwright) in front of a live server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)
from playwright.sync_api import Request as BrowserRequest
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from tests.browser import MISSING, PATH
from tests.integration.requests.function_server import FunctionServer, function_server

TIMEOUT_MS = 180_000  # a slow machine must not fail a test

Open = Callable[..., Page]

expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for all tests of a module.

    Not for those of the process: Playwright's event loop runs in this thread as long as the browser
    is open, and other tests call `asyncio.run`.
    """
    if PATH is None:
        pytest.skip(MISSING)
    # Django refuses its database in a thread with an event loop.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=PATH, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def open_page(browser: Browser, live_server: LiveServer) -> Iterator[Open]:
    """Return a function that logs a user in and opens a path in a browser of their own.

    The test fails if a script of any page raises an error, the console shows one, or a page sends
    a request to another host.
    """
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(message.text)

    def note_request(request: BrowserRequest) -> None:
        if not request.url.startswith((f"{live_server.url}/", "data:", "blob:")):
            problems.append(f"a request to another host: {request.url}")

    def open_(user: User, path: str, **options: Any) -> Page:
        client = Client()
        client.force_login(user)
        context = browser.new_context(base_url=live_server.url, **options)
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value}
        context.add_cookies([{**cookie, "url": live_server.url}])  # type: ignore[typeddict-item]
        page = context.new_page()
        page.on("console", note)
        page.on("request", note_request)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def function(settings: Settings) -> Iterator[FunctionServer]:
    """A function's HTTP server, which web process and workers may call."""
    settings.CVAT_LAMBDA_ENDPOINT_ALLOWED_HOSTS = ("127.0.0.1/32",)
    with function_server() as server:
        yield server
