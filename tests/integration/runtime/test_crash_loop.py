from __future__ import annotations

import os
import subprocess
import sys

from cvat_lambda.runtime.processes.descendants import MARK
from cvat_lambda.runtime.processor.crash_loop import CrashLoopBackoff
from cvat_lambda.runtime.processor.memory import ProcessTracker, resident_memory, used_memory


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def live(backoff: CrashLoopBackoff, clock: Clock, seconds: float) -> float:
    """Start a worker and end it after some time. Return the delay of its restart."""
    backoff.record_start()
    clock.now += seconds
    backoff.record_crash()
    return backoff.delay_s


def test_delays_grow_while_a_process_crashes_at_each_start() -> None:
    clock = Clock()
    backoff = CrashLoopBackoff(clock)
    assert backoff.delay_s == 0
    pauses = [round(live(backoff, clock, 5), 1) for _ in range(12)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30]


def test_fifth_crash_in_a_row_is_a_crash_loop() -> None:
    clock = Clock()
    backoff = CrashLoopBackoff(clock)
    seen = []
    for _ in range(6):
        live(backoff, clock, 5)
        seen.append(backoff.in_crash_loop)
    assert seen == [False, False, False, False, True, True]


def test_process_that_ran_for_a_minute_restarts_without_delay() -> None:
    clock = Clock()
    backoff = CrashLoopBackoff(clock)
    for _ in range(6):
        live(backoff, clock, 5)
    assert live(backoff, clock, 60) == 0
    assert not backoff.in_crash_loop
    assert round(live(backoff, clock, 5), 1) == 0.1


def test_process_that_answers_between_crashes_is_in_no_crash_loop() -> None:
    clock = Clock()
    backoff = CrashLoopBackoff(clock)
    for _ in range(20):
        backoff.record_start()
        backoff.record_answer()
        clock.now += 5
        backoff.record_crash()
        assert backoff.delay_s <= 1
        backoff.record_start()
        assert not backoff.in_crash_loop
    assert backoff.delay_s == 1


def test_failed_start_counts_as_crash_after_any_time() -> None:
    clock = Clock()
    backoff = CrashLoopBackoff(clock)
    for _ in range(5):
        backoff.record_start()
        clock.now += 100
        backoff.record_failed_start()
    assert (backoff.in_crash_loop, round(backoff.delay_s, 1)) == (True, 1.6)


FORKED = """
import os, sys
x = b"a" * (200 << 20)
pid = os.fork()
print("ready", flush=True)
sys.stdin.read() if pid else os.read(0, 1)
"""


def test_shared_pages_are_counted_once_near_the_limit() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as leader:
        assert leader.stdout is not None
        for _ in range(2):
            leader.stdout.readline()
        pids = ProcessTracker().find({"one": leader.pid})["one"]
        assert len(pids) == 2
        resident = sum(map(resident_memory, pids))
        assert resident > 400 << 20
        assert 200 << 20 < used_memory(pids, 300 << 20) < 300 << 20
        assert used_memory(pids, 1 << 40) == resident  # far below the limit the sum is used
        leader.kill()


DAEMON = """
import os, sys
reading, writing = os.pipe()
between = os.fork()
if between == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.write(writing, str(os.getpid()).encode())
else:
    os.waitpid(between, 0)  # otherwise it would be found, too
    print(os.read(reading, 20).decode(), flush=True)
sys.stdin.read()
"""


def with_daemon(**variables: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", DAEMON],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def test_daemon_counts_for_the_worker_that_started_it() -> None:
    mark = f"test.{os.getpid()}"
    tracker = ProcessTracker()
    with with_daemon(**{MARK: mark}) as worker, with_daemon() as other:
        assert worker.stdout is not None
        assert other.stdout is not None
        daemon, stranger = int(worker.stdout.readline()), int(other.stdout.readline())
        for _ in range(2):  # the second call knows the processes outside the session
            found = tracker.find({mark: worker.pid})
            assert set(found[mark]) == {worker.pid, daemon}
        assert stranger not in found[mark]
        for process in (worker, other):  # their children read to the end, too
            process.communicate()
