"""An agent whose answers a test decides. It speaks the protocol of cvat-cli 2.80."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connection
from django.test import Client

from tests.waiting import wait_for

Answer = Callable[[dict[str, Any]], dict[str, Any]]
CAR = {"name": "car", "type": "rectangle", "attributes": []}


class Failure(Exception):
    """The agent reports a failure with this sentence."""


@dataclass
class ScriptedAgent:
    """Asks for work and answers it, in the thread of the test or in one of its own."""

    client: Client
    native_pk: int
    agent_id: str = field(default_factory=lambda: secrets.token_hex(16))

    def post(self, path: str, **body: Any) -> Any:
        """Send a message of the agent; return the response."""
        return self.client.post(
            f"/api/functions/queues/function:{self.native_pk}/requests/{path}",
            json.dumps({"agent_id": self.agent_id, **body}),
            content_type="application/json",
        )

    def acquire(self, category: str = "batch") -> dict[str, Any] | None:
        """Return the next entry, or None."""
        response = self.post("acquire", request_category=category)
        assert response.status_code == 200, response.content
        found: dict[str, Any] | None = response.json()["ar_assignment"]
        return found

    def wait_for_work(self, category: str = "batch") -> dict[str, Any]:
        """Poll until there is an entry, and return it."""
        read = partial(self.acquire, category)
        return wait_for("an entry", read) or {}

    def serve(self, answer: Answer) -> bool:
        """Answer one entry, interactive ones first; return False if there is none."""
        found = self.acquire("interactive") or self.acquire("batch")
        if found is None:
            return False
        try:
            result = answer(found["ar_params"])
        except Failure as exc:
            self.post(f"{found['ar_id']}/fail", exc_info=str(exc))
        else:
            self.post(f"{found['ar_id']}/complete", **result)
        return True


class AgentThread:
    """A scripted agent that serves until the end of the ``with`` block.

    The block begins after its first poll: a function without any agent refuses calls at once.
    """

    def __init__(self, agent: ScriptedAgent, answer: Answer) -> None:
        self.agent = agent
        self.served: list[dict[str, Any]] = []  # parameters of the entries
        self._answer = answer
        self._polled = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> AgentThread:
        self._thread.start()
        assert self._polled.wait(180)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(180)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                served = self.agent.serve(self._noted)
                self._polled.set()
                if not served:
                    self._stopped.wait(0.01)
        finally:
            connection.close()

    def _noted(self, params: dict[str, Any]) -> dict[str, Any]:
        self.served.append(params)
        return self._answer(params)


def car_at(params: dict[str, Any], car_id: int, *points: float, **more: Any) -> dict[str, Any]:
    """Return the result of a detector that found one car."""
    shape = {
        "type": "rectangle",
        "frame": params["frame"],
        "label_id": car_id,
        "points": list(points or (1, 2, 30, 40)),
        "source": "auto",
        "attributes": [],
        **more,
    }
    return {"annotations": {"tags": [], "shapes": [shape]}}
