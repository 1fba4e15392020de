"""Who is at a function's door, told from process to process through a real Redis."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from cvat_lambda.gateway.load_sharing import ALONE, Crowd, Crowds, crowds


class Follower:
    """A run that is told; what lasts for a moment may be over when the test looks."""

    def __init__(self) -> None:
        self.told = [ALONE]

    @property
    def crowd(self) -> Crowd:
        return self.told[-1]

    def __call__(self, crowd: Crowd) -> None:
        self.told.append(crowd)


def wait_for(what: Callable[[], object], timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_live_runs_of_all_processes_share_the_places(clean_redis: str) -> None:
    followers = [Follower() for _ in range(3)]
    with ExitStack() as stack:
        for follower in followers:
            stack.enter_context(Crowds().run("fn", follower))
        wait_for(
            lambda: (
                sorted((run.crowd.runs, run.crowd.rank) for run in followers)
                == [(3, 0), (3, 1), (3, 2)]
            )
        )
        other = Follower()
        stack.enter_context(Crowds().run("another", other))
        assert other.crowd.runs == 1
    assert [follower.crowd for follower in followers] == [ALONE] * 3
    last = Follower()
    with Crowds().run("fn", last):  # those that ended are not waited for
        assert last.crowd.runs == 1


def test_a_person_is_seen_by_the_runs_of_other_processes_and_remembered_for_a_moment(
    clean_redis: str,
) -> None:
    follower, people = Follower(), Crowds()
    with Crowds().run("fn", follower):
        assert not follower.crowd.people
        with people.person("fn"):
            wait_for(lambda: follower.crowd.people)
            time.sleep(2.5)  # longer than an entry lives: it is kept fresh
            wait_for(lambda: follower.crowd.people)
        wait_for(lambda: not follower.crowd.people)
        assert any(crowd.lately and not crowd.people for crowd in follower.told)
        wait_for(lambda: not follower.crowd.lately)


def test_a_process_that_falls_silent_is_forgotten(
    clean_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvat_lambda.gateway.load_sharing.FRESH_S", 5.0)
    gone = Crowds()
    gone._keep_telling = lambda: None  # type: ignore[method-assign]  # killed: it says nothing more
    follower = Follower()
    with gone.run("fn", Follower()), Crowds().run("fn", follower):
        wait_for(lambda: follower.crowd.runs == 1)
        assert 2 in [crowd.runs for crowd in follower.told]


@contextmanager
def silent_server() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_a_redis_that_hangs_costs_a_person_nothing(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvat_lambda.redis_client.TIMEOUT_S", 120.0)
    with silent_server() as settings.CVAT_LAMBDA_REDIS_URL:
        hung = Crowds()
        began = time.monotonic()
        for _ in range(200):
            with hung.person("fn"):
                pass
        assert time.monotonic() - began < 60.0  # none of them waited for Redis


def test_without_redis_each_process_is_alone(settings: Any) -> None:
    settings.CVAT_LAMBDA_REDIS_URL = "redis://127.0.0.1:1/0"
    cut_off, follower = Crowds(), Follower()
    with cut_off.run("fn", follower), cut_off.person("fn"):
        time.sleep(0.1)
        assert follower.crowd == ALONE


def test_a_forked_process_speaks_for_itself(clean_redis: str) -> None:
    """RQ forks a process for each job, without the threads of its parent."""
    follower = Follower()
    with crowds.run("fn", follower):
        told, tell = os.pipe()
        ended, end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                theirs = Follower()
                with crowds.run("fn", theirs):
                    wait_for(lambda: theirs.crowd.runs == 2)
                    os.write(tell, b"!")
                    os.read(ended, 1)
            finally:
                os._exit(0)
        os.close(tell)  # the child's alone: where it fails, there is nothing to read
        try:
            assert os.read(told, 1) == b"!"
            wait_for(lambda: follower.crowd.runs == 2)
        finally:
            os.write(end, b"!")
            os.waitpid(child, 0)
            for pipe in (told, ended, end):
                os.close(pipe)
        wait_for(lambda: follower.crowd.runs == 1)


@pytest.mark.parametrize("places", [1, 3, 4, 10])
@pytest.mark.parametrize("runs", [1, 2, 3, 7])
def test_shares_add_up_and_what_does_not_divide_goes_round(places: int, runs: int) -> None:
    had = dict.fromkeys(range(runs), 0)
    for turn in range(runs):
        shares = [Crowd(runs=runs, rank=rank, turn=turn).share(places) for rank in range(runs)]
        assert sum(shares) == places
        for rank, share in enumerate(shares):
            had[rank] += share
    assert set(had.values()) == {places}


def test_threads_that_come_and_go_leave_nothing_behind(clean_redis: str) -> None:
    people = Crowds()

    def click() -> None:
        for _ in range(20):
            with people.person("fn"):
                time.sleep(0.001)

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: not people._doors)
