"""Takes the network away from a worker whose function file says ``network: none``."""

from __future__ import annotations

import ctypes
import os

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def isolate() -> None:
    """Enter a network namespace without interfaces; the channel to the processor stays open.

    It needs root or unprivileged user namespaces. Raise OSError if the system allows neither.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _CLONE_NEWNET if os.getuid() == 0 else _CLONE_NEWNET | _CLONE_NEWUSER
    user, group = os.getuid(), os.getgid()
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(
            number,
            f"network: none needs a network namespace, which this system does not allow here "
            f"({os.strerror(number)})",
        )
    if flags & _CLONE_NEWUSER:
        for path, text in (
            ("/proc/self/setgroups", "deny"),
            ("/proc/self/uid_map", f"{user} {user} 1"),
            ("/proc/self/gid_map", f"{group} {group} 1"),
        ):
            with open(path, "w") as file:
                file.write(text)
