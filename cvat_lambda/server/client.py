"""The demo's client of the server's REST API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests


class ServerRefused(Exception):
    """The server answered with an error; the message is the server's."""


@dataclass(slots=True)
class Client:
    """A session with a server at ``url``."""

    url: str
    session: requests.Session = field(default_factory=requests.Session)

    def authorize(self, token: str) -> None:
        """Authenticate with a token."""
        self.session.trust_env = False  # loopback: no proxy
        self.session.headers["Authorization"] = f"Token {token}"

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Make one HTTP request; return its JSON or bytes. Raise ServerRefused."""
        response = self.session.request(method, self.url + path, timeout=180, **arguments)
        is_json = "json" in response.headers.get("Content-Type", "")
        if not response.ok:
            raise ServerRefused(_sentence(response.json() if is_json else response.text))
        if response.status_code == 204 or not response.content:
            return None
        return response.json() if is_json else response.content

    def upload(self, task_id: int, photographs: Sequence[Path]) -> str:
        """Upload images to a new task; return the id of the server's background request."""
        files = [
            (f"client_files[{index}]", (photograph.name, photograph.read_bytes()))
            for index, photograph in enumerate(photographs)
        ]
        answer = self.call(
            "POST", f"/api/tasks/{task_id}/data/", files=files, data={"image_quality": "95"}
        )
        return str(answer["rq_id"])


def _sentence(body: Any) -> str:
    if isinstance(body, dict):
        for key in ("message", "detail"):
            if key in body:
                return str(body[key])
        return "; ".join(f"{key}: {value}" for key, value in body.items())
    return str(body)
