"""Free and closed ports for tests.

The kernel gives free ports of its ephemeral range to other servers and connections. So free ports
are chosen below that range.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LOWEST: Final = 15_000  # well-known programs use lower ports
_held: Final[list[socket.socket]] = []


def free_port() -> int:
    """Return a free port outside the kernel's ephemeral range."""
    dice = random.SystemRandom()  # seeded tests of two runs would choose equal ports
    while True:
        port = dice.randrange(_LOWEST, max(_first_of_the_systems(), 2 * _LOWEST))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def closed_port() -> int:
    """Return a port on which no process can listen while this process runs."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    _held.append(taken)
    return int(taken.getsockname()[1])


def _first_of_the_systems() -> int:
    """Return the first port of the kernel's ephemeral range."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768


@contextmanager
def silent_redis_url() -> Iterator[str]:
    """Yield the URL of a server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
