"""The platform object of a function's context, which lets one function call another."""

from __future__ import annotations

import http.client
from typing import Any

from .untyped import sdk


class _DashboardConnection(http.client.HTTPConnection):
    """Sends requests to other functions through the dashboard's invocation path.

    The SDK asks for a connection to ``nuclio-<namespace>-<name>:8080``; those hosts exist on
    Docker only.
    """

    def __init__(self, dashboard: str, token: str, timeout: float | None) -> None:
        super().__init__(dashboard, timeout=timeout)
        self._token = token

    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, **more: Any
    ) -> None:
        headers = dict(headers or {})
        headers["X-Nuclio-Function-Name"] = headers.get("X-Nuclio-Target", "")
        headers["X-Nuclio-Path"] = url
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        super().request(method, "/api/function_invocations", body, headers, **more)


def make_platform(namespace: str, dashboard: str, token: str) -> Any:
    """Return the SDK's platform, whose calls go through the dashboard at ``host:port``."""

    def connect(_host: str, timeout: float | None = None) -> http.client.HTTPConnection:
        return _DashboardConnection(dashboard, token, timeout)

    return sdk.Platform("local", namespace=namespace, connection_provider=connect)
