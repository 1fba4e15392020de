"""The client of the app's own Redis, with short timeouts and a circuit breaker."""

from __future__ import annotations

import threading
import time
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cvat_lambda.conf import settings

TIMEOUT_S = 2.0
PAUSE_S = 5.0  # after a failure Redis is not used for so long


def connect() -> redis.Redis:
    """Return a client of ``CVAT_LAMBDA_REDIS_URL``, or of the RQ queue's Redis."""
    if settings.REDIS_URL:
        return connect_to(settings.REDIS_URL)
    import django_rq  # needs Django's settings

    pool = django_rq.get_connection(settings.QUEUE).connection_pool
    return redis.Redis(
        connection_pool=redis.ConnectionPool(
            connection_class=pool.connection_class, **{**pool.connection_kwargs, **_options()}
        )
    )


def connect_to(url: str) -> redis.Redis:
    """Return a client of a Redis server."""
    return redis.Redis.from_url(url, **_options())


def _options() -> dict[str, Any]:
    return {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        # One retry is enough for a stale connection; newer clients would retry for seconds.
        "retry": Retry(NoBackoff(), 1),
    }


class CircuitBreaker:
    """Opens when Redis fails; while it is open, Redis is not used."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._closed_at = 0.0  # time.monotonic() from which Redis is used again

    @property
    def is_open(self) -> bool:
        """Return whether Redis must not be used now."""
        return time.monotonic() < self._closed_at

    def trip(self) -> None:
        """Open the breaker for a while."""
        with self._lock:
            self._closed_at = time.monotonic() + self._pause_s
