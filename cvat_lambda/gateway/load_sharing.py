"""Who else is at a function's door: runs and people of every process, told through Redis.

Web servers and workers are processes of their own, so a gate sees only a part of what goes to its
function. Each process that has a run on a function, or a person who waits for it, says so under
the function's keys, and learns how many others do. One thread does it, some twenty-five times a
second while there is anything to say: a call costs no round trip, and none waits for a Redis that
is away. Whoever falls silent is forgotten after `FRESH_S`.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from cvat_lambda.redis_client import Breaker, connect

logger = logging.getLogger(__name__)

PERIOD_S: Final = 0.03  # between two looks
_GAP_S: Final = 0.01  # between two looks that people bring about, at least
FRESH_S: Final = 2.0  # a process that said nothing for so long is gone
LINGER_S: Final = 3.0  # who had an answer may click again
TURN_S: Final = 2.0  # runs that are more than the places take turns of this length

# KEYS: runs, people, lately. ARGV: member, has a run, has a person, a person left; FRESH_S,
# LINGER_S, TURN_S. The time is that of Redis: clocks of machines differ.
_TELL: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
for place = 1, 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[place], '-inf', now)
  if ARGV[1 + place] == '1' then
    redis.call('ZADD', KEYS[place], now + tonumber(ARGV[5]), ARGV[1])
    redis.call('PEXPIRE', KEYS[place], math.ceil(2000 * tonumber(ARGV[5])))
  else
    redis.call('ZREM', KEYS[place], ARGV[1])
  end
end
if ARGV[4] == '1' then
  redis.call('SET', KEYS[3], '1', 'PX', math.ceil(1000 * tonumber(ARGV[6])))
end
local runs = redis.call('ZRANGE', KEYS[1], 0, -1)
local rank = 0
for _, member in ipairs(runs) do
  if member < ARGV[1] then rank = rank + 1 end
end
return {#runs, rank, math.floor(now / tonumber(ARGV[7])), redis.call('ZCARD', KEYS[2]),
        redis.call('EXISTS', KEYS[3])}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Who is at a function's door, as a process with a run on it needs to know."""

    runs: int = 1  # processes with live runs, this one among them
    rank: int = 0  # of this process among them
    turn: int = 0  # counts the turns; the same for all
    people: bool = False  # somebody waits for an answer
    lately: bool = False  # somebody did, a moment ago

    def share(self, places: int) -> int:
        """This process' part of so many places; what does not divide goes round."""
        each, rest = divmod(places, self.runs)
        return each + ((self.rank + self.turn) % self.runs < rest)


ALONE: Final = Crowd()
Follow = Callable[[Crowd], None]


@dataclass(slots=True)
class _Door:
    """What this process has at one function's door."""

    runs: list[Follow]  # whom to tell
    people: int = 0
    someone_left: bool = False  # and Redis does not know yet


class Crowds:
    """This process' word on all functions; `crowds` is the one that everybody uses."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        """Begin anew, as a forked process must: it has no thread and holds no lock of ours."""
        self._member = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._telling = threading.Lock()  # one at a time, or an old word could follow a newer one
        self._doors: dict[str, _Door] = {}
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._script: Any = None
        self._breaker = Breaker()

    @contextmanager
    def run(self, function_id: str, follow: Follow) -> Iterator[None]:
        """Have a live run on a function; ``follow`` is told who else is there, again and again."""
        with self._lock:
            self._door(function_id).runs.append(follow)
        self._tell(function_id)  # here and now: what is in flight depends on it
        self._keep_telling()
        try:
            yield
        finally:
            with self._lock:
                self._door(function_id).runs.remove(follow)
            self._tell(function_id)  # the process may end before the thread looks
            follow(ALONE)

    @contextmanager
    def person(self, function_id: str) -> Iterator[None]:
        """Have somebody wait for an answer of a function; this never waits for Redis."""
        with self._lock:
            door = self._door(function_id)
            door.people += 1
            is_first = door.people == 1
        if is_first:
            self._keep_telling()
        try:
            yield
        finally:
            with self._lock:
                door = self._door(function_id)
                door.people -= 1
                door.someone_left = True

    def _door(self, function_id: str) -> _Door:
        return self._doors.setdefault(function_id, _Door(runs=[]))

    def _keep_telling(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._tell_all, name="cvat-lambda-crowds", daemon=True
                )
                self._thread.start()
        self._woken.set()

    def _tell_all(self) -> None:
        pause = threading.Event()
        while True:
            with self._lock:
                names = list(self._doors)
            for name in names:
                self._tell(name)
            self._woken.wait(PERIOD_S if names else None)
            self._woken.clear()
            pause.wait(_GAP_S)

    def _tell(self, function_id: str) -> None:
        """Say what this process has at a door, and tell its runs who is there."""
        with self._telling:
            with self._lock:
                door = self._doors.get(function_id)
                if door is None:
                    return
                runs, people, left = list(door.runs), door.people, door.someone_left
                door.someone_left = False
                if not runs and not people:
                    del self._doors[function_id]
            crowd = self._exchange(function_id, bool(runs), bool(people), left)
            for follow in runs:
                follow(crowd)

    def _exchange(self, function_id: str, runs: bool, people: bool, left: bool) -> Crowd:
        if self._breaker.is_open:
            return ALONE
        tag = f"{{cvat_lambda:door:{function_id}}}"  # one slot of a Redis Cluster
        flags = [str(int(flag)) for flag in (runs, people, left)]
        try:
            if self._script is None:
                self._script = connect().register_script(_TELL)
            found = self._script(
                keys=[f"{tag}:runs", f"{tag}:people", f"{tag}:lately"],
                args=[self._member, *flags, FRESH_S, LINGER_S, TURN_S],
            )
        except (RedisError, OSError) as exc:
            self._breaker.trip()
            logger.info(
                "Redis does not answer: requests do not see who else calls their function. %s",
                exc,
                extra={"action": "crowd_failed"},
            )
            return ALONE
        number, rank, turn, waiting, lately = (int(value) for value in found)
        return Crowd(
            runs=max(1, number), rank=rank, turn=turn, people=waiting > 0, lately=lately > 0
        )


crowds: Final = Crowds()
os.register_at_fork(after_in_child=crowds._reset)
