"""The platform object of a function's context, which lets one function call another."""

from __future__ import annotations

import http.client
from typing import Any

from .untyped import sdk

UNKNOWN_FUNCTION = "X-Cvat-Lambda-Unknown-Function"  # in the dashboard's own 404 answer


class _DashboardConnection(http.client.HTTPConnection):
    """Sends requests to other functions through the dashboard's invocation path.

    The SDK asks for a connection to ``nuclio-<namespace>-<name>:8080``; those hosts exist on
    Docker only.
    """

    def __init__(self, dashboard: str, token: str, timeout: float | None) -> None:
        super().__init__(dashboard, timeout=timeout)
        self._token = token
        self._function = ""

    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, **more: Any
    ) -> None:
        headers = dict(headers or {})
        headers["X-Nuclio-Function-Name"] = headers.get("X-Nuclio-Target", "")
        headers["X-Nuclio-Path"] = url
        self._function = headers["X-Nuclio-Function-Name"]
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        super().request(method, "/api/function_invocations", body, headers, **more)

    def getresponse(self) -> http.client.HTTPResponse:
        """Return the answer. Raise OSError if the dashboard knows no such function.

        In Nuclio the name of an unknown function cannot be resolved.
        """
        answer = super().getresponse()
        if answer.status == 404 and answer.headers.get(UNKNOWN_FUNCTION) is not None:
            raise OSError(f"there is no function {self._function!r}")
        return answer


def make_platform(namespace: str, dashboard: str, token: str) -> Any:
    """Return the SDK's platform, whose calls go through the dashboard at ``host:port``."""

    def connect(_host: str, timeout: float | None = None) -> http.client.HTTPConnection:
        return _DashboardConnection(dashboard, token, timeout)

    return sdk.Platform("local", namespace=namespace, connection_provider=connect)
