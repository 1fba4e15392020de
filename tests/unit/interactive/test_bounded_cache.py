"""`BoundedCache`, whose limit is a number of bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.interactive.bounded_cache import BoundedCache


@pytest.fixture
def cache() -> BoundedCache[bytes]:
    return BoundedCache(100, size_of=len)


def test_put_beyond_the_limit_evicts_the_least_recently_used_value(
    cache: BoundedCache[bytes],
) -> None:
    for number in range(5):
        cache.put(str(number), bytes(20))
    assert cache.get("0") == bytes(20)  # now "0" is the most recently used key
    cache.put("5", bytes(20))
    assert cache.get("0") == bytes(20)
    assert cache.get("1") is None
    assert cache.size == 100


def test_value_larger_than_a_quarter_of_the_limit_is_not_cached(
    cache: BoundedCache[bytes],
) -> None:
    cache.put("small", bytes(10))
    cache.put("large", bytes(26))
    assert cache.get("large") is None
    assert cache.get("small") == bytes(10)


def test_put_of_a_too_large_value_deletes_the_old_value(cache: BoundedCache[bytes]) -> None:
    cache.put("key", b"old")
    cache.put("key", bytes(26))
    assert cache.get("key") is None
    assert cache.size == 0


def test_clear_deletes_every_value(cache: BoundedCache[bytes]) -> None:
    cache.put("key", b"value")
    cache.clear()
    assert (cache.get("key"), cache.size) == (None, 0)


def test_size_stays_within_the_limit_with_concurrent_threads(cache: BoundedCache[bytes]) -> None:
    def use(number: int) -> None:
        for i in range(2000):
            cache.put(str((number * 7 + i) % 50), bytes(i % 25))
            cache.get(str(i % 50))

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(use, number) for number in range(8)]:
            done.result()
    kept = [cache.get(str(key)) for key in range(50)]
    assert cache.size == sum(len(value) for value in kept if value is not None) <= 100


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.binary(max_size=40)), max_size=60))
def test_size_stays_right_and_within_the_limit_after_any_puts(
    puts: list[tuple[str, bytes]],
) -> None:
    cache: BoundedCache[bytes] = BoundedCache(100, size_of=len)
    for key, value in puts:
        cache.put(key, value)
        assert cache.size <= 100
    kept = [cache.get(key) for key in "abcdefgh"]
    assert cache.size == sum(len(value) for value in kept if value is not None)
