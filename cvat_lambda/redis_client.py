"""The Redis of the app's own caches, used so that nobody waits for a Redis that is away."""

from __future__ import annotations

import threading
import time
from typing import Any

import django_rq
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cvat_lambda.conf import settings

TIMEOUT_S = 2.0
PAUSE_S = 5.0  # after a failure Redis is left alone for so long


def connect() -> redis.Redis:
    """A client of ``CVAT_LAMBDA_REDIS_URL``, or of the RQ queue's Redis, with short timeouts."""
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        # Newer clients would try for seconds; once more is enough for a connection gone stale.
        "retry": Retry(NoBackoff(), 1),
    }
    if settings.REDIS_URL:
        return redis.Redis.from_url(settings.REDIS_URL, **options)
    pool = django_rq.get_connection(settings.QUEUE).connection_pool
    return redis.Redis(
        connection_pool=redis.ConnectionPool(
            connection_class=pool.connection_class, **{**pool.connection_kwargs, **options}
        )
    )


class CircuitBreaker:
    """Remembers that Redis failed just now."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._closed_at = 0.0  # time.monotonic() from which Redis is asked again

    @property
    def is_open(self) -> bool:
        """Whether Redis is to be left alone."""
        return time.monotonic() < self._closed_at

    def trip(self) -> None:
        """Leave Redis alone for a while."""
        with self._lock:
            self._closed_at = time.monotonic() + self._pause_s
