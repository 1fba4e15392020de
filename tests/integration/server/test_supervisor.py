"""Restarts with backoff, and the states file that the health page reads."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from cvat_lambda.server import supervisor
from cvat_lambda.server.processes import Child
from cvat_lambda.server.supervisor import Supervised, Supervisor, read_states


@pytest.fixture
def crashing() -> Supervised:
    """A process that exits at once with status 3."""
    start = partial(Child.start, "crash", [sys.executable, "-c", "raise SystemExit(3)"])
    return Supervised(name="crash", start=start, child=start())


def test_delay_of_a_crash_loop_grows_up_to_the_maximum(crashing: Supervised) -> None:
    for delay_s in (1, 2, 4, 8, 16, 30, 30):
        crashing.child.process.wait(180)
        before = time.monotonic()
        assert crashing.check(lambda line: None)
        assert crashing.restart_at is not None
        assert before + delay_s <= crashing.restart_at <= time.monotonic() + delay_s
        crashing.restart_at = time.monotonic()
        assert crashing.check(lambda line: None)
    assert crashing.restarts == 7
    assert crashing.last_exit == "ended with status 3"
    crashing.child.stop()


def test_process_that_ran_for_long_is_restarted_after_the_first_delay(crashing: Supervised) -> None:
    crashing.delay_s = supervisor.MAX_DELAY_S
    crashing.started_at -= supervisor.STABLE_AFTER_S
    crashing.child.process.wait(180)
    crashing.check(lambda line: None)
    assert crashing.restart_at is not None
    assert crashing.restart_at - time.monotonic() <= supervisor.FIRST_DELAY_S
    crashing.child.stop()


def test_states_of_a_supervisor_that_ended_are_not_reported(tmp_path: Path) -> None:
    assert read_states(tmp_path) is None
    watched = Supervisor(tmp_path)
    watched.write_states()
    assert read_states(tmp_path) == []
    path = tmp_path / supervisor.STATES_FILE
    content = json.loads(path.read_text())
    content["at"] -= supervisor.STALE_AFTER_S
    path.write_text(json.dumps(content))
    assert read_states(tmp_path) is None
