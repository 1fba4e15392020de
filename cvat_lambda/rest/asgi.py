"""Notice under ASGI that the client of a streamed response has left.

Django 5 cancels such a response itself. Django 4.2, which CVAT uses, reads nothing more from the
connection once it has the request, and ASGI servers ignore what is sent to a client that has left:
the response would be computed to its end for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import django
from django.core.handlers.asgi import ASGIHandler, ASGIRequest

_RECEIVE: Final = "cvat_lambda.receive"  # in the scope of a connection
_Receive = Callable[[], Awaitable[dict[str, Any]]]


def keep_receive() -> None:
    """Keep the ``receive`` of each connection for `disconnect`, where Django does not use it."""
    if django.VERSION >= (5,):
        return
    handle = ASGIHandler.handle

    async def handle_and_keep(self: ASGIHandler, scope: Any, receive: Any, send: Any) -> None:
        scope[_RECEIVE] = receive
        try:
            await handle(self, scope, receive, send)
        finally:
            # Otherwise the scope and the server's object that has it would refer to each other, and
            # stay in memory until the garbage collector comes.
            scope.pop(_RECEIVE, None)

    ASGIHandler.handle = handle_and_keep  # type: ignore[method-assign]


def disconnect(request: ASGIRequest) -> asyncio.Future[None]:
    """Return a future that is done when the client has left. The caller cancels it.

    With Django 5 it is never done: there the task of the response is cancelled.
    """
    receive = request.scope.get(_RECEIVE)
    if receive is None:
        return asyncio.get_running_loop().create_future()
    return asyncio.ensure_future(_disconnected(receive))


async def _disconnected(receive: _Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
