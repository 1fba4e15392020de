"""The counts of calls with a real Redis, and while Redis does not answer."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
import redis
from pytest_django import Settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from cvat_lambda.interactive.call_counts import CallCounts
from tests.ports import closed_port, silent_redis_url
from tests.waiting import wait_for


def test_calls_of_all_processes_are_counted_by_function(clean_redis: str) -> None:
    one, other = CallCounts(), CallCounts()
    for counts in (one, other, other):
        counts.add("finder")
    one.add("tracker")
    other.send()
    assert (one.last_hour("finder"), one.last_hour("tracker"), one.last_hour("none")) == (3, 1, 0)


def test_counts_reach_other_processes_without_being_sent_by_hand(clean_redis: str) -> None:
    one, other = CallCounts(), CallCounts()
    one.add("finder")
    wait_for("the count", lambda: other.last_hour("finder"), lambda found: found == 1)
    one.add("finder")  # after the first ones were sent
    wait_for("the second count", lambda: other.last_hour("finder"), lambda found: found == 2)


def test_counts_that_another_thread_is_sending_are_in_the_number_of_the_last_hour(
    clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvat_lambda.redis_client.TIMEOUT_S", 120.0)
    counts = CallCounts()
    found: list[int | None] = []
    sending = threading.Thread(target=counts.send)
    reading = threading.Thread(target=lambda: found.append(counts.last_hour("finder")))
    with redis.Redis.from_url(clean_redis) as client:
        client.client_pause(100_000, all=False)  # writes wait
        counts.add("finder")
        sending.start()
        wait_for("a write that waits", lambda: blocked_clients(client))
        reading.start()
        reading.join(0.3)  # it ended at once, without the count
        client.client_unpause()
    sending.join()
    reading.join()
    assert found == [1]


def blocked_clients(client: redis.Redis) -> int:
    found: Any = client.info("clients")
    return int(found["blocked_clients"])


def test_count_of_a_call_does_not_wait_for_a_redis_that_hangs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvat_lambda.redis_client.TIMEOUT_S", 120.0)
    with silent_redis_url() as settings.CVAT_LAMBDA_REDIS_URL:
        counts = CallCounts()
        for _ in range(200):  # if they waited for Redis, it would take hours
            counts.add("hung")


_CALL: str = """
import django

django.setup()
from cvat_lambda.interactive.caches import get_caches

get_caches().call_counts.add("finder")
"""


def test_last_call_of_a_process_is_counted(clean_redis: str, child_env: dict[str, str]) -> None:
    """The counts of the last half second were lost with each process that ended."""
    subprocess.run([sys.executable, "-c", _CALL], env=child_env, check=True)
    assert CallCounts().last_hour("finder") == 1


def test_counts_expire_after_the_hour(clean_redis: str) -> None:
    counts = CallCounts()
    counts.add("finder")
    counts.send()
    with redis.Redis.from_url(clean_redis) as client:
        (key,) = client.scan_iter("cvat_lambda:calls:finder:*")
        assert 3600 <= client.ttl(key) <= 3660


def test_calls_are_not_counted_and_do_not_fail_while_redis_does_not_answer() -> None:
    with redis.Redis(port=closed_port(), retry=Retry(NoBackoff(), 0)) as dead:
        counts = CallCounts(dead)
        counts.add("finder")
        assert counts.last_hour("finder") is None
