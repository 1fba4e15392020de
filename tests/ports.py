"""Ports for tests that must name one before anybody listens there, or where nobody ever does.

The system gives freed ports of its own range to whoever asks next: another test's server, or the
near end of any connection of the machine.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Final

_LOWEST: Final = 15_000  # below are those of well-known programs
_held: Final[list[socket.socket]] = []


def free_port() -> int:
    """A port that is free, and that the system gives to nobody of its own accord."""
    dice = random.SystemRandom()  # the tests' own seed would choose the same for two runs at once
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
    """A port on which nobody listens, nor can, as long as this process runs."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    _held.append(taken)
    return int(taken.getsockname()[1])


def _first_of_the_systems() -> int:
    """Where the range of the ports begins that the system chooses from."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768
