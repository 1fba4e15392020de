"""The cache of values that weigh bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvat_lambda.interactive.lru import ByteLru


@pytest.fixture
def cache() -> ByteLru[bytes]:
    return ByteLru(100, weigh=len)


def test_a_value_is_kept_until_room_is_needed(cache: ByteLru[bytes]) -> None:
    for number in range(5):
        cache.put(str(number), bytes(20))
    assert cache.get("0") == bytes(20)  # now the most recently used
    cache.put("5", bytes(20))
    assert cache.get("0") == bytes(20)
    assert cache.get("1") is None
    assert cache.size_bytes == 100


def test_a_value_that_would_push_out_the_others_is_not_kept(cache: ByteLru[bytes]) -> None:
    cache.put("small", bytes(10))
    cache.put("large", bytes(26))
    assert cache.get("large") is None
    assert cache.get("small") == bytes(10)


def test_a_large_value_forgets_the_small_one_under_its_key(cache: ByteLru[bytes]) -> None:
    cache.put("key", b"old")
    cache.put("key", bytes(26))
    assert cache.get("key") is None
    assert cache.size_bytes == 0


def test_a_dropped_value_weighs_nothing(cache: ByteLru[bytes]) -> None:
    cache.put("key", b"value")
    cache.drop("key")
    cache.drop("never kept")
    assert (cache.get("key"), cache.size_bytes) == (None, 0)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.binary(max_size=40)), max_size=60))
def test_it_never_weighs_more_than_its_limit_and_counts_right(
    puts: list[tuple[str, bytes]],
) -> None:
    cache: ByteLru[bytes] = ByteLru(100, weigh=len)
    for key, value in puts:
        cache.put(key, value)
        assert cache.size_bytes <= 100
    kept = [cache.get(key) for key in "abcdefgh"]
    assert cache.size_bytes == sum(len(value) for value in kept if value is not None)
