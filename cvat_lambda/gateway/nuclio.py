"""The client of Nuclio's REST API, which Nuclio's dashboard and the embedded runtime serve.

Paths and headers are those of Nuclio 1.14.1. These calls are rare, so they use ``requests``. They
use no proxies or credentials of the environment: the platform is an internal service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from cvat_lambda import signals
from cvat_lambda.conf import settings
from cvat_lambda.errors import (
    FunctionNotFound,
    InvalidRequest,
    LambdaError,
    PermissionDenied,
    PlatformError,
    PlatformUnreachable,
    StateConflict,
)
from cvat_lambda.functions.metadata import ID_PATTERN
from cvat_lambda.gateway.clean_text import clean_line

NAMESPACE_HEADER: Final = "x-nuclio-function-namespace"
PROJECT_HEADER: Final = "x-nuclio-project-name"
READ_TIMEOUT_S: Final = 10.0  # Nuclio on Docker starts a process for each list, which takes seconds
_REMOVAL_TIMEOUT_S: Final = 90.0  # the embedded runtime waits up to 60 s for calls in flight


@dataclass(frozen=True, slots=True, kw_only=True)
class Nuclio:
    """A platform: the URL of its dashboard, and the namespace and project of our functions."""

    url: str
    token: str = field(default="", repr=False)
    namespace: str = ""
    project: str = ""  # "": functions of every project

    def functions(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the function objects by name, untrusted. Raise PlatformUnreachable."""
        listed = self._json("GET", "/api/functions", headers=self._project(), read_s=timeout_s)
        if not isinstance(listed, dict):
            raise PlatformUnreachable("the function platform answered without a list of functions")
        return listed

    def function(self, function_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return one function object, untrusted. Raise FunctionNotFound, PlatformUnreachable."""
        found = self._of(function_id, read_s=timeout_s)
        if not isinstance(found, dict):
            raise PlatformUnreachable("the function platform answered without a function")
        return found

    def deploy(self, function: Mapping[str, Any]) -> None:
        """Create or update a function; the platform builds it after its answer.

        Raise InvalidRequest, StateConflict (it is being built already) or PlatformUnreachable.
        """
        name = _checked(str(function["metadata"]["name"]))
        if "spec" not in function:  # the dashboard would fail after a minute
            raise InvalidRequest(f"function '{name}' cannot be deployed without a spec")
        self._send("PUT", f"/api/functions/{name}", json=dict(function), headers=self._project())
        _note("deployed", name)

    def remove(self, function_id: str) -> None:
        """Remove a function, if it exists."""
        metadata = {"name": _checked(function_id), "namespace": self.namespace}
        self._send(
            "DELETE", "/api/functions", json={"metadata": metadata}, read_s=_REMOVAL_TIMEOUT_S
        )
        _note("removed", function_id)

    def replicas(self, function_id: str) -> list[str]:
        """Return the names of a function's replicas. Raise FunctionNotFound."""
        found = self._of(function_id, "/replicas")
        names = found.get("names") if isinstance(found, dict) else None
        return [str(name) for name in names] if isinstance(names, list) else []

    def logs(self, function_id: str, *, replica: str, lines: int) -> str:
        """Return the last lines of a replica's log."""
        path = f"/api/functions/{_checked(function_id)}/logs/{_checked(replica)}"
        return self._send("GET", path, params={"follow": "false", "tailLines": str(lines)}).text

    def version(self) -> str:
        """Return the platform's version label. Raise PlatformUnreachable."""
        found = self._json("GET", "/api/versions")
        dashboard = found.get("dashboard") if isinstance(found, dict) else None
        return str(dashboard.get("label", "")) if isinstance(dashboard, dict) else ""

    @property
    def host(self) -> str:
        """The host of the dashboard; "" if its URL is malformed."""
        try:
            return urlsplit(self.url).hostname or ""
        except ValueError:
            return ""

    @property
    def encrypted(self) -> bool:
        """Whether the dashboard is reached by https."""
        return self.url.strip().lower().startswith("https:")

    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _project(self) -> dict[str, str]:
        return {PROJECT_HEADER: self.project} if self.project else {}

    def _of(self, function_id: str, what: str = "", *, read_s: float | None = None) -> Any:
        path = f"/api/functions/{_checked(function_id)}{what}"
        try:
            return self._json("GET", path, read_s=read_s)
        except FunctionNotFound as exc:
            raise FunctionNotFound(f"the platform has no function '{function_id}'") from exc

    def _json(self, method: str, path: str, **options: Any) -> Any:
        response = self._send(method, path, **options)
        try:
            return response.json()
        except ValueError as exc:
            raise PlatformUnreachable("the function platform does not have Nuclio's API") from exc

    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        read_s: float | None = None,
        **options: Any,
    ) -> requests.Response:
        sent = {**self.authorization(), **(headers or {})}
        if self.namespace:
            sent[NAMESPACE_HEADER] = self.namespace
        try:
            with requests.Session() as session:
                session.trust_env = False
                response = session.request(
                    method,
                    self.url.rstrip("/") + path,
                    headers=sent,
                    timeout=(
                        min(settings.CONNECT_TIMEOUT_S, read_s or READ_TIMEOUT_S),
                        read_s or READ_TIMEOUT_S,
                    ),
                    allow_redirects=False,
                    **options,
                )
        except (requests.RequestException, UnicodeError) as exc:
            raise PlatformUnreachable("the function platform does not answer") from exc
        if not 200 <= response.status_code < 300:
            raise _refusal(response)
        return response


def platform() -> Nuclio:
    """Return the platform that the settings name."""
    return Nuclio(
        url=settings.PLATFORM_URL,
        token=settings.PLATFORM_TOKEN,
        namespace=settings.PLATFORM_NAMESPACE,
        project=settings.PLATFORM_PROJECT,
    )


def _note(action: str, function_id: str) -> None:
    signals.action_taken.send_robust(
        sender=Nuclio, action=action, object_kind="function", object_id=function_id, details={}
    )


_REFUSALS: Final[dict[int, type[LambdaError]]] = {
    400: InvalidRequest,
    401: PlatformError,
    403: PermissionDenied,
    404: FunctionNotFound,
    409: StateConflict,
    412: StateConflict,
}


def _refusal(response: requests.Response) -> LambdaError:
    try:
        body = response.json()
    except ValueError:
        body = None
    reason = body.get("error") if isinstance(body, dict) else None
    ending = f": {clean_line(reason)}" if isinstance(reason, str) and reason else ""
    error = _REFUSALS.get(response.status_code, PlatformUnreachable)
    if response.status_code in (401, 403):
        ending = ending or "; check CVAT_LAMBDA_PLATFORM_TOKEN"
    return error(f"the function platform refused with status {response.status_code}{ending}")


def _checked(name: str) -> str:
    """Refuse a name that Nuclio would insert unchecked into a shell command or a path."""
    if not ID_PATTERN.fullmatch(name) or name.strip(".") == "":
        raise FunctionNotFound(f"'{name[:80]}' cannot be the name of a function")
    return name
