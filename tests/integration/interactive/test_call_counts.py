"""The counts of calls with a real Redis, and while Redis does not answer."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cvat_lambda.interactive.call_counts import CallCounts
from tests.ports import closed_port


def test_calls_of_all_processes_are_counted_by_function(clean_redis: str) -> None:
    one, other = CallCounts(), CallCounts()
    for counts in (one, other, other):
        counts.add("finder")
    one.add("tracker")
    assert (one.last_hour("finder"), one.last_hour("tracker"), one.last_hour("none")) == (3, 1, 0)


def test_counts_expire_after_the_hour(clean_redis: str) -> None:
    CallCounts().add("finder")
    with redis.Redis.from_url(clean_redis) as client:
        (key,) = client.scan_iter("cvat_lambda:calls:*")
        assert 3600 <= client.ttl(key) <= 3660


def test_calls_are_not_counted_and_do_not_fail_while_redis_does_not_answer() -> None:
    with redis.Redis(port=closed_port(), retry=Retry(NoBackoff(), 0)) as dead:
        counts = CallCounts(dead)
        counts.add("finder")
        assert counts.last_hour("finder") is None
