"""Hooks of tests that hear which files, folders, processes and sockets Python opens.

A hook cannot be removed, so each one must do nothing while no test uses it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

# With Python 3.10 and 3.11 a hook that is written in Python and the tracer of `coverage` cannot be
# used together. Threads that start at the same time would fail: "Cannot install a trace function
# while another trace function is being installed".
OBSTACLE: Final = (
    "audit hooks disturb the tracer of coverage before Python 3.12"
    if sys.version_info < (3, 12) and sys.gettrace() is not None
    else ""
)


def add_hook(hook: Callable[[str, tuple[Any, ...]], None]) -> None:
    """Call a hook with each audit event from now on, unless there is an obstacle."""
    if not OBSTACLE:
        sys.addaudithook(hook)
