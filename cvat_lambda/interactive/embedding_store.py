"""Embeddings of images, shared by all processes: kept in Redis, bounded by bytes and by age.

Redis holds each embedding as the JSON text in which it travels, so that a click on a known image
neither parses nor builds megabytes. Own bookkeeping (a sorted set of last uses and a hash of
sizes, changed by one script) bounds the bytes whatever Redis' own ``maxmemory`` says. A small
cache in the process spares the transfer. Without Redis nothing is kept, and nothing fails.
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
from cvat_lambda.interactive.lru import ByteLru
from cvat_lambda.redis_client import CircuitBreaker, connect

logger = logging.getLogger(__name__)

# One hash tag, so that a Redis Cluster keeps all of it in one place and scripts may touch it.
PREFIX = "{cvat_lambda:embeddings}:"
USES, SIZES, TOTAL = PREFIX + "uses", PREFIX + "sizes", "total"
IN_PROCESS_BYTES = 64 * 1024 * 1024

# KEYS: uses, sizes. ARGV: prefix, member, value, now, age limit, byte limit.
# Members whose value has expired are still counted, so they go first; then the least recently
# used ones until the new value fits.
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
    """Keeps JSON texts by key. No method raises because Redis is away."""

    def __init__(
        self, client: redis.Redis | None = None, *, in_process_bytes: int = IN_PROCESS_BYTES
    ) -> None:
        self._client: redis.Redis | None = client
        self._near: ByteLru[bytes] = ByteLru(in_process_bytes, weigh=len)
        self._breaker = CircuitBreaker()

    @property
    def is_usable(self) -> bool:
        """Whether it is worth asking a function for an embedding now."""
        if settings.EMBEDDING_CACHE_BYTES <= 0 or self._breaker.is_open:
            return False
        try:
            self._redis().ping()
        except RedisError as exc:
            self._failed(exc)
            return False
        return True

    def get(self, key: str) -> bytes | None:
        """The text kept under the key, whose age begins anew; None if there is none."""
        near = self._near.get(key)
        if self._breaker.is_open:
            return near
        ttl_s = settings.EMBEDDING_TTL_S
        try:
            pipeline = self._redis().pipeline(transaction=False)
            pipeline.expire(PREFIX + key, ttl_s)
            pipeline.zadd(USES, {key: time.time()}, xx=True)
            if near is None:
                pipeline.get(PREFIX + key)
            answers: list[Any] = pipeline.execute()
        except RedisError as exc:
            self._failed(exc)
            return near
        if near is not None:
            return near
        text: bytes | None = answers[2]
        if text is not None:
            self._near.put(key, text)
        return text

    def put(self, key: str, text: bytes) -> None:
        """Keep a text; the least recently used ones make room."""
        self._near.put(key, text)
        if self._breaker.is_open:
            return
        ttl_s, limit_bytes = settings.EMBEDDING_TTL_S, settings.EMBEDDING_CACHE_BYTES
        values: tuple[Any, ...] = (PREFIX, key, text, time.time(), ttl_s, limit_bytes)
        try:
            self._redis().eval(_PUT, 2, USES, SIZES, *values)
        except RedisError as exc:
            self._failed(exc)

    def size_bytes(self) -> int:
        """Bytes kept in Redis, by the bookkeeping. Raise RedisError."""
        return int(self._redis().hget(SIZES, TOTAL) or 0)

    @contextlib.contextmanager
    def computing(self, key: str, *, timeout_s: float) -> Iterator[None]:
        """One caller at a time computes the embedding of a key; others wait, then look again.

        A holder that died lets go after ``timeout_s``; nobody waits longer than that.
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
                    pass  # it took longer than the lock lasts
                except RedisError as exc:
                    self._failed(exc)

    def _redis(self) -> redis.Redis:
        if self._client is None:
            self._client = connect()
        return self._client

    def _failed(self, exc: RedisError) -> None:
        self._breaker.trip()
        logger.warning(
            "Redis does not answer: clicks go on without kept embeddings",
            extra={"action": "embedding_store_failed", "error": str(exc)},
        )


store = EmbeddingStore()
