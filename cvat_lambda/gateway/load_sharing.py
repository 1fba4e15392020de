"""Share the load of each function between processes: publish the own load, read that of others.

Web servers and workers are separate processes, and a concurrency limiter sees the calls of its own
process only. Each process that has a background run on a function, or an interactive caller who
waits for it, publishes this in Redis under the function's keys and reads what the others
published. One thread does so, about 25 times a second for a run. A process without a run publishes
the beginning and the end of calls, and renews them every `RENEW_S`; if it saw no run on the
function, it does so once in `QUIET_S`, and other calls do not wake the thread. A call does not wait
for Redis. An entry expires after `FRESH_S`.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import RedisError

from cvat_lambda.redis_client import CircuitBreaker, connect

logger = logging.getLogger(__name__)

PERIOD_S: Final = 0.03  # between two publications
_GAP_S: Final = 0.01  # minimum time between two publications that new callers cause
RENEW_S: Final = 0.5  # between two publications of a load that does not change
QUIET_S: Final = 1.0  # a run that begins may miss the callers of this time
FRESH_S: Final = 2.0  # an entry that its process has not renewed for this time expires
LINGER_S: Final = 3.0  # a caller who had an answer may click again within this time
ROTATION_S: Final = 2.0  # a slot that cannot be divided among the runs rotates in this period

# KEYS: runs, callers, recent. ARGV: member, has a run, has an interactive caller, a caller has
# left; FRESH_S, LINGER_S, ROTATION_S. Redis gives the time: clocks of machines differ.
_PUBLISH: Final = """
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
class FunctionLoad:
    """The load of one function over all processes, as a process with a run on it needs it."""

    runs: int = 1  # processes with background runs, this one included
    is_run_on: bool = False  # there is a background run, in any process
    rank: int = 0  # of this process among them
    rotation: int = 0  # a counter that is the same in all processes
    interactive: bool = False  # an interactive caller waits for an answer
    recently_interactive: bool = False  # one did within the last LINGER_S seconds

    def share(self, slots: int) -> int:
        """Return this process' share of the slots; the remainder rotates."""
        each, rest = divmod(slots, self.runs)
        return each + ((self.rank + self.rotation) % self.runs < rest)


NO_OTHER_LOAD: Final = FunctionLoad()
OnLoad = Callable[[FunctionLoad], None]


@dataclass(slots=True)
class _LocalLoad:
    """The load that this process puts on one function."""

    runs: list[OnLoad]  # callbacks of the background runs
    interactive: int = 0  # callers who wait
    caller_left: bool = False  # not published yet
    published: tuple[bool, bool] | None = None  # whether there were runs and callers
    renew_at: float = 0.0  # time.monotonic()

    @property
    def state(self) -> tuple[bool, bool]:
        """Whether there are runs, and whether callers wait."""
        return bool(self.runs), bool(self.interactive)

    @property
    def is_due(self) -> bool:
        """Whether to publish it now. A run does so each time, because it reads the load of all."""
        changed = self.caller_left or self.state != self.published
        return bool(self.runs) or changed or time.monotonic() >= self.renew_at


class LoadRegistry:
    """Publishes the load of this process on all functions. Its thread starts at the first load."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Delete every load and end the thread. It starts again with the next load."""
        self._member = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._publishing = threading.Lock()  # an older state must not follow a newer one
        self._loads: dict[str, _LocalLoad] = {}
        self._quiet_until: dict[str, float] = {}  # functions without a run: time.monotonic()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._script: Any = None
        self._breaker = CircuitBreaker()

    @contextmanager
    def background_run(self, function_id: str, on_load: OnLoad) -> Iterator[None]:
        """Count as a background run. Each exchange calls ``on_load`` with the function's load."""
        with self._lock:
            self._load_of(function_id).runs.append(on_load)
        self._publish(function_id)  # at once: the number of invocations in flight depends on it
        self._keep_publishing()
        try:
            yield
        finally:
            with self._lock:
                runs = self._load_of(function_id).runs
                if on_load in runs:  # not after a reset
                    runs.remove(on_load)
            self._publish(function_id)  # the process may end before the thread publishes
            on_load(NO_OTHER_LOAD)

    @contextmanager
    def interactive_call(self, function_id: str) -> Iterator[None]:
        """Count as an interactive caller who waits. This never waits for Redis."""
        with self._lock:
            load = self._load_of(function_id)
            load.interactive += 1
            is_first = load.interactive == 1
        # In the quiet time of a function the thread wakes up by itself: at its end.
        if is_first and not self._is_quiet(function_id):
            self._keep_publishing()
        try:
            yield
        finally:
            with self._lock:
                load = self._load_of(function_id)
                load.interactive = max(0, load.interactive - 1)  # 0 after a reset
                load.caller_left = True

    def _load_of(self, function_id: str) -> _LocalLoad:
        return self._loads.setdefault(function_id, _LocalLoad(runs=[]))

    def _keep_publishing(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._publish_all, name="cvat-lambda-load", daemon=True
                )
                self._thread.start()
        self._woken.set()

    def _publish_all(self) -> None:
        pause = threading.Event()
        while self._thread is threading.current_thread():  # `reset` ends the loop
            with self._lock:
                names = list(self._loads)
            for name in names:
                self._publish(name)
            self._woken.wait(self._idle_s())
            self._woken.clear()
            pause.wait(_GAP_S)

    def _idle_s(self) -> float | None:
        """Return how long the thread has nothing to do; None: until a call wakes it."""
        with self._lock:
            if any(load.runs or load.published for load in self._loads.values()):
                return PERIOD_S
            now = time.monotonic()
            self._quiet_until = {
                name: until
                for name, until in self._quiet_until.items()
                if until > now or name in self._loads
            }
            ends = [self._quiet_until.get(name, now) for name in self._loads]
            ends += self._quiet_until.values()
        return max(0.0, min(ends) - now) if ends else None

    def _publish(self, function_id: str) -> None:
        """Publish this process' load of a function, and give its runs the load of all."""
        with self._publishing:
            with self._lock:
                load = self._loads.get(function_id)
                if load is None or not load.is_due:
                    return
                runs, interactive, left = list(load.runs), load.interactive, load.caller_left
                is_unknown = load.published is None
                if not runs and not interactive:
                    del self._loads[function_id]
                if not runs and is_unknown and self._is_quiet(function_id):
                    return
                load.caller_left, load.published = False, load.state
                load.renew_at = time.monotonic() + RENEW_S
            total = self._exchange(function_id, bool(runs), bool(interactive), left)
            with self._lock:
                if total.is_run_on:
                    self._quiet_until.pop(function_id, None)
                else:
                    self._quiet_until[function_id] = time.monotonic() + QUIET_S
            for on_load in runs:
                on_load(total)

    def _is_quiet(self, function_id: str) -> bool:
        """Return whether the function had no run within the last `QUIET_S`."""
        return time.monotonic() < self._quiet_until.get(function_id, 0.0)

    def _exchange(
        self, function_id: str, runs: bool, interactive: bool, left: bool
    ) -> FunctionLoad:
        if self._breaker.is_open:
            return NO_OTHER_LOAD
        tag = f"{{cvat_lambda:load:{function_id}}}"  # one slot of a Redis Cluster
        flags = [str(int(flag)) for flag in (runs, interactive, left)]
        try:
            if self._script is None:
                self._script = connect().register_script(_PUBLISH)
            found = self._script(
                keys=[f"{tag}:runs", f"{tag}:callers", f"{tag}:recent"],
                args=[self._member, *flags, FRESH_S, LINGER_S, ROTATION_S],
            )
        except (RedisError, OSError) as exc:
            self._breaker.trip()
            logger.info(
                "Redis does not answer: requests do not see who else calls their function. %s",
                exc,
                extra={"action": "load_sharing_failed"},
            )
            return NO_OTHER_LOAD
        number, rank, rotation, callers, recent = (int(value) for value in found)
        return FunctionLoad(
            runs=max(1, number),
            is_run_on=number > 0,
            rank=rank,
            rotation=rotation,
            interactive=callers > 0,
            recently_interactive=recent > 0,
        )
