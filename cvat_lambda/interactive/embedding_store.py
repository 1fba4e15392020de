"""Embeddings of images in Redis, shared by all processes, bounded by bytes and by age.

Redis holds each embedding as the JSON text in which it is sent, so that a click on a known image
neither parses nor builds megabytes. A sorted set of last uses and a hash of sizes bound the bytes;
one script changes both. The bound does not depend on ``maxmemory`` of Redis. A small cache in the
process avoids transfers. While Redis does not answer, no embedding is kept and no call fails.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import redis
from redis.exceptions import LockError, RedisError

from cvat_lambda.conf import settings
from cvat_lambda.interactive.bounded_cache import BoundedCache
from cvat_lambda.redis_client import CircuitBreaker, connect

logger = logging.getLogger(__name__)

# One hash tag: a Redis Cluster keeps all keys in one slot, so that a script may use them.
PREFIX = "{cvat_lambda:embeddings}:"
USES, SIZES, TOTAL = PREFIX + "uses", PREFIX + "sizes", "total"
IN_PROCESS_BYTES = 64 * 1024 * 1024
RENEW_S = 10.0  # a text that is kept in the process has its age in Redis renewed no more often

# KEYS: uses, sizes. ARGV: prefix, member, value, now, age limit, byte limit.
# Members whose value has expired are still counted. They are removed first. Then the least
# recently used ones are removed until the new value fits.
_PUT = """
local uses, sizes = KEYS[1], KEYS[2]
local prefix, member, value = ARGV[1], ARGV[2], ARGV[3]
local now, ttl, limit = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local function forget(name)
  local size = redis.call('HGET', sizes, name)
  redis.call('DEL', prefix .. name)
  redis.call('ZREM', uses, name)
  if size then
    redis.call('HDEL', sizes, name)
    redis.call('HINCRBY', sizes, 'total', -tonumber(size))
  end
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', uses, '-inf', now - ttl)) do forget(name) end
forget(member)
if #value > limit then return 0 end
while tonumber(redis.call('HGET', sizes, 'total') or '0') + #value > limit do
  local oldest = redis.call('ZRANGE', uses, 0, 0)[1]
  if not oldest then redis.call('HSET', sizes, 'total', 0) break end
  forget(oldest)
end
redis.call('SET', prefix .. member, value, 'EX', ttl)
redis.call('ZADD', uses, now, member)
redis.call('HSET', sizes, member, #value)
redis.call('HINCRBY', sizes, 'total', #value)
return 1
"""


class EmbeddingStore:
    """Keeps JSON texts by key. Only `size_bytes` raises errors of Redis."""

    def __init__(
        self, client: redis.Redis | None = None, *, in_process_bytes: int = IN_PROCESS_BYTES
    ) -> None:
        self._client: redis.Redis | None = client
        self._in_process: BoundedCache[bytes] = BoundedCache(in_process_bytes, size_of=len)
        # By key: time.monotonic() at which a text's age was renewed.
        self._renewed_at: BoundedCache[float] = BoundedCache(1024, size_of=lambda at: 1)
        self._breaker = CircuitBreaker()

    @property
    def is_usable(self) -> bool:
        """Whether Redis answers, so that the store can keep an embedding now."""
        if settings.EMBEDDING_CACHE_BYTES <= 0 or self._breaker.is_open:
            return False
        try:
            self._redis().ping()
        except RedisError as exc:
            self._failed(exc)
            return False
        return True

    def get(self, key: str) -> bytes | None:
        """Return the text kept under the key, or None. Reading a text renews its age.

        A text that the process keeps is returned without Redis for `RENEW_S` after a renewal.
        """
        text = self._in_process.get(key)
        if self._breaker.is_open or (text is not None and self._is_renewed(key)):
            return text
        try:
            pipeline = self._redis().pipeline(transaction=False)
            pipeline.expire(PREFIX + key, settings.EMBEDDING_TTL_S)
            pipeline.zadd(USES, {key: time.time()}, xx=True)
            if text is None:
                pipeline.get(PREFIX + key)
            answers: list[Any] = pipeline.execute()
        except RedisError as exc:
            self._failed(exc)
            return text
        if text is None and answers[2] is not None:
            text = bytes(answers[2])
            self._in_process.put(key, text)
        self._renewed_at.put(key, time.monotonic())
        return text

    def renew(self, key: str) -> None:
        """Renew the age of a text in Redis without reading it, at most once in `RENEW_S`."""
        if self._breaker.is_open or self._is_renewed(key):
            return
        try:
            pipeline = self._redis().pipeline(transaction=False)
            pipeline.expire(PREFIX + key, settings.EMBEDDING_TTL_S)
            pipeline.zadd(USES, {key: time.time()}, xx=True)
            pipeline.execute()
        except RedisError as exc:
            self._failed(exc)
        else:
            self._renewed_at.put(key, time.monotonic())

    def _is_renewed(self, key: str) -> bool:
        """Return whether the age of a text was renewed lately."""
        renewed_at = self._renewed_at.get(key)
        period_s = min(RENEW_S, settings.EMBEDDING_TTL_S / 10)
        return renewed_at is not None and time.monotonic() - renewed_at < period_s

    def put(self, key: str, text: bytes) -> None:
        """Keep a text. The least recently used texts are evicted to make room."""
        self._in_process.put(key, text)
        if self._breaker.is_open:
            return
        ttl_s, limit_bytes = settings.EMBEDDING_TTL_S, settings.EMBEDDING_CACHE_BYTES
        values: tuple[Any, ...] = (PREFIX, key, text, time.time(), ttl_s, limit_bytes)
        try:
            self._redis().eval(_PUT, 2, USES, SIZES, *values)
        except RedisError as exc:
            self._failed(exc)
        else:
            self._renewed_at.put(key, time.monotonic())

    def size_bytes(self) -> int:
        """Return the bytes kept in Redis, as the hash of sizes counts them. Raise RedisError."""
        return int(self._redis().hget(SIZES, TOTAL) or 0)

    @contextlib.contextmanager
    def computing(self, key: str, *, timeout_s: float) -> Iterator[None]:
        """Let one caller at a time compute the embedding of a key. The others wait.

        The lock of a process that died expires after ``timeout_s``, and nobody waits longer.
        """
        lock = None
        if not self._breaker.is_open:
            try:
                lock = self._redis().lock(
                    f"{PREFIX}lock:{key}",
                    timeout=timeout_s,
                    blocking_timeout=timeout_s,
                    sleep=0.02,
                )
                if not lock.acquire():
                    lock = None
            except RedisError as exc:
                self._failed(exc)
                lock = None
        try:
            yield
        finally:
            if lock is not None:
                try:
                    lock.release()
                except LockError:
                    pass  # the lock expired before the computation ended
                except RedisError as exc:
                    self._failed(exc)

    def reset(self) -> None:
        """Delete what this process keeps, and connect again when Redis is needed next."""
        self._in_process.clear()
        self._renewed_at.clear()
        self._breaker = CircuitBreaker()
        self._client = None

    def _redis(self) -> redis.Redis:
        if self._client is None:
            self._client = connect()
        return self._client

    def _failed(self, exc: RedisError) -> None:
        self._breaker.trip()
        logger.warning(
            "Redis does not answer: calls continue without kept embeddings",
            extra={"action": "embedding_store_failed", "error": str(exc)},
        )
