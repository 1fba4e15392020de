"""A client of the dashboard's REST API, of this runtime or of Nuclio."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from cvat_lambda.runtime.errors import RuntimeFault
from cvat_lambda.runtime.spec.fields import JsonObject

DEFAULT_PORT = 8070  # of Nuclio's dashboard
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"
ADVICE = "start one with 'python -m cvat_lambda.runtime serverless/', or name another with --url"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP response with any status."""

    status: int
    content_type: str
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON; raise RuntimeFault if it is invalid."""
        try:
            return json.loads(self.body)
        except ValueError as exc:
            raise RuntimeFault(f"the answer is not JSON: {self.body[:200]!r}") from exc


class DashboardClient:
    """A client of one dashboard. It uses no proxy.

    ``advice`` is the end of the error message if no server answers. Raises RuntimeFault for a
    malformed URL or token.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, advice: str = ADVICE
    ) -> None:
        self.url = _checked_url(url or os.environ.get("CVAT_LAMBDA_RUNTIME_URL") or DEFAULT_URL)
        self._advice = advice
        self._token = os.environ.get("CVAT_LAMBDA_RUNTIME_TOKEN", "") if token is None else token
        if not self._token.isprintable():
            raise RuntimeFault("the token holds a character that no header can have: a line break?")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def send(
        self,
        method: str,
        path: str,
        payload: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Answer:
        """Send JSON, or bytes as they are, and return the answer.

        Raise RuntimeFault if no server answers.
        """
        body = payload if isinstance(payload, bytes) else None
        if payload is not None and body is None:
            body = json.dumps(payload).encode()
        request = urllib.request.Request(self.url + path, body, method=method)
        request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        for key, value in (headers or {}).items():
            request.add_header(key, value)
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                return _answer(response.status, response)
        except urllib.error.HTTPError as exc:
            with exc:
                return _answer(exc.code, exc)
        except OSError as exc:
            reason = getattr(exc, "reason", exc)
            raise RuntimeFault(
                f"no runtime answers at {self.url} ({reason}): {self._advice}"
            ) from exc
        except http.client.HTTPException as exc:
            raise RuntimeFault(f"what answers at {self.url} is not a dashboard: {exc!r}") from exc

    def where(self, found: JsonObject) -> str:
        """Return the address at which a function can be called from here, or "-" if there is none.

        For "any address" (``0.0.0.0``) it is the host of the dashboard's URL.
        """
        published = (found["status"].get("externalInvocationUrls") or ["-"])[0]
        split, here = urlsplit(f"//{published}"), urlsplit(self.url).hostname or ""
        if split.hostname in ("0.0.0.0", "::"):
            return f"[{here}]:{split.port}" if ":" in here else f"{here}:{split.port}"
        if split.hostname in _LOOPBACK and here not in _LOOPBACK:
            return "the dashboard only"  # it listens on its machine's loopback
        return str(published)

    def get(self, path: str) -> Any:
        """Return the JSON of a GET; raise RuntimeFault with the dashboard's message."""
        return checked(self.send("GET", path)).json()

    def function(self, name: str) -> JsonObject:
        """Return a function object; raise RuntimeFault if there is none."""
        answer = self.send("GET", f"/api/functions/{in_path(name)}")
        if answer.status == 404:
            raise RuntimeFault(f"there is no function {name!r} at {self.url}")
        found: JsonObject = checked(answer).json()
        return found


def in_path(name: str) -> str:
    """Return a name quoted for a path of a URL."""
    return quote(name, safe="")


def checked(answer: Answer) -> Answer:
    """Return an answer below 400; else raise RuntimeFault with the dashboard's message."""
    if answer.status < 400:
        return answer
    try:
        sentence = json.loads(answer.body)["error"]
    except (ValueError, KeyError, TypeError):
        sentence = answer.body[:300].decode("utf-8", "replace")
    if answer.status == 401:
        sentence = (
            "it wants its own token: give that with --token or CVAT_LAMBDA_RUNTIME_TOKEN "
            "(manage.py takes CVAT_LAMBDA_PLATFORM_TOKEN)"
        )
    raise RuntimeFault(f"the dashboard answered {answer.status}: {sentence}")


def _checked_url(text: str) -> str:
    url = (text if "://" in text else f"http://{text}").rstrip("/")
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise RuntimeFault(f"{text!r} is not a URL of a dashboard: write it as {DEFAULT_URL}")
    return url


def _answer(status: int, response: Any) -> Answer:
    kind = response.headers.get("Content-Type", "")
    return Answer(status=status, content_type=kind, body=response.read())
