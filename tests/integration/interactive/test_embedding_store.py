"""The embedding store with a real Redis: its limit, sharing by processes, and Redis failures."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from pytest_django import Settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from cvat_lambda.interactive.embedding_store import PREFIX, SIZES, USES, EmbeddingStore


@pytest.fixture
def client(clean_redis: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(clean_redis) as client:
        yield client


@pytest.fixture
def store(client: redis.Redis) -> EmbeddingStore:
    """A store without a cache in the process, so that it always reads from Redis."""
    return EmbeddingStore(client, in_process_bytes=0)


def test_embedding_stored_by_one_process_is_read_by_another(
    store: EmbeddingStore, client: redis.Redis
) -> None:
    store.put("key", b"text")
    assert EmbeddingStore(client).get("key") == b"text"
    assert store.get("other") is None


def test_put_beyond_the_limit_evicts_the_least_recently_used_embeddings(
    store: EmbeddingStore, client: redis.Redis, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_EMBEDDING_CACHE_BYTES = 100
    for name in ("a", "b", "c", "d"):
        store.put(name, name.encode() * 25)
    assert store.get("a") == b"a" * 25
    store.put("e", b"e" * 40)
    assert [name for name in "abcde" if store.get(name) is not None] == ["a", "d", "e"]
    assert store.size_bytes() == 90
    assert client.zcard(USES) == 3
    assert not client.exists(PREFIX + "b", PREFIX + "c")


def test_text_larger_than_the_limit_is_not_stored(
    store: EmbeddingStore, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_EMBEDDING_CACHE_BYTES = 100
    store.put("small", bytes(60))
    store.put("large", bytes(101))
    assert store.get("large") is None
    assert store.get("small") == bytes(60)
    assert store.size_bytes() == 60


def test_text_that_is_put_twice_is_counted_once(store: EmbeddingStore, client: redis.Redis) -> None:
    store.put("key", bytes(60))
    store.put("key", bytes(10))
    assert store.size_bytes() == 10
    assert client.hgetall(SIZES) == {b"total": b"10", b"key": b"10"}


def test_expired_texts_are_not_counted(store: EmbeddingStore, client: redis.Redis) -> None:
    store.put("old", bytes(50))
    client.delete(PREFIX + "old")  # as Redis does when the key expires
    client.zadd(USES, {"old": time.time() - 25 * 3600})
    store.put("new", bytes(10))
    assert store.size_bytes() == 10
    assert client.zrange(USES, 0, -1) == [b"new"]


def test_get_renews_the_age_of_an_embedding(store: EmbeddingStore, client: redis.Redis) -> None:
    store.put("key", b"text")
    client.expire(PREFIX + "key", 10)
    store.get("key")
    assert client.ttl(PREFIX + "key") > 23 * 3600


def test_get_of_an_evicted_embedding_adds_no_bookkeeping(
    store: EmbeddingStore, client: redis.Redis
) -> None:
    assert store.get("gone") is None
    assert client.zcard(USES) == 0


def test_embedding_cached_in_the_process_is_not_read_from_redis(client: redis.Redis) -> None:
    near = EmbeddingStore(client, in_process_bytes=1000)
    near.put("key", b"text")
    client.flushall()
    assert near.get("key") == b"text"


def test_embedding_cached_in_the_process_is_renewed_in_redis_once_a_period(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = EmbeddingStore(client, in_process_bytes=1000)
    near.put("key", b"text")
    client.expire(PREFIX + "key", 10)
    near.get("key")
    assert client.ttl(PREFIX + "key") <= 10
    monkeypatch.setattr("cvat_lambda.interactive.embedding_store.RENEW_S", 0.0)
    near.get("key")
    assert client.ttl(PREFIX + "key") > 23 * 3600


def test_counted_bytes_are_right_after_many_concurrent_writes(
    client: redis.Redis, settings: Settings
) -> None:
    settings.CVAT_LAMBDA_EMBEDDING_CACHE_BYTES = 1000

    def write(writer: int) -> None:
        store = EmbeddingStore(client, in_process_bytes=0)
        for number in range(40):
            store.put(f"{(writer * 7 + number) % 30}", bytes(20 + writer * number % 60))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    books: dict[bytes, bytes] = client.hgetall(SIZES)  # type: ignore[assignment]
    sizes = {name: int(size) for name, size in books.items() if name != b"total"}
    stored = {name: client.strlen(PREFIX + name.decode()) for name in sizes}
    assert stored == sizes
    assert sum(sizes.values()) == EmbeddingStore(client).size_bytes() <= 1000
    assert set(client.zrange(USES, 0, -1)) == set(sizes)


def test_two_callers_at_once_compute_an_embedding_once(
    store: EmbeddingStore, client: redis.Redis
) -> None:
    other = EmbeddingStore(client, in_process_bytes=0)
    computed: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def click(mine: EmbeddingStore, name: str) -> bytes | None:
        with mine.computing("key", timeout_s=30):
            found = mine.get("key")
            if found is None:
                computed.append(name)
                inside.set()
                assert go_on.wait(180)
                mine.put("key", b"embedding")
            return mine.get("key")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(click, store, "first")
        assert inside.wait(180)
        second = threads.submit(click, other, "second")
        go_on.set()
        assert (first.result(180), second.result(180)) == (b"embedding", b"embedding")
    assert computed == ["first"]


def test_lock_of_a_dead_process_expires_after_its_timeout(
    store: EmbeddingStore, client: redis.Redis
) -> None:
    client.set(f"{PREFIX}lock:key", "of a dead process")
    entered = []
    with store.computing("key", timeout_s=0.1):
        entered.append(True)
    assert entered == [True]


@pytest.fixture
def dead_redis() -> redis.Redis:
    """A client of Redis with a closed port."""
    return redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))


def test_store_without_redis_stores_nothing_and_raises_no_error(dead_redis: redis.Redis) -> None:
    store = EmbeddingStore(dead_redis, in_process_bytes=0)
    assert store.is_usable is False
    store.put("key", b"text")
    assert store.get("key") is None
    with store.computing("key", timeout_s=1):
        pass


def test_redis_that_failed_is_not_used_during_the_pause() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        port = listening.getsockname()[1]
        client = redis.Redis(port=port, socket_timeout=0.1, retry=Retry(NoBackoff(), 0))
        store = EmbeddingStore(client)
        assert store.get("key") is None  # Redis does not answer
        while True:  # accept the connections of this attempt
            try:
                listening.accept()[0].close()
            except BlockingIOError:
                break
        assert store.get("key") is None
        assert store.is_usable is False
        store.put("key", b"text")
        with pytest.raises(BlockingIOError):  # no connection was made since
            listening.accept()


def test_store_with_a_limit_of_zero_bytes_is_not_usable(
    store: EmbeddingStore, settings: Settings
) -> None:
    assert store.is_usable is True
    settings.CVAT_LAMBDA_EMBEDDING_CACHE_BYTES = 0
    assert store.is_usable is False


def test_store_uses_the_redis_of_the_queue(clean_redis: str, settings: Settings) -> None:
    settings.CVAT_LAMBDA_REDIS_URL = ""
    EmbeddingStore().put("key", b"text")
    settings.CVAT_LAMBDA_REDIS_URL = clean_redis
    assert EmbeddingStore().get("key") == b"text"
