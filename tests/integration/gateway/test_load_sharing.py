"""Load sharing between processes through a real Redis."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import redis
from pytest_django import Settings

from cvat_lambda.gateway.gateway import get_gateway
from cvat_lambda.gateway.load_sharing import NO_OTHER_LOAD, FunctionLoad, LoadRegistry
from tests.ports import silent_redis_url
from tests.waiting import wait_for


class Follower:
    """Stands for a background run. It records every load that it gets."""

    def __init__(self) -> None:
        self.told = [NO_OTHER_LOAD]

    @property
    def load(self) -> FunctionLoad:
        return self.told[-1]

    def __call__(self, load: FunctionLoad) -> None:
        self.told.append(load)

    def wait_for_load(self, awaited: str, holds: Callable[[FunctionLoad], bool]) -> None:
        wait_for(awaited, lambda: self.load, holds, pause_s=0.005)


def test_runs_of_all_processes_get_different_ranks(clean_redis: str) -> None:
    followers = [Follower() for _ in range(3)]
    with ExitStack() as stack:
        for follower in followers:
            stack.enter_context(LoadRegistry().background_run("fn", follower))
        wait_for(
            "three ranks",
            lambda: sorted((run.load.runs, run.load.rank) for run in followers),
            lambda found: found == [(3, 0), (3, 1), (3, 2)],
        )
        other = Follower()
        stack.enter_context(LoadRegistry().background_run("another", other))
        assert other.load.runs == 1
    assert [follower.load for follower in followers] == [NO_OTHER_LOAD] * 3
    last = Follower()
    with LoadRegistry().background_run("fn", last):  # ended runs are not counted
        assert last.load.runs == 1


def test_interactive_caller_is_published_to_other_processes_until_shortly_after_its_end(
    clean_redis: str,
) -> None:
    follower, people = Follower(), LoadRegistry()
    with LoadRegistry().background_run("fn", follower):
        assert not follower.load.interactive
        with people.interactive_call("fn"):
            follower.wait_for_load("an interactive call", lambda load: load.interactive)
            time.sleep(2.5)  # longer than the expiry of an entry, which is renewed
            follower.wait_for_load("an interactive call", lambda load: load.interactive)
        follower.wait_for_load("the end of the call", lambda load: not load.interactive)
        assert any(load.recently_interactive and not load.interactive for load in follower.told)
        follower.wait_for_load("no recent call", lambda load: not load.recently_interactive)


RECENT = "{cvat_lambda:load:fn}:recent"  # a key that the end of a call sets


def test_calls_on_a_function_without_a_run_are_published_once_in_a_while(
    clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvat_lambda.gateway.load_sharing.QUIET_S", 600.0)
    people, follower = LoadRegistry(), Follower()
    with redis.Redis.from_url(clean_redis) as client:
        with people.interactive_call("fn"):
            pass
        wait_for("the end of the first call", lambda: client.exists(RECENT))
        client.delete(RECENT)
        for _ in range(20):
            with people.interactive_call("fn"):
                pass
        with people.background_run("other", follower):
            wait_for("some rounds of the thread", lambda: len(follower.told), lambda n: n > 4)
        assert not client.exists(RECENT)


def test_caller_is_published_to_a_run_that_began_after_a_call_without_one(
    clean_redis: str,
) -> None:
    people, follower = LoadRegistry(), Follower()
    with redis.Redis.from_url(clean_redis) as client:
        with people.interactive_call("fn"):
            pass
        wait_for("the end of the first call", lambda: client.exists(RECENT))
    with LoadRegistry().background_run("fn", follower), people.interactive_call("fn"):
        follower.wait_for_load("an interactive call", lambda load: load.interactive)


@contextmanager
def forked_run() -> Iterator[int]:
    """A background run in a forked process that sees two runs. Yield the id of the process."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            follower = Follower()
            with get_gateway().load.background_run("fn", follower):
                follower.wait_for_load("two runs", lambda load: load.runs == 2)
                os.write(write_end, b"!")
                signal.sigwait([signal.SIGTERM])
        finally:
            os._exit(0)
    os.close(write_end)  # a read of nothing means that the child has failed
    try:
        assert os.read(read_end, 1) == b"!"
        yield child
    finally:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        os.close(read_end)


def test_entry_of_a_killed_process_expires(clean_redis: str) -> None:
    follower = Follower()
    with get_gateway().load.background_run("fn", follower), forked_run() as child:
        follower.wait_for_load("two runs", lambda load: load.runs == 2)
        os.kill(child, signal.SIGKILL)
        follower.wait_for_load("one run", lambda load: load.runs == 1)


def test_interactive_call_does_not_wait_for_a_redis_that_hangs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvat_lambda.redis_client.TIMEOUT_S", 120.0)
    with silent_redis_url() as settings.CVAT_LAMBDA_REDIS_URL:
        hung = LoadRegistry()
        for _ in range(200):  # if they waited for Redis, it would take hours
            with hung.interactive_call("fn"):
                pass


def test_load_without_redis_is_that_of_one_process(settings: Settings) -> None:
    settings.CVAT_LAMBDA_REDIS_URL = "redis://127.0.0.1:1/0"
    cut_off, follower = LoadRegistry(), Follower()
    with cut_off.background_run("fn", follower), cut_off.interactive_call("fn"):
        time.sleep(0.1)
        assert follower.load == NO_OTHER_LOAD


def test_forked_process_publishes_its_own_load(clean_redis: str) -> None:
    """RQ forks a process for each job. The child does not have the threads of its parent."""
    follower = Follower()
    with get_gateway().load.background_run("fn", follower):
        with forked_run():
            follower.wait_for_load("two runs", lambda load: load.runs == 2)
        follower.wait_for_load("one run", lambda load: load.runs == 1)


@pytest.mark.parametrize("places", [1, 3, 4, 10])
@pytest.mark.parametrize("runs", [1, 2, 3, 7])
def test_shares_of_all_runs_add_up_and_the_remainder_rotates(places: int, runs: int) -> None:
    had = dict.fromkeys(range(runs), 0)
    for rotation in range(runs):
        shares = [
            FunctionLoad(runs=runs, rank=rank, rotation=rotation).share(places)
            for rank in range(runs)
        ]
        assert sum(shares) == places
        for rank, share in enumerate(shares):
            had[rank] += share
    assert set(had.values()) == {places}


def test_load_is_empty_after_many_short_calls(clean_redis: str) -> None:
    people = LoadRegistry()

    def click() -> None:
        for _ in range(20):
            with people.interactive_call("fn"):
                time.sleep(0.001)

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    follower = Follower()
    with LoadRegistry().background_run("fn", follower):
        follower.wait_for_load("the end of the calls", lambda load: not load.interactive)
