"""Runs the real cvat-cli as the agent of a native function."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from cvat_lambda.agents.models import Agent
from tests.waiting import wait_for

# What the agents run: the environment variable NATIVE_KIND selects a function of this module.
FUNCTIONS = Path(__file__).parent / "e2e" / "native_function.py"
TIMEOUT_S = 300.0


@dataclass
class Account:
    """A user with a token, who runs cvat-cli and calls the API."""

    url: str
    user: Any
    token: str
    home: Path
    program: Path  # cvat-cli
    organization: str = ""  # the short name of the organization in which cvat-cli works
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home.mkdir()

    def command(self, *arguments: str) -> list[str]:
        """Return a command of cvat-cli."""
        host, _, port = self.url.rpartition(":")
        server = ["--server-host", host, "--server-port", port]
        where = ["--organization", self.organization] if self.organization else []
        return [str(self.program), *server, *where, "function", *arguments]

    def environment(self, kind: str, **more: str) -> dict[str, str]:
        """Return the environment variables of cvat-cli."""
        home = {"HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache")}
        return {
            **os.environ,
            **home,
            "PYTHONPATH": "",
            "CVAT_ACCESS_TOKEN": self.token,
            "NATIVE_KIND": kind,
            **more,
        }

    def run(self, *arguments: str, kind: str = "detector") -> subprocess.CompletedProcess[str]:
        """Run cvat-cli until it ends."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(kind),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def create(self, kind: str = "detector", *options: str) -> int:
        """Create a function; return its id."""
        file = ("--function-file", str(FUNCTIONS))
        done = self.run("create-native", "finder", *options, *file, kind=kind)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def start_agent(self, function: int, kind: str = "detector", **more: str) -> Any:
        """Start an agent, and wait until it asks for work."""
        known = Agent.objects.filter(function_id=function).values_list("agent_id", flat=True)
        before = set(known.all())
        with (self.home / f"agent-{len(self.agents)}.log").open("wb") as log:
            agent = subprocess.Popen(
                self.command("run-agent", str(function), "--function-file", str(FUNCTIONS)),
                env=self.environment(kind, **more),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.agents.append(agent)
        wait_for(
            "the first poll of an agent",
            lambda: set(known.all()) - before,  # a lost agent may be deleted in the meantime
            timeout_s=TIMEOUT_S,
        )
        return agent

    def send(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Send an HTTP request to the API."""
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method,
                self.url + path,
                json=body,
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=TIMEOUT_S,
            )

    def post(self, path: str, body: Any) -> requests.Response:
        """Send a POST request to the API."""
        return self.send("post", path, body)

    def stop(self) -> None:
        """Kill the agents that still run."""
        for agent in self.agents:
            if agent.poll() is None:
                kill(agent)


def kill(agent: subprocess.Popen[bytes]) -> None:
    """Kill an agent and the process of its model, as a lack of memory would."""
    os.killpg(agent.pid, 9)
    agent.wait()
