"""How many calls each function got in each minute of the last hour, from all processes.

The counts are in Redis and expire by themselves. A process sends those of its calls together, up
to `SEND_AFTER_S` later and in a thread of its own, so that no caller waits for Redis. While Redis
does not answer, calls are not counted, and no call fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Any, Final

import redis
from redis.exceptions import RedisError

from cvat_lambda.redis_client import CircuitBreaker, connect

logger = logging.getLogger(__name__)

PERIOD_MIN: Final = 60
SEND_AFTER_S: Final = 0.5
_PREFIX: Final = "cvat_lambda:calls"
_KEPT_S: Final = 60 * (PERIOD_MIN + 1)


class CallCounts:
    """Counts calls by function and minute. Safe for threads."""

    def __init__(self, client: redis.Redis | None = None) -> None:
        self._lock = threading.Lock()
        self._sending = threading.Lock()  # who reads the counts waits until they have arrived
        self._client = client
        self._breaker = CircuitBreaker()
        self._unsent: Counter[str] = Counter()  # by key

    def add(self, function_id: str) -> None:
        """Count a call that ends now."""
        with self._lock:
            is_first = not self._unsent
            self._unsent[_key(function_id, _minute())] += 1
        if is_first:
            timer = threading.Timer(SEND_AFTER_S, self.send)
            # Not a daemon: a process that ends sends its last counts.
            timer.name, timer.daemon = "cvat-lambda-call-counts", False
            timer.start()

    def send(self) -> None:
        """Send the counts that were not sent yet."""

        def fill(pipeline: Any) -> None:
            for key, number in unsent.items():
                pipeline.incrby(key, number).expire(key, _KEPT_S)

        with self._sending:
            with self._lock:
                unsent, self._unsent = self._unsent, Counter()
            if unsent:
                self._run(fill)

    def last_hour(self, function_id: str) -> int | None:
        """Return the number of calls of the last `PERIOD_MIN` minutes; None if it is not known.

        Calls of the last moment are missing if another process got them.
        """
        self.send()
        now = _minute()
        keys = [_key(function_id, now - ago) for ago in range(PERIOD_MIN)]
        answers = self._run(lambda pipeline: pipeline.mget(keys))
        if answers is None:
            return None
        return sum(int(value) for value in answers[0] if value is not None)

    def _run(self, fill: Any) -> list[Any] | None:
        """Return the answers to a pipeline's commands; None while Redis does not answer."""
        if self._breaker.is_open:
            return None
        try:
            with self._redis().pipeline(transaction=False) as pipeline:
                fill(pipeline)
                return list(pipeline.execute())
        except RedisError as exc:
            self._breaker.trip()
            logger.warning(
                "Redis does not answer: calls are not counted",
                extra={"action": "call_counts_failed", "error": str(exc)},
            )
            return None

    def _redis(self) -> redis.Redis:
        with self._lock:
            if self._client is None:
                self._client = connect()
            return self._client


def _minute() -> int:
    return int(time.time() // 60)


def _key(function_id: str, minute: int) -> str:
    return f"{_PREFIX}:{function_id}:{minute}"
