"""The port through which the registry reads a function platform.

The platform's client is in `gateway`, which `functions` may not import. So the app passes the
client to this module when it starts (`cvat_lambda.apps`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Platform(Protocol):
    """A platform that lists its functions."""

    def functions(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the function objects by name, untrusted. Raise PlatformError."""

    def function(self, function_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return one function object, untrusted. Raise FunctionNotFound or PlatformError."""


_connect: Callable[[], Platform] | None = None


def use_platform(connect: Callable[[], Platform]) -> None:
    """Read the platform that ``connect`` returns; the settings may change between two calls."""
    global _connect
    _connect = connect


def platform() -> Platform:
    """Return the platform whose functions the registry holds."""
    if _connect is None:
        raise RuntimeError("no function platform is in use: 'cvat_lambda' is not an installed app")
    return _connect()
