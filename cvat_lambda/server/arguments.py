"""Types of command-line options. A wrong value ends the command before anything starts."""

from __future__ import annotations

import argparse
import ipaddress
import os
from pathlib import Path
from typing import Final

ROLES: Final = ("web", "workers", "runtime")  # what one host of several can run


def port(text: str) -> int:
    """Return a TCP port; 0 means any free one."""
    number = _integer(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: 0 to 65535")
    return number


def address(text: str) -> str:
    """Return an IPv4 or IPv6 address of this machine, or ``localhost``."""
    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from exc


def count(text: str) -> int:
    """Return a number of processes, at least 1."""
    number = _integer(text)
    if not 1 <= number <= 64:
        raise argparse.ArgumentTypeError(f"{text} is out of range: 1 to 64")
    return number


def roles(text: str) -> tuple[str, ...]:
    """Return the roles of a host: names from `ROLES`, separated by commas."""
    named = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in named if name not in ROLES]
    if unknown:
        known = ", ".join(ROLES)
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of the roles {known}")
    return tuple(name for name in ROLES if name in named)


def share(text: str) -> float:
    """Return a number in [0, 1]."""
    try:
        number = float(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from exc
    if not 0.0 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is out of range: 0 to 1")
    return number


def folder(text: str) -> Path:
    """Return a path, relative to the folder from which ``script/demo`` was called."""
    return Path(os.environ.get("CVAT_LAMBDA_CALLED_FROM", "")).joinpath(text).expanduser().resolve()


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from exc
