"""Where functions come from, as far as this room needs to know: a port that the gateway fills.

`functions` lies below `gateway`, so the client is loaded by its name, as the engine is.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from django.utils.module_loading import import_string

_CLIENT: Final = "cvat_lambda.gateway.nuclio.platform"


class Source(Protocol):
    """A platform that can say which functions it has."""

    def functions(self) -> dict[str, Any]:
        """Return the function objects by name, untrusted. Raise PlatformError."""

    def function(self, function_id: str) -> dict[str, Any]:
        """Return one of them. Raise FunctionNotFound or PlatformError."""


def platform() -> Source:
    """The platform that the settings name."""
    client: Source = import_string(_CLIENT)()
    return client
