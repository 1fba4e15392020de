"""Limits on the calls that one user, one function and one process may have in progress.

A call holds a thread of the web server until the function answers. Without limits, the calls of
one user to one slow function would hold all threads, and pages would not be answered. The counts
are those of this process.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from cvat_lambda.conf import settings
from cvat_lambda.errors import FunctionBusy, ServerBusy, TooManyCalls

Key = TypeVar("Key", int, str)


class CallLimits:
    """Counts the calls in progress. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_user: Counter[int] = Counter()
        self._by_function: Counter[str] = Counter()

    @contextmanager
    def hold(self, user_id: int, function_id: str) -> Iterator[None]:
        """Count a call while the block runs. Raise TooManyCalls, FunctionBusy or ServerBusy."""
        with self._lock:
            self._check(user_id, function_id)
            self._by_user[user_id] += 1
            self._by_function[function_id] += 1
        try:
            yield
        finally:
            with self._lock:
                _release(self._by_user, user_id)
                _release(self._by_function, function_id)

    def check_function(self, function_id: str) -> None:
        """Raise FunctionBusy or ServerBusy if no call of the function could begin now."""
        with self._lock:
            self._check_function(function_id)

    def _check(self, user_id: int, function_id: str) -> None:
        of_user = self._by_user[user_id]
        if 0 < settings.MAX_CALLS_PER_USER <= of_user:
            raise TooManyCalls(f"You have {of_user} calls in progress. Wait until one has ended.")
        self._check_function(function_id)

    def _check_function(self, function_id: str) -> None:
        of_function = self._by_function[function_id]
        if 0 < settings.MAX_CALLS_PER_FUNCTION <= of_function:
            raise FunctionBusy(
                f"Function '{function_id}' has {of_function} calls in progress. Try again."
            )
        total = self._by_user.total()
        if 0 < settings.MAX_CALLS <= total:
            raise ServerBusy(f"The server has {total} calls in progress. Try again.")


def _release(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


call_limits: Final = CallLimits()
