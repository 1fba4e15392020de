"""Routes that describe the platform: version, namespaces, addresses, defaults for a page."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from cvat_lambda.runtime.spec.function_file import DEFAULT_READINESS_TIMEOUT_S
from cvat_lambda.runtime.spec.triggers import DEFAULT_AVAILABILITY_TIMEOUT_MS

OPTIONAL_SLASH: Final = "{slash:/?}"  # as Nuclio, with or without a slash at the end
VERSION_LABEL: Final = "cvat-lambda"
NAMESPACE: Final = "nuclio"  # namespaces are accepted and have no effect


class PlatformInfoRoutes:
    """``/api/versions`` (useful as a ping), ``namespaces``, ``external_ip_addresses`` and
    ``frontend_spec``, which says what Nuclio on Docker says.
    """

    def __init__(self, host: str) -> None:
        # Nuclio answers "" if it does not know its address.
        self._addresses = ["" if host in ("", "0.0.0.0", "::") else host]

    def add_to(self, app: web.Application) -> None:
        """Register the routes."""
        version = {"label": VERSION_LABEL, "gitCommit": "", "os": "linux", "arch": ""}
        for name, value in (
            ("versions", {"dashboard": version}),
            ("namespaces", {"namespaces": {"names": [NAMESPACE]}}),
            ("external_ip_addresses", {"externalIPAddresses": {"addresses": self._addresses}}),
            ("frontend_spec", self._frontend_spec()),
        ):
            app.router.add_get(f"/api/{name}{OPTIONAL_SLASH}", _always(value))

    def _frontend_spec(self) -> dict[str, Any]:
        trigger = {"workerAvailabilityTimeoutMilliseconds": DEFAULT_AVAILABILITY_TIMEOUT_MS}
        named = {"kind": "http", "name": "default-http", "numWorkers": 1, **trigger}
        spec = {
            "minReplicas": 1,
            "maxReplicas": 1,
            "readinessTimeoutSeconds": DEFAULT_READINESS_TIMEOUT_S,
            "triggers": {"default-http": named, "http": trigger},
        }
        return {
            "externalIPAddresses": self._addresses,
            "namespace": NAMESPACE,
            "defaultHTTPIngressHostTemplate": "",
            "imageNamePrefixTemplate": "",
            "scaleToZero": {
                "mode": "disabled",  # `idle_timeout` in the function file sets it
                "inactivityWindowPresets": None,
                "scaleResources": None,
            },
            "defaultFunctionConfig": {"attributes": {"metadata": {}, "spec": spec}},
            "platformKind": "local",
            "allowedAuthenticationModes": None,
            "disableDefaultHttpTrigger": False,
        }


def _always(value: dict[str, Any]) -> Any:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(value)

    return answer
