"""Hosts in network namespaces of Linux, joined by a bridge. Needs root and the program ``ip``.

Each namespace has a loopback and an address of its own. A process in one of them reaches the others
only through the bridge, so a host can be cut off from the network while its processes run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

NETWORK: Final = "10.77.0"
CENTRE: Final = f"{NETWORK}.1"  # the address of the host that the others are connected to


def obstacle() -> str:
    """Return why no namespaces can be made and connected here, "" if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the program ip (Debian: iproute2)"
    try:
        with network(1):
            return ""
    except subprocess.CalledProcessError as exc:
        return f"network namespaces cannot be made: {exc.stderr.decode().strip()}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Namespaces: one in the centre, and others that are connected to it."""

    names: tuple[str, ...]  # the first is the centre

    def command(self, host: int, command: Sequence[str]) -> list[str]:
        """Return a command that runs in the namespace of a host; 0 is the centre."""
        return ["ip", "netns", "exec", self.names[host], *command]

    def set_link(self, host: int, state: str) -> None:
        """Set the link of a host ``down``, which cuts it off, or ``up``."""
        _ip("-n", self.names[0], "link", "set", f"to{host}", state)


@contextmanager
def network(others: int) -> Iterator[Network]:
    """Make namespaces. At the end of the block kill the processes in them, and delete them."""
    names = tuple(f"cl{os.getpid()}n{number}" for number in range(others + 1))
    made: list[str] = []
    try:
        for name in names:
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
        centre = names[0]
        _ip("-n", centre, "link", "add", "bridge", "type", "bridge")
        _ip("-n", centre, "addr", "add", f"{CENTRE}/24", "dev", "bridge")
        _ip("-n", centre, "link", "set", "bridge", "up")
        for number, name in enumerate(names[1:], start=1):
            pair = ("link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0")
            _ip("-n", centre, *pair, "netns", name)
            _ip("-n", centre, "link", "set", f"to{number}", "master", "bridge", "up")
            _ip("-n", name, "addr", "add", f"{NETWORK}.{number + 1}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
        yield Network(names=names)
    finally:
        for name in made:
            _kill_all(name)
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _kill_all(name: str) -> None:
    """Kill the processes in a namespace. A process that is killed may just have started others."""
    for _ in range(100):
        found = subprocess.run(
            ["ip", "netns", "pids", name], check=False, capture_output=True, text=True
        )
        if not found.stdout.split():
            return
        for pid in map(int, found.stdout.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
